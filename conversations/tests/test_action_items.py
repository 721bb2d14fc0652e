"""POST /chat/conversations/{id}/action-items."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from django.test import override_settings

from ai.calls.json_answer import read_values
from conftest import Person, assert_error, at_once
from conversations import transcript_repository as transcripts
from conversations.tests.test_context_window import estimated, said, sent, store_exchanges
from conversations.tests.test_todos import fill, new_todo, somebody_waits, todos_of
from conversations.todos.services import FoundTask, file_tasks
from edgechat.tests.web_settings import SMALL, SMALL_WINDOW
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]

UNAVAILABLE = (503, "model_unavailable", "The model is not available, please try again")
INVALID = (503, "model_output_invalid", "The model's answer cannot be used, please try again")
QUOTA = (429, "model_quota", "The model's quota is used up, please try again later")
FERRY: dict[str, Any] = {"title": "Book the ferry", "description": "For two, with bicycles", "seq": 1}
TENT = {"title": "Mend the tent", "seq": 2}


def begin(person: Person, directives: str = "") -> str:
    """A conversation of one exchange; `directives` control the scripted model's answer about its tasks."""
    conversation = person.new_conversation(title="Titled")
    tell(person, conversation, directives)
    return conversation


def tell(person: Person, conversation: str, directives: str) -> None:
    # The model's answer contains the directives: they affect later calls that receive it, and not this reply.
    content = f"[[say={quote(directives, safe='')}]]holiday-{conversation}"
    assert person.say(conversation, content).status_code == 200


def tasks(*items: Any) -> str:
    return say(json.dumps(items))


def say(text: str) -> str:
    return f"[[say={quote(text, safe='')}]]"


def ask(person: Person, conversation: str) -> Any:
    return person.post(f"chat/conversations/{conversation}/action-items")


def found(person: Person, conversation: str) -> Any:
    answer = ask(person, conversation)
    assert answer.status_code == 201, answer.text
    return answer.json()


def charged(person: Person) -> list[tuple[int, int, bool]]:
    rows = LedgerEntry.objects.filter(user_id=person.id, purpose="action_items", settled_at__isnull=False)
    return [(row.input_tokens, row.output_tokens, row.estimated) for row in rows]


