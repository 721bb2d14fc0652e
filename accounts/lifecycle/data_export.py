"""All data of a user as lines of JSON (NDJSON), for the user or for an operator at the user's request.

Each app registers an exporter for its data, as it registers an eraser with `accounts.lifecycle.deletion`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, TypedDict, TypeVar, cast
from uuid import UUID

from django.db.models import Model, QuerySet

from accounts.models import ApiKey, AuditEvent, Membership, Session, User
from accounts.serializers import UserOutput, user_body
from edgechat.http.answer_bytes import encode_json
from edgechat.http.bodies import Lines

ROWS_PER_BATCH = 500

M = TypeVar("M", bound=Model)
R = TypeVar("R")
Record = tuple[str, Mapping[str, object]]
Exporter = Callable[[int], Iterator[Record]]

_exporters: list[Exporter] = []
_plurals: dict[str, str] = {}
# The fields of each line besides its type.
RECORDS = Lines()


def register_exporter(export: Exporter, *, types: Mapping[str, tuple[str, type]]) -> None:
    """Register `export(user_id)`, which yields an app's data of a user as (type, fields).

    The last field of a record may be an iterator of ASCII text, which is written as one string. `types` has the name of
    each type in the counts of the last line, and its fields: `{"todo": ("todos", TodoRecord)}`. `export` must use
    little memory and hold no connection between records. It may raise StoreUnavailable.
    """
    _exporters.append(export)
    for kind, (plural, record) in types.items():
        _plurals[kind] = plural
        RECORDS.bodies[kind] = record


def export_lines(user: User) -> Iterator[bytes]:
    """`{"type": ..., ...}` for each record of the user, the account first; at the end `{"counts": {...}}`.

    A long line is split into several chunks. An export without the last line is incomplete. Raises StoreUnavailable.
    """
    counts: Counter[str] = Counter()
    for export in _exporters:
        for kind, fields in export(user.pk):
            counts[kind] += 1
            yield from _line({"type": kind, **fields})
    yield from _line({"counts": {plural: counts[kind] for kind, plural in _plurals.items()}})


def rows_of(queryset: QuerySet[M]) -> Iterator[M]:
    """All rows ordered by key, with one page in memory at a time and no connection held between pages."""
    queryset = queryset.order_by("pk")
    page = queryset
    while rows := list(page[:ROWS_PER_BATCH]):
        yield from rows
        page = queryset.filter(pk__gt=rows[-1].pk)


def record_of(record: type[R], row: Model) -> R:
    """The values of a row for the fields of a record, which have the same names."""
    return cast(R, {name: getattr(row, name) for name in record.__annotations__})


class AccountRecord(UserOutput):
    last_login: Annotated[datetime | None, "When the user last logged in."]


class SessionRecord(TypedDict):
    id: Annotated[UUID, "The session's id."]
    device_name: Annotated[str, "The name given at the login."]
    user_agent: Annotated[str, "The header `User-Agent` at the login."]
    ip: Annotated[str | None, "The client's address."]
    created_at: Annotated[datetime, "When the user logged in."]
    last_used_at: Annotated[datetime, "When one of its tokens was last used."]
    expires_at: Annotated[datetime, "When its refresh token expires."]
    ended_at: Annotated[datetime | None, "When it ended; null for a live one."]
    end_reason: Annotated[str, "Why it ended; empty for a live one."]


class ApiKeyRecord(TypedDict):
    id: Annotated[UUID, "The key's id."]
    name: Annotated[str, "The name given at its creation."]
    prefix: Annotated[str, "The beginning of the key."]
    scopes: Annotated[list[str], "The calls on which the key is accepted: `ai`, `chat`."]
    created_at: Annotated[datetime, "When the key was created."]
    last_used_at: Annotated[datetime | None, "When it was last used; null for never."]
    expires_at: Annotated[datetime | None, "When it expires; null for never."]
    ended_at: Annotated[datetime | None, "When it ended; null for a live one."]
    end_reason: Annotated[str, "Why it ended; empty for a live one."]


class MembershipRecord(TypedDict):
    organization_id: Annotated[int, "The organization's id."]
    role: Annotated[str, "The user's role: `owner`, `admin` or `member`."]
    created_at: Annotated[datetime, "When the user was invited or added."]
    organization_name: Annotated[str, "The organization's name."]


class AuditEventRecord(TypedDict):
    event: Annotated[str, "What happened, for example `login`."]
    created_at: Annotated[datetime, "When it happened."]
    actor_id: Annotated[int | None, "The id of the user who did it; null for the system."]
    ip: Annotated[str | None, "The client's address."]
    request_id: Annotated[str, "The id of the request."]
    details: Annotated[dict[str, Any], "More about the event."]


ACCOUNT_TYPES = {
    "account": ("accounts", AccountRecord),
    "session": ("sessions", SessionRecord),
    "api_key": ("api_keys", ApiKeyRecord),
    "membership": ("memberships", MembershipRecord),
    "audit_event": ("audit_events", AuditEventRecord),
}


def export_account(user_id: int) -> Iterator[Record]:
    """The account, its sessions, API keys, memberships and audit events, without secrets such as tokens and digests."""
    for user in User.objects.filter(pk=user_id):
        account: AccountRecord = {**user_body(user), "last_login": user.last_login}
        yield "account", account
    for session in rows_of(Session.objects.filter(user_id=user_id)):
        yield "session", record_of(SessionRecord, session)
    for key in rows_of(ApiKey.objects.filter(user_id=user_id)):
        yield "api_key", record_of(ApiKeyRecord, key)
    for membership in rows_of(Membership.objects.filter(user_id=user_id).select_related("organization")):
        yield (
            "membership",
            MembershipRecord(
                organization_id=membership.organization_id,
                role=membership.role,
                created_at=membership.created_at,
                organization_name=membership.organization.name,
            ),
        )
    for recorded in rows_of(AuditEvent.objects.filter(user_id=user_id)):
        if recorded.actor_id not in (None, user_id):
            recorded.ip, recorded.request_id = None, ""  # another user's address is that user's data
        yield "audit_event", record_of(AuditEventRecord, recorded)


def _line(record: dict[str, Any]) -> Iterator[bytes]:
    *fields, (name, last) = record.items()
    if not isinstance(last, Iterator):
        yield encode_json(record) + b"\n"
        return
    opened = encode_json({**dict(fields), name: ""}).removesuffix(b'"}')
    yield opened
    for piece in last:
        yield piece.encode()
    yield b'"}\n'
