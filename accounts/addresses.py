"""Equality of e-mail addresses, and the addresses that a new account or invitation may have."""

from __future__ import annotations

import re
import string
import unicodedata

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.encoding import punycode

# Every top-level domain consists of ASCII letters, or is the encoding of other scripts' letters.
_NAMED = re.compile(r"[^\[\]]+\.([a-z]+|xn--[a-z0-9-]+)", re.IGNORECASE)
# A quoted local part that is equivalent to one without the quotes or without a backslash.
_ATOM = r'[^\s"(),.:;<>@\[\\\]]+'
_NEEDLESSLY_QUOTED = re.compile(rf'"(?:{_ATOM}(?:\.{_ATOM})*|(?:[^\\]|\\["\\])*\\[^"\\].*)"')
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def email_key(email: str) -> str:
    """The key that identifies an address: two addresses are equal if their keys are.

    ASCII letters are compared without case, and domains in their IDNA encoding. Other letters are not folded. An
    address without such a form, from before this rule, equals only itself.
    """
    email = email.strip()
    return _comparable(email) or email


def refuse_incomparable(email: str) -> None:
    """Raises ValidationError for an address with characters that fold into others, as the Kelvin sign folds into k.

    Also for an address with needless quotes or backslashes, which has a simpler form.
    """
    local = email.strip().rpartition("@")[0]
    if _comparable(email.strip()) is None or _NEEDLESSLY_QUOTED.fullmatch(local):
        raise ValidationError("Enter an address without characters that stand for others.", code="incomparable")


def refuse_unnamed_domain(email: str) -> None:
    """In production, raises ValidationError for a domain without a dot and for an IP address in any notation.

    Mail to such addresses could only reach machines of the internal network.
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
        # The mail library uses an older IDNA, which encodes ß as ss. The mail must go to the domain that was compared.
        if encoded != punycode(domain).translate(_LOWER):
            return None
    except UnicodeError:
        return None
    return f"{local}@{encoded}".translate(_LOWER)


def _stands_for_itself(character: str) -> bool:
    """Whether a character of a domain is valid in IDNA, or is the upper case of such a character outside ASCII."""
    if character.isascii():
        return True
    if unicodedata.normalize("NFKC", character) != character or character.upper().isascii():
        return False
    try:
        mapped = idna.uts46_remap(character)
    except UnicodeError:
        return False
    return mapped == character or (len(mapped) == 1 and mapped == character.lower() and not mapped.isascii())
