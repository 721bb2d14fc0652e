"""The ledger: every call to the model has one row with the model's counts."""

from __future__ import annotations

import ast
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings

from conftest import Person, at_once, full_size
from conversations.tests.events import EVENT_STREAM
from conversations.tests.test_attachments import picture
from usage.admin import MAX_PRICE_MICROS
from usage.ledger.services import open_entry, settle_entry
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry, ModelPrice, Spending

Eventually = Callable[..., Any]
ModelCalls = Callable[[str], list[dict[str, Any]]]

PROJECT = Path(__file__).parents[2]
# Without bench, which measures the SDK itself as the floor.
CODE = [PROJECT / name for name in ("accounts", "ai", "conversations", "edgechat", "usage")]


def calls_in_code(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of a function or method with this name in the project's own code: file and call."""
    for folder in CODE:
        for path in folder.rglob("*.py"):
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and name in (
                    getattr(node.func, "id", None),
                    getattr(node.func, "attr", None),
                ):
                    yield str(path.relative_to(PROJECT)), node


def test_nothing_calls_the_model_but_by_an_entry_of_the_ledger() -> None:
    asking = {
        file
        for name in ("generate_content", "generate_content_stream", "send_message", "send_message_stream")
        for file, _ in calls_in_code(name)
        if "google" in (PROJECT / file).read_text()  # other files have other methods of this name
    }
    assert asking == {"ai/gemini/client.py"}
    [(file, call)] = calls_in_code("stream_answer")
    assert file == "ai/calls/metered.py"
    bounds = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "max_output_tokens"]
    assert bounds == ["entry.max_output_tokens"]
    # An OpenEntry is created only together with its row, so none exists without a row.
    assert {file for file, _ in calls_in_code("OpenEntry")} == {"usage/ledger/services.py"}
    assert len(list(calls_in_code("OpenEntry"))) == 1


def test_each_caller_of_the_model_has_a_purpose_of_its_own() -> None:
    callers = Counter(file for file, _ in calls_in_code("MeteredCall"))
    assert callers == {
        "ai/calls/answers.py": 1,
        "conversations/todos/action_items.py": 1,
        "conversations/replies/start.py": 1,
        "conversations/prompt/upkeep.py": 1,
        "edgechat/management/model_checks.py": 1,
    }


def test_each_purpose_is_one_row_for_one_call(alice: Person, model_calls: ModelCalls, eventually: Eventually) -> None:
    marker = f"every-{alice.id}"
    conversation = alice.new_conversation()
    assert alice.say(conversation, f"Buy milk {marker}").status_code == 200
    # The title is made after the answer.
    eventually(lambda: LedgerEntry.objects.filter(user_id=alice.id, purpose="title", settled_at__isnull=False).exists())
    assert alice.post(f"chat/conversations/{conversation}/action-items").status_code == 201
    assert alice.post("ai/complete", json={"prompt": marker}).status_code == 200
    assert alice.post("ai/summarize", json={"text": f"One thing. {marker}"}).status_code == 200
    image = ("a.png", picture(), "image/png")
    assert alice.post("ai/vision", files={"image": image}, data={"prompt": marker}).status_code == 200
    entries = list(LedgerEntry.objects.filter(user_id=alice.id))
    assert Counter(entry.purpose for entry in entries) == dict.fromkeys(
        ["chat", "title", "action_items", "complete", "summarize", "vision"], 1
    )
    assert all(entry.settled_at and not entry.estimated for entry in entries)
    counted = [(call["prompt_tokens"], call["output_tokens"]) for call in model_calls(marker)]
    assert sorted((entry.input_tokens, entry.output_tokens) for entry in entries) == sorted(counted)


MIXED = (
    "plain {key}",
    "[[thoughts=7]][[cached=2]]thinking about {key}",
    "[[chunks=5]]in pieces {key}",
    "[[status=503]]refused {key}",
    "[[status=429]][[retry=3]]quota {key}",
    "[[cut=2]][[chunks=6]]cut in the middle of it all {key}",
    "[[block=partial]]blocked after some words {key}",
    "[[nousage=1]]counts nothing {key}",
    "[[fail_first=1]][[key={key}]]tried again {key}",
)


