"""Files of data that staff download."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest

from accounts.audit import AuditedExport
from accounts.open_calls.registry import OpenCall
from edgechat.http.client_address import caller_of


def audited_body(request: HttpRequest, call: OpenCall, chunks: Iterable[bytes], **event: Any) -> Iterable[bytes]:
    """The body of a response with a file. The file is in the audit log from now on; `event`: what its row has.

    It breaks off when the admin session of the requesting user ends.
    """
    export = AuditedExport(caller=caller_of(request), actor_id=request.user.pk, **event)
    call.on_close.append(export.end)
    return call.body(export.follow(chunks))
