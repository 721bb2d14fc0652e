"""Writes every change by staff in the admin to the audit log, with the values before and after."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts.audit import record_event
from accounts.models import AuditEvent, Membership, Organization, User
from edgechat.graphemes import cut
from edgechat.http.client_address import caller_of

# The maximum length of a value, and the maximum number of keys of a list.
MAX_CHARACTERS, MAX_KEYS = 300, 500
# Placeholders for text that users wrote.
TEXT, NEW_TEXT = "(text)", "(another text)"


class AuditedAdmin:
    """Writes a row to the audit log for each object that an admin form adds, changes or deletes, including inlines.

    Actions of this application write their own rows. Django's own log names objects by their text; here it gets the
    model and the key only.
    """

    # Fields whose changes have their own rows, which the class writes.
    audited_apart: ClassVar[frozenset[str]] = frozenset()
    # Fields with text that users wrote. A row records only that they changed.
    texts_of_users: ClassVar[frozenset[str]] = frozenset()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        names = [name for name in form.changed_data if name not in self.audited_apart]
        if not change:
            record_staff_change(request, form.instance, before=None, after=self._after(form, names))
        elif names:
            before = {
                name: TEXT if name in self.texts_of_users else audited_value(name, form.initial.get(name))
                for name in names
            }
            record_staff_change(request, form.instance, before=before, after=self._after(form, names))
        for formset in formsets:
            self._audit_formset(request, formset)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> list[LogEntry]:
        return _log(request, [obj], ADDITION, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> list[LogEntry]:
        return _log(request, [obj], CHANGE, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> list[LogEntry]:
        deleted = list(queryset)
        for obj in deleted:
            before = self.described(obj)
            if before is not None:
                record_staff_change(request, obj, before=before, after=None)
        return _log(request, deleted, DELETION, "")

    def described(self, obj: Any) -> dict[str, Any] | None:
        """The values of a deleted object for the audit log; None if the class writes the row itself."""
        return values_of(obj, but=self.texts_of_users)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        message: list[dict[str, Any]] = super().construct_change_message(  # type: ignore[misc]
            request, form, formsets, add
        )
        for entry in message:
            for part in entry.values():
                part.pop("object", None)
        return message

    def _after(self, form: Any, names: Iterable[str]) -> dict[str, Any]:
        given = form.cleaned_data
        return {
            name: NEW_TEXT if name in self.texts_of_users else audited_value(name, given.get(name)) for name in names
        }

    def _audit_formset(self, request: HttpRequest, formset: Any) -> None:
        if formset.model._meta.label_lower in WITH_ROWS_OF_THEIR_OWN:
            return
        gone = {id(obj) for obj in formset.deleted_objects}
        changed = {id(obj) for obj, _ in formset.changed_objects}
        for form in formset.initial_forms:
            obj = form.instance
            if id(obj) in gone:
                key = form[formset._pk_field.name].value()  # a deleted object has no key
                before = {name: audited_value(name, value) for name, value in form.initial.items()}
                record_staff_change(request, obj, key=key, before=before, after=None)
            elif id(obj) in changed:
                before = {name: audited_value(name, form.initial.get(name)) for name in form.changed_data}
                after = {name: audited_value(name, form.cleaned_data.get(name)) for name in form.changed_data}
                record_staff_change(request, obj, before=before, after=after)
        for obj in formset.new_objects:
            record_staff_change(request, obj, before=None, after=values_of(obj))


# Labels of models whose changes in an inline the parent's class records.
WITH_ROWS_OF_THEIR_OWN: set[str] = set()


def record_staff_change(
    request: HttpRequest,
    obj: Model,
    *,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    key: Any = None,
) -> None:
    """Add a row for one object. `before` is None for a new object, `after` for a deleted one."""
    is_membership = isinstance(obj, Membership)
    record_event(
        AuditEvent.Event.MEMBERSHIP_CHANGED if is_membership else AuditEvent.Event.STAFF_CHANGE,
        caller=caller_of(request),
        user_id=_person(obj),
        actor_id=request.user.pk,
        model=obj._meta.label_lower,
        id=str(obj.pk if key is None else key),
        organization_id=_organization(obj, key),
        **({"organization": obj.organization_id} if isinstance(obj, Membership) else {}),
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
    )


def values_of(obj: Model, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """The columns of an object in the form of the audit log."""
    fields = [field for field in obj._meta.concrete_fields if not field.primary_key]
    return {
        field.name: TEXT if field.name in but else audited_value(field.name, field.value_from_object(obj))
        for field in fields
    }


def audited_value(name: str, value: Any) -> Any:
    """A field's value for the audit log: secrets are hidden, objects become keys, and e-mail addresses are masked.

    A row about a change of address has the full address (accounts.staff.accounts). The deletion of the account finds
    such rows.
    """
    if "password" in name:
        return "(secret)"
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, QuerySet | list | tuple | set):
        return [audited_value(name, each) for each in list(value)[:MAX_KEYS]]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime.datetime | datetime.date | decimal.Decimal | uuid.UUID):
        return str(value)
    text = cut(str(value), MAX_CHARACTERS)
    return mask_email(text) if "email" in name else text


def mask_email(email: str) -> str:
    """An address that is still recognizable: `a…@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}" if local else ""


def _person(obj: Model) -> int | None:
    """The user that a change of this object affects."""
    if isinstance(obj, User):
        return obj.pk
    person: int | None = getattr(obj, "user_id", None) or getattr(obj, "owner_id", None)
    return person


def _organization(obj: Model, key: Any) -> int | None:
    """The organization that a change of this object affects."""
    if isinstance(obj, Organization):
        return int(obj.pk if key is None else key)
    organization: int | None = getattr(obj, "organization_id", None)
    return organization


def _log(request: HttpRequest, objects: list[Model], flag: int, message: Any) -> list[LogEntry]:
    return LogEntry.objects.bulk_create(
        LogEntry(
            user_id=cast(int, request.user.pk),
            content_type=ContentType.objects.get_for_model(obj, for_concrete_model=False),
            object_id=str(obj.pk),
            object_repr=f"{obj._meta.verbose_name} {obj.pk}"[:200],
            action_flag=flag,
            change_message=message if isinstance(message, str) else json.dumps(message),
        )
        for obj in objects
    )
