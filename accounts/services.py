"""Services for users' accounts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.api_keys.services import end_all_api_keys
from accounts.audit import record_event
from accounts.login.devices import device_of
from accounts.login.login_lock import LoginLocked, begin_login, begin_password_check
from accounts.login.passwords import normalized, verify_password
from accounts.login.sessions import AccountChanged, IssuedTokens, end_all_sessions, start_session
from accounts.models import AuditEvent, Session, User
from accounts.recovery.emails import send_verification
from edgechat.errors import ApiError, Invalid
from edgechat.http.client_address import Caller
from edgechat.processes.threads import run_cpu_bound, waiting

REAUTHENTICATION_WINDOW = timedelta(minutes=15)

_UNKNOWN_USERS_HASH = make_password("the hash that is checked when there is no such user")


class EmailTaken(ApiError):
    status, code, detail = 400, "email_taken", "Email already registered"


class InvalidCredentials(ApiError):
    status, code, detail = 401, "invalid_credentials", "Invalid email or password"
    sends = ("WWW-Authenticate",)

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class ReauthenticationRequired(ApiError):
    status, code = 403, "reauthentication_required"
    detail = "Log in again, or send current_password, to change the password"


def register_user(*, email: str, password: str, caller: Caller, full_name: str = "") -> User:
    """Create an account. Raises EmailTaken, and Invalid for a password that is too common."""
    refuse_common_password(password, field="body.password")
    if User.objects.with_email(email) is not None:
        raise EmailTaken
    encoded = hash_password(password)
    try:
        with transaction.atomic():
            user = User(email=email, full_name=full_name, password=encoded)
            user.save(force_insert=True)
            record_event(AuditEvent.Event.REGISTERED, caller=caller, user_id=user.pk, actor_id=user.pk)
    except IntegrityError:  # two simultaneous registrations of the same address
        raise EmailTaken from None
    send_verification(user)
    return user


def authenticate_user(
    *, email: str, password: str, caller: Caller, device_tokens: Sequence[str] = (), for_admin: bool = False
) -> User:
    """The active user with this e-mail and password.

    Raises InvalidCredentials, and LoginLocked after five failures. A login to the admin rejects a user who is not staff
    like an unknown user. Failures with a valid token among `device_tokens` are counted separately. The password is
    checked whether or not the user exists, and each rejection takes the same time, so neither shows whether the user
    exists. An outdated hash, such as an imported one, is replaced. The audit log tells a login that the admin refuses
    whatever the password from a wrong password.
    """
    started = time.monotonic()
    device = device_of(User.objects.with_email(email), device_tokens) if any(device_tokens) else None
    try:
        attempt = begin_login(email, device=device)
    except LoginLocked:
        if for_admin:
            _record_refusal(User.objects.with_email(email), caller=caller, reason="locked")
        _wait_like_all(started)
        raise
    user = User.objects.with_email(email)
    matches, is_outdated = _verify_password(password, user.password if user else _UNKNOWN_USERS_HASH)
    details: dict[str, Any] = {"site": "admin"} if for_admin else {}
    if user is None or not matches or not user.is_active or (for_admin and not user.is_staff):
        attempt.fail()
        if for_admin and user is not None and matches:
            _record_refusal(user, caller=caller, reason="not_staff" if user.is_active else "not_active")
        else:
            record_event(AuditEvent.Event.LOGIN_FAILED, caller=caller, user_id=user.pk if user else None, **details)
        _wait_like_all(started)
        raise InvalidCredentials
    attempt.succeed()
    if is_outdated:
        # Only if the password did not change meanwhile.
        encoded = hash_password(password)
        if User.objects.filter(pk=user.pk, password=user.password).update(password=encoded):
            user.password = encoded
    record_event(AuditEvent.Event.LOGIN, caller=caller, user_id=user.pk, actor_id=user.pk, **details)
    return user


def log_in_user(
    *, email: str, password: str, caller: Caller, device_name: str = "", device_tokens: Sequence[str] = ()
) -> tuple[User, IssuedTokens]:
    """The user with this e-mail and password, and a new session.

    Raises InvalidCredentials and LoginLocked.
    """
    for _ in range(2):
        user = authenticate_user(email=email, password=password, caller=caller, device_tokens=device_tokens)
        # Retry once: another login may have stored a new hash of the same password meanwhile.
        with suppress(AccountChanged):
            return user, start_session(user=user, caller=caller, device_name=device_name)
    raise InvalidCredentials


def change_password(
    *, user: User, session: Session, password: str, current_password: str | None, caller: Caller
) -> None:
    """Set a new password and end the user's other sessions and API keys.

    Raises Invalid for a wrong `current_password` or a common new password, and LoginLocked after five wrong ones.
    Raises ReauthenticationRequired if `current_password` is None and the login is more than 15 minutes old.
    """
    if current_password is not None:
        try:
            check_own_password(
                user=user, session=session, password=current_password, caller=caller, by="password_change"
            )
        except InvalidCredentials:
            raise Invalid({"body.current_password": "The current password is not right"}) from None
    elif timezone.now() - session.created_at > REAUTHENTICATION_WINDOW:
        raise ReauthenticationRequired
    refuse_common_password(password, field="body.password")
    encoded = hash_password(password)
    now = timezone.now()
    with transaction.atomic():
        # The account may have been deleted, or this session ended, during the hashing.
        changed = User.objects.filter(pk=user.pk, is_active=True).update(password=encoded, updated_at=now)
        if not changed or not Session.objects.live().filter(pk=session.pk).exists():
            raise AccountChanged
        end_all_sessions(user_id=user.pk, reason="password_changed", but=session.pk)
        end_all_api_keys(user_id=user.pk, reason="password_changed", actor_id=user.pk, caller=caller)
        record_event(AuditEvent.Event.PASSWORD_CHANGED, caller=caller, user_id=user.pk, actor_id=user.pk)
    user.password, user.updated_at = encoded, now


def check_own_password(*, user: User, session: Session, password: str, caller: Caller, by: str) -> None:
    """Check that the user of a session knows the password. Raises InvalidCredentials and LoginLocked."""
    # A stolen token must not allow guesses at the password, and failed logins must not lock a logged-in user.
    attempt = begin_password_check(session.pk)
    if not _verify_password(password, user.password)[0]:
        attempt.fail()
        with suppress(LoginLocked):
            begin_login(user.email).fail()
        record_event(AuditEvent.Event.LOGIN_FAILED, caller=caller, user_id=user.pk, by=by)
        raise InvalidCredentials
    attempt.succeed()


def rename_user(*, user: User, full_name: str) -> None:
    """Set the user's name. Raises AccountChanged if the account was deleted meanwhile."""
    now = timezone.now()
    if not User.objects.filter(pk=user.pk, is_active=True).update(full_name=full_name, updated_at=now):
        raise AccountChanged
    user.full_name, user.updated_at = full_name, now


