"""Which e-mail addresses a new account or an invitation may have."""

from __future__ import annotations

import re

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.encoding import punycode

# Every top-level domain has letters alone, or is the encoding of other scripts' letters.
_NAMED = re.compile(r"[^\[\]]+\.([a-z]+|xn--[a-z0-9-]+)", re.IGNORECASE)


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
