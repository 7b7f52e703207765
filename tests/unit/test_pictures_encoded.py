"""A picture as base64, as a data URL and in JSON: the same header, the same bytes, the same refusals."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gallery import names, picture
from harness.pictures import built_in, tiny_png
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header, decoded, inspect

LIMITS = {"max_pixels": 25_000_000, "max_side": 16_384}
JPEG = built_in()
HEADER = inspect(JPEG, **LIMITS)
TEXT = base64.b64encode(JPEG)
TEN_MIB = 10 << 20


def judged(body: bytes) -> tuple[bytes, Header]:
    """Picture and header, first by the server process and then by a worker."""
    header = inspect(body, **LIMITS)
    data, whole_header = decoded(body, **LIMITS)
    assert whole_header == header
    return data, header


def refusal_of(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        judged(body)
    return caught.value


FORMS = {
    "plain": TEXT,
    "for URLs": base64.urlsafe_b64encode(JPEG),
    "without padding": TEXT.rstrip(b"="),
    "in lines": base64.encodebytes(JPEG),
    "in lines with CR": b"\r\n" + base64.encodebytes(JPEG).replace(b"\n", b"\r\n"),
    "with a byte order mark": b"\xef\xbb\xbf" + TEXT,
    "data URL": b"data:image/jpeg;base64," + TEXT,
    "data URL without a type": b"data:;base64," + TEXT,
    "data URL of another type": b"DATA:application/octet-stream;name=a.jpg;BASE64," + TEXT,
    "JSON": json.dumps({"image": TEXT.decode()}).encode(),
    "JSON in lines": json.dumps({"image": base64.encodebytes(JPEG).decode()}, indent=2).encode(),
    "JSON with line ends from a shell": b'\n { "image" :\t"' + base64.encodebytes(JPEG) + b'"\r\n}\n',
    "JSON with a data URL": json.dumps({"image": f"data:image/jpeg;base64,{TEXT.decode()}"}).encode(),
    # PHP escapes slashes, .NET plus signs, Gson equals signs
    "JSON by PHP": b'{"image":"' + TEXT.replace(b"/", rb"\/") + b'"}',
    "JSON by .NET": b'{"image":"' + TEXT.replace(b"+", rb"\u002B") + b'"}',
    "JSON by Gson": b'{"image":"' + TEXT.replace(b"=", rb"\u003d") + b'"}',
    "JSON with a data URL by PHP": rb'{"image":"data:image\/jpeg;base64,'
    + TEXT.replace(b"/", rb"\/")
    + b'"}',
}


@pytest.mark.hostile("H-17")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_same_picture(form: str) -> None:
    assert judged(FORMS[form]) == (JPEG, HEADER)


@pytest.mark.parametrize("name", names())
def test_every_test_picture_is_judged_like_its_bytes(name: str) -> None:
    """Either process may find a fault; the size limits are found by the server's."""
    data = picture(name)
    if data.startswith(b"{"):
        return  # what is in base64 is not decoded twice
    text = b"data:;base64," + base64.b64encode(data)
    try:
        header = inspect(data, **LIMITS)
    except Refusal as refusal:
        reason = refusal.reason
    else:
        assert judged(text) == (data, header)
        return
    assert refusal_of(text).reason == reason
    if reason is Reason.PICTURE_TOO_LARGE:
        with pytest.raises(Refusal):
            inspect(text, **LIMITS)


def test_the_header_is_found_behind_much_metadata() -> None:
    segment = b"\xff\xe1\xff\xff" + bytes(65_533)
    for count in (1, 4, 40):
        data = JPEG[:2] + segment * count + JPEG[2:]
        for text in (base64.b64encode(data), base64.encodebytes(data)):
            assert judged(text) == (data, HEADER)


