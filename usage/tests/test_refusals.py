"""Requests that were refused are recorded with the reason, and staff find them by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accounts.models import Membership, Organization
from accounts.tests.staff import superuser
from conftest import Api, Person
from edgechat.tests.web_settings import SMALL
from usage.models import Budget, RequestRecord
from usage.staff.reasons import REFUSALS, code_of

Eventually = Callable[..., Any]


def test_a_refused_request_is_recorded_with_its_reason_and_found_by_it(
    alice: Person, web_url: str, web_with: Callable[..., str], eventually: Eventually
) -> None:
    organization = Organization.objects.create(name="Poor")
    Membership.objects.create(organization=organization, user_id=alice.id, role="owner")
    Budget.objects.create(organization=organization, token_limit=0)
    shared = alice.new_conversation(organization_id=organization.pk)
    assert alice.post("ai/complete", json={"prompt": "[[block=answer]]"}).status_code == 422
    assert alice.post(f"chat/conversations/{shared}/messages", json={"content": "x"}).status_code == 429
    Budget.objects.create(user_id=alice.id, period="day", token_limit=1)
    streamed = alice.post("ai/complete", json={"prompt": "x"}, headers={"Accept": "text/event-stream"})
    assert streamed.json()["code"] == "budget_exceeded"
    assert alice.post("openai/v1/chat/completions", json={"model": "m", "messages": 1}).status_code == 400
    assert alice.get(f"todos/{2**40}").status_code == 404
    with Api(web_with(**SMALL), token=alice.tokens["access_token"]) as phone:
        answers = [phone.post("chat/attachments") for _ in range(4)]  # 3 are allowed in an hour
    assert answers[-1].json()["code"] == "rate_limited"

    def reasons() -> set[tuple[int, str]]:
        return set(RequestRecord.objects.filter(user_id=alice.id).values_list("status", "reason"))

    expected = {
        (200, ""),
        (201, ""),
        (422, "content_blocked"),
        (422, "validation_error"),
        (429, "budget_exceeded:organization_month"),
        (429, "budget_exceeded:user_day"),
        (400, "validation_error"),
        (404, "not_found"),
        (429, "rate_limited:address_strict"),
    }
    eventually(lambda: reasons() == expected)
    chosen = {"q": alice.email, "reason": "budget_exceeded"}
    with superuser(web_url) as root:
        page = (
            root.get("usage/requestrecord/", params=chosen)
            .text.rpartition('id="result_list"')[2]
            .partition("</table>")[0]
        )
        file = root.get("usage/requestrecord/export.csv", params={"q": alice.email, "status": "refused"}).text
    assert "Budget of the organization, month" in page
    assert "Budget of the user, day" in page
    assert "The model withheld its answer" not in page
    assert file.count("budget_exceeded:") == 2
    assert file.count("rate_limited:address_strict") == 1
    assert file.count("content_blocked") == 1
    assert "not_found" not in file


def test_every_code_of_a_limit_has_words_for_staff() -> None:
    published = re.findall(
        r"^\| 429 \| `(\w+)`", (Path(__file__).parents[2] / "docs/clients/errors.md").read_text(), re.M
    )
    assert len(published) > 5
    assert set(published) - {code_of(reason) for reason in REFUSALS} == set()
