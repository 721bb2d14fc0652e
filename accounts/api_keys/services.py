"""Creates and ends API keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.api_keys.secrets import PREFIX_CHARACTERS, digest_of, new_key
from accounts.audit import record_event
from accounts.models import ApiKey, AuditEvent
from accounts.open_calls.endings import announce_end, user_subject
from accounts.open_calls.live_accounts import lock_account
from edgechat.errors import ApiError, LimitContext, NotFound
from edgechat.http.client_address import Caller

# Keys that have not been ended, expired ones included.
MAX_API_KEYS = 50


class TooManyApiKeys(ApiError):
    status, code, detail = 409, "too_many_api_keys", f"An account can have {MAX_API_KEYS} API keys"
    context_body = LimitContext

    def __init__(self) -> None:
        super().__init__(context=LimitContext(limit=MAX_API_KEYS))


def create_api_key(
    *, user_id: int, name: str, scopes: list[str], expires_at: datetime | None, caller: Caller
) -> tuple[ApiKey, str]:
    """A new key and its text, which is not stored. Raises TooManyApiKeys."""
    text = new_key()
    with transaction.atomic():
        # Lock the account, so that two simultaneous calls do not both pass the limit.
        lock_account(user_id)
        if ApiKey.objects.filter(user_id=user_id, ended_at=None).count() >= MAX_API_KEYS:
            raise TooManyApiKeys
        key = ApiKey.objects.create(
            user_id=user_id,
            name=name,
            prefix=text[:PREFIX_CHARACTERS],
            digest=digest_of(text),
            scopes=scopes,
            expires_at=expires_at,
        )
        event = AuditEvent.Event.API_KEY_CREATED
        record_event(event, caller=caller, user_id=user_id, actor_id=user_id, api_key=str(key.pk), scopes=scopes)
    return key, text


def end_own_api_key(*, user_id: int, key_id: str, caller: Caller) -> None:
    """End the key whose id is in the path. Raises NotFound."""
    try:
        found = end_api_key(
            key_id=UUID(key_id), user_id=user_id, reason="ended_by_user", actor_id=user_id, caller=caller
        )
    except ValueError:
        found = False
    if not found:
        raise NotFound


def end_api_key(*, key_id: UUID, user_id: int, reason: str, actor_id: int | None, caller: Caller) -> bool:
    """End a user's key and its open calls. Returns False if it has been ended, or belongs to another user."""
    with transaction.atomic():
        if not _end(user_id, reason, pk=key_id):
            return False
        event = AuditEvent.Event.API_KEY_ENDED
        record_event(event, caller=caller, user_id=user_id, actor_id=actor_id, api_key=str(key_id), reason=reason)
    return True


def end_all_api_keys(*, user_id: int, reason: str, actor_id: int | None, caller: Caller | None) -> None:
    """End all keys of a user. Call it in the transaction of the change that is the reason."""
    if ended := _end(user_id, reason):
        event = AuditEvent.Event.API_KEY_ENDED
        record_event(event, caller=caller, user_id=user_id, actor_id=actor_id, api_keys=ended, reason=reason)


def _end(user_id: int, reason: str, **which: UUID) -> int:
    keys = ApiKey.objects.filter(user_id=user_id, ended_at=None, **which)
    ended = keys.update(ended_at=timezone.now(), end_reason=reason)
    announce_end(user_subject(user_id))
    return ended
