"""The tables of docs/settings.md, made from the declarations in edgechat/settings.

`python -m edgechat.local.settings_page` replaces the text between the page's two markers. The `#:` comment above a
declaration describes the variable. A test fails if the page is not up to date.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from marshmallow import fields, validate

PROJECT = Path(__file__).parents[2]
PAGE, SETTINGS = PROJECT / "docs" / "settings.md", PROJECT / "edgechat" / "settings"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
KINDS = ("str", "bool", "int", "float", "list", "path")
# Settings refuse to start without these in production. The values stand for them while the page is made.
REQUIRED = {
    "JWT_SECRET": "0123456789abcdef0123456789abcdef",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "MONGODB_URL": "mongodb://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9/0",
}


def settings_tables() -> str:
    """A heading and a table for each module that reads variables. The process must have no settings but REQUIRED."""
    parts: list[str] = []
    for path in [SETTINGS / "deployment.py", *sorted(SETTINGS.glob("[!_]*.py"))]:
        source = path.read_text()
        rows = [_row(name, description) for name, description in _declarations(source)]
        if rows and (title := _title(source)) not in "".join(parts):
            parts.append(f"## {title}\n\n| variable | default | values | |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def _title(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".")


def _declarations(source: str) -> Iterator[tuple[str, str]]:
    """Each variable that a module reads with `env`, and its `#:` comment, in the order of the lines."""
    lines = source.splitlines()
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(ast.Attribute(ast.Name("env"), kind), [ast.Constant(str(name)), *_]) if kind in KINDS:
                around = [each.lineno for each in statements if each.lineno <= node.lineno <= (each.end_lineno or 0)]
                found.append((node.lineno, name, _comment(lines, node.lineno) or _comment(lines, max(around))))
    return iter([(name, comment) for _, name, comment in sorted(found)])


def _comment(lines: list[str], number: int) -> str:
    """The text of the `#:` lines directly above a line, which is counted from 1."""
    text: list[str] = []
    while number >= 2 and lines[number - 2].lstrip().startswith("#: "):
        number -= 1
        text.insert(0, lines[number - 1].strip().removeprefix("#: "))
    return " ".join(text)


def _row(name: str, description: str) -> str:
    from edgechat.settings import env

    field = env.declared(name)
    default = "" if field.load_default is None else str(field.load_default).removesuffix(".0")
    if isinstance(field, fields.Bool):
        default = default.lower()
    shown = "required" if name in REQUIRED else f"`{default}`" if default else "-"
    return f"| `{name}` | {shown} | {_values(field)} | {description} |\n"


def _values(field: fields.Field[object]) -> str:
    if isinstance(field, fields.Bool):
        return "`true`, `false`"
    kind = "a whole number" if isinstance(field, fields.Int) else "a number" if isinstance(field, fields.Float) else ""
    for validator in field.validators:
        if isinstance(validator, validate.OneOf):
            return ", ".join(f"`{choice}`" for choice in validator.choices)
        if isinstance(validator, validate.Range) and validator.max is None:
            return f"{kind}, {validator.min} or more"
        if isinstance(validator, validate.Range):
            return f"{kind}, {validator.min} to {validator.max}"
    return kind


def main() -> None:
    os.environ.clear()
    os.environ.update(REQUIRED, ENV_FILE="no-such-file")
    page = PAGE.read_text()
    head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{settings_tables()}\n{END}{tail}")


if __name__ == "__main__":
    main()
