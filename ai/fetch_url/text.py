"""Extracts the text and the title of a fetched document, in a separate process."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from ai.fetch_url.limits import CANNOT_READ, WRONG_TYPE, Deadline, PageRefused
from ai.parsing.limits import MAX_PDF_PAGES, MAX_TEXT_CHARACTERS, MAX_TITLE_LENGTH
from edgechat.graphemes import cut
from edgechat.sandbox.job_limit import JobLimit, OutOfTime
from edgechat.sandbox.jobs import Job, JobFailed

logger = structlog.get_logger(__name__)

MAX_CONTENT_TYPE_LENGTH = 1000

_REFUSALS = {
    "encrypted": "The PDF is encrypted",
    "pages": f"The PDF has more than {MAX_PDF_PAGES} pages",
    "characters": f"The page has more than {MAX_TEXT_CHARACTERS} characters",
    "type": WRONG_TYPE,
}

_job = Job("ai.parsing.page", limit=JobLimit(4, per_user=2), memory=768 * 1024**2, max_bytes=4 * MAX_TEXT_CHARACTERS)


@dataclass(frozen=True)
class Redirect:
    """A page that only redirects. `location` is not checked, like that of a header, and may be relative."""

    location: str


def read_text(body: bytes, content_type: str, *, deadline: Deadline) -> tuple[str | None, str] | Redirect:
    """The title or None, and the text, of an HTML page, a PDF or a plain text.

    `content_type` is the header's text and may be empty. Raises PageRefused and StoreUnavailable.
    """
    try:
        result, files = _job.run(
            {"content_type": content_type[:MAX_CONTENT_TYPE_LENGTH]}, body, seconds=deadline.left()
        )
        if "refused" in result:
            raise PageRefused(_REFUSALS.get(result["refused"], CANNOT_READ))
        if "redirect" in result:
            return Redirect(str(result["redirect"]))
        title, text = result["title"], files[0].decode()
        if title is not None:
            title = cut(str(title).encode(errors="replace").decode(), MAX_TITLE_LENGTH)
    except OutOfTime:
        raise deadline.refusal() from None
    except (JobFailed, LookupError, ValueError) as error:
        logger.info("page_not_read", reason=repr(error)[:200])
        raise PageRefused(CANNOT_READ) from error
    return title, text
