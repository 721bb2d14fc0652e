"""The text and title of fetched documents: HTML, PDF and plain text, recognized by type and content."""

from __future__ import annotations

import io
import zlib

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from ai.fetch_url.limits import CANNOT_READ, WRONG_TYPE, Deadline, PageRefused
from ai.fetch_url.text import Redirect, read_text
from ai.parsing.limits import MAX_PDF_PAGES

ARTICLE = "The lighthouse was built on the northern rock and has warned ships of the reef since then. "
HTML = f"""<!DOCTYPE html><html><head><title>The lighthouse</title>
<script>var secret = "a script";</script><style>p {{ color: red }}</style></head><body>
<nav><ul><li><a href="/">Start</a></li><li><a href="/about">About us</a></li></ul></nav>
<article><h1>The lighthouse</h1>{"".join(f"<p>{number}. {ARTICLE * 3}</p>" for number in range(1, 6))}</article>
<footer>All rights reserved</footer></body></html>"""


def read(body: bytes, content_type: str = "", *, seconds: float = 120.0) -> tuple[str | None, str]:
    found = read_text(body, content_type, deadline=Deadline(seconds))
    assert not isinstance(found, Redirect)
    return found


def redirect(page: str, content_type: str = "text/html") -> str | None:
    """The redirect target of a page; None for a page that is read."""
    found = read_text(page.encode(), content_type, deadline=Deadline(30.0))
    return found.location if isinstance(found, Redirect) else None


def refusal(body: bytes, content_type: str = "", *, seconds: float = 120.0) -> str:
    with pytest.raises(PageRefused) as refused:
        read(body, content_type, seconds=seconds)
    return refused.value.message


def pdf(*pages: str, title: str | None = None, password: str | None = None, owner: str | None = None) -> bytes:
    """A PDF with one line of text on each page."""
    return pdf_of_streams(
        *(f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode() for page in pages),
        title=title,
        password=password,
        owner=owner,
    )


def pdf_of_streams(
    *streams: bytes, title: str | None = None, password: str | None = None, owner: str | None = None
) -> bytes:
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for data in streams:
        page = writer.add_blank_page(612, 792)
        stream = DecodedStreamObject()
        stream.set_data(data)
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, owner, algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_the_main_text_of_html_is_read_without_what_is_around_it() -> None:
    title, text = read(HTML.encode(), "text/html; charset=utf-8")
    assert title == "The lighthouse"
    for number in range(1, 6):
        assert f"{number}. {ARTICLE}".strip() in text
    for noise in ("secret", "About us", "color", "All rights reserved", "<p>", "fingerprint"):
        assert noise not in text


@pytest.mark.parametrize("content_type", ["text/html", "TEXT/HTML;charset=UTF-8", "application/xhtml+xml", ""])
def test_html_is_told_by_its_type_or_by_itself(content_type: str) -> None:
    assert read(HTML.encode(), content_type)[0] == "The lighthouse"


def test_a_page_without_a_main_text_is_read_as_a_whole() -> None:
    assert read(b"<html><body><nav>Opening hours</nav></body></html>", "text/html") == (None, "Opening hours")


def test_a_title_is_one_short_line() -> None:
    title, _ = read(HTML.replace("The lighthouse", "a \n b " * 1000).encode(), "text/html")
    assert title is not None
    assert title.startswith("a b a b")
    assert len(title) <= 300


def test_plain_text_is_left_as_it_is() -> None:
    text = "<p>no markup</p>\n\n  indented\ttext"
    assert read(text.encode(), "text/plain") == (None, text)


@pytest.mark.parametrize(
    ("encoded", "content_type"),
    [
        ("Grüße, Žluť".encode(), "text/plain"),
        ("Grüße, Žluť".encode(), "text/plain; charset=UTF-8"),
        ("Grüße, Žluť".encode("iso-8859-2"), 'text/plain; charset="ISO-8859-2"'),
        ("Grüße, Žluť".encode("utf-16"), "text/plain"),
        ("Grüße, Žluť".encode("utf-16-be"), "text/plain; charset=utf-16be"),
        ("Grüße, Žluť".encode("utf-8-sig"), "text/plain; charset=iso-8859-1"),
        ("Grüße, Žluť".encode(), "text/plain; charset=no-such-charset"),
        ("Grüße, Žluť".encode(), "text/plain; charset=rot13"),
        ("Grüße, Žluť".encode(), "text/plain; charset=unicode_escape"),
        ("Grüße, Žluť".encode(), "text/plain; charset=punycode"),
        ("Grüße, Žluť".encode(), "text/plain; charset=utf-7"),
        ("Grüße, Žluť".encode(), "text/plain, text/plain"),
        ("Grüße, Žluť".encode("iso-8859-2"), "text/plain; charset=latin2, text/plain"),
        ("Grüße, Žluť".encode("iso-8859-2"), 'text/plain; x="a, b"; charset=l2'),
    ],
)
def test_the_charset_is_the_marks_the_headers_or_utf8(encoded: bytes, content_type: str) -> None:
    assert read(encoded, content_type) == (None, "Grüße, Žluť")


