"""Embedding texts in a Markdown file (CommonMark 0.31) so that no text affects what follows it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from edgechat.processes.threads import Pauses

_LINE_END = re.compile(r"\r\n?|\n")
# Characters that are markup in a heading, and hashes at its end, which would not be shown.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&~|]|#(?=#*$)")

_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_LIST_ITEM = re.compile(r"([-+*]|(\d{1,9})[.)])(?:( +)\S|[ ]*$)")
_NO_LIST = re.compile(r">|#{1,6}(?:[ \t]|$)|([-*_])(?:[ \t]*\1){2,}[ \t]*$")
# HTML blocks that continue until an end marker: the patterns of start and end, and the closing text.
_HTML = (
    *(
        (rf"<{name}(?:[\s>]|$)", r"</(?:script|pre|style|textarea)>", f"</{name}>")
        for name in ("script", "pre", "style", "textarea")
    ),
    (r"<!--", r"-->", "-->"),
    (r"<\?", r"\?>", "?>"),
    (r"<!\[CDATA\[", r"\]\]>", "]]>"),
    (r"<![a-z]", r">", ">"),
)
_HTML_BEGINS = [re.compile(begins, re.IGNORECASE) for begins, _, _ in _HTML]
_HTML_ENDS = [re.compile(ends, re.IGNORECASE) for _, ends, _ in _HTML]
# HTML blocks that continue until a blank line: these elements, and, outside paragraphs, a line with only a tag.
_ELEMENT = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt"
    r"|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu"
    r"|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track"
    r"|ul)(?:\s|/?>|$)",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-z][^<]*>\s*$", re.IGNORECASE)
_MAX_STATES = 30


class _State(NamedTuple):
    """The block that may be open after a line, outside lists and quotations, which end with their last line.

    `length` is the length of a fence, or the index of an HTML block. While no block is open, lines that are indented by
    at least `item` belong to a list, or, unless this is `certain`, may not: paragraphs are not parsed here.
    """

    kind: Literal["", "`", "~", "html", "element"] = ""
    length: int = 0
    item: int | None = None
    certain: bool = False


def heading_text(title: str) -> str:
    """A title as the text of a heading: on one line, and displayed as typed."""
    return _SPECIAL.sub(lambda match: "\\" + match.group(), " ".join(title.split()))


def quoted(text: str) -> str:
    """A text as a quotation: every line is marked, for every kind of line ending."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def closed(text: str) -> str:
    """The text, and the closing of each fence or HTML block that it leaves open or may leave open."""
    if not any(mark in text for mark in ("```", "~~~", "<")):
        return text
    states = {_State()}
    raw = []  # lines that may be in HTML blocks that end with a blank line; their markup may stay open
    follows_blank = True
    pauses = Pauses()
    for line in _LINE_END.split(text):
        pauses.pause()
        before, states = states, {after for state in states for after in _after(state, line, follows_blank)}
        if any(state.kind == "element" for state in before | states):
            raw.append(line)
        follows_blank = not line.strip(" \t")
        if len(states) > _MAX_STATES:
            longest = {mark: max(map(len, re.findall(mark + "+", text)), default=0) for mark in "`~"}
            states = {_State("html", number) for number in range(len(_HTML))}
            states |= {_State("`", longest["`"] + 3), _State("~", longest["~"] + 3), _State()}
            break
    html = "\n".join(raw)
    comment = "\n\n<!-- -->" if html.rfind("<!--") > html.rfind("-->") else ""
    return "".join([text, *_endings(states), comment])


def _endings(states: set[_State]) -> Iterator[str]:
    for _, number, *_ in sorted(state for state in states if state.kind == "html"):
        yield f"\n{_HTML[number][2]}"
    for mark in ("`", "~"):
        length = max((state.length for state in states if state.kind == mark), default=0)
        if length and len(states) == 1:
            yield "\n" + mark * length
        elif length:
            # This closes an open fence; if none is open, it is an empty fence in a list.
            yield f"\n\n- {mark * length}\n  {mark * length}"


def _after(state: _State, line: str, follows_blank: bool) -> Iterator[_State]:
    """The possible states after a line."""
    expanded = line.expandtabs(4)
    content = expanded.lstrip(" ")
    indent = len(expanded) - len(content)
    if state.kind in ("`", "~"):
        run = content.rstrip(" ")
        closes = indent < 4 and len(run) >= state.length and not run.strip(state.kind)
        yield _State() if closes else state
    elif state.kind == "html":
        yield _State() if _HTML_ENDS[state.length].search(line) else state
    elif state.kind == "element":
        yield state if content else _State()
    elif not content:
        yield state
    elif state.item is not None and indent >= state.item:
        yield state
        if not state.certain:
            yield from _after_block(_State(), content, indent, follows_blank)
    else:
        yield from _after_block(state, content, indent, follows_blank)


def _after_block(state: _State, content: str, indent: int, follows_blank: bool) -> Iterator[_State]:
    """The possible states after a line outside any open block, or one that only continues a paragraph of a list."""
    maybe_in_list = state._replace(certain=False)
    if indent >= 4:
        yield maybe_in_list
    elif fence := _FENCE.match(content):
        yield _State(content[0], len(fence[1] or fence[2]))  # type: ignore[arg-type]
    elif _NO_LIST.match(content):
        yield _State()
    elif content.startswith("<"):
        yield from _after_html(maybe_in_list, content, follows_blank)
    elif item := _LIST_ITEM.match(content):
        spaces = len(item[3] or " ")
        width = indent + len(item[1]) + (spaces if spaces < 5 else 1)
        begins = item[3] is not None and (item[2] is None or int(item[2]) == 1)
        yield _State(item=width, certain=begins or (follows_blank and item[3] is not None) or state.certain)
    else:
        yield _State() if follows_blank else maybe_in_list


def _after_html(otherwise: _State, content: str, follows_blank: bool) -> Iterator[_State]:
    for number, begins in enumerate(_HTML_BEGINS):
        if begins.match(content):
            yield _State() if _HTML_ENDS[number].search(content) else _State("html", number)
            return
    if _ELEMENT.match(content):
        yield _State("element")
        return
    if _TAG.match(content):
        yield _State("element")
    yield _State() if follows_blank else otherwise
