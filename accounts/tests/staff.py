"""Clients of the admin, which log in as staff with e-mail and password and fill in forms."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from typing import Any

import httpx2
from django.contrib.auth.models import Permission

from accounts.models import User
from conftest import Api


def make_user(name: str = "user", *, permissions: tuple[str, ...] = (), **fields: Any) -> User:
    """A user, stored directly. `permissions` are names such as `view_user`."""
    email = fields.pop("email", f"{name}-{uuid.uuid4().hex[:12]}@example.com")
    user = User.objects.create_user(email, f"password of {name}", **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


class Staff(Api):
    """A browser that is logged in to the admin as `user`. Paths are below /admin/."""

    def __init__(self, origin: str, user: User, password: str) -> None:
        super().__init__(origin)
        self.base_url = httpx2.URL(f"{origin}/admin/")
        self.user = user
        answer = self.submit("login/?next=/admin/", username=user.email, password=password)
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/admin/"), answer.text

    def submit(self, path: str, **fields: Any) -> httpx2.Response:
        """Open the page and send its form with these fields filled in. A field that is None is left out."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        return self.post_form(path, {**form_fields(page.text), **fields})

    def post_form(self, path: str, fields: dict[str, Any]) -> httpx2.Response:
        """POST as a browser does, with the CSRF cookie's token."""
        data = {"csrfmiddlewaretoken": self.cookies.get("csrftoken"), **fields}
        return self.post(path, data={name: value for name, value in data.items() if value is not None})

    def act(self, path: str, action: str, *keys: Any, **fields: Any) -> httpx2.Response:
        """Choose rows of a list and run an action."""
        self.get(path)
        return self.post_form(path, {"action": action, "_selected_action": [str(key) for key in keys], **fields})


@contextmanager
def superuser(origin: str) -> Iterator[Staff]:
    user = make_user("root", is_staff=True, is_superuser=True)
    with closing(Staff(origin, user, "password of root")) as staff:
        yield staff


@contextmanager
def helper(origin: str, *permissions: str) -> Iterator[Staff]:
    """A staff user without superuser rights and with exactly these permissions."""
    user = make_user("helper", permissions=permissions, is_staff=True)
    with closing(Staff(origin, user, "password of helper")) as staff:
        yield staff


def form_fields(html: str) -> dict[str, Any]:
    """The fields that a browser sends for an unchanged POST form, without its buttons."""
    reader = _FormReader()
    reader.feed(html)
    return reader.fields


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Any] = {}
        self._in_form = False
        self._select: str | None = None
        self._textarea: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = values.get("name") or ""
        if tag == "form":
            self._in_form = (values.get("method") or "").lower() == "post" and "logout" not in (
                values.get("action") or ""
            )
        elif not self._in_form:
            return
        elif tag == "input" and name and values.get("type") not in ("submit", "button"):
            if values.get("type") in ("checkbox", "radio") and "checked" not in values:
                return
            self.fields[name] = values.get("value") or ("on" if values.get("type") == "checkbox" else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in values:
            self.fields[self._select] = values.get("value") or ""
        elif tag == "textarea":
            self._textarea = name

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] = self.fields.get(self._textarea, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None
