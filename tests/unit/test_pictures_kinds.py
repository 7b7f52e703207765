"""The kind of a body that is not a picture is named, and the refusal says what to do."""

import base64
import gzip
import io
import json
import re
import urllib.parse
import zipfile

import pytest

from harness.pictures import built_in, tiny_png
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import inspect

JPEG = built_in()
PNG = tiny_png(40, 30)
LIMITS = {"max_pixels": 25_000_000, "max_side": 16_384}


def refusal_of(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        inspect(data, **LIMITS)
    return caught.value


def ftyp(*brands: bytes) -> bytes:
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (4 + len(content)).to_bytes(4) + content + bytes(40)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.jpg", JPEG)
    return file.getvalue()


@pytest.mark.hostile("I-11")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ftyp(b"heic", b"mif1", b"heic"), "HEIC.*Most Compatible"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"mif1", b"mif1", b"avif"), "AVIF.*convert"),
        (ftyp(b"avif", b"mif1"), "AVIF"),
        (ftyp(b"isom", b"iso2", b"mp41"), "MP4.*frame"),
        (ftyp(b"qt  "), "QuickTime"),
        (ftyp(b"crx "), "raw camera"),
        (b"GIF89a" + bytes(20), "GIF.*convert"),
        (b"GIF87a" + bytes(20), "GIF"),
        (b"II*\0" + bytes(20), "TIFF"),
        (b"MM\0*" + bytes(20), "TIFF"),
        (b"BM" + bytes(24), "BMP"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(20), "JPEG 2000"),
        (b"\x1aE\xdf\xa3" + bytes(20), "WebM"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI video"),
        (b"%PDF-1.7\n", "PDF.*export"),
        (zipped(), "ZIP.*unpack"),
        (gzip.compress(JPEG), "gzip.*without compressing"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG.*PNG"),
        (b"<?xml version='1.0'?>\n<!-- a -->\n<svg/>", "SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML.*error message"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "HTML.*login"),
        (b"<html lang=en>", "HTML"),
        (b"https://example.com/photo.jpg", "not fetched by URL"),
        (b"//example.com/photo.jpg", "not fetched by URL"),
        (b"photo.jpg", "name of a file.*--data-binary @NAME"),
        (b"IMG 0001.HEIC\n", "name of a file"),
        (b"/storage/emulated/0/Bilder/\xc3\xa4.jpeg", "name of a file"),
        (b"@photo.jpg", "name of a file"),
        (b"@photo", "name of a file"),
        (b"'photo.jpg'", "name of a file"),  # as cmd.exe leaves the quotes
        (b"'@photo.jpg'", "name of a file"),
        (json.dumps("C:\\photo.jpg").encode(), "name of a file"),
        (json.dumps(base64.b64encode(JPEG).decode()).encode(), "text in quotes.*without them"),
        (json.dumps("data:image/jpeg;base64,/9j/").encode(), "text in quotes"),
        (b"image=photo.jpg", "URL-encoded form.*curl -F"),
        (b"image=" + urllib.parse.quote_from_bytes(JPEG).encode(), "URL-encoded form"),
        (urllib.parse.quote_from_bytes(JPEG).encode(), "percent-encoded"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + JPEG, "form without its"),
        (b"[object Blob]", "text form of an object"),
        (b"undefined", "text form"),
        (str(JPEG).encode(), "Python's str"),
        (JPEG.hex().encode(), "hexadecimal"),
        (b"[255, 216, 255, 224]", "list"),
        (b"hello, world", "This is text"),
        (b"\xff", "not a JPEG, PNG or WebP file"),
        (bytes(100), "not a JPEG, PNG or WebP file"),
        (JPEG.decode("utf-8", "replace").encode(), "read as text.*binary mode"),
        (JPEG.decode("ascii", "replace").encode("ascii", "replace"), "read as text"),
        (JPEG.decode("latin-1").encode(), "JPEG file that was read as text"),
        (PNG.decode("utf-8", "replace").encode(), "read as text"),
        (PNG.decode("cp1252", "replace").encode(), "PNG file that was read as text"),
        (PNG.decode("latin-1").encode(), "PNG file that was read as text"),
        (PNG.translate(None, b"\0\r\n"), "curl --data-binary"),
        (PNG.replace(b"\r\n", b"\n"), "line ends were changed"),
        (PNG.replace(b"\n", b"\r\n"), "line ends were changed"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_the_kind_of_a_body_that_is_not_a_picture_is_named(data: bytes, words: str) -> None:
    refusal = refusal_of(data)
    assert (refusal.status, refusal.reason) == (415, Reason.UNSUPPORTED_FORMAT)
    assert re.search(words, refusal.detail), refusal.detail
    assert refusal.detail.isprintable()
    assert refusal.detail.endswith(".")


def test_a_byte_order_mark_does_not_hide_a_text() -> None:
    assert "login" in refusal_of(b"\xef\xbb\xbf<!doctype html>").detail


def test_the_same_files_are_named_in_base64() -> None:
    heic = ftyp(b"heic", b"mif1")
    text = base64.b64encode(heic)
    for sent in (text, b"data:image/jpeg;base64," + text, b'{"image": "%s"}' % text):
        refusal = refusal_of(sent)
        assert refusal.reason == Reason.UNSUPPORTED_FORMAT
        assert "HEIC" in refusal.detail


@pytest.mark.hostile("I-8")
def test_what_curl_d_strips_from_a_jpeg_is_named() -> None:
    refusal = refusal_of(JPEG.translate(None, b"\0\r\n"))
    assert (refusal.status, refusal.reason) == (422, Reason.UNDECODABLE)
    assert "curl --data-binary" in refusal.detail


@pytest.mark.hostile("I-8")
def test_a_jpeg_without_its_end_marker_is_named() -> None:
    assert JPEG.endswith(b"\xff\xd9")
    refusal = refusal_of(JPEG[:-2])
    assert (refusal.status, refusal.reason) == (422, Reason.UNDECODABLE)
    assert "no end marker" in refusal.detail
    assert "save it again" in refusal.detail


def test_an_empty_body_is_named() -> None:
    refusal = refusal_of(b"")
    assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED)
    assert "empty" in refusal.detail
