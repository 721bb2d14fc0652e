"""Messages with pictures."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from ai.gemini import Content, PromptPicture
from conftest import Person, assert_error
from conversations.models import Attachment, AttachmentUse
from conversations.prompt.context_window import AnsweredExchange, fits, select_contents
from conversations.tests.test_attachments import picture, upload
from usage.ledger.tokens import estimate_tokens
from usage.models import Budget

ModelCalls = Callable[[str], list[dict[str, Any]]]


def pictures_of(call: dict[str, Any]) -> list[int]:
    """The number of pictures in each turn that the model received."""
    return [sum("inlineData" in part for part in content["parts"]) for content in call["contents"]]


def test_a_message_carries_its_pictures_to_the_model_and_in_the_history(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation()
    attachments = [upload(alice, picture(60, 40)).json(), upload(alice, picture(30, 30)).json()]
    ids = [attachment["id"] for attachment in attachments]
    content = f"what is this, {alice.id}?"
    pair = alice.say(conversation, content, attachment_ids=ids).json()
    assert pair["user_message"]["attachments"] == attachments
    assert pair["model_message"]["attachments"] == []
    text = pair["model_message"]["content"]
    assert "[image 60x40 image/png" in text
    assert "[image 30x30 image/png" in text
    assert alice.messages(conversation)["messages"][0]["attachments"] == attachments
    alice.say(conversation, f"and then, {alice.id}?")
    (call,) = model_calls(f"and then, {alice.id}?")
    assert pictures_of(call) == [2, 0, 0]
    again = alice.post(f"chat/conversations/{conversation}/messages/{pair['user_message']['id']}/regenerate")
    assert again.status_code == 409  # no longer the last exchange


def test_a_picture_of_a_message_that_its_budget_refuses_is_not_used(alice: Person) -> None:
    conversation = alice.new_conversation()
    attachment = upload(alice, picture(61, 40)).json()
    uses = AttachmentUse.objects.filter(conversation_id=conversation)
    Budget.objects.create(user_id=alice.id, period="month", token_limit=0)
    answer = alice.say(conversation, "look", attachment_ids=[attachment["id"]])
    assert answer.json()["code"] == "budget_exceeded"
    assert not uses.exists()
    Budget.objects.filter(user_id=alice.id).delete()
    assert alice.say(conversation, "look", attachment_ids=[attachment["id"]]).status_code == 200
    assert [str(use.attachment_id) for use in uses] == [attachment["id"]]


def test_a_regenerated_answer_sees_the_same_pictures(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation()
    attachment = upload(alice, picture()).json()
    pair = alice.say(conversation, "look", attachment_ids=[attachment["id"]]).json()
    path = f"chat/conversations/{conversation}/messages/{pair['model_message']['id']}/regenerate"
    answer = alice.post(path, json={"content": f"look again {alice.id}"})
    assert answer.json()["user_message"]["attachments"] == [attachment]
    (call,) = model_calls(f"look again {alice.id}")
    assert pictures_of(call) == [1]


def test_the_same_send_with_other_pictures_is_another_body(alice: Person) -> None:
    conversation = alice.new_conversation()
    attachment = upload(alice, picture()).json()
    sent: dict[str, Any] = {"client_message_id": "k", "attachment_ids": [attachment["id"]]}
    first = alice.say(conversation, "hi", **sent)
    assert alice.say(conversation, "hi", **sent).json() == first.json()
    assert alice.say(conversation, "hi", client_message_id="k").json()["code"] == "idempotency_conflict"
    # Also after the picture is deleted.
    alice.delete(f"chat/attachments/{attachment['id']}")
    assert alice.say(conversation, "hi", **sent).json() == first.json()


def test_faulty_attachment_ids_are_refused_before_anything_is_stored(alice: Person) -> None:
    conversation = alice.new_conversation()
    attachment_id = upload(alice, picture()).json()["id"]
    faulty: list[Any] = [[attachment_id] * 2, [str(uuid.uuid4()) for _ in range(6)], "x", [None], [[]]]
    for ids in faulty:
        answer = alice.say(conversation, "hi", attachment_ids=ids)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].startswith("body.attachment_ids")
    for ids in ([attachment_id, str(uuid.uuid4())], ["not-an-id"]):
        assert_error(alice.say(conversation, "hi", attachment_ids=ids), 404, "not_found", "Attachment not found")
    assert alice.messages(conversation)["messages"] == []


def test_a_deleted_picture_leaves_the_context_and_the_message_goes_on_naming_it(
    alice: Person, model_calls: ModelCalls
) -> None:
    conversation = alice.new_conversation()
    attachment = upload(alice, picture()).json()
    alice.say(conversation, "look", attachment_ids=[attachment["id"]])
    alice.delete(f"chat/attachments/{attachment['id']}")
    assert alice.say(conversation, f"what was it {alice.id}").status_code == 200
    (call,) = model_calls(f"what was it {alice.id}")
    assert pictures_of(call) == [0, 0, 0]
    assert alice.messages(conversation)["messages"][0]["attachments"] == [attachment]


def shown(width: int = 1000, height: int = 1000) -> PromptPicture:
    return PromptPicture(width, height, lambda: (b"", "image/png"))


@pytest.mark.parametrize(("side", "tokens"), [(100, 258), (384, 258), (385, 4 * 258), (1568, 9 * 258)])
def test_a_picture_counts_by_its_tiles(side: int, tokens: int) -> None:
    assert shown(side, side).tokens == tokens


def test_older_pictures_leave_the_context_and_their_text_stays() -> None:
    picture_tokens = shown().tokens
    earlier = [AnsweredExchange(f"q{seq}", f"a{seq}", seq, (shown(),)) for seq in (10, 8, 6, 4)]
    question = Content("user", "now", (shown(),))
    budget = estimate_tokens("now") + picture_tokens + 4 * 2 * picture_tokens
    window = select_contents(question, earlier, instruction=None, budget=budget)
    assert [len(turn.pictures) for turn in window.contents] == [0, 0, 0, 0, 1, 0, 1, 0, 1]
    assert [turn.text for turn in window.contents][:2] == ["q4", "a4"]
    assert not window.overflowed


def test_a_question_whose_pictures_alone_are_too_much_does_not_fit() -> None:
    question = Content("user", "now", (shown(),))
    needed = estimate_tokens("now") + shown().tokens
    assert fits(question, instruction=None, budget=needed)
    assert not fits(question, instruction=None, budget=needed - 1)


def prune(*arguments: str) -> str:
    output = io.StringIO()
    call_command("prune_attachments", *arguments, stdout=output)
    return output.getvalue()


def age(*attachment_ids: str) -> None:
    Attachment.objects.filter(id__in=attachment_ids).update(created_at=timezone.now() - timedelta(hours=25))


def test_what_no_conversation_uses_is_pruned_with_its_files(alice: Person) -> None:
    kept, deleted = alice.new_conversation(), alice.new_conversation()
    ids = [upload(alice, picture()).json()["id"] for _ in range(4)]
    used, of_deleted, unused, _ = ids
    assert alice.say(kept, "hi", attachment_ids=[used]).status_code == 200
    assert alice.say(deleted, "hi", attachment_ids=[of_deleted]).status_code == 200
    age(used, of_deleted, unused)
    assert alice.delete(f"chat/conversations/{deleted}").status_code == 204
    assert "unused pictures" in prune("--dry-run")
    assert [alice.get(f"chat/attachments/{each}").status_code for each in ids] == [200] * 4
    prune()
    statuses = [alice.get(f"chat/attachments/{each}").status_code for each in ids]
    assert statuses == [200, 404, 404, 200]
    folder = "attachments/{0:.2}/{0}"
    assert default_storage.exists(folder.format(used.replace("-", "")))
    assert not default_storage.exists(folder.format(unused.replace("-", "")))


def test_a_deleted_account_leaves_no_file(alice: Person) -> None:
    attachment_id = upload(alice, picture()).json()["id"].replace("-", "")
    folder = f"attachments/{attachment_id[:2]}/{attachment_id}"
    assert default_storage.exists(folder)
    answer = alice.request("DELETE", "users/me", json={"current_password": alice.password})
    assert answer.status_code == 204
    assert not default_storage.exists(folder)
    assert not Attachment.objects.filter(owner_id=alice.id).exists()
