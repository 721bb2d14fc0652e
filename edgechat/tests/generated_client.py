"""Every kind of call, with the client that is generated from the OpenAPI file. The test runs this program beside it."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgechat_api import models as m
from edgechat_api.api.accounts import (
    api_key_create,
    api_key_end,
    api_key_list,
    auth_me,
    login,
    logout_all,
    refresh,
    register,
    session_end,
    session_list,
    users_me_update,
)
from edgechat_api.api.ai import ai_complete, ai_complete_stream, ai_models, ai_summarize, ai_summarize_stream, ai_vision
from edgechat_api.api.chat import (
    attachment_create,
    attachment_get,
    chat_changes,
    chat_search,
    conversation_create,
    conversation_delete,
    conversation_export,
    conversation_get,
    conversation_list,
    conversation_update,
    message_feedback,
    message_get,
    message_list,
    message_regenerate,
    message_regenerate_stream,
    message_send,
    message_send_stream,
    message_stop,
    message_stream,
)
from edgechat_api.api.health import health_ready
from edgechat_api.api.openai import openai_chat_completions, openai_models
from edgechat_api.api.organizations import member_add, member_list, organization_create, organization_delete
from edgechat_api.api.todos import action_items, todo_create, todo_delete, todo_list, todo_update
from edgechat_api.api.usage import usage_daily, usage_me, usage_organization
from edgechat_api.client import AuthenticatedClient, Client
from edgechat_api.types import File
from edgechat_events import CallFailed, events

T = TypeVar("T")
ReplyEvent = m.ReplyMessageEvent | m.ReplyDeltaEvent | m.ReplyRestartEvent | m.ReplyDoneEvent | m.ReplyErrorEvent
SummaryEvent = m.SummaryProgressEvent | m.SummaryDeltaEvent | m.SummaryDoneEvent | m.SummaryErrorEvent

REPLY: Mapping[str, Callable[[dict[str, Any]], ReplyEvent]] = {
    "message": m.ReplyMessageEvent.from_dict,
    "delta": m.ReplyDeltaEvent.from_dict,
    "restart": m.ReplyRestartEvent.from_dict,
    "done": m.ReplyDoneEvent.from_dict,
    "error": m.ReplyErrorEvent.from_dict,
}
SUMMARY: Mapping[str, Callable[[dict[str, Any]], SummaryEvent]] = {
    "progress": m.SummaryProgressEvent.from_dict,
    "delta": m.SummaryDeltaEvent.from_dict,
    "done": m.SummaryDoneEvent.from_dict,
    "error": m.SummaryErrorEvent.from_dict,
}
COMPLETION = {"delta": m.CompletionDeltaEvent.from_dict}


def need(kind: type[T], answer: object) -> T:
    """The answer, which must be of this class."""
    assert isinstance(answer, kind), answer
    return answer


def code_of(answer: object) -> str:
    return need(m.Error, answer).code


given = json.loads(sys.argv[1])
options: dict[str, Any] = {
    "base_url": given["base"],
    "headers": given["headers"],
    "timeout": 120,
    "httpx_args": {"trust_env": False},
}
anonymous = Client(**options)

# Accounts
account = {"email": given["email"], "password": given["password"]}
pair: m.LoginOutput | m.TokensOutput = need(
    m.LoginOutput, register.sync(client=anonymous, body=m.RegisterInput(**account, device_name="a laptop"))
)
pair = need(m.LoginOutput, login.sync(client=anonymous, body=m.LoginInput(**account)))
pair = need(m.TokensOutput, refresh.sync(client=anonymous, body=m.RefreshInput(refresh_token=pair.refresh_token)))
api = AuthenticatedClient(token=pair.access_token, **options)
me = need(m.IdentityOutput, auth_me.sync(client=api))
profile = need(m.ProfileOutput, users_me_update.sync(client=api, body=m.PatchedProfileInput(full_name="Ann Lee")))
sessions = need(m.SessionsOutput, session_list.sync(client=api)).sessions
other_session = next(each for each in sessions if not each.current)
session_ended = session_end.sync_detailed(str(other_session.id), client=api).status_code
key = need(
    m.NewApiKeyOutput,
    api_key_create.sync(client=api, body=m.ApiKeyInput(name="a script", scopes=[m.ApiKeyScope.AI])),
)
with_key = AuthenticatedClient(token=key.key, **options)
key_status = ai_models.sync_detailed(client=with_key).status_code
out_of_scope = code_of(auth_me.sync(client=with_key))
key_count = len(need(m.ApiKeysOutput, api_key_list.sync(client=api)).api_keys)
key_ended = api_key_end.sync_detailed(str(key.id), client=api).status_code

# Chat
conversation = need(
    m.ConversationOutput, conversation_create.sync(client=api, body=m.ConversationInput(), idempotency_key="first")
).id
hello = m.MessageInput(content="Hello", client_message_id="hello")
sent = need(m.ExchangeOutput, message_send.sync(conversation, client=api, body=hello))
names: list[str] = []
text, first_id, mid, streamed = "", "", "", None
three = m.MessageInput(content="[[chunks=3]]one two three")
for event in events(api, message_send_stream._get_kwargs(conversation, body=three), REPLY):
    if names[-1:] != [event.event.value]:
        names.append(event.event.value)
    match event:
        case m.ReplyMessageEvent():
            mid = event.data.model_message.id
        case m.ReplyDeltaEvent():
            text += event.data.text
            first_id = first_id or event.id
        case m.ReplyDoneEvent():
            streamed = event.data
rest, resumed = "", None
for event in events(api, message_stream._get_kwargs(conversation, mid, last_event_id=first_id), REPLY):
    match event:
        case m.ReplyDeltaEvent():
            rest += event.data.text
        case m.ReplyDoneEvent():
            resumed = event.data
rating = m.FeedbackInput(rating=m.RatingEnum.UP, comment="Short")
rated = need(m.MessageOutput, message_feedback.sync(conversation, mid, client=api, body=rating))
again = m.RegenerateInput(content="Again")
regenerated = need(m.ExchangeOutput, message_regenerate.sync(conversation, mid, client=api, body=again))
last = ""
for event in events(api, message_regenerate_stream._get_kwargs(conversation, mid, body=m.RegenerateInput()), REPLY):
    if isinstance(event, m.ReplyDoneEvent):
        last = event.data.content
slowly = m.MessageInput(content="[[chunks=100]][[gap=0.5]][[length=3000]]")
stopped = ""
for event in events(api, message_send_stream._get_kwargs(conversation, body=slowly), REPLY):
    if isinstance(event, m.ReplyMessageEvent):
        running = event.data.model_message.id
        stopped = need(m.MessageOutput, message_stop.sync(conversation, running, client=api)).status
failed_stream = ""
try:
    list(events(api, message_send_stream._get_kwargs("0" * 24, body=slowly), REPLY))
except CallFailed as failure:
    failed_stream = failure.error.code


def image() -> File:
    return File(payload=io.BytesIO(base64.b64decode(given["picture"])), file_name="a.png", mime_type="image/png")


attachment = need(m.AttachmentOutput, attachment_create.sync(client=api, body=m.AttachmentCreateBody(file=image())))
download = need(File, attachment_get.sync(attachment.id, client=api))
with_picture = m.MessageInput(content="What?", attachment_ids=[attachment.id])
pictured = need(m.ExchangeOutput, message_send.sync(conversation, client=api, body=with_picture))
messages = need(m.MessagesOutput, message_list.sync(conversation, client=api, latest=True))
one = need(m.MessageOutput, message_get.sync(conversation, mid, client=api))
change = m.PatchedConversationChange(title="Lights", pinned=True)
patched = need(m.ConversationOutput, conversation_update.sync(conversation, client=api, body=change))
listed = need(m.ConversationsOutput, conversation_list.sync(client=api, pinned_first=True))
found = need(m.SearchOutput, chat_search.sync(client=api, q="Hello"))
exported = need(m.TranscriptOutput, conversation_export.sync(conversation, client=api))
changes = need(m.ChangesOutput, chat_changes.sync(client=api, since=0))

# Todos
plans = need(m.ConversationOutput, conversation_create.sync(client=api, body=m.ConversationInput(title="Plans"))).id
need(m.ExchangeOutput, message_send.sync(plans, client=api, body=m.MessageInput(content="Book the ferry")))
items = need(list, action_items.sync(plans, client=api))
todo = need(m.TodoOutput, todo_create.sync(client=api, body=m.TodoInput(title="Book the ferry")))
done = need(m.TodoOutput, todo_update.sync(todo.id, client=api, body=m.PatchedTodoChange(completed=True)))
all_todos: list[m.TodoOutput] = need(list, todo_list.sync(client=api))
todo_deleted = todo_delete.sync_detailed(todo.id, client=api).status_code

# The model by itself
prompt = m.CompleteInput(prompt="Hello")
completed = need(m.CompletionOutput, ai_complete.sync(client=api, body=prompt))
refusal = code_of(ai_complete.sync(client=api, body=m.CompleteInput(prompt="[[block=answer]]Hello")))
pieces = "".join(each.data.text for each in events(api, ai_complete_stream._get_kwargs(body=prompt), COMPLETION))
vision = need(m.VisionOutput, ai_vision.sync(client=api, body=m.AiVisionBody(image=[image()], prompt="What is it?")))
source = m.SummarizeInput(text="A lease is a lock with an end.", max_words=20)
summary = need(m.SummaryOutput, ai_summarize.sync(client=api, body=source))
summarized = ""
for piece in events(api, ai_summarize_stream._get_kwargs(body=m.SummarizeInput(text="A lease.")), SUMMARY):
    if isinstance(piece, m.SummaryDoneEvent):
        summarized = piece.data.summary
known = need(m.OpenAIModelsOutput, openai_models.sync(client=api))
question = m.OpenaiChatCompletionsBody.from_dict({"messages": [{"role": "user", "content": "Hello"}]})
choice = need(m.ChatCompletionOutput, openai_chat_completions.sync(client=api, body=question)).choices[0]

# Organizations and usage
lighthouse = m.OrganizationInput(name="Lighthouse Ltd")
organization = need(m.OrganizationOutput, organization_create.sync(client=api, body=lighthouse)).id
ben = m.MemberInput(email="ben@example.com")
invited = need(m.MemberOutput, member_add.sync(organization, client=api, body=ben))
members = need(m.MembersOutput, member_list.sync(organization, client=api)).members
its_usage = need(m.OrganizationUsageOutput, usage_organization.sync(organization, client=api))
organization_deleted = organization_delete.sync_detailed(organization, client=api).status_code
mine = need(m.UserUsageOutput, usage_me.sync(client=api))
daily = need(m.DailyUsageOutput, usage_daily.sync(client=api, days=7))
ready = need(m.Ready, health_ready.sync(client=anonymous))

deleted = conversation_delete.sync_detailed(conversation, client=api).status_code
gone = code_of(conversation_get.sync(conversation, client=api))
everywhere = need(m.LogoutAllOutput, logout_all.sync(client=api))
afterwards = code_of(auth_me.sync(client=api))

print(  # noqa: T201
    json.dumps(
        {
            "email": me.email,
            "name": profile.full_name,
            "session_ended": session_ended,
            "key": [key_status, out_of_scope, key_count, key_ended],
            "answer": sent.model_message.content,
            "events": names,
            "text": text,
            "status": streamed and streamed.status,
            "resumes_alike": text.endswith(rest) and len(rest) < len(text) and resumed == streamed,
            "rating": rated.feedback and rated.feedback.rating,
            "regenerated": [regenerated.model_message.content, last],
            "stopped": stopped,
            "failed_stream": failed_stream,
            "picture": [attachment.mime_type, attachment.width, len(download.payload.read()) == attachment.bytes_],
            "pictured": len(pictured.model_message.attachments) + len(pictured.user_message.attachments),
            "messages": len(messages.messages),
            "one": one.status,
            "title": [
                patched.title,
                listed.conversations[0].title,
                found.results[0].title,
                changes.conversations[0].title,
            ],
            "exported": len(exported.messages),
            "todos": [len(items) > 0, done.completed, todo.id in {each.id for each in all_todos}, todo_deleted],
            "completed": [completed.text, pieces],
            "refusal": refusal,
            "vision": vision.text.startswith("Echo: What is it?"),
            "summary": len(summary.summary) > 0 and len(summarized) > 0,
            "openai": [len(known.data) > 0, choice.message.content],
            "organization": [invited.status, len(members), len(its_usage.members), organization_deleted],
            "usage": [mine.tokens.total > 0, len(daily.days)],
            "health": ready.status,
            "deleted": [deleted, gone],
            "sessions_ended": everywhere.sessions_ended,
            "afterwards": afterwards,
        }
    )
)
