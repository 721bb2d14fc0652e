"""manage.py seed_demo, in databases of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from accounts.tests.staff import Staff
from conftest import Api
from edgechat.local.demo.people import PASSWORD, PEOPLE
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage.models import Budget, Spending
from usage.rebuild import rebuild_usage

PROJECT = Path(__file__).parents[3]


def seed(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "seed_demo", "--days", "8"],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def seed_here(**settings: str) -> list[str]:
    out = io.StringIO()
    with override_settings(**settings):
        call_command("seed_demo", "--days", "8", stdout=out)
    return out.getvalue().splitlines()


def listed(api: Api, path: str, name: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(path, params={"limit": 100, **query}).json()[name]
    return found


def test_the_demo_has_people_chats_usage_and_budgets_near_their_end_and_is_added_once(
    own_stores: OwnStores, start_web: Callable[..., WebServer], data_dir: Path
) -> None:
    stores = {**own_stores.env, "DATA_DIR": str(data_dir)}
    first, told = seed(**stores)
    assert first.startswith(f"Added {len(PEOPLE)} people, 1")
    ada, grace = PEOPLE[:2]
    assert told == f"Log in as {ada.email}, or as {grace.email} (staff), with the password: {PASSWORD}"
    assert sum(table.differences for table in rebuild_usage(dry_run=True)) == 0

    # Time passes between the runs, and so do a few requests.
    again = seed_here()
    assert again[0].startswith("Added 0 people, 0 conversations, ")
    assert again[-1] == told
    assert User.objects.count() == len(PEOPLE)
    assert sum(table.differences for table in rebuild_usage(dry_run=True)) == 0

    spent = Spending.objects.get(organization__name="Fjord Analytics")
    used = spent.month_tokens if spent.month == timezone.now().date().replace(day=1) else 0
    limit = Budget.objects.get(organization=spent.organization).token_limit
    assert limit is not None
    assert used / 1.2 <= limit <= max(50_000, used / 0.9)  # the latter on the first days of a month

    web = start_web(**stores)
    api = Api(web.url)
    login = api.post("auth/login", json={"email": ada.email, "password": PASSWORD})
    api.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
    current = listed(api, "chat/conversations", "conversations")
    assert len(current) == 9
    assert sum(each["pinned"] for each in current) == 2
    assert len(listed(api, "chat/conversations", "conversations", archived="true")) == 2
    messages = [
        message for each in current for message in listed(api, f"chat/conversations/{each['id']}/messages", "messages")
    ]
    assert {message["status"] for message in messages} == {"complete", "stopped"}
    assert {message["feedback"]["rating"] for message in messages if message["feedback"]} == {"up", "down"}
    assert any(message["variants"] for message in messages)
    [picture] = [each for message in messages for each in message["attachments"]]
    assert api.get(f"chat/attachments/{picture['id']}").status_code == 200
    assert len(api.get("todos").json()) == 6
    answered = api.post(f"chat/conversations/{current[0]['id']}/messages", json={"content": "Thank you"})
    assert answered.status_code == 200
    days = api.get("usage/me/daily", params={"days": 8}).json()["days"]
    assert sum(day["requests"] > 0 for day in days) > 3
    api.close()

    staff = Staff(web.url, User.objects.get(email=grace.email), PASSWORD)
    page = staff.get("").text
    assert "Fjord Analytics" in page
    staff.close()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ENVIRONMENT": "production", "DEVELOPMENT": False}, "ENVIRONMENT is production"),
        ({"ENVIRONMENT": "staging", "DEVELOPMENT": False}, "ENVIRONMENT is staging"),
        ({"DATABASE_URL": "postgresql://me:secret@db.example.com/chat"}, "DATABASE_URL is on db.example.com"),
        ({"DATABASE_URL": "postgresql:///chat?host=db.example.com"}, "DATABASE_URL is on db.example.com"),
        ({"DATABASE_URL": "postgresql://127.0.0.1/chat?hostaddr=192.0.2.1"}, "DATABASE_URL is on 192.0.2.1"),
        (
            {"MONGODB_URL": "mongodb://me:secret@127.0.0.1:1,mongo.example.com:2/"},
            "MONGODB_URL is on mongo.example.com",
        ),
    ],
)
def test_the_demo_is_refused_where_data_may_be_real(settings: dict[str, Any], reason: str) -> None:
    with override_settings(**settings), pytest.raises(CommandError, match=reason):
        call_command("seed_demo")
