"""Sets up Django when a test first needs it: a test of a pure function starts in half the time without it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from edgechat.tests.shared_servers import start_servers_for_connections

PROJECT = Path(__file__).parents[2]
APPS = {"accounts", "ai", "conversations", "edgechat", "usage"}
NEEDS_SETUP = {"django", "drf_spectacular", "rest_framework", "unfold"}


@functools.cache
def set_up_django() -> None:
    import django

    django.setup()
    start_servers_for_connections()


def is_set_up() -> bool:
    return set_up_django.cache_info().currsize > 0


def imports_django(path: Path) -> bool:
    """Whether a test module imports Django, by itself or through the project's modules."""
    files, seen = [path], {path}
    while files:
        file = files.pop()
        # An import within a function of the test module also runs in its tests.
        for name in _imported_names(file, everywhere=file == path):
            root = name.partition(".")[0]
            if root in NEEDS_SETUP:
                return True
            if root in APPS:
                new = set(_files_of(name)) - seen
                seen |= new
                files += new
    return False


def _imported_names(file: Path, *, everywhere: bool) -> Iterator[str]:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _files_of(name: str) -> Iterator[Path]:
    """The files that an import of `a.b.c` runs, whether `c` is a module or a name in `a.b`."""
    folder = PROJECT
    for part in name.split("."):
        yield from (file for file in (folder / f"{part}.py", folder / part / "__init__.py") if file.is_file())
        folder /= part
