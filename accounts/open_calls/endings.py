"""Notifies every process when something ends on which open calls depend (`accounts.open_calls.registry`)."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from edgechat.http import notices

ENDED = "ended"
EVERYBODY = "everybody"


def user_subject(user_id: int) -> str:
    return f"user:{user_id}"


def organization_subject(organization_id: int) -> str:
    return f"organization:{organization_id}"


def conversation_subject(conversation_id: str) -> str:
    return f"conversation:{conversation_id}"


def announce_end(*subjects: str) -> None:
    """Make every process check its open calls with one of these subjects, after this transaction commits.

    Call this wherever a session, an account, a membership or a conversation ends.
    """
    transaction.on_commit(partial(notices.publish, ENDED, subjects))