@pytest.mark.hostile("H-17", "H-18")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (TEXT[:10_001], "cut off"),
        (TEXT[:1_000] + b"*" + TEXT[1_000:], "do not belong"),
        (TEXT[:1_000] + b"===" + TEXT[1_000:], "do not belong"),
        (TEXT[:-400] + b"-*-" + TEXT[-400:], "do not belong"),
        (TEXT.replace(b"+", b" "), "spaces"),
        (b'{"image": "%s"}' % TEXT.replace(b"+", b" "), "spaces"),
        (b'{"image": "!"}', "do not belong"),
        (b'{"image": ""}', "empty"),
        (b"data:image/jpeg;base64,", "empty"),
        (b"data:image/jpeg,%FF%D8%FF", "not in base64"),
        (b"data:image/svg+xml;utf8,<svg/>", "not in base64"),
        (b'{"image": "https://example.com/a.jpg"}', "not fetched by URL"),
        (b'{"image": "//example.com/a.jpg"}', "not fetched by URL"),
        (b'{"image": "file:///etc/passwd"}', "not fetched by URL"),
        (b'{"url": "https://example.com/a.jpg"}', "not fetched by URL"),
        (b'{"image": {"source": {"imageUri": "gs://bucket/a.jpg"}}}', "not fetched by URL"),
        (rb'{"image":"https:\/\/example.com\/a.jpg"}', "not fetched by URL"),
        (b'{"image": "photo.jpg"}', "name of a file"),
        (b'{"image": "[object Blob]"}', "text form of an object"),
        (b'{"img": "%s"}' % TEXT, '{"image": '),
        (b'{"image": "%s", "model": "full"}' % TEXT, "no other member"),
        (b'{"model": "full", "image": "%s"}' % TEXT, "no other member"),
        (b'{"image": "%s", "n": 1}' % TEXT, "no other member"),
        (b'{"image": "%s"} {}' % TEXT, '{"image": '),
        (b'{"image": null}', '{"image": '),
        (b'{"image": [1, 2]}', '{"image": '),
        (b'{"image": {}}', '{"image": '),
        (b"{}", '{"image": '),
        (b"{", "broken"),
        (b'{"image": "' + TEXT, '{"image": '),
        (b"{'image': '%s'}" % TEXT[:100], "broken"),
        (b'{"image": "abc\\', "broken"),
        (b'{"image": "\\u12"}', "broken"),
        (b'{"image": "/9j\\uD800"}', "broken"),
        (b'{"image": ' + b"[" * 100_000, '{"image": '),
        (b'{"a":' * 10_000, "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_encodings_are_400(body: bytes, words: str) -> None:
    refusal = refusal_of(body)
    assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED)
    assert words in refusal.detail, refusal.detail
    assert refusal.detail.isprintable()
    assert refusal.detail.endswith(".")
    assert "passwd" not in refusal.detail


@pytest.mark.hostile("H-17")
def test_the_size_limit_needs_no_worker() -> None:
    with pytest.raises(Refusal) as caught:
        inspect(base64.b64encode(tiny_png(17_000, 8)), **LIMITS)
    assert caught.value.reason == Reason.PICTURE_TOO_LARGE


@pytest.mark.hostile("H-17")
def test_the_server_process_reads_only_the_beginning() -> None:
    """The rest may be anything, of any length, for the price of its beginning."""
    start = TEXT[:30_000] + b"A" * (1 << 18)
    for body in (
        start + b"*" * TEN_MIB,
        b'{"image": "' + start + rb"\/" * (TEN_MIB // 2) + b'"}',
        b"data:;base64," + start + b"\n" * TEN_MIB,
    ):
        started = time.process_time()
        assert inspect(body, **LIMITS) == HEADER
        assert time.process_time() - started < 0.050


@pytest.mark.hostile("H-17")
@pytest.mark.parametrize(
    "body",
    [
        b"{" + b" " * TEN_MIB,
        b'{"image": "' + b'"' * TEN_MIB,
        b'{"image": "' + b"\\" * TEN_MIB + b'"}',
        b'{"image": "' + rb"\u0041" * (TEN_MIB // 6) + b'"}',
        b'{"image"' + b":" * TEN_MIB,
        b'{"a":' * (TEN_MIB // 5),
        b"\n" * TEN_MIB,
        b"/9j/" + b"A" * TEN_MIB,
        b"/9j/" + b"\n" * TEN_MIB,
        b"data:" * (TEN_MIB // 5),
        b"A=" * (TEN_MIB // 2),
        b"--" * (TEN_MIB // 2),
        b"<" * TEN_MIB,
    ],
    ids=range(13),
)
def test_floods_are_refused_quickly(body: bytes) -> None:
    started = time.process_time()
    refusal_of(body)
    assert time.process_time() - started < 0.250


@given(st.binary(max_size=60), st.sampled_from(sorted(FORMS)), st.integers(0, 400), st.integers(0, 6))
def test_any_bytes_are_judged(inserted: bytes, form: str, position: int, removed: int) -> None:
    body = bytearray(FORMS[form])
    body[position : position + removed] = inserted
    for sent in (
        bytes(body),
        inserted,
        b"{" + inserted,
        b'{"image":"' + inserted + b'"}',
        b"data:" + inserted,
    ):
        try:
            data = inspect(sent, **LIMITS) and decoded(sent, **LIMITS)[0]
        except Refusal:
            continue
        assert data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF"))
