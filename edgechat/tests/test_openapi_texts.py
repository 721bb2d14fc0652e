"""What a reader of the OpenAPI file finds: sentences, examples, headers and the meaning of each value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from edgechat.errors import Invalid
from edgechat.tests.published import NOTHING, check_json, document, events_of

SENTENCES = re.compile(r"[^a-z].*[.:]", re.DOTALL)
# Deprecated calls that have the tag of the health calls.
OLDER_HEALTH = {"health_legacy", "health_overview"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", path, operation


def properties(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from properties(each, f"{where}[{index}]")
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from ((f"{where}.{name}", field) for name, field in schema["properties"].items())
        for name, each in schema.items():
            if name not in ("example", "examples"):
                yield from properties(each, f"{where}/{name}")


def test_every_operation_has_a_short_summary_and_a_description_in_sentences() -> None:
    summaries = []
    for where, _, operation in operations():
        summaries.append(operation["summary"])
        assert re.fullmatch(r"[A-Z][^.]{5,70}", operation["summary"]), where
        assert SENTENCES.fullmatch(operation["description"]), where
        assert not operation["description"].startswith(operation["summary"]), where
    assert len(set(summaries)) >= len(summaries) - 1, "only two old calls create an account without a login"


def test_every_property_and_every_parameter_is_described() -> None:
    fields = [*properties(document()["components"]["schemas"], ""), *properties(document()["paths"], "")]
    assert len(fields) > 400
    assert [where for where, field in fields if not field.get("description")] == []
    parameters = [(where, one) for where, _, operation in operations() for one in operation.get("parameters", [])]
    assert [(where, one["name"]) for where, one in parameters if not one.get("description")] == []


def test_every_enum_tells_the_meaning_of_each_value() -> None:
    enums = {name: one for name, one in document()["components"]["schemas"].items() if "enum" in one}
    assert {"ErrorCode", "FinishReason", "OpenAIFinishReason", "MessageOutputStatusEnum", "UserRole"} <= enums.keys()
    for name, schema in enums.items():
        told = re.findall(r"^\* `(\w+)`: .*\.$", schema["description"], re.MULTILINE)
        assert told == schema["enum"] or name == "NullEnum", name


NULL = {"$ref": "#/components/schemas/NullEnum"}


def test_codes_and_finish_reasons_are_enums_to_which_values_may_be_added() -> None:
    schemas = document()["components"]["schemas"]
    for body, field, enum in (
        ("Error", "code", "ErrorCode"),
        ("OpenAIErrorDetails", "code", "ErrorCode"),
        ("MessageOutput", "finish_reason", "FinishReason"),
        ("CompletionOutput", "finish_reason", "FinishReason"),
        ("ChatChoiceOutput", "finish_reason", "OpenAIFinishReason"),
    ):
        open_enum = [{"$ref": f"#/components/schemas/{enum}"}, {"type": "string"}]
        alternatives = schemas[body]["properties"][field]["anyOf"]
        assert [each for each in alternatives if each != NULL] == open_enum
    published = {code for _, _, operation in operations() for code in codes_of(operation)}
    assert published <= set(schemas["ErrorCode"]["enum"])


def codes_of(operation: dict[str, Any]) -> list[str]:
    return [code for answer in operation["responses"].values() for code in answer.get("x-codes", {})]


def test_every_answer_has_a_description_and_an_example() -> None:
    for where, _, operation in operations():
        for status, answer in operation["responses"].items():
            assert answer["description"].endswith("."), (where, status)
            for media_type, content in answer.get("content", {}).items():
                shown = content.keys() & {"example", "examples"}
                assert shown or media_type.startswith("image/"), (where, status, media_type)


def test_every_error_has_an_example_with_its_real_context() -> None:
    for where, path, operation in operations():
        for status, answer in operation["responses"].items():
            if "x-codes" not in answer:
                assert int(status) < 400 or "health" in path, (where, status)
                continue
            examples = answer["content"]["application/json"]["examples"]
            assert examples.keys() == answer["x-codes"].keys(), (where, status)
            for code, context in answer["x-codes"].items():
                body = examples[code]["value"]
                if "error" in body:
                    assert body["error"]["code"] == code
                    continue
                assert body["code"] == code
                assert ("errors" in body) == (code == Invalid.code), (where, code)
                optional = context is not None and NULL in context.get("oneOf", ())
                assert ("context" in body) == (context is not None and not optional), (where, code)
                check_json(context or NOTHING, body.get("context"), f"{where}, {code}")


def test_a_failed_send_shows_both_messages_in_its_errors() -> None:
    path = "/api/v1/chat/conversations/{conversation_id}/messages"
    for call in (path, f"{path}/stream", f"{path}/{{mid}}/regenerate", f"{path}/{{mid}}/regenerate/stream"):
        answers = document()["paths"][call]["post"]["responses"]
        for status, code in (("503", "model_unavailable"), ("429", "model_quota")):
            example = answers[status]["content"]["application/json"]["examples"][code]["value"]
            assert example["context"]["model_message"]["status"] == "failed"


@pytest.mark.parametrize("call", ["/api/v1/ai/complete", "/api/v1/ai/vision", "/api/v1/ai/complete/stream"])
def test_only_summaries_and_action_items_can_get_a_useless_answer(call: str) -> None:
    answers = {path for _, path, operation in operations() if "model_output_invalid" in codes_of(operation)}
    assert call not in answers
    assert answers == {
        "/api/v1/ai/summarize",
        "/api/v1/ai/summarize/stream",
        "/api/v1/chat/conversations/{conversation_id}/action-items",
    }


def test_errors_that_a_call_never_answers_are_not_published() -> None:
    for where, path, operation in operations():
        codes = codes_of(operation)
        json_body = "application/json" in operation.get("requestBody", {}).get("content", {})
        assert ("malformed_json" in codes) == json_body, where
        assert ("content_blocked" in codes) == bool(re.search("/ai/(complete|vision|summ)|action-items", path)), where
        assert ("store_unavailable" in codes) == (path != "/" and "health" not in path), where


def headers_of(answer: dict[str, Any]) -> dict[str, bool]:
    """The headers of an answer, and whether they are always there."""
    components = document()["components"]["headers"]
    found = {name: components[one["$ref"].rpartition("/")[2]] for name, one in answer["headers"].items()}
    assert all(header["description"] and header["schema"] and header["example"] for header in found.values())
    return {name: header.get("required", False) for name, header in found.items()}


def test_the_headers_that_clients_act_on_are_published() -> None:
    for where, path, operation in operations():
        for status, answer in operation["responses"].items():
            headers = headers_of(answer)
            assert headers["X-Request-ID"], (where, status)
            assert headers.get("Retry-After", False) == (status == "429") or status == "503", (where, status)
            assert headers.get("WWW-Authenticate", False) == (status == "401"), (where, status)
            if status == "503" and "health" not in path:
                always = answer["x-codes"].keys() <= {"store_unavailable", "shutting_down"}
                assert headers["Retry-After"] == always, where
    download = document()["paths"]["/api/v1/chat/attachments/{attachment_id}"]["get"]["responses"]
    assert all(headers_of(download[status])["ETag"] for status in ("200", "206", "304"))
    assert all(headers_of(download[status])["Content-Range"] for status in ("206", "416"))


def test_the_file_says_who_serves_it_and_under_which_licence() -> None:
    assert document()["info"]["license"]["name"] == "MIT"
    assert len(document()["info"]["description"]) > 500
    assert document()["servers"] == [{"url": "/", "description": "The server that this file comes from."}]


def test_the_tags_are_described_in_the_order_of_their_use() -> None:
    tags = [tag["name"] for tag in document()["tags"]]
    assert (tags[0], tags[-1]) == ("chat", "health")
    assert all(tag["description"].endswith(".") for tag in document()["tags"])
    assert {tag for _, _, operation in operations() for tag in operation["tags"]} == set(tags)


def test_the_calls_of_older_clients_are_deprecated_and_name_their_successors() -> None:
    ids = {operation["operationId"] for _, _, operation in operations()}
    for where, _, operation in operations():
        older = operation["tags"] == ["older clients"] or operation["operationId"] in OLDER_HEALTH
        assert operation.get("deprecated", False) == older, where
        if older:
            named = re.search(r"New\s+clients\s+use\s+`(\w+)`", operation["description"])
            assert named is not None, where
            assert named[1] in ids, where


def test_a_stream_s_description_says_how_to_read_and_to_resume_it() -> None:
    schemas = document()["components"]["schemas"]
    words = {"ReplyEvent": ["`id`", "Last-Event-ID", "204", "restart", "message_stop"], "CompletionEvent": ["no `id`"]}
    for name, told in words.items():
        assert events_of({"$ref": f"#/components/schemas/{name}"})
        for word in ["`retry: 1000`", "`: ping`", "Closing the connection", *told]:
            assert word in schemas[name]["description"], (name, word)
