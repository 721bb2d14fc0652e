"""The errors that a function can raise, read from its source and from that of the functions that it names.

Not found are errors that a variable holds, and those of methods, because the types of objects are not known.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

from edgechat.errors import ApiError

APPS = ("edgechat", "accounts", "ai", "conversations", "usage")
_found: dict[Callable[..., Any], set[type[ApiError]]] = {}


def errors_of(function: Callable[..., Any]) -> set[type[ApiError]]:
    function = inspect.unwrap(function)
    if function not in _found:
        _found[function] = set()  # for functions that call each other
        _found[function] = _errors_in(_source(function), function.__globals__)
    return _found[function]


@functools.cache
def _source(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _errors_in(node: ast.AST, names: dict[str, Any]) -> set[type[ApiError]]:
    children = [_errors_in(child, names) for child in ast.iter_child_nodes(node)]
    found = set().union(*children) if children else set()
    if isinstance(node, ast.Try):
        body = set().union(*(_errors_in(each, names) for each in node.body))
        rest = [*node.handlers, *node.orelse, *node.finalbody]
        caught = [handler.type for handler in node.handlers if handler.type is not None]
        return _uncaught(body, caught, names).union(*(_errors_in(each, names) for each in rest))
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        suppressed = [each for call in calls if _value(call.func, names) is suppress for each in call.args]
        return _uncaught(found, suppressed, names)
    if isinstance(node, ast.Raise) and node.exc is not None:
        raised = _value(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, names)
        if isinstance(raised, type) and issubclass(raised, ApiError):
            found.add(raised)
    if isinstance(node, ast.Name | ast.Attribute):
        value = _value(node, names)
        if isinstance(value, FunctionType) and inspect.unwrap(value).__module__.split(".")[0] in APPS:
            found |= errors_of(value)
    return found


def _uncaught(errors: set[type[ApiError]], caught: list[ast.expr], names: dict[str, Any]) -> set[type[ApiError]]:
    parts = [part for each in caught for part in (each.elts if isinstance(each, ast.Tuple) else [each])]
    classes = tuple(value for value in (_value(part, names) for part in parts) if isinstance(value, type))
    return {error for error in errors if not issubclass(error, classes)}


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a name, or an attribute of a module or class, stands for; None for other expressions."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, names)
        return getattr(owner, node.attr, None) if isinstance(owner, ModuleType | type) else None
    return None