def test_what_is_not_utf8_is_read_as_windows_1252() -> None:
    assert read("Grüße – “so”".encode("cp1252"), "text/plain") == (None, "Grüße – “so”")


@pytest.mark.parametrize(
    "meta",
    ['<meta charset="windows-1251">', '<meta http-equiv=Content-Type content="text/html; charset=windows-1251">'],
)
def test_html_says_its_charset_itself(meta: str) -> None:
    page = f"<html><head>{meta}<title>Маяк</title></head><body><p>Старый маяк на скале</p></body></html>"
    assert read(page.encode("windows-1251"), "text/html") == ("Маяк", "Старый маяк на скале")


@pytest.mark.parametrize(
    ("encoded", "charset", "text"),
    [
        (b"\x93so\x94 \x80 5 \x85 it\x92s", "iso-8859-1", "“so” € 5 … it’s"),
        (b"\x93so\x94 \x80", "us-ascii", "“so” €"),
        (b"a\x81b\xe9", "windows-1252", "a\x81bé"),
        (b"\xca\xe0", "windows-1255", "\u05ba\u05d0"),
        (b"\xa1\xd2 \x80", "tis-620", "กา €"),
        (b"\xae\xd8\xbe", "koi8-u", "ўьЎ"),
        ("①㈱髙 表示".encode("cp932"), "Shift_JIS", "①㈱髙 表示"),
        ("①㈱髙～".encode("cp932"), "x-sjis", "①㈱髙～"),
        ("Ⅲ№㍉".encode("cp932"), "windows-31j", "Ⅲ№㍉"),
        (b"\xad\xa1\xad\xea \xfc\xe2 \xc6\xfc\xcb\xdc\xa1\xc1\x8e\xb1\x8f\xb0\xa1", "euc-jp", "①㈱ 髙 日本～ｱ丂"),
        (b"\x8f\xa2\xb7~\xa1\xc1", "x-euc-jp", "～~～"),
        (b"\x1b$B-!-jF|K\\\x1b(B ABC \x1b(I1\x1b(J\\", "iso-2022-jp", "①㈱日本 ABC ｱ¥"),
        ("朱镕基 €".encode("gb18030"), "gb2312", "朱镕基 €"),
        ("堃𠮷".encode("gb18030"), "gbk", "堃𠮷"),
        (b"\x80 \xa8\xbc", "x-gbk", "€ ḿ"),
        ("똠방각하 펲시콜라".encode("cp949"), "euc-kr", "똠방각하 펲시콜라"),
        ("뷁".encode("cp949"), "ks_c_5601-1987", "뷁"),
        (b"\xa4\xa4\xa4\xe5 \x87\x7a\xa1\xe3\xc6\xcf \xa3\xe1", "big5", "中文 㡵～廴 €"),
        ("香港嘅".encode("big5hkscs"), "big5-hkscs", "香港嘅"),
        ("Grüße".encode("utf-16-le"), "utf-16", "Grüße"),
        (b"a\xe9", "x-user-defined", "a\uf7e9"),
    ],
)
def test_encodings_are_the_web_s_and_not_python_s(encoded: bytes, charset: str, text: str) -> None:
    assert read(encoded, f"text/plain; charset={charset}") == (None, text)