def refuse_common_password(password: str, *, field: str) -> None:
    """Raises Invalid for `field` if the password is common."""
    try:
        validate_password(password)
    except ValidationError as error:
        raise Invalid({field: " ".join(error.messages)}) from None


def hash_password(password: str) -> str:
    return run_cpu_bound(make_password, normalized(password))


def _verify_password(password: str, encoded: str) -> tuple[bool, bool]:
    """Whether the password is correct, and whether its hash has to be replaced."""
    try:
        return run_cpu_bound(verify_password, password, encoded)
    except ValueError:  # the hash is damaged and matches no password
        return False, False


def _record_refusal(user: User | None, *, caller: Caller, reason: str) -> None:
    user_id = None if user is None else user.pk
    record_event(AuditEvent.Event.LOGIN_REFUSED, caller=caller, user_id=user_id, site="admin", reason=reason)


def _wait_like_all(started: float) -> None:
    """Wait until a rejection has taken FAILED_LOGIN_SECONDS, or the next multiple if that time has passed.

    Not beyond STORE_TIMEOUT_SECONDS: then a store is slow, and each call has its own time anyway.
    """
    step, taken = settings.FAILED_LOGIN_SECONDS, time.monotonic() - started
    if step:
        with waiting():
            time.sleep(min(step - taken % step, max(0.0, settings.STORE_TIMEOUT_SECONDS - taken)))