def test_the_ledger_says_what_the_model_counted_over_many_mixed_calls(
    alice: Person, bob: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    """Stopped, failed, cut off, retried: a row for each call, with the model's own counts if it sent any.

    500 calls with FULL_SIZE=1. The fewer calls of other runs include each text of MIXED in each way.
    """
    count = full_size(500, 126)
    marker = f"mixed-{alice.id}"

    def call(number: int) -> str:
        person = (alice, bob)[number % 2]
        key = f"{marker}-{number}"
        text = MIXED[number % len(MIXED)].format(key=key)
        if number % 5 == 0:
            conversation = person.new_conversation(title="Mixed")
            sent = person.say(conversation, text).json()
            failed = sent.get("model_message", sent.get("context", {}).get("model_message"))
            if failed["status"] == "failed":
                person.post(f"chat/conversations/{conversation}/messages/{failed['id']}/regenerate")
        elif number % 7 == 0:
            conversation = person.new_conversation(title="Mixed")
            path = f"chat/conversations/{conversation}/messages"
            body = {"content": f"[[chunks=3]][[gap=30]]stopped {key} one two three"}
            with person.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
                for line in answer.iter_lines():
                    if line.startswith("event: delta"):
                        break
            person.post(f"{path}/{conversation}:00000002/stop")
        else:
            person.post("ai/complete", json={"prompt": text})
        return key

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(count)))
    people = [alice.id, bob.id]
    eventually(lambda: not LedgerEntry.objects.filter(user_id__in=people, settled_at=None).exists())
    calls = eventually(lambda: (found := model_calls(marker)) and all(one["ended_at"] for one in found) and found)
    entries = list(LedgerEntry.objects.filter(user_id__in=people))
    assert len(entries) == len(calls) >= count
    refused = [one for one in calls if one["outcome"] == "error"]
    silent = [one for one in calls if "[[nousage=1]]" in one["text"]]
    assert sum(entry.estimated for entry in entries) == len(silent)
    assert sum(entry.input_tokens + entry.output_tokens == 0 for entry in entries) == len(refused)
    counted = Counter(
        (one["prompt_tokens"], one["output_tokens"] + one["thoughts_tokens"])
        for one in calls
        if one not in refused and one not in silent
    )
    told = Counter(
        (entry.input_tokens, entry.output_tokens)
        for entry in entries
        if not entry.estimated and entry.input_tokens + entry.output_tokens
    )
    assert told == counted
    for person in (alice, bob):
        tokens = sum(one.input_tokens + one.output_tokens for one in entries if one.user_id == person.id)
        assert person.get("usage/me").json()["tokens"]["total"] == tokens
        spending = Spending.objects.get(user_id=person.id)
        assert (spending.month_tokens, spending.reserved_tokens) == (tokens, 0)


def test_a_call_costs_what_its_model_costs(alice: Person) -> None:
    """In millionths, rounded to the nearest: input, cached input and output have separate prices."""
    prices = {"input_micros": 300_001, "cached_input_micros": 30_001, "output_micros": 2_500_001}
    price, _ = ModelPrice.objects.get_or_create(
        model=settings.GEMINI_MODEL, valid_from=date(2000, 1, 1), defaults=prices
    )
    assert alice.post("ai/complete", json={"prompt": "[[cached=3]][[thoughts=4]]" + "word " * 20}).status_code == 200
    [entry] = LedgerEntry.objects.filter(user_id=alice.id)
    assert (entry.cached_tokens, entry.thinking_tokens) == (3, 4)
    micros = (
        (entry.input_tokens - 3) * price.input_micros
        + 3 * price.cached_input_micros
        + entry.output_tokens * price.output_micros
    )
    assert entry.cost_micros == (micros + 500_000) // 1_000_000


def test_a_call_of_the_dearest_model_is_settled() -> None:
    model, attempt = f"dear-{uuid.uuid4().hex}", uuid.uuid4().hex
    prices = dict.fromkeys(("input_micros", "cached_input_micros", "output_micros"), MAX_PRICE_MICROS)
    price = ModelPrice.objects.create(model=model, **prices)
    open_entry(
        attempt_id=attempt,
        user_id=None,
        purpose=LedgerEntry.Purpose.CHECK,
        model=model,
        input_tokens=1,
        max_output_tokens=1,
    )
    settle_entry(attempt, TokenUsage(input_tokens=2_000_000, output_tokens=1_000_000, cached_tokens=500_000))
    price.delete()
    assert LedgerEntry.objects.get(attempt_id=attempt).cost_micros == 3 * MAX_PRICE_MICROS


def test_a_send_that_is_repeated_at_once_is_charged_once(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    answers = at_once(20, lambda _: alice.say(conversation, "[[delay=0.2]]once", client_message_id="the-one"))
    assert {answer.status_code for answer in answers} == {200}
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1
    assert Spending.objects.get(user_id=alice.id).reserved_tokens == 0


def test_the_cost_of_the_month_is_that_of_the_ledger(alice: Person, eventually: Eventually) -> None:
    for _ in range(2):
        assert alice.post("ai/complete", json={"prompt": "How much?"}).status_code == 200
    settled = LedgerEntry.objects.filter(user_id=alice.id).exclude(settled_at=None)
    eventually(lambda: settled.count() == 2)
    costs = sum(cost or 0 for cost in settled.values_list("cost_micros", flat=True))
    assert Spending.objects.get(user_id=alice.id).month_cost_micros == costs
