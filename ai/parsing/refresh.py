"""Pages that only redirect: by the HTML standard's refresh, with a delay of zero."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from lxml.html import HtmlElement

# Enough for "Redirecting to ... Click here if nothing happens."
_MOST_CHARACTERS = 200

_IS_LIKELY = re.compile(r"http-equiv\s*=\s*[\"']?\s*refresh", re.IGNORECASE)
_REFRESH = re.compile(
    r"""[\t\n\f\r ]*(?:(?P<seconds>[0-9]+)|(?=\.))[0-9.]*
    (?:[\t\n\f\r ]*[;,]|[\t\n\f\r ])[\t\n\f\r ]*
    (?:url[\t\n\f\r ]*=[\t\n\f\r ]*)?
    (?:"(?P<double>[^"]*)|'(?P<single>[^']*)|(?P<bare>.*))""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_NO_LINE_ENDS = dict.fromkeys(map(ord, "\t\n\r"))  # URL parsers remove them
_UNSEEN = ("script", "style", "template", "title")


def may_refresh(html: str) -> bool:
    """Whether it is worth looking for a refresh in the parsed page."""
    return bool(_IS_LIKELY.search(html))


def find_redirect(page: HtmlElement) -> str | None:
    """Where a page with almost no content redirects immediately, or None; may be relative to the page's URL.

    `<noscript>` counts, because scripts are not run.
    """
    for meta in page.iter("meta"):
        if meta.get("http-equiv", "").strip().lower() != "refresh" or _is_inert(meta):
            continue
        found = _REFRESH.match(meta.get("content", ""))
        target = (found["double"] or found["single"] or found["bare"] or "") if found else ""
        target = target.strip().translate(_NO_LINE_ENDS)
        if not found or not target:
            continue
        if int((found["seconds"] or "0")[:10]) or _shows_more(page):
            return None
        return _from_base(page, target)
    return None


def _is_inert(element: HtmlElement) -> bool:
    return any(ancestor.tag == "template" for ancestor in element.iterancestors())


def _shows_more(page: HtmlElement) -> bool:
    body = page.find("body")
    shown = 0
    for element in body.iter() if body is not None else ():
        if isinstance(element.tag, str) and element.tag not in _UNSEEN:
            shown += len((element.text or "").strip())
        shown += len((element.tail or "").strip())
    return shown > _MOST_CHARACTERS


def _from_base(page: HtmlElement, target: str) -> str:
    base = next((element.get("href", "") for element in page.iter("base") if element.get("href")), "")
    try:
        return urljoin(base.strip(), target)
    except ValueError:
        return target
