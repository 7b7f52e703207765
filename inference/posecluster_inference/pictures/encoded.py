"""Pictures that are encoded as text: base64 (RFC 4648), a data URL (RFC 2397), or JSON that contains either.

The first bytes distinguish these forms from each other and from pictures. The server process decodes only the
beginning, which contains the header of the picture; a worker decodes the whole text.
"""

import binascii
import json
import re
import string

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import kinds

_BEGINNING_CHARACTERS = 1 << 18  # enough for the header of a photograph with its metadata
_EXPLAINED_BYTES = 1 << 16  # JSON up to this size is parsed to explain a refusal

_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*")
_JSON_START = re.compile(rb"\{\s*\"image\"\s*:\s*\"")
_JSON_END = re.compile(rb"\"\s*\}\s*")
_DATA_URL = re.compile(rb"data:([^,]{0,512}),", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16}")
_CUT_ESCAPE = re.compile(rb"\\[^\\]{0,5}\Z")
_ALPHABET = string.ascii_letters.encode() + string.digits.encode() + b"+/"
# RFC 4648, section 5: the alphabet for URLs
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# Encoders break lines. Spaces are not removed but refused, because they are `+` that a form parser has
# decoded.
_LINE_ENDS = b"\r\n\t"

_SHAPE = f"a JSON body is {kinds.JSON_FORM} and has no other member."


def is_encoded(body: bytes) -> bool:
    """Whether a body is encoded as text. Any JSON object or data URL counts, whatever it contains."""
    start = _start(body)
    if body.startswith(b"{", start) or _DATA_URL.match(body, start):
        return True
    first = _BASE64.match(body, start)
    return first is not None and kinds.is_known(_decoded(_without_line_ends(first[0])))


def beginning(body: bytes) -> bytes:
    """Return the first 190 KiB of the picture in an encoded body; raises Refusal (400 malformed)."""
    if len(body) <= _BEGINNING_CHARACTERS:
        return picture(body)
    text, is_json = _text(body, _BEGINNING_CHARACTERS)
    if is_json:
        text = _unescaped(_CUT_ESCAPE.sub(b"", text))
    text = _without_line_ends(text)
    return _decoded(text[: len(text) // 4 * 4])


def picture(body: bytes) -> bytes:
    """Return the whole picture in an encoded body, up to 3/4 of its size; raises Refusal (400 malformed)."""
    text, is_json = _text(body, len(body))
    return _decoded(_without_line_ends(_unescaped(text) if is_json else text))


def _start(body: bytes) -> int:
    match = _START.match(body)
    assert match is not None  # the pattern also matches the empty string
    return match.end()


def _text(body: bytes, most: int) -> tuple[bytes, bool]:
    """Return at most `most` bytes of the base64 text in a body, and whether it is inside a JSON string."""
    start, end, is_json = _start(body), len(body), body.startswith(b"{", _start(body))
    if is_json:
        start, end = _json_string(body, start)
    data_url = _DATA_URL.match(body, start)
    if data_url:
        if not data_url[1].lower().endswith(b";base64"):
            raise _malformed("The data URL is not in base64: let it begin with `data:image/jpeg;base64,`.")
        start = data_url.end()
    return body[start : min(end, start + most)], is_json


def _json_string(body: bytes, start: int) -> tuple[int, int]:
    """Return the start and end of the string of the only member; raises Refusal for any other JSON."""
    begin = _JSON_START.match(body, start)
    last_quote = body.rfind(b'"')
    is_whole = begin and body.find(b'"', begin.end()) == last_quote
    if not begin or not is_whole or not _JSON_END.fullmatch(body, last_quote):
        raise _malformed(_json_fault(body))
    return begin.end(), last_quote


def _json_fault(body: bytes) -> str:
    if kinds.NAMES_ADDRESS.search(body[:_EXPLAINED_BYTES]):
        return f"The JSON names {kinds.ADDRESS}."
    if len(body) <= _EXPLAINED_BYTES:
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return f"The JSON is broken: {_SHAPE}"
    return f"The JSON has the wrong members: {_SHAPE}"


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    try:
        # JSON strings must not contain line ends, but shell scripts insert the output of `base64`, which has
        # them.
        return json.loads(b'"%s"' % text, strict=False).encode()  # type: ignore[no-any-return]
    except ValueError:
        raise _malformed(f"The JSON is broken: {_SHAPE}") from None


def _without_line_ends(text: bytes) -> bytes:
    return text.translate(_TO_STANDARD, _LINE_ENDS).strip(b" ").rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise _malformed(_base64_fault(text)) from None


def _base64_fault(text: bytes) -> str:
    described = kinds.describe(text)
    if described is not None and described != kinds.TEXT:
        return f"Instead of base64 text, this is {described}."
    invalid = text.translate(None, _ALPHABET)
    if invalid.strip(b" "):
        return "The base64 text has characters that do not belong to base64: send it as it was encoded."
    if invalid:
        return (
            "The base64 text has spaces, which stand for + in URL-encoded forms: send it as it was encoded."
        )
    return "The base64 text is cut off: send all of it."


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.MALFORMED, detail)
