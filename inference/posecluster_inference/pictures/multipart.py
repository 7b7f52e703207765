"""Finds the picture in a `multipart/form-data` body (RFC 7578) by its content and not by its name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import encoded, kinds

_MAX_PARTS = 100
_MAX_PART_HEADER_BYTES = 4_096
_MAX_PART_HEADERS = 8
_MAX_CONTENT_TYPE_CHARACTERS = 512

# RFC 2046, section 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_NOT_IN_A_NAME = re.compile(r"[\x00\r\n]")
_PLAIN_CODINGS = {
    "Content-Encoding": frozenset({"", "identity"}),
    "Content-Transfer-Encoding": frozenset({"", "identity", "binary", "8bit", "7bit"}),
}


@dataclass(slots=True)
class _Part:
    """A part of a form. A file is a part with a file name, or with the type of an image or of binary data."""

    is_file: bool
    is_binary: bool
    content: bytes = b""


def picture_from_multipart(body: bytes, content_type: str) -> bytes:
    """Return the only picture in a complete form; if there is none, return the first file that is not empty.

    The picture is recognised by its content. It is searched in the files, which are the parts with a file
    name or with the type of an image or of binary data, and in all parts if no file has content. All other
    parts are ignored. Raises Refusal. The reason is malformed (400) for a form that is broken or nested, has
    more than 100 parts, more than 4 KiB of headers in a part, a name with NUL or line ends, a `_charset_`
    other than UTF-8, no file, or several pictures. It is unsupported_encoding (415) for a file with a coding
    other than identity, binary, 8bit or 7bit.
    """
    parts = list(_parts(body, _boundary(body, content_type)))
    chosen = sorted((part for part in parts if part.is_file), key=lambda part: not part.is_binary)
    files = [part.content for part in chosen if part.content]
    pictures = [file for file in files if _holds_picture(file)]
    if not files:
        pictures = [part.content for part in parts if _holds_picture(part.content)]
    if len(pictures) > 1:
        raise _malformed(f"The form holds {len(pictures)} pictures: send one in each request.")
    found = pictures or files
    if found:
        return found[0]
    if chosen:
        raise _malformed("The form's file is empty: choose a picture before sending the form.")
    raise _malformed(
        "The form has no file: send the picture as a file (with curl: -F picture=@photo.jpg, with the @)."
    )


def _holds_picture(content: bytes) -> bool:
    return kinds.is_picture(content) or (not content.startswith(b"{") and encoded.is_encoded(content))


def _parts(body: bytes, boundary: str) -> Iterator[_Part]:
    try:
        with _FormParser(boundary) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    part, name = _part(event), event.name
                elif event:
                    # The body is parsed at once, so the content of a part arrives in one piece.
                    part.content = bytes(event)
                else:
                    if name == "_charset_" and part.content.strip().lower() not in (b"utf-8", b""):
                        raise _malformed("The form's _charset_ is not UTF-8: send the form in UTF-8.")
                    yield part
    except MultipartError as error:
        error.__traceback__ = None  # the parser stores the error, and its traceback refers to the body
        # The messages of the library are constant texts.
        raise _malformed(f"The form is broken ({error.args[0]}): let an HTTP library write it.") from error


class _FormParser(PushMultipartParser):  # type: ignore[misc]
    """The library's parser with our limits, which are checked before it parses the headers of a part."""

    def __init__(self, boundary: str) -> None:
        super().__init__(
            boundary,
            max_header_size=_MAX_PART_HEADER_BYTES,
            max_header_count=_MAX_PART_HEADERS,
            max_segment_count=_MAX_PARTS,
            # Names may have any charset and are not used; Latin-1 can decode all bytes.
            header_charset="latin-1",
        )

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        total = sum(len(name) + len(value) + 4 for name, value in headerlist)
        if total > _MAX_PART_HEADER_BYTES:
            raise _malformed(
                f"A part of the form has over {_MAX_PART_HEADER_BYTES} bytes of headers: send fewer."
            )
        names = [name for name, _value in headerlist]
        if len(set(names)) != len(names):
            raise _malformed("A part of the form repeats a header: send each once.")
        return super()._create_segment(headerlist)


def _boundary(body: bytes, content_type: str) -> str:
    kind = kinds.sniff(body)
    if kind is not None:
        raise _malformed(
            f"The Content-Type is that of a form, but the body is a {kind.upper()} picture: send it with the "
            "Content-Type image/jpeg or none, or in a form."
        )
    if len(content_type) > _MAX_CONTENT_TYPE_CHARACTERS:
        raise _malformed(
            f"The Content-Type is over {_MAX_CONTENT_TYPE_CHARACTERS} characters: send a shorter one."
        )
    media_type, *parameters = content_type.split(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise _malformed("The body is a form of another type: send multipart/form-data with a boundary.")
    pairs = [parameter.partition("=") for parameter in parameters]
    boundaries = [value.strip() for name, _, value in pairs if name.strip().lower() == "boundary"]
    if len(boundaries) != 1:
        raise _malformed(
            f"The Content-Type has {len(boundaries) or 'no'} boundaries and needs one: HTTP libraries set it "
            "when the Content-Type is left to them."
        )
    boundary = boundaries[0]
    if len(boundary) > 1 and boundary[0] == boundary[-1] == '"':
        boundary = boundary[1:-1]
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed("The boundary must have 1 to 70 of the characters that RFC 2046 allows.")
    if b"--" + boundary.encode() not in body:
        raise _malformed(
            "The form does not contain the boundary of its Content-Type: let an HTTP library write both."
        )
    return boundary


def _part(part: MultipartSegment) -> _Part:
    """Check a part's headers; raises Refusal."""
    content_type = part.content_type or ""
    if content_type.startswith("multipart/"):
        raise _malformed("The form is nested: send one file part.")
    if any(_NOT_IN_A_NAME.search(name) for name in (part.name, part.filename) if name):
        raise _malformed("A name in the form contains a NUL or a line end: remove it.")
    is_binary = content_type.startswith(("image/", "application/octet-stream"))
    is_file = is_binary or part.filename is not None
    for header, plain in _PLAIN_CODINGS.items():
        if is_file and part.header(header, "").strip().lower() not in plain:
            raise Refusal(
                Reason.UNSUPPORTED_ENCODING,
                "The file in the form is encoded: send the picture's own bytes, without gzip or base64.",
            )
    return _Part(is_file, is_binary)


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.MALFORMED, detail)
