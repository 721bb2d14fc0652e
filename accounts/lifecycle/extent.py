"""How much the deletion of users or of an organization deletes, in words, for whoever has to confirm it.

Each app registers what it stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from django.db.models import Model, QuerySet

from edgechat.errors import StoreUnavailable

Subject = Literal["user", "organization"]

# The cost of a page must not depend on the size of a table.
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class Stored:
    """One kind of what is stored. `count` returns how many there are for these ids; MAX_COUNTED + 1 for more.

    `kept` says what becomes of rows that are not deleted.
    """

    one: str
    many: str
    count: Callable[[Sequence[int]], int]
    kept: str = ""

    def in_words(self, ids: Sequence[int]) -> str:
        """For example `3 ledger entries, kept without a name`; empty if there is none."""
        try:
            number = self.count(ids)
        except StoreUnavailable:
            return f"{self.many}: not counted, because their store does not answer"
        if not number:
            return ""
        many = f"more than {MAX_COUNTED:,}" if number > MAX_COUNTED else f"{number:,}"
        return f"{many} {self.one if number == 1 else self.many}{self.kept and f', {self.kept}'}"


_stored: dict[Subject, list[Stored]] = {"user": [], "organization": []}


def register_stored(subject: Subject, *kinds: Stored) -> None:
    _stored[subject].extend(kinds)


def rows_in(
    model: type[Model], column: str, *, kept: str = "", called: tuple[str, str] | None = None, **more: Any
) -> Stored:
    """The rows of a model with one of the ids in a column; `called` are their names for one and for several."""
    one, many = called or (str(model._meta.verbose_name), str(model._meta.verbose_name_plural))
    return Stored(one, many, partial(_count, model, column, more), kept)


def extent(subject: Subject, ids: Sequence[int]) -> list[str]:
    """What is stored for these users or organizations together, a line for each kind of which there is any."""
    return [words for kind in _stored[subject] if (words := kind.in_words(ids))]


def _count(model: type[Model], column: str, more: dict[str, Any], ids: Sequence[int]) -> int:
    rows: QuerySet[Any] = model._default_manager.filter(**{f"{column}__in": ids}, **more)
    return rows.order_by().values("pk")[: MAX_COUNTED + 1].count()
