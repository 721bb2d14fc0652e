"""The calls for todos and action items."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.errors import ONE_OFF_ERRORS
from ai.gemini import ModelOutputInvalid
from conversations.queries import ConversationNotFound
from conversations.todos.action_items import find_action_items
from conversations.todos.queries import TodoNotFound, get_todo, list_todos
from conversations.todos.serializers import TodoChange, TodoInput, TodoOutput, TodosQuery, todo_body
from conversations.todos.services import TooManyTodos, create_todo, delete_todo, update_todo
from edgechat.errors import PermissionDenied
from edgechat.http.answer_bytes import page_of
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.validation import integer_id, validated_body, validated_query
from edgechat.openapi.notes import extend_schema, raises

LIST_BYTES = 1_990_000
TODO_ID = OpenApiParameter("todo_id", type=int, location="path")


class TodosView(APIView):
    @extend_schema(
        operation_id="todo_create",
        tags=["todos"],
        request=TodoInput,
    )
    @raises(TooManyTodos)
    def post(self, request: AuthenticatedRequest) -> Answer[TodoOutput]:
        """Create a todo.

        An account can have 5000 todos and 1.9 MB; beyond either limit: 409 `too_many_todos`.
        """
        todo = create_todo(owner_id=request.user.pk, **validated_body(TodoInput, request))
        return Answer(todo_body(todo))

    @extend_schema(operation_id="todo_list", tags=["todos"], parameters=[TodosQuery])
    def get(self, request: AuthenticatedRequest) -> Answer[list[TodoOutput]]:
        """List the user's todos.

        The oldest come first, without archived ones; `archived=true` returns only the archived ones. Todos that were
        found in a conversation stay when the conversation is deleted.

        The list ends at 2 MB, which only accounts from before the limit of 1.9 MB can reach; `after` returns the rest.
        """
        todos = list_todos(owner_id=request.user.pk, **validated_query(TodosQuery, request))
        page, _ = page_of((todo_body(todo) for todo in todos), limit=LIST_BYTES)
        return Answer(page)


class TodoView(APIView):
    @extend_schema(operation_id="todo_get", tags=["todos"], parameters=[TODO_ID])
    @raises(TodoNotFound)
    def get(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """Get one todo.

        The todo of another user is 404, as an absent one.
        """
        return Answer(todo_body(get_todo(owner_id=request.user.pk, todo_id=integer_id(todo_id))))

    @extend_schema(operation_id="todo_put", tags=["todos"], parameters=[TODO_ID], request=TodoChange)
    @raises(TodoNotFound, TooManyTodos)
    def put(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """Change a todo, with PUT.

        Fields that are not given stay the same, as with PATCH.
        """
        number = integer_id(todo_id)
        changes = validated_body(TodoChange, request)
        return Answer(todo_body(update_todo(owner_id=request.user.pk, todo_id=number, changes=changes)))

    @extend_schema(operation_id="todo_update", tags=["todos"], parameters=[TODO_ID], request=TodoChange)
    @raises(TodoNotFound, TooManyTodos)
    def patch(self, request: AuthenticatedRequest, todo_id: str) -> Answer[TodoOutput]:
        """Change a todo.

        Fields that are not given stay the same.
        """
        return self.put(request, todo_id)

    @extend_schema(operation_id="todo_delete", tags=["todos"], parameters=[TODO_ID])
    @raises(TodoNotFound, PermissionDenied)
    def delete(self, request: AuthenticatedRequest, todo_id: str) -> NoContent:
        """Delete a todo, as an admin.

        The role `admin` deletes any user's todo; others get 403. Users archive their own todos with `archived`.
        """
        delete_todo(user=request.user, todo_id=integer_id(todo_id), caller=caller_of(request._request))
        return NoContent()


class ActionItemsView(APIView):
    @extend_schema(operation_id="action_items", tags=["todos"], request=None)
    @raises(ConversationNotFound, *ONE_OFF_ERRORS, ModelOutputInvalid, PermissionDenied, TooManyTodos)
    def post(self, request: AuthenticatedRequest, conversation_id: str) -> Created[list[TodoOutput]]:
        """Find the tasks in a conversation.

        The model finds them, and they are stored as todos linked to their messages. This is one call to the model,
        charged as any other. The model receives the answered exchanges; of a long conversation, it receives the latest
        ones and the summary of older ones.

        The response contains each task that the model found. A task that an earlier call stored (the same title,
        ignoring letter case and white space) is returned as its current todo and not stored again. Todos stay when
        their conversation is deleted.
        """
        with open_call(request, reply=True) as call:
            todos = find_action_items(owner_id=request.user.pk, conversation_id=conversation_id, caller=call)
        return Created([todo_body(todo) for todo in todos])
