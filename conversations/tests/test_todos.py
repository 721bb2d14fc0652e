"""/todos and /todos/{id}, and todos in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction

from accounts.models import AuditEvent, User
from accounts.tests.staff import helper, superuser
from conftest import Person, assert_error, at_once
from conversations.models import Todo
from conversations.tests.staff_pages import audit_refused
from conversations.todos.services import MAX_TODOS, create_todo

JSON = {"Content-Type": "application/json"}
NOT_FOUND = "Todo not found"
LARGEST_ID = 2**63 - 1
FOUND_IN = "0" * 24


def new_todo(person: Person, title: str = "Book the ferry", **body: Any) -> dict[str, Any]:
    answer = person.post("todos", json={"title": title, **body})
    assert answer.status_code == 200, answer.text
    todo: dict[str, Any] = answer.json()
    return todo


def todos_of(person: Person) -> Any:
    answer = person.get("todos")
    assert answer.status_code == 200
    return answer.json()


def make_admin(person: Person) -> None:
    User.objects.filter(pk=person.id).update(is_staff=True)


def fill(person: Person, *, leave: int) -> None:
    """Give a user the maximum number of todos minus `leave`."""
    Todo.objects.bulk_create([Todo(owner_id=person.id, title="one of many") for _ in range(MAX_TODOS - leave)])


def somebody_waits() -> bool:
    """Whether a connection waits for a lock in PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_todo_is_written_read_listed_and_changed(alice: Person, slash: str) -> None:
    answer = alice.post(f"todos{slash}", json={"title": "  Book the ferry ", "description": "For two 😀"})
    todo = answer.json()
    assert (answer.status_code, todo) == (
        200,
        {
            "id": todo["id"],
            "title": "Book the ferry",
            "description": "For two 😀",
            "completed": False,
            "archived": False,
            "user_id": alice.id,
            "created_at": todo["created_at"],
            "updated_at": None,
            "conversation_id": None,
            "message_id": None,
        },
    )
    assert isinstance(todo["id"], int)
    assert todo["created_at"].endswith("Z")
    second = new_todo(alice, "second")
    assert second["description"] is None
    path = f"todos/{todo['id']}{slash}"
    assert alice.get(path).json() == todo
    assert alice.get(f"todos{slash}").json() == [todo, second]
    for method in ("PUT", "PATCH"):
        answer = alice.request(method, path, json={"title": method})
        assert answer.status_code == 200
        assert answer.json() == {**todo, "title": method, "updated_at": answer.json()["updated_at"]}
        assert alice.get(path).json() == answer.json()
    assert alice.get("todos").json() == [answer.json(), second]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("change", "becomes"),
    [
        ({"title": "T" * 255}, {"title": "T" * 255}),
        ({"description": None}, {"description": None}),
        ({"description": ""}, {"description": ""}),
        ({"description": "😀" * 1000}, {"description": "😀" * 1000}),
        ({"completed": True}, {"completed": True}),
        ({"archived": True}, {"archived": True}),
        ({"title": "Both", "completed": True, "user_id": 1, "id": 1}, {"title": "Both", "completed": True}),
    ],
)
def test_a_change_leaves_the_rest_as_it_was(
    alice: Person, method: str, change: dict[str, Any], becomes: dict[str, Any]
) -> None:
    todo = new_todo(alice, description="For two")
    answer = alice.request(method, f"todos/{todo['id']}", json=change)
    assert (answer.status_code, answer.json()) == (
        200,
        {**todo, **becomes, "updated_at": answer.json()["updated_at"]},
    )
    assert answer.json()["updated_at"] > todo["created_at"]
    assert alice.get(f"todos/{todo['id']}").json() == answer.json()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("change", [{}, {"unknown": 1}, {"title": "Book the ferry", "completed": False}])
def test_a_change_of_nothing_is_none(alice: Person, method: str, change: dict[str, Any]) -> None:
    todo = new_todo(alice)
    answer = alice.request(method, f"todos/{todo['id']}", json=change)
    assert (answer.status_code, answer.json()) == (200, todo)
    assert todos_of(alice) == [todo]


