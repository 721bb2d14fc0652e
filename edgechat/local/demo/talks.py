"""A conversation of the demo: its turns with the model, and the todos that were found in it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Turn:
    """A question and its answer. `earlier`: the answer's former versions. `rating`: the user's feedback.

    `failure`: the code of the error that a failed reply was answered with.
    """

    question: str
    answer: str
    earlier: tuple[str, ...] = ()
    rating: str | None = None
    comment: str | None = None
    status: str = "complete"
    failure: str | None = None
    picture: bool = False


@dataclass(frozen=True)
class Task:
    """A todo that was found in the last answer of a conversation."""

    title: str
    description: str | None = None
    completed: bool = False
    archived: bool = False


@dataclass(frozen=True)
class Talk:
    """A conversation; `age`: hours since its last message. `shared`: with the owner's organization."""

    title: str
    age: float
    turns: tuple[Turn, ...]
    pinned: bool = False
    archived: bool = False
    shared: bool = False
    system_instruction: str | None = None
    tasks: tuple[Task, ...] = field(default=())
