"""Decodes bytes from the web as browsers do: with the labels and decoders of the Encoding Standard (WHATWG).

The decoders are Python's, with corrections where they differ from the standard's indexes.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
from collections.abc import Iterator

import webencodings

# How often Python's codec may fail to decode. Each failure costs microseconds, and text with more of them has another
# encoding.
_MAX_INVALID = 200_000

_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16le", codecs.BOM_UTF16_BE: "utf-16be"}

_CODECS = {
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "euc-jp": "euc_jp",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
}
_UNICODE = ("utf-8", "utf-16le", "utf-16be", "x-user-defined")

# Where the standard has another character than Python.
_KOI8_U = {0xAE: "ў", 0xBE: "Ў"}
_WINDOWS_1255 = {0xCA: "\u05ba"}
_OTHERS: dict[str, dict[int, int]] = {
    "euc-jp": str.maketrans("〜‖−¢£¬", "～∥－￠￡￢"),
    "shift_jis": str.maketrans("\uf8f0\uf8f1\uf8f2\uf8f3", "\ufffd" * 4),
    "big5": str.maketrans("•､‾∼♁☉¥¢£", "‧﹑¯～⊕⊙￥￠￡"),
    "gb18030": str.maketrans(
        "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796"
        "\ue7c7\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
        "\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19"
        "\u1e3f\u9fb4\u9fb5\u9fb6\u9fb7\u9fb8\u9fb9\u9fba\u9fbb",
    ),
}
_OTHERS["gbk"] = _OTHERS["gb18030"]

# What Python's Big5 lacks: the two bytes of a character in hexadecimal, then this character and its successors.
_BIG5_RUNS = """
877a㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋
8e69箸 8e6f簆 8e7e糎 8eab緒 8eb4縝 8ecd者 8ed0耨 8f57菁 8f69蒨 8f6e萏
8fcb覦覩 8ffe起 906d都 907a銹 90dc靜 90f1響 91bf鼖 9244蔃 92af兙兛兝兞
92c8鍮 92d1瑹 9447浧 94ca禛 95d9邗 9644靝 96ed瀞 96fc嬨 9b76爁 9b78矗
9b7b纇 9bc6駖 9bde釔 9bec惞 9bf6澶 9c42輶 9c53侻 9c62營 9c68鄄 9c6b鷰
9c77菏 9cbc尐秣 9cd0婧 9d57輋 9d5a筑 9dc4拐 9ea9恢 9eef痹 9efd汊 9f60鬮
9f66鼗 9fcb僭 9fd8弌 a063蠏 a077拎 a0d5瑨 a0df煢 a0e4牐
a3c0␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ c6cf廴 c6d3无 c6d5癶
c6d7隶 c6de〃仝 fa5f倩 fa66偽 fabd包 fac5卄 fad5卿 fb48嘅 fbb8婷 fbf3幵
fbf9廐 fc4f彘 fc6c悤 fcb9撐 fce2晴 fcf1杞 fdb7沜渝 fdbb港 fdf1煮 fe52猪
fe6f瑜 feaa瓩 fedd砉
"""

# How many bytes one U+FFFD replaces. An ASCII byte always stays a character of its own, because it may be markup.
_BROKEN = re.compile(rb"[\x81-\xfe][\x80-\xff]|.", re.DOTALL)
_BROKEN_IN = {
    "euc-jp": re.compile(rb"\x8f[\xa1-\xfe][\x80-\xff]|[\x8e\x8f\xa1-\xfe][\x80-\xff]|.", re.DOTALL),
    "gb18030": re.compile(rb"[\x81-\xfe](?:[0-9][\x81-\xfe][0-9]|[0-9][\x81-\xfe]?\Z|[\x80-\xff])|.", re.DOTALL),
}
_BROKEN_IN["gbk"] = _BROKEN_IN["gb18030"]

# A character of JIS X 0212 that Python decodes as ASCII's tilde, and its equivalent in JIS X 0208.
_TILDE = (b"\x8f\xa2\xb7", b"\xa1\xc1")

_DESIGNATION = re.compile(rb"\x1b(\([BJI]|\$[@B])")
_PAIRS = re.compile(rb"((?:[!-~]{2})+)|[!-~]?[^!-~\x1b]|[!-~\x1b]")


def lookup(label: str | None) -> str | None:
    """The standard's name of an encoding; None for an unknown label."""
    found = webencodings.lookup(label.encode("ascii", "replace").decode()) if label else None
    return found.name if found else None


def find_mark(body: bytes) -> tuple[str, int] | tuple[None, int]:
    """The encoding that a byte order mark at the beginning indicates, or None, and the length of the mark."""
    for mark, name in _BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return name, len(mark)
    return None, 0


