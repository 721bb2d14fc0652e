"""How the admin names and finds the owners of conversations: by address only for staff who may see users."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.models import User
from accounts.staff.filters import is_id
from accounts.staff.pages import users_matching
from accounts.staff.rights import may_see


def may_see_addresses(request: HttpRequest) -> bool:
    return may_see(request, "accounts.user")


def owner_name(request: HttpRequest, owner_id: int) -> str:
    """The owner's address, `user 7` for staff who may not see users, or `deleted user 7`."""
    email = _emails([owner_id]).get(owner_id)
    return _name(owner_id, email, may_see_addresses(request))


def owner_links(request: HttpRequest, owner_ids: Iterable[int]) -> dict[int, str]:
    """The names of owners, linked to their pages for staff who may see users."""
    wanted, is_named = set(owner_ids), may_see_addresses(request)
    emails, links = _emails(wanted), dict[int, str]()
    for owner_id in wanted:
        email = emails.get(owner_id)
        name = _name(owner_id, email, is_named)
        if email is None or not is_named:
            links[owner_id] = format_html('<span class="break-anywhere">{}</span>', name)
        else:
            url = reverse("admin:accounts_user_change", args=[owner_id])
            links[owner_id] = format_html('<a class="break-anywhere text-link" href="{}">{}</a>', url, name)
    return links


def owner_with(term: str) -> int | None:
    """The user with this id, perhaps deleted, or with this e-mail in any letter case; None if there is no such user."""
    if is_id(term):
        return int(term)
    # PostgreSQL does not accept NUL.
    user = None if "\x00" in term else User.objects.with_email(term)
    return None if user is None else user.pk


def owners_matching(request: HttpRequest, term: str, *, limit: int) -> list[tuple[int, str]]:
    """The ids and addresses of at most `limit` users whose address contains the text; none without the right to see
    users, because a search by parts would spell out every address."""
    if "\x00" in term or not may_see_addresses(request):
        return []
    return list(_emails(users_matching(term)[:limit]).items())


def _emails(owner_ids: Iterable[int]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=set(owner_ids)).values_list("pk", "email"))


def _name(owner_id: int, email: str | None, is_named: bool) -> str:
    if email is None:
        return f"deleted user {owner_id}"
    return email if is_named else f"user {owner_id}"
