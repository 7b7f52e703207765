"""The one picture in a `multipart/form-data` body (RFC 7578), found without ever using a name in it."""

import re

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from posecluster_inference.errors import Reason, Refusal

_MAX_PARTS = 8
_MAX_PART_HEADER_BYTES = 4_096
_MAX_PART_HEADERS = 8
# the library's option parser is quadratic in a value; file systems allow names of 255 bytes
_MAX_DISPOSITION_CHARACTERS = 1_024
_MAX_CONTENT_TYPE_CHARACTERS = 512

# RFC 2046, section 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
# RFC 5987 form of a file name: RFC 7578 forbids it, some clients send nothing else
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=", re.IGNORECASE)
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
_PLAIN_CODINGS = {
    "Content-Encoding": frozenset({"", "identity"}),
    "Content-Transfer-Encoding": frozenset({"", "identity", "binary", "8bit", "7bit"}),
}


def picture_from_multipart(body: bytes, content_type: str) -> bytes:
    """Return the content of the one file part of a form that was read whole.

    A file part is one with a file name; up to 7 further parts are allowed and ignored. Raises
    Refusal: 400 malformed for a form that is broken, nested, over 8 parts or 4 KiB of headers a
    part, names that are paths or hold control characters, a `_charset_` field, no file or two;
    415 unsupported_encoding for a part in a coding other than identity, binary, 8bit or 7bit.
    """
    boundary = _boundary(content_type)
    pictures: list[bytes] = []
    try:
        with _FormParser(boundary) as parser:
            is_file = False
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    is_file = _is_file(event)
                    if is_file and pictures:
                        raise _malformed("The form has two files: send one picture a request")
                    if is_file:
                        pictures.append(b"")
                elif event and is_file:
                    # the body is parsed in one piece, so a part's content comes in one
                    pictures[-1] += bytes(event)
    except MultipartError as error:
        error.__traceback__ = None  # the parser keeps the error, whose frames keep the body
        raise _malformed(
            f"The form is broken, or over {_MAX_PARTS} parts or {_MAX_PART_HEADER_BYTES} bytes of part "
            "headers: send one file part, or the picture itself as the body"
        ) from error
    if not pictures:
        raise _malformed("The form has no file: send the picture as a part with a file name")
    return pictures[0]


class _FormParser(PushMultipartParser):  # type: ignore[misc]
    """The library's parser with our limits, tested before it takes a header apart."""

    def __init__(self, boundary: str) -> None:
        super().__init__(
            boundary,
            max_header_size=_MAX_PART_HEADER_BYTES,
            max_header_count=_MAX_PART_HEADERS,
            max_segment_count=_MAX_PARTS,
            strict=True,
        )

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        total = sum(len(name) + len(value.encode()) + 4 for name, value in headerlist)
        if total > _MAX_PART_HEADER_BYTES:
            raise _malformed(f"A part of the form has over {_MAX_PART_HEADER_BYTES} bytes of headers")
        names = [name for name, _value in headerlist]
        if len(set(names)) != len(names):
            raise _malformed("A part of the form repeats a header: send each once")
        if any(
            name in ("Content-Disposition", "Content-Type") and len(value) > _MAX_DISPOSITION_CHARACTERS
            for name, value in headerlist
        ):
            raise _malformed(f"A part of the form has a header over {_MAX_DISPOSITION_CHARACTERS} characters")
        return super()._create_segment(headerlist)


def _boundary(content_type: str) -> str:
    if len(content_type) > _MAX_CONTENT_TYPE_CHARACTERS:
        raise _malformed(f"The Content-Type is over {_MAX_CONTENT_TYPE_CHARACTERS} characters")
    media_type, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if media_type != "multipart/form-data" or content_type.lower().count("boundary") != 1:
        raise _malformed("The Content-Type must be multipart/form-data with one boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed("The boundary must have 1 to 70 of the characters that RFC 2046 allows")
    return boundary


def _is_file(part: MultipartSegment) -> bool:
    """Check a part's headers and tell whether it is a file; raises Refusal."""
    for header, plain in _PLAIN_CODINGS.items():
        if part.header(header, "").strip().lower() not in plain:
            raise Refusal(
                Reason.UNSUPPORTED_ENCODING,
                "A part of the form is encoded: send the picture's own bytes, without gzip or base64",
            )
    if (part.content_type or "").startswith("multipart/"):
        raise _malformed("The form is nested: send one file part")
    if part.name == "_charset_":
        raise _malformed("The form has a _charset_ field: leave it out, UTF-8 is assumed")
    if any(_NOT_IN_A_NAME.search(name) for name in (part.name, part.filename) if name):
        raise _malformed("A name in the form is a path or has control characters: send a plain file name")
    disposition = part.header("Content-Disposition", "")
    return part.filename is not None or _EXTENDED_NAME.search(disposition) is not None


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.MALFORMED, detail)
