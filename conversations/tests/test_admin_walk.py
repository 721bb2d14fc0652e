"""A walk over every form and action of the admin: each writes a row of the audit log.

The walk follows the site's registry. A new class in the registry only needs an entry here that creates its objects.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth.models import Group
from django.db.models import Model
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import ApiKey, AuditEvent, Membership, Organization, Session, User
from accounts.staff.audit import AuditedAdmin
from accounts.tests.staff import Staff, form_fields, make_user, superuser
from conversations.models import Todo
from usage.models import Budget, ModelPrice

NOT_CHANGES = ("login", "transcript_read")
SECRET = "a sentence that was said in a conversation"


def _user() -> User:
    user = make_user("walked", full_name="Walked Over")
    Session.objects.create(user=user, expires_at=timezone.now() + timedelta(days=1))
    return user


def _organization() -> Organization:
    return Organization.objects.create(name=f"walked {uuid.uuid4().hex}")


MAKERS: dict[type[Model], Callable[[], Model]] = {
    User: _user,
    Organization: _organization,
    Group: lambda: Group.objects.create(name=f"walked {uuid.uuid4().hex}"),
    Session: lambda: Session.objects.get(user=_user()),
    ApiKey: lambda: ApiKey.objects.create(
        user=_user(), name="walked", prefix="ec_walked0", digest=uuid.uuid4().hex, scopes=["ai"]
    ),
    Todo: lambda: Todo.objects.create(owner=_user(), title=SECRET, conversation_id="0" * 24),
    Budget: lambda: Budget.objects.create(user=_user(), token_limit=5),
    ModelPrice: lambda: ModelPrice.objects.create(
        model=f"walked-{uuid.uuid4().hex}", input_micros=1, cached_input_micros=1, output_micros=1
    ),
}
# The additional values that a form requires.
TOGETHER: dict[type[Model], dict[str, Any]] = {
    User: {"password1": "long enough", "password2": "long enough"},
    Budget: {"organization": ""},
    Membership: {"invited_email": ""},
}
ANSWERS = {"confirmed": "yes", "post": "yes", "period": "day", "budget": "tokens", "tokens": "77"}


@pytest.fixture
def root(web_url: str) -> Iterator[Staff]:
    with superuser(web_url) as staff:
        yield staff


def _request(root: Staff) -> HttpRequest:
    request = RequestFactory().get("/admin/")
    request.user = root.user
    return request


def _changeable() -> list[type[Model]]:
    """The models whose objects staff can add, change, delete or use in actions."""
    request = RequestFactory().get("/admin/")
    request.user = User(is_staff=True, is_superuser=True)
    found = []
    for model, model_admin in admin.site._registry.items():
        rights = (
            model_admin.has_add_permission(request),
            model_admin.has_change_permission(request),
            model_admin.has_delete_permission(request),
            model_admin.get_actions(request),
        )
        if any(rights):
            found.append(model)
    return found


def _path(model: type[Model], *more: Any) -> str:
    return "/".join(str(part) for part in (model._meta.app_label, model._meta.model_name, *more, ""))


def _another(field: Any, value: Any) -> Any:
    """A value for a form's field that differs from its current value."""
    if isinstance(field, forms.EmailField):
        return f"changed-{uuid.uuid4().hex[:12]}@example.com"
    if isinstance(field, forms.BooleanField):
        return None if value else "on"
    if isinstance(field, forms.IntegerField):
        return str((value or 0) + 7)
    if isinstance(field, forms.DateField):
        return str((value or datetime.date(2026, 1, 1)) + datetime.timedelta(days=7))
    choices: Any = field
    if isinstance(field, forms.ModelMultipleChoiceField):
        others = choices.queryset.exclude(pk__in=[each.pk for each in value or ()])
        return [str((others.first() or MAKERS[others.model]()).pk)]
    if isinstance(field, forms.ModelChoiceField):
        return str(MAKERS[choices.queryset.model]().pk)
    if isinstance(field, forms.ChoiceField):
        return next(str(key) for key, _ in choices.choices if key and key != value)
    if isinstance(field, forms.CharField):
        return f"changed {uuid.uuid4().hex}"
    raise AssertionError(f"say how to change a {type(field).__name__}")


def _fields(form: Any) -> dict[str, Any]:
    fields = {name: field for name, field in form.base_fields.items() if not field.disabled}
    return {name: field for name, field in fields.items() if not isinstance(field, forms.models.InlineForeignKeyField)}


def _stored(obj: Model) -> dict[str, Any]:
    fresh = type(obj)._default_manager.get(pk=obj.pk)
    return forms.models.model_to_dict(fresh) | {
        field.name: [each.pk for each in field.value_from_object(fresh)] for field in fresh._meta.many_to_many
    }


class _Rows:
    """The audit rows that an operation of a staff member writes."""

    def __init__(self, root: Staff) -> None:
        self._root, self._seen = root, self._last()

    def _last(self) -> int:
        return AuditEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0

    def new(self) -> list[AuditEvent]:
        rows = AuditEvent.objects.filter(actor_id=self._root.user.pk, id__gt=self._seen).exclude(event__in=NOT_CHANGES)
        found = list(rows)
        self._seen = self._last()
        return found

    def expect(self, what: str) -> list[AuditEvent]:
        found = self.new()
        assert found, f"{what} left no row in the audit log"
        assert not [row for row in found if SECRET in str(row.details)]
        return found

    def expect_change(self, what: str) -> None:
        for row in self.expect(what):
            assert row.details["before"] != row.details["after"], what


def test_every_class_of_the_admin_is_audited_and_made_here() -> None:
    assert [each for each in admin.site._registry.values() if not isinstance(each, AuditedAdmin)] == []
    assert set(_changeable()) == set(MAKERS)


