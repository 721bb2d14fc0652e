"""When two e-mail addresses are one, and which ones a new account or an invitation may have."""

from __future__ import annotations

import re
import string
import unicodedata

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.encoding import punycode

# Every top-level domain has letters alone, or is the encoding of other scripts' letters.
_NAMED = re.compile(r"[^\[\]]+\.([a-z]+|xn--[a-z0-9-]+)", re.IGNORECASE)
# A local part in quotes that stands for the same one without them, or without a backslash.
_ATOM = r'[^\s"(),.:;<>@\[\\\]]+'
_NEEDLESSLY_QUOTED = re.compile(rf'"(?:{_ATOM}(?:\.{_ATOM})*|(?:[^\\]|\\["\\])*\\[^"\\].*)"')
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def email_key(email: str) -> str:
    """What identifies an address: two are one person's if their keys are equal.

    ASCII letters are compared whatever their case, and domains as IDNA encodes them. No other letters are taken for the
    same: an address that has no such form, and is older than this rule, equals itself alone.
    """
    email = email.strip()
    return _comparable(email) or email


def refuse_incomparable(email: str) -> None:
    """Raises ValidationError for an address with characters that fold into others, as a Kelvin sign does into a k.

    And for one whose quotes and backslashes stand for nothing, which has a form without them.
    """
    local = email.strip().rpartition("@")[0]
    if _comparable(email.strip()) is None or _NEEDLESSLY_QUOTED.fullmatch(local):
        raise ValidationError("Enter an address without characters that stand for others.", code="incomparable")


def refuse_unnamed_domain(email: str) -> None:
    """Raises ValidationError in production for a domain without a dot, and for an IP address in whatever digits.

    Mails to those go to machines of our own network, if anywhere.
    """
    if settings.DEVELOPMENT:
        return
    try:
        domain = punycode(email.rpartition("@")[2])
    except UnicodeError:
        domain = ""
    if not _NAMED.fullmatch(domain):
        raise ValidationError("Enter an address whose domain has a name, such as ann@example.com.", code="domain")


def _comparable(email: str) -> str | None:
    if email.isascii():
        return email.translate(_LOWER)
    local, _, domain = email.rpartition("@")
    if not local.isascii() or not all(map(_stands_for_itself, domain)):
        return None
    try:
        encoded = idna.encode(domain, uts46=True).decode()
        # Mails are sent by an older IDNA, to which ß is ss: they must not go to another domain than the one compared.
        if encoded != punycode(domain).translate(_LOWER):
            return None
    except UnicodeError:
        return None
    return f"{local}@{encoded}".translate(_LOWER)


def _stands_for_itself(character: str) -> bool:
    """Whether a character of a domain is one of IDNA's own, or the upper case of one that is as far from ASCII."""
    if character.isascii():
        return True
    if unicodedata.normalize("NFKC", character) != character or character.upper().isascii():
        return False
    try:
        mapped = idna.uts46_remap(character)
    except UnicodeError:
        return False
    return mapped == character or (len(mapped) == 1 and mapped == character.lower() and not mapped.isascii())
