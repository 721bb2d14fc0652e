"""Pages and PDF files that take a parser long: long runs of what each place is searched for, up to five megabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

HTML = "text/html; charset=utf-8"
PDF = "application/pdf"

# Text that makes regular expressions and parsers of dates, addresses and markup backtrack.
RUNS = (
    *"""()[]{}<>/\\"'&;#%:,.-_|=+*?!@$~^` \t\n\raA10é\u4e2d\u200d©""",
    *("ab ", "By ", "by a ", "a.b.", "1/", "1-", "2020-", "&#", "&amp;", "&#x41;", "http://", "www.", "//", "a@", "- "),
    *("| ", "· ", '\\"', '"author"', '"@type"', '{"a":', "[[", "<!--", "-->", "<![CDATA[", "]]>", "<a", "</a>", "<p>"),
)

# The places that the extraction searches: `%` is the run.
PLACES = {
    "title": "<html><head><title>%</title></head><body><p>x</p></body></html>",
    "author": '<html><head><meta name="author" content="%"></head><body><p>x</p></body></html>',
    "name": '<html><head><meta name="%" content="x"></head><body><p>x</p></body></html>',
    "property": '<html><head><meta property="og:title" content="%"><meta property="%" content="x"></head></html>',
    "date": '<html><head><meta property="article:published_time" content="%"></head><body><time>%</time></body></html>',
    "description": '<html><head><meta name="description" content="%"><meta name="keywords" content="%"></head></html>',
    "ld+json": '<html><head><script type="application/ld+json">%</script></head><body><p>x</p></body></html>',
    "ld+json author": '<html><head><script type="application/ld+json">{"@type": "Article", "author": {"name": "%'
    '"}}</script></head></html>',
    "doctype": "<!DOCTYPE %<html><body><p>x</p></body></html>",
    "whole doctype": "<!DOCTYPE html PUBLIC '%'><html><body><p>x</p></body></html>",
    "comment": "<html><body><!-- % --><p>x</p></body></html>",
    "open comment": "<html><body><p>x</p><!-- %",
    "processing": '<?xml version="1.0" encoding="%"?><html><body><p>x</p></body></html>',
    "attribute": '<html><body><p class="%" id="%">x</p></body></html>',
    "bare attributes": "<html><body><p %>x</p></body></html>",
    "tag": "<html><body><%>x</body></html>",
    "entity": "<html><body><p>&%;</p></body></html>",
    "script": "<html><body><script>%</script><style>%</style><p>x</p></body></html>",
    "link": '<html><head><link rel="canonical" href="http://a/%"></head><body><a href="%">x</a></body></html>',
    "base": '<html><head><base href="%"></head><body><a href="%">x</a><img src="%" alt="%"></body></html>',
    "heading": "<html><body><h1>%</h1><h2>%</h2></body></html>",
    "byline": '<html><body><span class="author">%</span><p class="byline">%</p></body></html>',
    "paragraph": "<html><body><article><p>%</p></article></body></html>",
    "preformatted": "<html><body><pre>%</pre><code>%</code><table><tr><td>%</td></tr></table></body></html>",
    "nothing else": "%",
}


def runs(size: int) -> Iterator[tuple[str, bytes]]:
    """Every run in every place, each with a name; about `size` bytes long."""
    for place, page in PLACES.items():
        for run in RUNS:
            times = size // (len(run.encode()) * page.count("%"))
            yield f"{run!r} in {place}", page.replace("%", run * times).encode()[: 5 * 1024 * 1024]