def test_every_page_of_the_admin_is_walked_over() -> None:
    """A page that is not one of Django's must be tested, here or elsewhere, and then added to this list."""
    names = {
        pattern.name.removeprefix(f"{model._meta.app_label}_{model._meta.model_name}_")
        for model, model_admin in admin.site._registry.items()
        for pattern in model_admin.get_urls()
        if pattern.name
    }
    ordinary = {"changelist", "csv", "add", "history", "delete", "change"}
    actions = {"end_sessions", "export", "deactivate", "set_budget"}
    assert names - ordinary - actions == {
        "auth_user_password_change",
        "transcript",
        "find",
        *("quality", "quality_csv"),  # conversations.tests.test_admin_quality
        *("users", "users_csv", "user", "chart"),  # usage.tests.test_admin_drill_down
    }


@pytest.mark.parametrize("model", _changeable(), ids=lambda model: model._meta.label_lower)
def test_what_forms_change_is_audited(root: Staff, model: type[Model]) -> None:
    model_admin, request, rows = admin.site._registry[model], _request(root), _Rows(root)
    if model_admin.has_add_permission(request):
        fields = _fields(model_admin.get_form(request, fields=flatten_fieldsets(model_admin.get_fieldsets(request))))
        given = {name: _another(field, None) for name, field in fields.items()} | TOGETHER.get(model, {})
        answer = root.submit(_path(model, "add"), **given)
        assert answer.status_code == 302, answer.text
        rows.expect(f"Adding a {model.__name__}")
    obj = MAKERS[model]()
    if model_admin.has_change_permission(request, obj):
        page = _path(model, obj.pk, "change")
        form = model_admin.get_form(
            request, obj, change=True, fields=flatten_fieldsets(model_admin.get_fieldsets(request, obj))
        )
        for name, field in _fields(form).items():
            before = _stored(obj)
            answer = root.submit(page, **{name: _another(field, before[name])})
            assert answer.status_code == 302, answer.text
            assert _stored(obj)[name] != before[name], f"{name} of {model.__name__} did not change"
            rows.expect_change(f"Changing {name} of a {model.__name__}")
        for inline in model_admin.get_inline_instances(request, obj):
            _walk_inline(root, rows, page, obj, inline)
        assert model_admin.list_editable == ()  # or include it in the walk
    if model_admin.has_delete_permission(request, obj):
        assert root.submit(_path(model, obj.pk, "delete"), post="yes").status_code == 302
        rows.expect(f"Deleting a {model.__name__}")
        assert not model._default_manager.filter(pk=obj.pk).exists()
    told = LogEntry.objects.filter(user_id=root.user.pk).values_list("object_repr", "change_message")
    assert not [entry for entry in told if any(text in str(entry) for text in (SECRET, "@", "Walked", "changed "))]


def _walk_inline(root: Staff, rows: _Rows, page: str, obj: Model, inline: Any) -> None:
    request = _request(root)
    formset = inline.get_formset(request, obj)
    if not inline.has_add_permission(request, obj):
        assert not inline.has_change_permission(request, obj)
        return
    prefix, fields = formset.get_default_prefix(), _fields(formset.form)
    fields.pop("DELETE", None)
    what = f"of a {inline.model.__name__} beside a {type(obj).__name__}"
    new = {name: _another(field, None) for name, field in fields.items()} | TOGETHER.get(inline.model, {})
    key = {formset.fk.name: obj.pk, "id": ""}
    row = {f"{prefix}-0-{name}": value for name, value in {**key, **new}.items() if name in fields or name in key}
    answer = root.submit(page, **{f"{prefix}-TOTAL_FORMS": "1"}, **row)
    assert answer.status_code == 302, answer.text
    rows.expect(f"Adding {what}")
    made = inline.model._default_manager.get(**{formset.fk.name: obj})
    for name, field in fields.items():
        if name == "period":
            continue  # disabled for an existing budget (usage.staff.budget_admin)
        before = _stored(made)
        answer = root.submit(page, **{f"{prefix}-0-{name}": _another(field, before[name])})
        assert answer.status_code == 302, answer.text
        assert _stored(made)[name] != before[name], f"{name} {what} did not change"
        rows.expect_change(f"Changing {name} {what}")
    assert root.submit(page, **{f"{prefix}-0-DELETE": "on"}).status_code == 302
    rows.expect(f"Deleting {what}")
    assert not inline.model._default_manager.filter(pk=made.pk).exists()


@pytest.mark.parametrize("model", _changeable(), ids=lambda model: model._meta.label_lower)
def test_what_actions_do_is_audited(root: Staff, model: type[Model]) -> None:
    model_admin, request, rows = admin.site._registry[model], _request(root), _Rows(root)
    for name in model_admin.get_actions(request):
        obj = MAKERS[model]()
        answer = root.act(_path(model), name, obj.pk, **ANSWERS)
        assert answer.status_code == 302, answer.text
        rows.expect(f"The action {name} on a {model.__name__}")
    for name in getattr(model_admin, "actions_detail", ()):
        obj = MAKERS[model]()
        page = _path(model, obj.pk, getattr(model_admin, name).url_path)
        answer = root.post_form(page, {**form_fields(root.get(page).text), **ANSWERS})
        assert answer.status_code in (200, 302), answer.text
        rows.expect(f"The action {name} of a {model.__name__}")


def test_setting_a_password_is_audited_without_it(root: Staff) -> None:
    user, rows = _user(), _Rows(root)
    path = _path(User, user.pk, "password")
    assert root.submit(path, password1="set by staff", password2="set by staff").status_code == 302
    assert [(row.event, row.details) for row in rows.new()] == [("password_changed", {})]