def schema_of(call: dict[str, Any]) -> Any:
    assert call["generation_config"]["responseMimeType"] == "application/json"
    return call["generation_config"]["responseJsonSchema"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_tasks_are_filed_as_todos_linked_to_their_messages(alice: Person, model_calls: ModelCalls, slash: str) -> None:
    conversation = begin(alice, tasks(FERRY, TENT))
    own = new_todo(alice, "Book the ferry")
    answer = alice.post(f"chat/conversations/{conversation}/action-items{slash}")
    todos = answer.json()
    common = {
        "completed": False,
        "archived": False,
        "user_id": alice.id,
        "updated_at": None,
        "conversation_id": conversation,
    }
    assert (answer.status_code, todos) == (
        201,
        [
            {
                **common,
                "id": todos[0]["id"],
                "title": "Book the ferry",
                "description": "For two, with bicycles",
                "created_at": todos[0]["created_at"],
                "message_id": f"{conversation}:00000001",
            },
            {
                **common,
                "id": todos[1]["id"],
                "title": "Mend the tent",
                "description": None,
                "created_at": todos[1]["created_at"],
                "message_id": f"{conversation}:00000002",
            },
        ],
    )
    assert todos_of(alice) == [own, *todos]
    for todo in todos:
        assert alice.get(f"todos/{todo['id']}").json() == todo
        assert alice.get(f"chat/conversations/{conversation}/messages/{todo['message_id']}").status_code == 200
    call = model_calls(f"holiday-{conversation}")[-1]
    assert charged(alice) == [(call["prompt_tokens"], call["output_tokens"], False)]
    seq = schema_of(call)["items"]["properties"]["seq"]
    assert seq == {"type": "integer", "minimum": 1, "maximum": 2}


def test_the_model_is_shown_each_message_with_its_number(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Titled", system_instruction="Rhyme.")
    marker = f"numbers-{conversation}"
    alice.say(conversation, f"{marker} one")
    alice.say(conversation, f"{marker} two")
    # Without directives, the scripted model answers with the schema's smallest value.
    (todo,) = found(alice, conversation)
    assert (todo["title"], todo["description"], todo["message_id"]) == ("text", "text", f"{conversation}:00000001")
    call = model_calls(marker)[-1]
    text = (
        f"[1] User: {marker} one\n[2] Model: Echo: {marker} one\n[3] User: {marker} two\n[4] Model: Echo: {marker} two"
    )
    assert sent(call) == [("user", text)]
    assert "Rhyme." not in json.dumps(call["system_instruction"])


def test_a_task_is_filed_once_whatever_became_of_its_todo(alice: Person) -> None:
    conversation = begin(alice, tasks(FERRY, TENT))
    ferry, tent = found(alice, conversation)
    ferry = alice.patch(f"todos/{ferry['id']}", json={"title": "Ferry at noon", "completed": True}).json()
    tell(alice, conversation, tasks({**TENT, "title": " MEND  the\ttent\n"}, FERRY, {**TENT, "title": "Straße, Café"}))
    again = found(alice, conversation)
    assert again[:2] == [tent, ferry]
    assert [todo["title"] for todo in again[2:]] == ["Straße, Café"]
    tell(alice, conversation, tasks({**TENT, "title": "STRASSE, CAFE\u0301"}))
    assert found(alice, conversation) == again[2:]
    assert todos_of(alice) == [ferry, tent, again[2]]


def test_the_same_task_in_another_conversation_is_another_todo(alice: Person, bob: Person) -> None:
    for person in (alice, alice, bob):
        found(person, begin(person, tasks(FERRY)))
    assert (len(todos_of(alice)), len(todos_of(bob))) == (2, 1)


def test_twenty_calls_at_once_file_each_task_once(alice: Person) -> None:
    conversation = begin(alice, "[[delay=0.5]]" + tasks(FERRY, TENT))
    answers = at_once(20, lambda _: found(alice, conversation))
    stored = todos_of(alice)
    assert [todo["title"] for todo in stored] == ["Book the ferry", "Mend the tent"]
    assert answers == [stored] * 20
    assert len(charged(alice)) == 20


def test_a_call_waits_for_one_that_files_the_same_task(alice: Person, eventually: Callable[..., Any]) -> None:
    conversation = begin(alice, tasks(FERRY))
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            task = FoundTask(FERRY["title"], None, None)
            file_tasks(owner_id=alice.id, conversation_id=conversation, tasks=[task])
            later = pool.submit(found, alice, conversation)
            eventually(lambda: later.done() or somebody_waits())
        assert later.result() == todos_of(alice)
    assert len(todos_of(alice)) == 1


def test_what_the_model_overdoes_is_cut_and_linked_to_no_message_that_it_was_not_shown(alice: Person) -> None:
    conversation = begin(
        alice,
        tasks(
            {"title": "T" * 300, "description": "D" * 1100, "seq": 3},
            {"title": "T" * 255, "seq": 2},
            {"title": " one\n line\u0000\ud800 ", "description": "  ", "seq": 0},
            {"title": "", "seq": 1},
            {"title": "\u0000 \t", "seq": 1},
            {"title": "null", "description": None, "seq": 10**30},
            {"title": "more", "seq": 2, "priority": "high"},
            *({"title": f"task {number}", "seq": 1} for number in range(40)),
        ),
    )
    todos = found(alice, conversation)
    assert [(todo["title"], todo["description"], todo["message_id"]) for todo in todos[:4]] == [
        ("T" * 255, "D" * 1000, None),
        ("one line?", None, None),
        ("null", None, None),
        ("more", None, f"{conversation}:00000002"),
    ]
    assert [todo["title"] for todo in todos[4:]] == [f"task {number}" for number in range(23)]
    assert todos_of(alice) == todos


def test_a_conversation_without_answers_has_no_tasks_and_costs_nothing(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Titled")
    assert found(alice, conversation) == []
    alice.say(conversation, f"[[status=500]]lost-{conversation}")
    assert found(alice, conversation) == []
    assert len(model_calls(f"lost-{conversation}")) == 1
    assert charged(alice) == []


def test_no_tasks_are_an_empty_list(alice: Person) -> None:
    assert found(alice, begin(alice, tasks())) == []
    assert len(charged(alice)) == 1


RUBBISH = {
    "text": say("There are no tasks."),
    "nothing": "[[empty=1]]",
    "null": say("null"),
    "numbers": tasks(1),
    "lists": tasks(["x", 1]),
    "no seq": tasks({"title": "x"}),
    "no title": tasks({"seq": 1}),
    "a title that is none": tasks({"title": None, "seq": 1}),
    "a seq that is none": tasks({"title": "x", "seq": "one"}, {"title": "x", "seq": True}),
    "a description that is none": tasks({"title": "x", "seq": 1, "description": ["y"]}),
    "cut": say('[{"title": "x", "se'),
    "deep": "[[chunks=100]]" + say("[" * 4000),
    "deep objects": "[[chunks=100]]" + say("[" + '{"a":' * 1100),
    "a long number": "[[chunks=100]]" + say("9" * 9000),
    "deep in one event": say("[" * 4000),
    "a long number in one event": say("9" * 9000),
    "an empty fence": say("```json\n```"),
    "a fence of text": say("```\nnone\n```"),
    "an empty object": say("{}"),
    "a list of something else": say('{"tasks": ["Book the ferry", "Mend the tent"]}'),
    "code": say("```js\nlet tasks = { title, seq };\n```"),
}


@pytest.mark.parametrize("directives", RUBBISH.values(), ids=RUBBISH)
def test_an_answer_in_which_nothing_can_be_read_is_503_and_files_nothing(alice: Person, directives: str) -> None:
    answer = ask(alice, begin(alice, directives))
    assert_error(answer, *INVALID)
    assert todos_of(alice) == []
    assert len(charged(alice)) == 1


LIST = json.dumps([FERRY, TENT])
READABLE = {
    "a fence": f"```json\n{LIST}\n```",
    "a fence without a language": f"```\n{LIST}\n```\n",
    "a fence that is not closed": f"```JSON\r\n{LIST}",
    "words around a fence": f"Here [as asked] they are:\n\n```json\n{LIST}\n```\nAnything else?",
    "words around": f"Here [as asked] they are: {LIST} Anything else?",
    "a byte order mark": f"\ufeff{LIST}",
    "an object around": json.dumps({"tasks": [FERRY, TENT], "count": 2}),
    "a fenced object around": f"```json\n{json.dumps({'action_items': [FERRY, TENT]}, indent=2)}\n```",
    "a comma too many": f"{LIST[:-1]},\n]",
    "strings": json.dumps([{**FERRY, "seq": "1"}, {**TENT, "seq": "[2]"}]),
    "more strings": json.dumps([{**FERRY, "seq": " 1 "}, {**TENT, "seq": "#2"}]),
    "a fraction": json.dumps([{**FERRY, "seq": 1.0}, {**TENT, "seq": 2e0}]),
    "cut": f"{LIST[:-1]}, {{'title",
    "a cut object around": f'{{"tasks": {LIST[:-1]}, {{"title": "Buy',
    "bad ones": json.dumps([None, FERRY, "x", {"seq": 1}, {"title": "x"}, {"title": 1, "seq": 1}, TENT, {}, [FERRY]]),
    "no JSON between": f"[{json.dumps(FERRY)}, {{title: 'x'}}, {json.dumps(TENT)}]",
    "a bad seq": json.dumps([FERRY, {"title": "x", "seq": None}, {"title": "x", "seq": "none"}, TENT]),
    "objects without a list": f"{json.dumps(FERRY)}\n{json.dumps(TENT)}\n",
    "a fence for each": f"```json\n{json.dumps(FERRY)}\n```\nand\n```json\n{json.dumps(TENT)}\n```",
    "a fence of something else before": f"```python\nfor task in [{{'title': 1}}]: pass\n```\n```json\n{LIST}\n```",
    "a fence in a text": f"```json\n{json.dumps([{**FERRY, 'description': 'See ```x```'}, TENT])}\n```",
    "an empty list before": f"The tasks, or [] if there were none: {LIST}",
    "lists in lists": json.dumps([[FERRY], [[TENT], []]]),
    "two lists": json.dumps({"urgent": [FERRY], "later": [TENT], "done": []}),
    "deep lists": json.dumps({"result": {"tasks": {"all": [FERRY, TENT]}, "title": "Tasks"}}),
    "an object of objects": json.dumps({"1": FERRY, "2": TENT}),
    "lists in tasks": json.dumps([{**FERRY, "tags": ["sea", {"seq": 1}]}, {**TENT, "tags": []}]),
    "fractions as strings": json.dumps([{**FERRY, "seq": "1.0"}, {**TENT, "seq": "no. 2."}]),
    "a seq below nothing": json.dumps([FERRY, {"title": "x", "seq": "-2"}, {"title": "x", "seq": "1.5"}, TENT]),
    "an endless seq": f'[{json.dumps(FERRY)}, {{"title": "x", "seq": 1e999}}, {json.dumps(TENT)}]',
}


@pytest.mark.parametrize("answer", READABLE.values(), ids=READABLE)
def test_tasks_are_read_as_models_write_them(alice: Person, answer: str) -> None:
    conversation = begin(alice, say(answer))
    assert [(todo["title"], todo["message_id"]) for todo in found(alice, conversation)] == [
        ("Book the ferry", f"{conversation}:00000001"),
        ("Mend the tent", f"{conversation}:00000002"),
    ]


def test_a_task_in_no_list_is_one(alice: Person) -> None:
    conversation = begin(alice, say(json.dumps({**TENT, "tags": ["camping"]})))
    assert [todo["title"] for todo in found(alice, conversation)] == ["Mend the tent"]


def test_a_megabyte_is_read_as_far_as_it_goes() -> None:
    tasks = [{**FERRY, "title": f"task {number}"} for number in range(20_000)]
    cut = json.dumps(tasks)[:-40]
    assert read_values(f"```json\n{cut}") == tasks[:-1]
    for rubbish in (
        "[" * 2_000_000,
        "{" * 2_000_000,
        "[ " * 1_000_000,
        '{"a":' * 400_000,
        "x" * 2_000_000,
        "[" + " " * 2_000_000,
    ):
        assert read_values(rubbish) == []
    assert read_values("{x}" * 20 + cut[:2000])[0] == tasks[0]


@pytest.mark.parametrize(
    "answer", ["```json\n[]\n```", '{"tasks": []}', '{"tasks": [], "more": []}', "None: []", "[[]]"]
)
def test_no_tasks_are_no_tasks_however_they_are_written(alice: Person, answer: str) -> None:
    assert found(alice, begin(alice, say(answer))) == []


@pytest.mark.parametrize(
    ("directives", "error", "retry_after"),
    [
        ("[[status=429]][[retry=7]]", QUOTA, "7"),
        ("[[status=500]]", UNAVAILABLE, None),
        ("[[cut=0]]", UNAVAILABLE, None),
        ("[[rubbish=1]]", UNAVAILABLE, None),
        ("[[empty=1]][[finish=MAX_TOKENS]]", UNAVAILABLE, None),
    ],
)
def test_a_failing_model_is_told_without_its_words(
    alice: Person, directives: str, error: tuple[int, str, str], retry_after: str | None
) -> None:
    answer = ask(alice, begin(alice, directives))
    assert_error(answer, *error)
    assert answer.headers.get("Retry-After") == retry_after
    assert todos_of(alice) == []
    assert len(charged(alice)) == 1


@pytest.mark.parametrize("block", ["prompt", "answer", "partial"])
def test_a_block_is_422_and_files_nothing(alice: Person, block: str) -> None:
    answer = ask(alice, begin(alice, f"[[block={block}]]" + tasks(FERRY)))
    detail = "The model refused this on safety grounds"
    assert_error(answer, 422, "content_blocked", detail, context={"finish_reason": "SAFETY"})
    assert todos_of(alice) == []
    assert len(charged(alice)) == 1


@pytest.mark.parametrize(("settings", "room"), [(SMALL, 192), (SMALL_WINDOW, 500)], ids=["256", "600"])
def test_a_long_conversation_shows_its_summary_and_latest_exchanges_within_the_window(
    web_with: Callable[..., str], model_calls: ModelCalls, settings: dict[str, str], room: int
) -> None:
    carol = Person(web_with(**settings), "carol")
    conversation = carol.new_conversation(title="Titled")
    summary = f"sum-{conversation[-6:]}"
    with override_settings(**{name: value for name, value in settings.items() if name == "MONGODB_DB"}):
        store_exchanges(carol, conversation, 500)
        transcripts.set_summary(carol.id, conversation, text=summary, upto_seq=800, replaces_upto_seq=0)
    (todo,) = found(carol, conversation)
    # The schema's smallest number is the summary's.
    assert todo["message_id"] == f"{conversation}:00000800"
    (call,) = model_calls(summary)
    ((_, text),) = sent(call)
    lines = text.split("\n")
    assert lines[0] == f"[800] Summary of all until here: {summary}"
    if settings is SMALL_WINDOW:
        shown = range(1001 - len(lines[1:]), 1001)
        assert lines[1:] == [f"[{seq}] {'User' if seq % 2 else 'Model'}: {said(seq)}" for seq in shown]
        assert len(shown) > 5
    else:
        assert lines[1] == f"[999] User: {said(999)}"
    schema = schema_of(call)
    assert schema["items"]["properties"]["seq"]["maximum"] == 1000
    spent = estimated(call) + estimate_tokens(json.dumps(schema))
    assert room - 60 < spent <= room
    carol.close()


def test_a_message_that_fills_the_window_is_shown_by_its_beginning(
    web_with: Callable[..., str], model_calls: ModelCalls
) -> None:
    carol = Person(web_with(**SMALL), "carol")
    conversation = carol.new_conversation(title="Titled")
    marker = f"fill-{conversation} " + "😀" * 120
    assert carol.say(conversation, marker).status_code == 200
    (todo,) = found(carol, conversation)
    assert todo["message_id"] == f"{conversation}:00000001"
    call = model_calls(f"[1] User: {marker[:30]}")[-1]
    assert sent(call)[0][1] in f"[1] User: {marker}"
    assert estimated(call) + estimate_tokens(json.dumps(schema_of(call))) <= 192
    carol.close()


def test_a_full_account_gets_409_before_the_model_is_asked_and_else_what_there_is_room_for(alice: Person) -> None:
    conversation = begin(alice, tasks(FERRY, TENT))
    fill(alice, leave=1)
    assert [todo["title"] for todo in found(alice, conversation)] == ["Book the ferry"]
    detail = "An account can have 5000 todos"
    assert_error(ask(alice, conversation), 409, "too_many_todos", detail, context={"limit": 5000})
    assert len(charged(alice)) == 1


def test_todos_outlive_their_conversation(alice: Person) -> None:
    conversation = begin(alice, tasks(FERRY))
    todos = found(alice, conversation)
    assert alice.delete(f"chat/conversations/{conversation}").status_code == 204
    assert todos_of(alice) == todos
    assert_error(ask(alice, conversation), 404, "not_found", "Conversation not found")


def test_an_account_deleted_while_the_model_is_asked_gets_no_todos(
    register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    carol = register("carol")
    conversation = begin(carol, "[[delay=120]]" + tasks(FERRY))

    def act(number: int) -> Any:
        if number == 0:
            return ask(carol, conversation)
        eventually(lambda: LedgerEntry.objects.filter(user_id=carol.id, purpose="action_items").exists())
        return carol.delete("users/me")

    asked, deleted = at_once(2, act)
    assert deleted.status_code == 204
    assert_error(asked, 401, "token_revoked", "The session has ended")
