"""Forms: one picture, found by its content, within limits; names are never used."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures.multipart import picture_from_multipart

TYPE = "multipart/form-data; boundary=frontier"
PICTURE = b"\xff\xd8\xff\r\n--frontie\r\n\x00\r\n--\r\n" * 3
TEN_MIB = 10 << 20


def part(*headers: str, content: bytes = PICTURE) -> bytes:
    head = "".join(header + "\r\n" for header in headers)
    return b"--frontier\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--frontier--\r\n"


def file_part(*headers: str, name: str = "file", filename: str = "a.jpg", content: bytes = PICTURE) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return part(disposition, *headers, content=content)


def field(name: str = "note", content: bytes = b"text") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content=content)


def refusal_of(body: bytes, content_type: str = TYPE) -> Refusal:
    with pytest.raises(Refusal) as caught:
        picture_from_multipart(body, content_type)
    return caught.value


@pytest.mark.hostile("H-8a")
@pytest.mark.parametrize(
    "body",
    [
        form(file_part()),
        form(file_part("Content-Type: text/html")),
        form(file_part("Content-Encoding: identity", "Content-Transfer-Encoding: BINARY")),
        form(file_part("Content-Transfer-Encoding: 8bit")),
        form(field(), file_part(), field()),
        form(*[field()] * 7, file_part()),
        form(file_part(filename="")),
        form(file_part(filename="Bild äöü %22.jpg")),
        form(part("Content-Disposition: form-data; name=file; filename=a.jpg")),
        form(part("Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A4.jpg")),
        form(part("CONTENT-DISPOSITION: form-data; name=file; filename=a.jpg")),
        form(file_part("X-Pad: " + "x" * 3_900)),
        form(file_part(filename="x" * 3_900)),
        form(*[field()] * 99, file_part()),
        form(file_part(), *[field()] * 99),
        # PHP, Go and folder uploads send paths
        form(file_part(filename="/home/me/Pictures/a.jpg")),
        form(file_part(filename="../../x")),
        form(file_part(filename="C:\\Pictures\\a.jpg", name="../../x")),
        form(file_part(filename="a\x1b[2J.jpg", name="\t")),
        form(file_part()).replace(b"a.jpg", b"\xe4\xff\xfe.jpg"),
        form(part("Content-Disposition: form-data; name=file;\r\n filename=a.jpg")),
        # a file name is optional
        form(part('Content-Disposition: form-data; name="file"', "Content-Type: image/jpeg")),
        form(part('Content-Disposition: form-data; name="file"', "Content-Type: application/octet-stream")),
        form(part('Content-Disposition: form-data; name="file"')),
        form(part("Content-Disposition: form-data; filename=a.jpg")),
        # what else browsers and libraries put into a form
        form(file_part(filename="", content=b""), file_part()),
        form(file_part(), file_part("Content-Type: application/octet-stream", filename="", content=b"")),
        form(file_part("Content-Type: application/json", filename="blob", content=b'{"a": 1}'), file_part()),
        form(file_part(), file_part("Content-Type: text/plain", filename="notes.txt", content=b"text")),
        form(file_part(), field("thumbnail", PICTURE)),
        form(field("_charset_", b"UTF-8"), file_part()),
        form(field("_charset_", b""), file_part()),
        form(
            file_part(), part('Content-Disposition: form-data; name="x"', "Content-Transfer-Encoding: base64")
        ),
        b"preamble\r\n" + form(file_part()) + b"epilogue",
    ],
)
def test_the_one_file_is_found(body: bytes) -> None:
    assert picture_from_multipart(body, TYPE) == PICTURE


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="frontier"',
        "Multipart/Form-Data; charset=utf-8; Boundary=frontier",
        "multipart/form-data;boundary=frontier;x=y",
    ],
)
def test_spellings_of_the_content_type(content_type: str) -> None:
    assert picture_from_multipart(form(file_part()), content_type) == PICTURE


def test_a_file_that_is_no_picture_is_left_to_the_picture_check() -> None:
    for content in (b"GIF89a", b"not a picture"):
        assert picture_from_multipart(form(field(), file_part(content=content)), TYPE) == content
    unknown = file_part("Content-Type: application/octet-stream", content=b"GIF89a")
    assert picture_from_multipart(form(file_part(content=b"{}"), unknown), TYPE) == b"GIF89a"
    first = form(file_part(content=b"{}"), file_part(content=b"no picture either"))
    assert picture_from_multipart(first, TYPE) == b"{}"


@pytest.mark.parametrize("text", [b"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ==", b"/9j/4AAQSkZJRgABAQ=="])
def test_a_picture_in_base64_is_a_picture_too(text: bytes) -> None:
    assert picture_from_multipart(form(field(), field("image", text)), TYPE) == text
    assert picture_from_multipart(form(file_part(), field("thumbnail", text)), TYPE) == PICTURE


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(field("image", b"photo.jpg")), "with the @"),
        (form(file_part(content=b"")), "choose a picture"),
        (form(file_part(), file_part()), "2 pictures"),
        (form(file_part(), file_part(content=b"\0\0\0\x18ftypheic" + bytes(20))), "2 pictures"),
        (PICTURE, "JPEG picture"),
        (form(*[field()] * 100, file_part()), "Maximum segment count"),
        (form(file_part())[:-5], "Unexpected end"),
        (form(file_part()).replace(b"frontier", b"other"), "boundary of its Content-Type"),
    ],
)
def test_a_refusal_says_what_is_wrong(body: bytes, words: str) -> None:
    assert words in refusal_of(body).detail


@pytest.mark.parametrize("name", ["a%0D%0Ab.jpg", "a\rb.jpg", "a\x00.jpg"])
def test_names_with_line_ends_or_nul_are_400(name: str) -> None:
    assert refusal_of(form(file_part(filename=name))).reason == Reason.MALFORMED
    assert refusal_of(form(file_part(name=name))).reason == Reason.MALFORMED


@pytest.mark.hostile("H-8a")
@pytest.mark.parametrize(
    "boundary",
    [
        "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        "----geckoformboundary31a1e1b8d6c9a2b1c3",
        "axios-1.21.1-boundary-Yb7q-Ee3oJ",
        "dart-http-boundary-Qe+6b_r2.W8m",
        "--dio-boundary-0123456789",
        "alamofire.boundary.3f2a1b4c5d6e7f80",
        "Boundary-5E0E9C5A-6F0B-4B0A-8C58-3C0D1A2B3C4D",
        "----RubyFormBoundaryQ8v2",
        '"----=_Part_1_123.456"',
        "----=_Part_1_123.456",
        '"boundary_.oOo._Mz0vNQ=="',
        "boundaryboundary",
    ],
)
def test_boundaries_as_clients_make_them(boundary: str) -> None:
    body = form(file_part()).replace(b"frontier", boundary.strip('"').encode())
    assert picture_from_multipart(body, f"multipart/form-data; boundary={boundary}") == PICTURE


@pytest.mark.hostile("H-8")
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=other; boundary=frontier",
        "multipart/form-data; boundary=frontier; x=" + "x" * 600,
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=" + "x" * 10_000,
        'multipart/form-data; boundary="fron\x00tier"',
        'multipart/form-data; boundary="frontier\n"',
        'multipart/form-data; boundary="frontiér"',
        "multipart/mixed; boundary=frontier",
        "image/jpeg; boundary=frontier",
    ],
)
def test_a_bad_boundary_is_400(content_type: str) -> None:
    refusal = refusal_of(form(file_part()), content_type)
    assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED)


@pytest.mark.hostile("H-8", "H-9")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--frontier--\r\n",
        form(),
        form(field()),
        form(file_part(), file_part()),
        form(*[field()] * 100, file_part()),
        form(file_part(), *[field()] * 100),
        form(file_part(content=b"")),
        form(*[field()] * 10_000, file_part()),
        file_part(),
        file_part()[:-2],
        file_part(content=bytes(TEN_MIB)),
        form(file_part())[:-5],
        form(file_part()).replace(b"\r\n", b"\n"),
        form(file_part("Content-Type: multipart/mixed; boundary=inner")),
        form(
            field(),
            part('Content-Disposition: form-data; name="x"', "Content-Type: Multipart/Mixed"),
            file_part(),
        ),
        form(field("_charset_", b"utf-16"), file_part()),
        form(file_part("X-Pad: " + "x" * 4_096)),
        form(file_part("X-A: " + "x" * 2_020, "X-B: " + "x" * 2_020)),
        form(file_part(*[f"X-{n}: y" for n in range(8)])),
        form(file_part("X-Pad: " + "x" * (1 << 20))),
        form(file_part('Content-Disposition: form-data; name="x"')),
        form(file_part("Content-Encoding: identity", "content-encoding: gzip")),
        form(file_part("Content-Length: 3")),
        form(file_part("no colon")),
        form(part("Content-Type: image/jpeg")),
        form(part('Content-Disposition: attachment; filename="a.jpg"')),
        b"x" + form(file_part()),
    ],
)
def test_broken_forms_are_400(body: bytes) -> None:
    started = time.process_time()
    refusal = refusal_of(body)
    assert time.process_time() - started < 0.250
    assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED)
    assert refusal.detail.isprintable()
    assert refusal.detail.endswith(".")


@pytest.mark.hostile("H-10")
@pytest.mark.parametrize("header", ["Content-Encoding", "content-transfer-encoding"])
@pytest.mark.parametrize(
    "coding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "base64", "quoted-printable", "x"]
)
def test_encoded_parts_are_415(header: str, coding: str) -> None:
    for body in (form(file_part(f"{header}: {coding}")), form(file_part(f"{header}:{coding.upper()} "))):
        refusal = refusal_of(body)
        assert (refusal.status, refusal.reason) == (415, Reason.UNSUPPORTED_ENCODING)


@pytest.mark.hostile("H-9")
@pytest.mark.parametrize(
    "body",
    [
        b"--frontier\r\n" * (TEN_MIB // 12),
        b"\r\n--frontie" * (TEN_MIB // 11),
        b"\r\n--frontier-" * (TEN_MIB // 13),
        b"\r\n" * (TEN_MIB // 2),
        b"--frontier\r\n" + b"a:b\r\n" * (TEN_MIB // 5),
        b"--frontier\r\n" + b"a" * TEN_MIB,
        b"--frontier\r\nContent-Disposition: form-data" + b'; a="\\' * 700 + b"\r\n\r\n",
        form(*[part('Content-Disposition: form-data; name="x"' + '; a="\\' * 650, content=b"x")] * 100),
        form(*[part('Content-Disposition: form-data; name="x"' + "; " * 1_900, content=b"x")] * 100),
        form(*[part('Content-Disposition: form-data; name="' + "\\" * 3_900, content=b"x")] * 100),
    ],
    ids=["parts", "almost", "after", "newlines", "headers", "header", "quotes", "many", "empty", "escapes"],
)
def test_floods_are_refused_quickly(body: bytes) -> None:
    started = time.process_time()
    assert refusal_of(body).reason == Reason.MALFORMED
    assert time.process_time() - started < 0.250


def test_floods_inside_the_file_are_content() -> None:
    for content in (b"\r\n--frontie" * 900_000, b"\r" * TEN_MIB, b"\n--frontier\r\n" * 700_000):
        started = time.process_time()
        assert picture_from_multipart(form(file_part(content=content)), TYPE) == content
        assert time.process_time() - started < 0.250


def answer(body: bytes, content_type: str) -> bytes | Reason:
    try:
        return picture_from_multipart(body, content_type)
    except Refusal as refusal:
        return refusal.reason


ANSWERS = (Reason.MALFORMED, Reason.UNSUPPORTED_ENCODING)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_any_bytes_give_a_picture_or_a_refusal(body: bytes, options: str) -> None:
    for content_type in (TYPE, "multipart/form-data; boundary=" + options, options):
        for sent in (body, b"--frontier\r\n" + body, form(part(content=body)), form(file_part(content=body))):
            found = answer(sent, content_type)
            assert isinstance(found, bytes) or found in ANSWERS


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5), st.binary(max_size=6)), min_size=1, max_size=5)
)
def test_any_mutation_gives_a_picture_or_a_refusal(edits: list[tuple[int, int, bytes]]) -> None:
    headers = ("Content-Type: image/jpeg", f"Content-Length: {len(PICTURE)}")
    body = bytearray(form(field(), file_part(*headers)))
    for position, removed, inserted in edits:
        body[position : position + removed] = inserted
    found = answer(bytes(body), TYPE)
    assert isinstance(found, bytes) or found in ANSWERS
