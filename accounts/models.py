"""Users, their sessions, organizations and the audit log."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.addresses import email_key
from accounts.login.passwords import normalized, verify_password


class EmailKeyField(models.CharField):  # type: ignore[type-arg]
    """The `email_key` of the address in another column, updated with each save of the row."""

    def __init__(self, *, of: str, **kwargs: Any) -> None:
        # An address has at most 254 characters, and so has an encoded domain.
        super().__init__(**{"max_length": 520, "editable": False, "default": "", "db_default": "", **kwargs})
        self.of = of

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "of": self.of}

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        key = email_key(getattr(model_instance, self.of))
        setattr(model_instance, self.attname, key)
        return key


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Store a user. The password is hashed in the calling thread; None makes an account that cannot log in."""
        user = self.model(email=email.strip(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})

    def with_email(self, email: str) -> User | None:
        """The user with this e-mail address in any spelling (accounts.addresses), or None."""
        return self.filter(email_key=email_key(email)).first()

    def get_by_natural_key(self, username: str | None) -> User:
        user = self.with_email(username or "")
        if user is None:
            raise self.model.DoesNotExist
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """An account.

    It is named by its e-mail address, which is kept as typed and unique in any spelling (accounts.addresses).
    """

    email = models.EmailField(max_length=254)
    email_key = EmailKeyField(of="email")
    full_name = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("staff", default=False, help_text="`admin` in the API; may open this admin.")
    is_verified = models.BooleanField("e-mail verified", default=False)
    address_set_by_staff = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Until its holder verifies it, it gets no mail to reset the password.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deletion_requested_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Set until every store is clean of this user's data."
    )

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        ordering = ("id",)
        permissions = (("export_user", "Can export all data of a user"),)
        constraints = (models.UniqueConstraint(fields=("email_key",), name="user_email_once"),)
        indexes = (
            models.Index(
                fields=("deletion_requested_at",),
                name="user_deletion_requested",
                condition=Q(deletion_requested_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.email

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(None if raw_password is None else normalized(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        return raw_password is not None and verify_password(raw_password, self.password)[0]

    def get_full_name(self) -> str:
        return self.full_name or self.email

    def get_short_name(self) -> str:
        return self.get_full_name()

    @property
    def role(self) -> str:
        """`admin` or `user`, as in the API."""
        return "admin" if self.is_staff else "user"


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> SessionQuerySet:
        """The sessions that have neither ended nor expired."""
        return self.filter(ended_at__isnull=True, expires_at__gt=timezone.now())


class Session(models.Model):
    """A login on one device, or an admin session, which has no tokens. It is valid while `ended_at` is empty."""

    class Kind(models.TextChoices):
        API = "api", "API"
        ADMIN = "admin", "admin site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.API, db_default=Kind.API)
    device_name = models.CharField(max_length=100, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(auto_now_add=True, help_text="To the minute.")
    expires_at = models.DateTimeField(help_text="When the newest refresh token expires.")
    reauthenticated_at = models.DateTimeField(
        null=True, blank=True, help_text="When the password was last given again, in the admin."
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=30, blank=True)
    generation = models.PositiveIntegerField(default=0, help_text="Number of the newest token pair.")
    used_generation = models.IntegerField(
        default=-1, help_text="Number of the newest token pair of which a token was seen."
    )

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ("-last_used_at",)
        indexes = (
            models.Index(fields=("user", "-last_used_at"), name="session_user_last_used"),
            models.Index(fields=("expires_at",), name="session_expires"),
        )

    def __str__(self) -> str:
        return f"{self.device_name or 'session'} of {self.user_id}"


class TokenPair(models.Model):
    """The times at which a token pair of a session was made and first used.

    The tokens are not stored: they are derived from the session, the generation and `issued_at`. So the same pair can
    be made again for a client that lost the answer.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="token_pairs")
    generation = models.PositiveIntegerField()
    issued_at = models.DateTimeField()
    first_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("session", "generation"), name="token_pair_once"),)

    def __str__(self) -> str:
        return f"pair {self.generation} of {self.session_id}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def live(self) -> ApiKeyQuerySet:
        """The keys that have neither been ended nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), ended_at=None)


class ApiKey(models.Model):
    """A key of a user for programs. The key itself is not stored, only its digest."""

    class Scope(models.TextChoices):
        AI = "ai", "AI"
        CHAT = "chat", "chat"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="The beginning of the key.")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="The key's SHA-256.")
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope.choices))
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    expires_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=30, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        indexes = (models.Index(fields=("-created_at",), name="api_key_created"),)

    def __str__(self) -> str:
        return f"{self.prefix} of {self.user_id}"