def decode(body: bytes, name: str) -> str:
    """Decode text from one of the standard's encodings. Invalid bytes become U+FFFD.

    Raises ValueError if most of the text is invalid.
    """
    if name in _UNICODE:
        text: str = webencodings.lookup(name).codec_info.decode(body, "replace")[0]
        return text
    if name == "replacement":
        return "\ufffd"
    replacements = _replacements()
    if name == "iso-2022-jp":
        return _decode_iso_2022_jp(body, replacements)
    if name in _CODECS:
        return _decode_pairs(body, name, replacements)
    return codecs.charmap_decode(body, "strict", _characters(name))[0]


@functools.cache
def _characters(name: str) -> str:
    """The characters of the 256 bytes of a single-byte encoding."""
    decode_byte = webencodings.lookup(name).codec_info.decode
    found = [decode_byte(bytes([byte]), "replace")[0] for byte in range(256)]
    for byte in range(0x80, 0xA0):
        if found[byte] == "\ufffd":
            found[byte] = chr(byte)
    for byte, character in {"koi8-u": _KOI8_U, "windows-1255": _WINDOWS_1255}.get(name, {}).items():
        found[byte] = character
    return "".join(found)


@functools.cache
def _big5() -> dict[bytes, str]:
    """The characters that Python's Big5 lacks, by their bytes."""
    missing = {}
    for run in _BIG5_RUNS.split():
        lead, trail = bytes.fromhex(run[:4])
        for character in run[4:]:
            missing[bytes([lead, trail])] = character
            trail += 1 if trail != 0x7E else 0xA1 - 0x7E
            if trail == 0xFF:
                lead, trail = lead + 1, 0x40
    return missing


def _lacking(name: str, pair: bytes) -> str | None:
    """The character of two bytes that Python's codec does not know; None for invalid bytes."""
    if name == "big5":
        return _big5().get(pair)
    if name == "euc-jp" and len(pair) == 2 and min(pair) > 0xA0 and max(pair) < 0xFF:
        # Vendor characters: Python knows them in Shift_JIS, which lays out the same table differently.
        row, column = pair[0] - 0xA1, pair[1] - 0xA1
        lead = row // 2 + (0x81 if row < 62 else 0xC1)
        trail = column + (0x9F if row % 2 else 0x40 if column < 63 else 0x41)
        with_errors = bytes([lead, trail]).decode("cp932", "replace")
        return with_errors if len(with_errors) == 1 else None
    return None


def _replacements() -> Iterator[str]:
    """A U+FFFD for each invalid sequence of bytes. Raises ValueError after _MAX_INVALID of them."""
    yield from itertools.repeat("\ufffd", _MAX_INVALID)
    raise ValueError("hardly any text in this encoding")


def _decode_pairs(body: bytes, name: str, replacements: Iterator[str]) -> str:
    # The handler is global to the process, but a sandbox has one thread and decodes one document at a time.
    if name == "euc-jp":
        body = body.replace(*_TILDE)
    codecs.register_error("web", functools.partial(_replace_invalid, name, replacements))
    return body.decode(_CODECS[name], "web").translate(_OTHERS.get(name, {}))


def _replace_invalid(name: str, replacements: Iterator[str], error: UnicodeError) -> tuple[str | bytes, int]:
    """The replacement for bytes that Python's codec does not know, and the position after them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    start, replacement = error.start, next(replacements)
    if name in ("gbk", "gb18030") and error.object[start] == 0x80:
        return "€", start + 1
    character = _lacking(name, error.object[start : start + 2])
    if character is not None:
        return character, start + 2
    broken = _BROKEN_IN.get(name, _BROKEN).match(error.object, start)
    return replacement, broken.end() if broken else start + 1


def _decode_iso_2022_jp(body: bytes, replacements: Iterator[str]) -> str:
    """ISO-2022-JP switches between tables that EUC-JP has side by side."""
    first, *others = _DESIGNATION.split(body)
    parts = [_of_ascii(first)]
    for table, data in zip(others[::2], others[1::2], strict=True):
        if table == b"(J":
            parts.append(_of_ascii(data).translate({0x5C: "¥", 0x7E: "‾"}))
        elif table == b"(B":
            parts.append(_of_ascii(data))
        elif table == b"(I":
            parts.append("".join(chr(byte + 0xFF40) if 0x21 <= byte <= 0x5F else next(replacements) for byte in data))
        else:
            for pairs in _PAIRS.finditer(data):
                parts.append(
                    _decode_pairs(pairs[1].translate(_WITH_HIGH_BIT), "euc-jp", replacements)
                    if pairs[1]
                    else next(replacements)
                )
        if not data:
            # An escape sequence that selects a table without using it may hide markup: replace it, as browsers do.
            parts.append(next(replacements))
    # At the end of the text, an unused escape sequence hides nothing.
    return "".join(parts[:-1] if others and not others[-1] else parts)


_WITH_HIGH_BIT = bytes(byte | 0x80 for byte in range(256))


def _of_ascii(data: bytes) -> str:
    return data.decode("ascii", "replace").translate({0x0E: "\ufffd", 0x0F: "\ufffd", 0x1B: "\ufffd"})
