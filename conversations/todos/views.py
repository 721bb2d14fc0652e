"""Todos, and the call that fills them from a conversation."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.views import APIView

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.services import ONE_OFF_ERRORS
from conversations.todos.action_items import find_action_items
from conversations.todos.serializers import TodoChange, TodoInput, TodoOutput, TodosQuery, todo_body
from conversations.todos.services import TooManyTodos, create_todo, delete_todo, get_todo, list_todos, update_todo
from edgechat.errors import Invalid, PermissionDenied
from edgechat.http.answer_bytes import page_of
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.validation import integer_id, validated_body, validated_query
from edgechat.openapi.schema import raises

LIST_BYTES = 1_990_000
TODO_ID = OpenApiParameter("todo_id", type=int, location="path")
TODO = {
    "id": 7,
    "title": "Book the ferry",
    "description": "For two, with bicycles",
    "completed": False,
    "archived": False,
    "user_id": 3,
    "created_at": "2026-01-01T12:00:00.123456Z",
    "updated_at": None,
    "conversation_id": None,
    "message_id": None,
}
TODO_EXAMPLE = OpenApiExample("Todo", value=TODO, response_only=True)
FOUND_EXAMPLE = OpenApiExample(
    "Found",
    value=[
        {
            **TODO,
            "conversation_id": "65f1c0ffee0123456789abcd",
            "message_id": "65f1c0ffee0123456789abcd:00000001",
        }
    ],
    response_only=True,
)


class TodosView(APIView):
    @extend_schema(
        operation_id="todo_create",
        tags=["todos"],
        request=TodoInput,
        examples=[
            TODO_EXAMPLE,
            OpenApiExample(
                "New todo",
                value={"title": "Book the ferry", "description": "For two, with bicycles"},
                request_only=True,
            ),
        ],
    )
    @raises(TooManyTodos)
    def post(self, request: AuthenticatedRequest) -> Answer[TodoOutput]:
        """Write down a todo. An account can have 5000, and 1.9 MB of them; past either it is 409 `too_many_todos`."""
        todo = create_todo(owner_id=request.user.pk, **validated_body(TodoInput, request))
        return Answer(todo_body(todo))

    @extend_schema(
        operation_id="todo_list",
        tags=["todos"],
        parameters=[TodosQuery],
        examples=[OpenApiExample("Todos", value=[TODO], response_only=True)],
    )
    def get(self, request: AuthenticatedRequest) -> Answer[list[TodoOutput]]:
        """The user's todos, oldest first, without those that were put away; `archived=true` gives these alone.

        Those found in a conversation stay when it is deleted.

        The list ends at 2 MB, which only an account from before there was that bound can reach; `after` gives the rest.
        """
        todos = list_todos(owner_id=request.user.pk, **validated_query(TodosQuery, request))
        page, _ = page_of((todo_body(todo) for todo in todos), limit=LIST_BYTES)
        return Answer(page)


class TodoView(APIView):
    @extend_schema(
        operation_id="todo_get",
        tags=["todos"],
        parameters=[TODO_ID],
        examples=[TODO_EXAMPLE],
    )
    def get(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """One todo."""
        return Answer(todo_body(get_todo(owner_id=request.user.pk, todo_id=integer_id(todo_id))))

    @extend_schema(
        operation_id="todo_put",
        tags=["todos"],
        parameters=[TODO_ID],
        request=TodoChange,
        examples=[TODO_EXAMPLE, OpenApiExample("Done", value={"completed": True}, request_only=True)],
    )
    @raises(TooManyTodos)
    def put(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """Change a todo; what is not given stays as it is."""
        return self._change(request, todo_id)

    @extend_schema(
        operation_id="todo_update",
        tags=["todos"],
        parameters=[TODO_ID],
        request=TodoChange,
        examples=[TODO_EXAMPLE, OpenApiExample("Done", value={"completed": True}, request_only=True)],
    )
    @raises(TooManyTodos)
    def patch(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """Change a todo; what is not given stays as it is."""
        return self._change(request, todo_id)

    @extend_schema(operation_id="todo_delete", tags=["todos"], parameters=[TODO_ID])
    @raises(PermissionDenied)
    def delete(self, request: AuthenticatedRequest, todo_id: str) -> NoContent:
        """Delete anybody's todo: for the role `admin` only. Users put theirs away, by `archived`."""
        delete_todo(user=request.user, todo_id=integer_id(todo_id), caller=caller_of(request._request))
        return NoContent()

    def _change(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        number = integer_id(todo_id)
        changes = validated_body(TodoChange, request)
        return Answer(todo_body(update_todo(owner_id=request.user.pk, todo_id=number, changes=changes)))


class ActionItemsView(APIView):
    @extend_schema(
        operation_id="action_items",
        tags=["todos"],
        request=None,
        examples=[FOUND_EXAMPLE],
    )
    @raises(Invalid, *ONE_OFF_ERRORS, PermissionDenied, TooManyTodos)
    def post(self, request: AuthenticatedRequest, conversation_id: str) -> Created[list[TodoOutput]]:
        """Let the model find the tasks in a conversation, and file them as todos linked to their messages.

        One call to the model, charged as any other. It is shown the exchanges that were answered, of a long
        conversation the latest ones and the summary of what is older. The answer has each task that it found: one that
        an earlier call filed (the same title, whatever its letter case and white space) is that todo as it is now, and
        not filed again. Todos stay when their conversation is deleted.
        """
        with open_call(request, reply=True) as call:
            todos = find_action_items(owner_id=request.user.pk, conversation_id=conversation_id, caller=call)
        return Created([todo_body(todo) for todo in todos])
