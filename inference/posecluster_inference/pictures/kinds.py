"""Recognises the content of a body by its first bytes: a supported format, or what to name in a refusal."""

import codecs
import re
from enum import StrEnum

from posecluster_inference.pictures import jpeg, png


class PictureFormat(StrEnum):
    """The supported formats; only these reach a decoder."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


def sniff(data: bytes) -> PictureFormat | None:
    """Return the format by the magic bytes in the first 12 bytes; None for any other content."""
    if data.startswith(jpeg.MAGIC):
        return PictureFormat.JPEG
    if data.startswith(png.MAGIC):
        return PictureFormat.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return PictureFormat.WEBP
    return None


_CONVERT = "convert it to JPEG, PNG or WebP"
_EXPORT = f"{_CONVERT} (on an iPhone, set Settings > Camera > Formats > Most Compatible)"
_FRAME = "send one frame of it as a JPEG, PNG or WebP picture"
_UNPACK = "unpack it and send one picture"
_PLAIN = "send the picture itself, without compressing it"
_AGAIN = "save or download the picture again"
_PAGE = "export the page as a JPEG or PNG picture"
_AS_TEXT = (
    "was read as text, which destroys it: read the file in binary mode and send its bytes "
    '(Python: open(name, "rb"), JavaScript: the File, Blob or ArrayBuffer itself)'
)
_STRIPPED = "lost its line ends and NUL bytes, as with `curl -d`: use `curl --data-binary @photo.jpg`"

# Magic bytes and the text that follows "This is" in a refusal
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", f"a GIF picture: {_CONVERT}"),
    (b"II*\0", f"a TIFF or raw camera picture: {_CONVERT}"),
    (b"MM\0*", f"a TIFF or raw camera picture: {_CONVERT}"),
    (b"II+\0", f"a BigTIFF picture: {_CONVERT}"),
    (b"MM\0+", f"a BigTIFF picture: {_CONVERT}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL picture: {_CONVERT}"),
    (b"\xff\x0a", f"a JPEG XL picture: {_CONVERT}"),
    (b"\0\0\0\x0cjP  ", f"a JPEG 2000 picture: {_CONVERT}"),
    (b"\xff\x4f\xff\x51", f"a JPEG 2000 picture: {_CONVERT}"),
    (b"II\xbc", f"a JPEG XR picture: {_CONVERT}"),
    (b"8BPS", f"a Photoshop document: {_CONVERT}"),
    (b"v/1\1", f"an OpenEXR picture: {_CONVERT}"),
    (b"\0\0\1\0", f"an icon file: {_CONVERT}"),
    (b"FUJIFILMCCD-RAW", f"a raw camera picture: {_CONVERT}"),
    # Pictures that were read as text: undecodable bytes became U+FFFD or `?`, or Latin-1 was written as
    # UTF-8.
    (b"\xef\xbf\xbd", f"a file that {_AS_TEXT}"),
    (b"???", f"a file that {_AS_TEXT}"),
    (b"?PNG", f"a PNG file that {_AS_TEXT}"),
    (b"\xc3\xbf\xc3\x98\xc3\xbf", f"a JPEG file that {_AS_TEXT}"),
    (b"\xc2\x89PNG", f"a PNG file that {_AS_TEXT}"),
    (b"\xe2\x80\xb0PNG", f"a PNG file that {_AS_TEXT}"),
    (b"\x89PNG\x1a", f"a PNG file that {_STRIPPED}"),
    (b"\x89PNG", "a PNG file whose line ends were changed: read and transfer it in binary mode"),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1aE\xdf\xa3", f"a WebM or Matroska video: {_FRAME}"),
    (b"FLV\1", f"a Flash video: {_FRAME}"),
    (b"\0\0\1\xba", f"an MPEG video: {_FRAME}"),
    (b"OggS", f"an Ogg audio or video file: {_FRAME}"),
    (b"ID3", "an MP3 audio file: send a picture"),
    (b"%PDF", f"a PDF document: {_PAGE}"),
    (b"%!PS", f"a PostScript document: {_PAGE}"),
    (b"\xc5\xd0\xd3\xc6", f"a PostScript document: {_PAGE}"),
    (b"PK\3\4", f"a ZIP archive: {_UNPACK}"),
    (b"PK\5\6", "an empty ZIP archive: send one picture"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!", f"a RAR archive: {_UNPACK}"),
    (b"\x1f\x8b\x08", f"gzip-compressed data: {_PLAIN}"),
    (b"BZh", f"bzip2-compressed data: {_PLAIN}"),
    (b"\xfd7zXZ", f"xz-compressed data: {_PLAIN}"),
    (b"\x28\xb5\x2f\xfd", f"zstd-compressed data: {_PLAIN}"),
)
# ISO base media files (ISO/IEC 14496-12) by brand
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)

_HEAD_BYTES = 1_024
_TAR_MAGIC = 257
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_URL = rb"(https?|ftps?|file|s3|gs|gopher|blob):|//[\w\[]"
NAMES_ADDRESS = re.compile(rb"\"\s*:\s*\"\s*(%s)" % _URL, re.IGNORECASE)  # a member of a JSON object
_FILE_NAME = re.compile(
    rb"['\"]?@\S[^\r\n]*|[^\r\n<>{}=]{1,1000}\.(jpe?g|jpe|jfif|png|webp|gif|hei[cf]|avif|bmp|tiff?)['\"]?",
    re.IGNORECASE,
)
ADDRESS = (
    "an address: pictures are not fetched by URL, which would let callers reach the server's own network; "
    "send the picture's bytes"
)
JSON_FORM = '{"image": "<base64 text or data URL>"}'
TEXT = "text: send the bytes of a JPEG, PNG or WebP file"
_FORM = re.compile(rb"\s*--[^\r\n]{1,72}\r?\ncontent-", re.IGNORECASE)
# Patterns for the beginning of text, and the text that follows "This is" in a refusal
_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE),
        f"an HTML page, perhaps a login or error page in the picture's place: {_AGAIN}",
    ),
    (
        re.compile(rb"(<\?xml|<!--|<!doctype)?.*<svg\b", re.IGNORECASE | re.DOTALL),
        "an SVG drawing: export it as a PNG picture",
    ),
    (
        re.compile(rb"<"),
        f"an XML document, perhaps an error message in the picture's place: {_AGAIN}",
    ),
    (re.compile(_URL, re.IGNORECASE), ADDRESS),
    (
        re.compile(rb"%FF%D8%FF|%89PNG", re.IGNORECASE),
        "a percent-encoded picture: send its bytes (`curl --data-binary @photo.jpg`)",
    ),
    (
        re.compile(rb"\[object |undefined\Z|null\Z|None\Z"),
        "the text form of an object or of no value: send the File, Blob or bytes themselves",
    ),
    (
        re.compile(rb"b['\"]\\x|\\x(ff|89)", re.IGNORECASE),
        "the text form of bytes, as Python's str() makes it: send the bytes themselves",
    ),
    (re.compile(rb"(0x)?(ffd8ff|89504e47)", re.IGNORECASE), "a picture in hexadecimal: send its bytes"),
    (re.compile(rb"\["), "a list: send one picture, as its bytes"),
    (
        re.compile(rb"['\"](data:|[\w+/-]{64})", re.ASCII),
        f"text in quotes: send base64 or a data URL without them, or as {JSON_FORM}",
    ),
    (
        re.compile(rb"[\w.%+\[\]-]{1,200}=.*", re.DOTALL),
        "a URL-encoded form: send the picture as the body (`curl --data-binary @photo.jpg`) or in a "
        "multipart/form-data form (`curl -F picture=@photo.jpg`)",
    ),
)


def is_picture(data: bytes) -> bool:
    """Whether `data` begins like a picture of any known format, supported or not."""
    return sniff(data) is not None or _picture(data) is not None


def describe(data: bytes) -> str | None:
    """Return the text that follows "This is" for data that `sniff` does not recognise; None if unknown."""
    return _picture(data) or _other(data) or _text(data[:_HEAD_BYTES])


def is_known(data: bytes) -> bool:
    """Whether `data` begins like a binary file of any known kind."""
    return is_picture(data) or _other(data) is not None


def lost_bytes(data: bytes) -> str | None:
    """Return the text that follows "The picture" if all NUL bytes and line ends are missing, else None."""
    is_whole = len(data) < _HEAD_BYTES or any(byte in data for byte in (b"\0", b"\n", b"\r"))
    return None if is_whole else _STRIPPED


def _picture(data: bytes) -> str | None:
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return f"a BMP picture: {_CONVERT}"
    brands = _brands(data)
    if brands & _AVIF:
        return f"an AVIF picture: {_CONVERT}"
    if brands & _HEIF:
        return f"a HEIC or HEIF picture: {_EXPORT}"
    if b"crx " in brands:
        return f"a raw camera picture: {_CONVERT}"
    return next((described for magic, described in _PICTURES if data.startswith(magic)), None)


def _other(data: bytes) -> str | None:
    if _brands(data):
        return f"an MP4 or QuickTime video: {_FRAME}"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return f"an AVI video: {_FRAME}"
    if data.startswith(b"ustar", _TAR_MAGIC):
        return f"a tar archive: {_UNPACK}"
    if _FORM.match(data):
        return (
            "a form without its Content-Type: send it as multipart/form-data with its boundary, which HTTP "
            "libraries set when the Content-Type is left to them"
        )
    return next((described for magic, described in _OTHERS if data.startswith(magic)), None)


def _brands(data: bytes) -> set[bytes]:
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), _HEAD_BYTES)
    return {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}


def _text(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").strip()
    if not text or _CONTROLS.search(text):
        return None
    for pattern, described in _TEXTS:
        if pattern.match(text):
            return described
    if _FILE_NAME.fullmatch(text):
        return "the name of a file, not its content: with curl, write `--data-binary @NAME`"
    try:
        # The last character of a longer text may be incomplete.
        codecs.getincrementaldecoder("utf-8")().decode(text, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    return TEXT