WRONG = [
    ({"title": ""}, "body.title"),
    ({"title": " \n"}, "body.title"),
    ({"title": None}, "body.title"),
    ({"title": "T" * 256}, "body.title"),
    ({"title": "a\x00b"}, "body.title"),
    ({"title": "\ud800"}, "body.title"),
    ({"title": ["x"]}, "body.title"),
    ({"title": True}, "body.title"),
    ({"title": "x", "description": "d" * 1001}, "body.description"),
    ({"title": "x", "description": "a\x00b"}, "body.description"),
    ({"title": "x", "description": {}}, "body.description"),
    ([], "body"),
    ("text", "body"),
]


@pytest.mark.parametrize(("body", "field"), [({}, "body.title"), *WRONG])
def test_a_faulty_todo_is_422_and_not_kept(alice: Person, body: Any, field: str) -> None:
    answer = alice.post("todos", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert todos_of(alice) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        *WRONG,
        ({"completed": None}, "body.completed"),
        ({"completed": "perhaps"}, "body.completed"),
        ({"archived": None}, "body.archived"),
    ],
)
def test_a_faulty_change_is_422_and_changes_nothing(alice: Person, method: str, body: Any, field: str) -> None:
    todo = new_todo(alice)
    answer = alice.request(method, f"todos/{todo['id']}", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert todos_of(alice) == [todo]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_malformed_id_is_422_on_the_path(alice: Person, method: str) -> None:
    faults = ["x", "0", "-1", "+1", "1.0", "1e3", "%20", "%00", "%EF%BC%91", "0x1", str(LARGEST_ID + 1), "9" * 3000]
    errors = [{"field": "path.id", "message": "A valid integer is required."}]
    for fault in faults:
        for slash in ("", "/"):
            answer = alice.request(method, f"todos/{fault}{slash}", json={"title": "mine"})
            assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
def test_a_strangers_todo_is_as_good_as_none(alice: Person, bob: Person, method: str) -> None:
    todo = new_todo(alice)
    for absent in (todo["id"], todo["id"] + 1_000_000, LARGEST_ID):
        answer = bob.request(method, f"todos/{absent}", json={"title": "mine now"})
        assert_error(answer, 404, "not_found", NOT_FOUND)
    assert todos_of(alice) == [todo]
    assert todos_of(bob) == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_only_admins_delete_todos(alice: Person, bob: Person, slash: str) -> None:
    todo = new_todo(alice)
    for person in (alice, bob):
        for asked in (todo["id"], LARGEST_ID):
            answer = person.delete(f"todos/{asked}{slash}")
            assert_error(answer, 403, "permission_denied", "Access denied. Required role: ['admin']")
    assert todos_of(alice) == [todo]
    make_admin(alice)
    answer = alice.delete(f"todos/{todo['id']}{slash}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert_error(alice.delete(f"todos/{todo['id']}{slash}"), 404, "not_found", NOT_FOUND)
    assert todos_of(alice) == []


def test_an_admin_reads_and_changes_no_todos_of_others(alice: Person, bob: Person) -> None:
    todo = new_todo(alice)
    make_admin(bob)
    for method in ("GET", "PUT", "PATCH"):
        answer = bob.request(method, f"todos/{todo['id']}", json={"title": "mine now"})
        assert_error(answer, 404, "not_found", NOT_FOUND)
    assert todos_of(alice) == [todo]


def test_an_admin_deletes_anybodys_todo_and_the_audit_log_has_it(alice: Person, bob: Person) -> None:
    todo, kept = new_todo(alice, "secret", description="secret"), new_todo(alice, "kept")
    make_admin(bob)
    answers = at_once(4, lambda _: bob.delete(f"todos/{todo['id']}"))
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]
    assert todos_of(alice) == [kept]
    (row,) = AuditEvent.objects.filter(actor_id=bob.id, event="staff_change")
    assert (row.user_id, row.details["model"], row.details["id"]) == (alice.id, "conversations.todo", str(todo["id"]))
    assert (row.details["before"]["owner"], row.details["after"]) == (alice.id, None)
    assert "secret" not in json.dumps(row.details)
    User.objects.filter(pk=bob.id).update(is_staff=False)
    answer = bob.delete(f"todos/{kept['id']}")
    assert_error(answer, 403, "permission_denied", "Access denied. Required role: ['admin']")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_todo_is_put_away_and_brought_back(alice: Person, method: str) -> None:
    first, second = new_todo(alice, "first"), new_todo(alice, "second")
    answer = alice.request(method, f"todos/{first['id']}", json={"archived": True})
    put_away = {**first, "archived": True, "updated_at": answer.json()["updated_at"]}
    assert (answer.status_code, answer.json()) == (200, put_away)
    for query, listed in (({}, [second]), ({"archived": "false"}, [second]), ({"archived": "true"}, [put_away])):
        assert alice.get("todos", params=query).json() == listed
        assert alice.get("todos", params={**query, "after": listed[0]["id"]}).json() == []
    assert alice.get(f"todos/{first['id']}").json() == put_away
    lines = [json.loads(line) for line in alice.get("users/me/export").text.splitlines()]
    exported = {line["id"]: line["archived"] for line in lines if line.get("type") == "todo"}
    assert exported == {first["id"]: True, second["id"]: False}
    done = alice.request(method, f"todos/{first['id']}", json={"completed": True}).json()
    assert (done["archived"], done["completed"]) == (True, True)
    assert alice.request(method, f"todos/{first['id']}", json={"archived": False}).json()["archived"] is False
    assert [todo["id"] for todo in todos_of(alice)] == [first["id"], second["id"]]
    assert alice.get("todos", params={"archived": "perhaps"}).json()["errors"][0]["field"] == "query.archived"


def test_an_account_has_so_many_todos_and_no_more(alice: Person, bob: Person) -> None:
    fill(alice, leave=1)
    statuses = [answer.status_code for answer in at_once(20, lambda n: alice.post("todos", json={"title": f"{n}"}))]
    assert sorted(statuses) == [200] + [409] * 19
    detail = "An account can have 5000 todos"
    assert_error(alice.post("todos", json={"title": "x"}), 409, "too_many_todos", detail, context={"limit": 5000})
    assert len(todos_of(alice)) == 5000
    new_todo(bob)


@pytest.mark.parametrize("character", ["x", "😀", "\x01", '"', "\u2028"])
def test_the_list_of_an_account_that_is_full_is_below_2_mb(alice: Person, character: str) -> None:
    """For characters that take 1, 4, 6, 2 and 3 bytes in the list."""
    longest = {"title": f"a{character * 253}z", "description": f"a{character * 998}z"}
    todo_bytes = len(alice.post("todos", json=longest).content)
    count = 1_800_000 // todo_bytes - 2
    Todo.objects.bulk_create([Todo(owner_id=alice.id, **longest) for _ in range(min(count, MAX_TODOS - 21))])
    statuses = [answer.status_code for answer in at_once(20, lambda _: alice.post("todos", json=longest))]
    while statuses[-1] == 200:
        statuses.append(alice.post("todos", json=longest).status_code)
    refused = alice.post("todos", json=longest)
    detail = "The todos of an account can have 1.9 MB together"
    assert_error(refused, 409, "too_many_todos", detail, context={"limit_bytes": 1_900_000})
    listed = alice.get("todos")
    assert 1_500_000 < len(listed.content) < 1_900_000
    assert len(listed.json()) == Todo.objects.filter(owner_id=alice.id).count()
    # A short todo cannot become a long one, even with other changes.
    Todo.objects.filter(pk=listed.json()[0]["id"]).update(title="short", description=None)
    short = f"todos/{listed.json()[0]['id']}"
    while alice.post("todos", json={"title": "small", "description": f"a{character * 100}z"}).status_code == 200:
        pass
    assert_error(alice.put(short, json=longest), 409, "too_many_todos", detail, context={"limit_bytes": 1_900_000})
    assert alice.patch(short, json={"completed": True}).json()["title"] == "short"
    assert alice.patch(short, json={"title": "s"}).status_code == 200


def test_a_list_from_before_there_was_a_bound_comes_in_parts(alice: Person) -> None:
    Todo.objects.bulk_create([Todo(owner_id=alice.id, title=f"{n}", description="x" * 1000) for n in range(4000)])
    found: list[str] = []
    after = 0
    while True:
        page = alice.get("todos", params={"after": after})
        assert len(page.content) < 2_000_000
        if not page.json():
            break
        found += [todo["title"] for todo in page.json()]
        after = page.json()[-1]["id"]
    assert found == [f"{n}" for n in range(4000)]
    for faulty in ("x", "-1", str(2**63)):
        assert alice.get("todos", params={"after": faulty}).json()["errors"][0]["field"] == "query.after"


def test_a_todo_waits_for_one_that_is_being_written_and_may_be_the_last(
    alice: Person, eventually: Callable[..., Any]
) -> None:
    fill(alice, leave=1)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            create_todo(owner_id=alice.id, title="the last")
            later = pool.submit(alice.post, "todos", json={"title": "one too many"})
            eventually(lambda: later.done() or somebody_waits())
        assert later.result().status_code == 409


def test_todos_go_with_their_account(register: Callable[..., Person]) -> None:
    carol = register("carol")
    new_todo(carol)
    assert carol.delete("users/me").status_code == 204
    assert not Todo.objects.filter(owner_id=carol.id).exists()


def test_staff_find_todos_by_their_owner_and_may_delete_them_but_change_none(
    web_url: str, alice: Person, bob: Person
) -> None:
    todo = new_todo(alice, description="For two")
    new_todo(bob, "Not this one")
    path = f"conversations/todo/{todo['id']}"
    with superuser(web_url) as root:
        page = root.get("conversations/todo/", params={"q": alice.email.upper()}).text
        assert "Book the ferry" in page
        assert "Not this one" not in page
        assert "For two" in root.get(f"{path}/change/").text
        assert root.get("conversations/todo/add/").status_code == 403
        assert root.post_form(f"{path}/change/", {"title": "Changed"}).status_code == 403
        assert todos_of(alice) == [todo]
        assert root.submit(f"{path}/delete/", post="yes").status_code == 302
    assert todos_of(alice) == []


@pytest.mark.parametrize("permissions", [("view_todo", "delete_todo"), ("view_todo", "delete_todo", "view_transcript")])
def test_todos_found_in_a_conversation_show_their_text_to_who_may_read_that(
    web_url: str, alice: Person, bob: Person, permissions: tuple[str, ...]
) -> None:
    found = [
        Todo.objects.create(
            owner_id=person.id, title=f"secret {number}", description="secret", conversation_id="0" * 24
        )
        for number, person in enumerate((alice, alice, bob))
    ]
    own = new_todo(alice, "Written by hand")
    path, reads = f"conversations/todo/{found[0].pk}", "view_transcript" in permissions
    with helper(web_url, *permissions) as staff:
        events = AuditEvent.objects.filter(actor_id=staff.user.pk, event="transcript_read").order_by("id")
        listed = staff.get("conversations/todo/", params={"q": "alice"}).text + staff.get("conversations/todo/").text
        assert ("secret" in listed, "Written by hand" in listed) == (reads, True)
        told = {(row.user_id, todo) for row in events.all() for todo in row.details["todos"]}
        assert ({(each.owner_id, each.pk) for each in found} <= told) is reads
        before = events.count()
        detail = staff.get(f"{path}/change/").text
        assert ("secret 0" in detail, "secret 1" in detail) == (reads, False)
        new = list(events.all())[before:]
        assert [(row.user_id, row.details) for row in new] == [(alice.id, {"todos": [found[0].pk]})] * reads
        for query in ("title__startswith=secret", "description__contains=e", "found_hash__gt=0"):
            assert staff.get(f"conversations/todo/?{query}").status_code == 400
        question = staff.act("conversations/todo/", "delete_selected", found[1].pk, found[2].pk).text
        pages = [staff.get(f"{path}/{name}/").text for name in ("delete", "history")]
        assert staff.submit(f"{path}/delete/", post="yes").status_code == 302
        after = staff.get("").text
        assert [page for page in (question, *pages, after) if "secret" in page] == []
        before = events.count()
        assert staff.get(f"conversations/todo/{own['id']}/change/").status_code == 200
        assert events.count() == before
    log = LogEntry.objects.filter(user_id=staff.user.pk).values_list("object_repr", "change_message")
    assert list(log) == [(f"todo {found[0].pk}", "")]


def test_without_its_audit_row_no_text_of_a_conversation_is_shown(web_url: str, alice: Person) -> None:
    todo = Todo.objects.create(owner_id=alice.id, title="secret", conversation_id=FOUND_IN)
    with superuser(web_url) as root:
        with audit_refused(root.user.pk):
            for path in ("conversations/todo/", f"conversations/todo/{todo.pk}/change/"):
                answer = root.get(path, params={"q": alice.email} if path.endswith("todo/") else None)
                assert (answer.status_code, "secret" in answer.text) == (200, False)
                assert "could not be written to the audit log" in answer.text
        assert "secret" in root.get(f"conversations/todo/{todo.pk}/change/").text