@pytest.mark.parametrize(
    ("encoded", "charset", "text"),
    [
        (b"a\xff<b", "shift_jis", "a\ufffd<b"),
        (b"\x82<b", "shift_jis", "\ufffd<b"),
        (b"\xa1<b \xff\xff", "euc-kr", "\ufffd<b \ufffd\ufffd"),
        (b"\x8fa \xa1", "euc-jp", "\ufffda \ufffd"),
        (b"\x81\xff<", "gbk", "\ufffd<"),
        (b"caf\xe9", "utf-8", "caf\ufffd"),
        (b"\x8f\xa1\xa1\xc6\xfc \x8f\xa1a", "euc-jp", "\ufffd日 \ufffda"),
        (b"\x84\x32\xa4\x30\xd6\xd0 \x84\x32<", "gb18030", "\ufffd中 \ufffd2<"),
        (b"\x1b$BF|\nF1\x1b(B< \x1b$BF\x1b(Ba", "iso-2022-jp", "日\ufffd同< \ufffda"),
        (b"\x1b$BF|\x1b%\xa4\xa2\x1b(Bb", "iso-2022-jp", "日\ufffd\ufffd\ufffdb"),
        (b"a\x1b(J\x1b(Bb", "csiso2022jp", "a\ufffdb"),
    ],
)
def test_broken_bytes_swallow_no_markup(encoded: bytes, charset: str, text: str) -> None:
    assert read(encoded, f"text/plain; charset={charset}") == (None, text)