class LoginAttempts(models.Model):
    """The latest login attempts for one e-mail address, with or without an account; see accounts.login.login_lock."""

    key = models.CharField(max_length=64, primary_key=True, help_text="A keyed hash of the address.")
    failed_at = ArrayField(models.DateTimeField())
    running_since = ArrayField(models.DateTimeField(), help_text="Attempts whose password is being looked at.")
    last_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{len(self.failed_at)} failed logins"


class Organization(models.Model):
    name = models.CharField(max_length=255)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's role in an organization, or an invitation of an e-mail address.

    An invitation has no user until it is accepted.
    """

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        MEMBER = "member"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="memberships")
    invited_email = models.EmailField(max_length=254, blank=True)
    invited_email_key = EmailKeyField(of="invited_email")
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("organization", "user"), name="membership_once"),
            models.UniqueConstraint(
                fields=("organization", "invited_email_key"), name="invited_once", condition=Q(user__isnull=True)
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False) | ~Q(invited_email=""), name="membership_of_a_user_or_an_email"
            ),
        )
        indexes = (models.Index(fields=("invited_email_key",), name="invitation_key", condition=Q(user__isnull=True)),)

    def __str__(self) -> str:
        return f"{self.user or self.invited_email} is {self.role} of {self.organization}"


class AuditEvent(models.Model):
    """An event of the audit log. Rows are only added, and pruned by age."""

    class Event(models.TextChoices):
        REGISTERED = "registered"
        LOGIN = "login"
        LOGIN_FAILED = "login_failed"
        LOGIN_REFUSED = "login_refused"  # by the admin, whatever the password
        REFRESH_REUSED = "refresh_reused"
        SESSION_ENDED = "session_ended"
        PASSWORD_CHANGED = "password_changed"  # noqa: S105  (a name, not a password)
        ROLE_CHANGED = "role_changed"
        ACTIVATED = "activated"
        DEACTIVATED = "deactivated"
        ACCOUNT_DELETED = "account_deleted"
        TRANSCRIPT_READ = "transcript_read"
        DATA_EXPORTED = "data_exported"
        BUDGET_SET = "budget_set"
        EMAIL_CHANGED = "email_changed"
        MEMBERSHIP_CHANGED = "membership_changed"
        STAFF_CHANGE = "staff_change"
        REAUTHENTICATED = "reauthenticated"
        API_KEY_CREATED = "api_key_created"
        API_KEY_ENDED = "api_key_ended"
        CONVERSATIONS_IMPORTED = "conversations_imported"

    event = models.CharField(max_length=30, choices=Event.choices)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor_id = models.BigIntegerField(null=True, blank=True, help_text="The user who did it; kept after deletion.")
    user_id = models.BigIntegerField(null=True, blank=True, db_index=True, help_text="The user whom it concerns.")
    ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    organization_id = models.BigIntegerField(
        null=True, blank=True, help_text="The organization that it concerns; kept after deletion."
    )
    details = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("request_id",), name="audit_request"),
            models.Index(fields=("actor_id",), name="audit_actor"),
            models.Index(fields=("event", "-id"), name="audit_event"),
            models.Index(
                fields=("organization_id",), name="audit_organization", condition=Q(organization_id__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.event} of {self.user_id}"