def structures(size: int) -> Iterator[tuple[str, bytes]]:
    """Numerous, deep, repeated and numbered elements and attributes."""
    for tag in ("div", "p", "b", "table", "ul", "li", "span", "blockquote", "a", "font", "svg", "form", "td", "object"):
        deep = size // (2 * len(tag) + 5)
        yield f"deep {tag}", f"<html><body>{f'<{tag}>' * deep}x{f'</{tag}>' * deep}</body></html>".encode()
        yield f"open {tag}", f"<html><body>{f'<{tag}>x' * (size // (len(tag) + 3))}".encode()
        yield f"closed {tag}", f"<html><body>{f'</{tag}>x' * (size // (len(tag) + 4))}".encode()
        yield (
            f"many {tag}",
            f"<html><body>{f'<{tag}>a b</{tag}>' * (size // (2 * len(tag) + 8))}</body></html>".encode(),
        )
    numbered = "".join(f" a{number}=1" for number in range(size // 10))
    yield "numbered attributes", f"<html><body><p{numbered}>x</p></body></html>".encode()
    yield "repeated attributes", f"<html><body><p{' a=1' * (size // 4)}>x</p></body></html>".encode()
    yield "numbered tags", "".join(f"<t{number}>" for number in range(size // 9)).encode()
    yield "metas", f"<html><head>{'<meta name=author content=a>' * (size // 28)}</head></html>".encode()
    yield "links", f"<html><body>{'<a href=http://a.example/b?c=d>e</a>' * (size // 36)}</body></html>".encode()
    yield (
        "scripts",
        f"<html><head>{'<script type=application/ld+json>{}</script>' * (size // 44)}</head></html>".encode(),
    )
    authors = '{"@type": "Person", "author": [' * (size // 31)
    yield "deep authors", f'<html><head><script type="application/ld+json">{authors}</script></head></html>'.encode()
    yield "dates", f"<html><body>{'<time datetime=2020-01-01>1 May 2020</time>' * (size // 43)}</body></html>".encode()
    yield "invalid bytes", b"<html><body><p>" + bytes(range(128, 256)) * (size // 128)


def pdfs(size: int) -> Iterator[tuple[str, bytes]]:
    """Files that pypdf recognizes as PDF, with hostile objects, tables and streams."""
    bomb = zlib.compress(b" (a) Tj" * 2_500_000, 9)
    text = zlib.compress(b"BT /F1 12 Tf" + b" (a) Tj 1 0 0 1 0 0 Tm" * (size // 20) + b" ET", 9)
    forms = zlib.compress(b"/X Do " * (size // 6), 9)
    for name, content in {"bomb": bomb, "text": text, "forms": forms, "bombs": zlib.compress(bomb, 9)}.items():
        filters = b"[/FlateDecode /FlateDecode]" if name == "bombs" else b"/FlateDecode"
        yield f"a {name}", _pdf(b"<</Filter %s /Length %d>>stream\n%s\nendstream" % (filters, len(content), content))
    for name, run in {
        "arrays": b"[" * size,
        "dictionaries": b"<</A" * (size // 4),
        "parentheses": b"(" * size,
        "names": b"/" * size,
        "comments": b"%" * size,
        "white space": b" " * size,
        "digits": b"9" * size,
        "hexadecimals": b"<" + b"0" * size,
        "references": b"[" + b"4 0 R " * (size // 6) + b"]",
        "escapes": b"(" + b"\\" * size,
        "pairs": b"<<" + b"/A 1 " * (size // 5) + b">>",
    }.items():
        yield f"{name} in an object", _pdf(run)
        yield f"{name} instead of a file", b"%PDF-1.7\n" + run
        yield f"{name} at the end", b"%PDF-1.7\n" + run + b"\nstartxref\n9\n%%EOF"
    yield "a table", b"%PDF-1.7\nxref\n0 99999999\n" + b"0000000000 00000 n \n" * (size // 20) + b"startxref\n9\n%%EOF"
    yield "objects", b"%PDF-1.7\n" + b"".join(b"%d 0 obj<</A %d 0 R>>endobj\n" % (n, n + 1) for n in range(size // 30))
    yield "ends", b"%PDF-1.7\n" + b"startxref\n9\n%%EOF\n" * (size // 18)


def _pdf(content: bytes) -> bytes:
    """A PDF of one page, with this object as content and resources."""
    objects = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources <</XObject <</X 4 0 R>>>>>>",
        content,
    ]
    file, places = b"%PDF-1.7\n", []
    for number, content_ in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content_)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return file + b"xref\n0 5\n0000000000 65535 f \n%strailer\n<</Size 5 /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(file),
    )
