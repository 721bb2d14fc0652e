"""A user's whole data as lines of JSON (NDJSON), for the user or for an operator whom they asked.

Each app registers what it keeps of a user, as it registers with `accounts.deletion` how that is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from accounts.models import AuditEvent, Membership, Session, User
from accounts.serializers import UserOutput
from edgechat.answer_bytes import encode_json

ROWS_AT_ONCE = 500

M = TypeVar("M", bound=Model)
Record = tuple[str, dict[str, Any]]
Exporter = Callable[[int], Iterator[Record]]

_exporters: list[Exporter] = []
_plurals: dict[str, str] = {}


def register_exporter(export: Exporter, *, types: Mapping[str, str]) -> None:
    """Have `export(user_id)` yield what an app keeps of a user, each as (type, fields).

    A record's last field may be an iterator of ASCII text, which is told as one string.

    `types` has each type's name in the counts of the last line, for example `{"todo": "todos"}`. It must keep little in
    memory, hold no connection while it is not asked for the next record, and may raise StoreUnavailable.
    """
    _exporters.append(export)
    _plurals.update(types)


def export_lines(user: User) -> Iterator[bytes]:
    """`{"type": ..., ...}` for each thing that belongs to the user, the account first; at the end `{"counts": {...}}`.
    A long line comes in pieces.

    An export without that last line broke off. Raises StoreUnavailable.
    """
    counts: Counter[str] = Counter()
    for export in _exporters:
        for kind, fields in export(user.pk):
            counts[kind] += 1
            yield from _line({"type": kind, **fields})
    yield from _line({"counts": {plural: counts[kind] for kind, plural in _plurals.items()}})


def rows_of(queryset: QuerySet[M]) -> Iterator[M]:
    """All rows in the order of their keys, a page in memory at a time, and no connection held between pages."""
    queryset = queryset.order_by("pk")
    page = queryset
    while rows := list(page[:ROWS_AT_ONCE]):
        yield from rows
        page = queryset.filter(pk__gt=rows[-1].pk)


def row_fields(row: Model, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


ACCOUNT_TYPES = {
    "account": "accounts",
    "session": "sessions",
    "membership": "memberships",
    "audit_event": "audit_events",
}


def export_account(user_id: int) -> Iterator[Record]:
    """The account, its sessions (no tokens: they are keys, not data), memberships, and the audit log of it."""
    for user in User.objects.filter(pk=user_id):
        yield "account", {**UserOutput(user).data, "last_login": user.last_login}
    session = ("id", "device_name", "user_agent", "ip", "created_at", "last_used_at", "expires_at", "ended_at")
    for each in rows_of(Session.objects.filter(user_id=user_id)):
        yield "session", row_fields(each, *session, "end_reason")
    for membership in rows_of(Membership.objects.filter(user_id=user_id).select_related("organization")):
        fields = row_fields(membership, "organization_id", "role", "created_at")
        yield "membership", {**fields, "organization_name": membership.organization.name}
    event = ("event", "created_at", "actor_id", "ip", "request_id", "details")
    for recorded in rows_of(AuditEvent.objects.filter(user_id=user_id)):
        if recorded.actor_id not in (None, user_id):
            recorded.ip, recorded.request_id = None, ""  # where somebody else was, is their data
        yield "audit_event", row_fields(recorded, *event)


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