@pytest.mark.parametrize(
    ("charset", "garbage"), [("euc-jp", b"\x82<"), ("gbk", b"\xff"), ("big5", b"\x87\x7a"), ("iso-2022-jp", b"\x1b$B!")]
)
def test_megabytes_that_are_no_text_are_given_up_soon(charset: str, garbage: bytes) -> None:
    body = b"hello" + garbage * (2_000_000 // len(garbage))
    assert refusal(body, f"text/plain; charset={charset}") == CANNOT_READ


@pytest.mark.parametrize("charset", ["iso-2022-kr", "hz-gb-2312", "iso-2022-cn-ext", "csISO2022KR", "replacement"])
def test_encodings_that_hide_markup_are_not_read(charset: str) -> None:
    assert refusal(b"hello", f"text/html; charset={charset}") == CANNOT_READ


RUSSIAN, KOREAN = "Старый маяк", "똠방각하"


@pytest.mark.parametrize(
    ("head", "text", "encoding"),
    [
        ("<meta charset=utf-16>", RUSSIAN, "utf-8"),
        ("<meta charset='utf-16le'>", RUSSIAN, "utf-8"),
        ("<meta charset=x-user-defined>", "“so” €", "cp1252"),
        ("<!-- <meta charset=euc-kr> --><meta charset=windows-1251>", RUSSIAN, "cp1251"),
        ("<!-- <meta charset=windows-1251> -->", RUSSIAN, "utf-8"),
        ("<!--><meta charset=windows-1251>", RUSSIAN, "cp1251"),
        ("<link title='<meta charset=euc-kr>'><meta charset=windows-1251>", RUSSIAN, "cp1251"),
        ('<meta name=description content="charset=euc-kr"><META CHARSET="CP1251">', RUSSIAN, "cp1251"),
        ('<meta content="text/html; charset=windows-1251">', RUSSIAN, "utf-8"),
        ('<meta content="text/html; Charset = windows-1251 " http-equiv=content-type>', RUSSIAN, "cp1251"),
        ("<meta/charset = koi8-r />", RUSSIAN, "koi8-r"),
        ("<meta charset=nonsense><meta charset=ks_c_5601-1987>", KOREAN, "cp949"),
        (f"<script>{'x' * 2000}</script><meta charset=euc-kr>", KOREAN, "cp949"),
        (f"<script>{'x' * 2000}</script><meta charset=euc-kr>", KOREAN, "utf-8"),
        (f"<script>{'x' * 2000}'<meta charset=koi8-r>'</script><meta charset=cp1251>", RUSSIAN, "cp1251"),
        (
            f"<!--><style>{'x' * 2000}<meta charset=koi8-r></style><!-- <title> --><meta charset=cp1251>",
            RUSSIAN,
            "cp1251",
        ),
        (f"<script>{'x' * 2000}</script><meta charset=iso-2022-jp>", "古い灯台", "iso2022_jp"),
        ("<script>'<meta charset=cp1251>'</script>", RUSSIAN, "cp1251"),
        ("<noscript><meta charset=cp1251></noscript>", RUSSIAN, "cp1251"),
        ("<meta charset=cp1251/>", RUSSIAN, "utf-8"),
    ],
)
def test_only_what_the_standard_takes_for_a_declaration_is_one(head: str, text: str, encoding: str) -> None:
    page = f"<html><head>{head}<title>{text}</title></head><body><p>{text}</p></body></html>"
    assert read(page.encode(encoding), "text/html") == (text, text)


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<?xml version="1.0" encoding="Shift_JIS"?>', "cp932"),
        ("<?xml version='1.0' encoding='euc-jp' standalone='yes'?>", "euc-jp"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-8"),
        ('<?xml version="1.0" encoding="Shift_JIS"?>', "utf-16"),
        ('<?xml version="1.0"?>', "utf-16-le"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/xhtml+xml", "text/html"])
def test_xhtml_says_its_encoding_in_its_declaration(declaration: str, encoding: str, content_type: str) -> None:
    page = f"{declaration}<html><head><title>灯台</title></head><body><p>古い灯台</p></body></html>"
    assert read(page.encode(encoding), content_type) == ("灯台", "古い灯台")


def test_a_tag_that_does_not_end_declares_nothing() -> None:
    text = "an article of words in it"
    page = f'<html><body><p>{text} \xe9</p><a title="foo><meta charset=koi8-r></body></html>'
    assert read(page.encode("cp1252"), "text/html")[1].startswith(f"{text} é")


def test_the_header_counts_before_the_page_and_the_mark_before_both() -> None:
    page = f"<html><head><meta charset=euc-kr><title>x</title></head><body><p>{RUSSIAN}</p></body></html>"
    assert read(page.encode("cp1251"), "text/html; charset=windows-1251") == ("x", RUSSIAN)
    assert read(page.encode("utf-8-sig"), "text/html; charset=windows-1251") == ("x", RUSSIAN)


@pytest.mark.parametrize(
    ("meta", "location"),
    [
        ('<meta http-equiv="refresh" content="0;url=/next">', "/next"),
        ("""<META HTTP-EQUIV=Refresh CONTENT="0; URL='https://other.example/a b'">""", "https://other.example/a b"),
        ("<meta http-equiv='refresh' content='0 , url = \"next?a=1&amp;b=2\" ignored'>", "next?a=1&b=2"),
        ("<meta http-equiv=refresh content=0.9;next>", "next"),
        ("<meta content='0;URL=//other.example/' http-equiv=refresh>", "//other.example/"),
        ("<noscript><meta http-equiv=refresh content='0;url=/plain'></noscript><script>go()</script>", "/plain"),
        ("<base href='/folder/'><meta http-equiv=refresh content='0;url=next'>", "/folder/next"),
        ("<meta http-equiv=refresh content='0'><meta http-equiv=refresh content='0;/second'>", "/second"),
        ("<meta http-equiv=refresh content='0;url= ne\n\txt '>", "next"),
        ("<meta http-equiv=refresh content='0;url=javascript:alert(1)'>", "javascript:alert(1)"),
        ("<meta http-equiv=refresh content='0'>", None),
        ("<meta http-equiv=refresh content='0;url='>", None),
        ("<meta http-equiv=refresh content='1;url=/next'>", None),
        ("<meta http-equiv=refresh content='url=/next'>", None),
        ("<meta http-equiv=refresh content='-0;url=/next'>", None),
        ("<!-- <meta http-equiv=refresh content='0;url=/next'> -->", None),
        ("<script>'<meta http-equiv=refresh content=\"0;url=/next\">'</script>", None),
        ("<template><meta http-equiv=refresh content='0;url=/next'></template>", None),
        ("<meta name=refresh content='0;url=/next'>", None),
    ],
)
def test_a_page_that_refreshes_at_once_is_a_redirect(meta: str, location: str | None) -> None:
    page = f"<html><head><title>Moved</title>{meta}</head><body><p>Click <a href=/x>here</a>, please</p></body></html>"
    assert redirect(page) == location
    assert redirect(f"<!DOCTYPE html>{meta}<p>Moved</p>") == location


def test_a_page_with_more_than_a_refresh_is_read() -> None:
    page = HTML.replace("<title>", "<meta http-equiv=refresh content='0;url=/next'><title>")
    assert redirect(page) is None
    assert ARTICLE.strip() in read(page.encode(), "text/html")[1]


def test_what_stores_can_not_hold_is_taken_out() -> None:
    padding = "a" * 2000
    assert read(f"{padding}\0b".encode(), "text/plain") == (None, f"{padding}b")
    assert read("a&#xD800;b".join(["<html><body><p>", "</p></body></html>"]).encode(), "text/html")[1] == "a\ufffdb"


@pytest.mark.parametrize("content_type", ["application/pdf", "application/octet-stream", "", "text/html"])
def test_a_pdf_is_told_by_its_content(content_type: str) -> None:
    body = pdf("The first page", "The second page", title="A report")
    assert read(body, content_type) == ("A report", "The first page\n\nThe second page")


@pytest.mark.parametrize("front", [b"\n", b"\xef\xbb\xbf\r\n", b"\0" * 4, b"HTTP junk in front\r\n" * 20])
def test_a_pdf_may_have_a_few_bytes_in_front(front: bytes) -> None:
    assert read(front + pdf("The first page", title="A report"), "application/pdf") == ("A report", "The first page")


def test_a_text_may_speak_of_pdf() -> None:
    assert read(b"A file begins with %PDF-1.7", "text/plain") == (None, "A file begins with %PDF-1.7")
    page = HTML.replace("The lighthouse</title>", "%PDF-1.7</title>")
    for content_type in ("text/html", ""):
        assert ARTICLE.strip() in read(page.encode(), content_type)[1]


def test_a_pdf_may_have_no_title() -> None:
    assert read(pdf("Text"), "application/pdf") == (None, "Text")


@pytest.mark.parametrize("pages", [MAX_PDF_PAGES, MAX_PDF_PAGES + 1])
def test_the_pages_of_a_pdf_are_bounded(pages: int) -> None:
    body = pdf(*["Text"] * pages)
    if pages > MAX_PDF_PAGES:
        assert refusal(body) == "The PDF has more than 300 pages"
    else:
        assert read(body)[1].count("Text") == pages


def test_an_encrypted_pdf_is_refused() -> None:
    assert refusal(pdf("Text", password="secret")) == "The PDF is encrypted"


def test_a_pdf_that_is_only_locked_against_changes_is_read() -> None:
    assert read(pdf("Text", password="", owner="owner")) == (None, "Text")


@pytest.mark.parametrize(
    "body",
    [
        b"%PDF-1.7",
        b"%PDF-1.7\n" + b"\xff" * 1000,
        pdf("Text")[:300],
        pdf("Text").replace(b"/Pages", b"/Pagez"),
        pdf("Text").replace(b"/Catalog", b"/Cabalog").replace(b"/Root", b"/Toor"),
        pdf(""),
    ],
)
def test_a_broken_or_empty_pdf_is_refused(body: bytes) -> None:
    assert refusal(body, "application/pdf") == CANNOT_READ


def test_a_pdf_of_another_content_is_refused() -> None:
    assert refusal(b"hello", "application/pdf") == CANNOT_READ


def test_a_pdf_that_unpacks_to_too_much_is_refused() -> None:
    body = pdf_of_streams(b"BT /F1 12 Tf (Text) Tj ET" + b" " * 30_000_000)
    assert len(body) < 100_000
    assert refusal(body) == CANNOT_READ


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "application/json", "application/octet-stream", "text/css", "video/mp4", "application/zip", "x", ""],
)
def test_other_types_are_refused(content_type: str) -> None:
    assert refusal(b"hello", content_type) == WRONG_TYPE
    assert "HTML, PDF and plain text" in WRONG_TYPE


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", "text/plain; charset=utf-8"])
def test_what_is_no_text_is_refused_whatever_it_is_called(content_type: str) -> None:
    assert refusal(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0" + zlib.compress(b"a" * 100), content_type) == WRONG_TYPE


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", "text/plain"), (b" \n ", "text/plain"), (b"", "text/html"), (b"<html><body></body></html>", "text/html")],
)
def test_an_empty_page_can_not_be_read(body: bytes, content_type: str) -> None:
    assert refusal(body, content_type) == CANNOT_READ


DEEP = "<div>" * 250 + "x" + "</div>" * 250


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (f"<html><body>{DEEP * 1000}</body></html>".encode(), "text/html"),
        (f"<html><body>{'<p>a</p>' * 300_000}</body></html>".encode(), "text/html"),
        (pdf_of_streams(*[b"BT /F1 12 Tf 72 720 Td " + b"(a) Tj " * 100_000 + b"ET"] * 20), "application/pdf"),
        # Each in a single call of C code, which nothing in the process can interrupt.
        (f'<html><head><meta name="author" content="{"(" * 100_000}"></head></html>'.encode(), "text/html"),
        (f"<!DOCTYPE {'/' * 200_000}<html><body>x</body></html>".encode(), "text/html"),
    ],
    ids=["deep HTML", "many paragraphs", "a long PDF", "an author", "a doctype"],
)
def test_a_document_that_takes_minutes_is_left_at_the_deadline(body: bytes, content_type: str) -> None:
    assert refusal(body, content_type, seconds=1.0) == "The page took longer than 1 seconds"
