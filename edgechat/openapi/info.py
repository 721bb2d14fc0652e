"""What the OpenAPI file says about the API as a whole. The settings read it."""

from __future__ import annotations

DESCRIPTION = """\
The backend of a mobile AI chat app: conversations with a model, one-off calls to it, usage, and accounts.

**Access.** Log in with POST `/api/v1/auth/login` and send the access token as `Authorization: Bearer …`. It is valid
for 15 minutes; POST `/api/v1/auth/refresh` gives the next pair. Programs use API keys.

**Errors** have one shape for every status and path, `Error`; `code` is for programs. Each response names its codes,
and the schema of the `context` of each, in `x-codes`. 429 always has `Retry-After`.

**Streams.** Calls that end with `/stream` answer with server-sent events. Their schema is that of one event, an
object with `event`, `id` and `data`; its description says how to read and resume a stream, and the examples are whole
streams. The sibling without `/stream` answers with JSON.

**Compatibility.** New fields, and new codes of errors, may be added at any time: ignore fields that you do not know,
and treat an unknown code by its status. A trailing slash is optional on every path. Times are ISO 8601 in UTC and end
with `Z`.
"""
LICENSE = {"name": "MIT", "url": "https://opensource.org/license/mit"}
SERVERS = [{"url": "/", "description": "The server that this file comes from."}]
TAGS = [
    {
        "name": "chat",
        "description": "Conversations with the model: messages, replies, pictures, search and synchronization.",
    },
    {"name": "ai", "description": "One-off calls to the model, outside any conversation."},
    {"name": "openai", "description": "OpenAI's protocol, for clients that speak it. Errors have OpenAI's shape."},
    {"name": "todos", "description": "The user's todos, and those that the model finds in a conversation."},
    {"name": "usage", "description": "Requests, tokens and budgets of users and organizations."},
    {"name": "accounts", "description": "Registration, login, sessions, API keys and the user's own account."},
    {"name": "organizations", "description": "Groups of users who share conversations and a budget."},
    {
        "name": "older clients",
        "description": "Calls that clients of the older backends make. New clients use their successors.",
    },
    {"name": "health", "description": "Whether the server and its stores answer. No token is needed."},
]
