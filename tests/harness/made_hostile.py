"""Hostile test pictures that are generated: broken, contradictory, tiny, extreme, and bombs.

harness.hostile_pictures has those that tests parametrize.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random

import cv2
import numpy as np

from harness.hostile_pictures import frame_changed, huge_jpeg
from harness.picture_parts import (
    JPEG_END,
    JPEG_START,
    PNG_END,
    jpeg_segment,
    png_file,
    png_header,
    png_pixels,
)
from harness.pictures import png_chunk
from harness.scene import (
    HALF,
    Picture,
    either,
    encoded,
    grey_scene,
    half_scene,
    jpeg_of,
    png_of,
    refused,
    shows,
    small_jpeg,
    small_png,
    unsupported,
    webp_of,
    whole_scene,
    with_exif,
)
from posecluster_inference.errors import Reason

_64_MIB = 64 << 20


def _tagged(*, tag: int, kind: int, count: int, value: bytes) -> bytes:
    """The small JPEG with one EXIF entry, little-endian."""
    entry = struct.pack("<HHI4s", tag, kind, count, value)
    return with_exif(small_jpeg(), b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4))


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment; a scan ends where its entropy-coded data does."""
    at = 2
    while jpeg[at + 1] != 0xD9:
        marker, end = jpeg[at + 1], at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        while marker == 0xDA and not (
            jpeg[end] == 0xFF and jpeg[end + 1] and not 0xD0 <= jpeg[end + 1] <= 0xD7
        ):
            end += 1
        yield marker, at, end
        at = end


def _overwritten(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _corrupt_scan() -> bytes:
    """Sixty bytes of the entropy-coded data are changed; markers stay the same."""
    random, data = Random(7), bytearray(small_jpeg())
    start = next(begin for marker, begin, _ in _segments(small_jpeg()) if marker == 0xDA) + 20
    for at in random.sample(range(start, len(data) - 2), 60):
        if 0xFF not in data[at - 1 : at + 1]:
            data[at] = random.randrange(255)
    return bytes(data)


def _corrupt_huffman_table() -> bytes:
    """Every table says that it has 255 codes of each length."""
    data = small_jpeg()
    for marker, begin, _ in _segments(small_jpeg()):
        if marker == 0xC4:
            data = _overwritten(data, begin + 5, b"\xff" * 16)
    return data


def _many_scans() -> bytes:
    """A progressive JPEG that repeats one scan 2,000 times: each visits all blocks again."""
    data = jpeg_of(np.full((4_000, 4_000), 128, np.uint8), 80, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    *_, (_, begin, end) = (each for each in _segments(data) if each[0] == 0xDA)
    return data[:-2] + data[begin:end] * 2_000 + JPEG_END


def _zeros(length: int) -> bytes:
    """A zlib stream of that many zero bytes: one compressed mebibyte, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(length % (1 << 20))) + packer.flush()
    checksum = (length % 65_521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + mebibyte * (length >> 20) + rest + checksum.to_bytes(4)


def _bomb_png(width: int, height: int, *, bits: int, row_bytes: int) -> bytes:
    data = png_chunk(b"IDAT", _zeros(height * (row_bytes + 1)))
    return png_file(png_header(width, height, bits=bits), data, PNG_END)


def _with_chunk(kind: bytes, content: bytes) -> bytes:
    """An 8 x 8 grey PNG with one more chunk."""
    return png_file(png_header(), png_chunk(kind, content), png_pixels(), PNG_END)


def _gif(size: tuple[int, int], frames: int) -> bytes:
    """One colour, one code a frame: enough for the header and for counting frames."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x44\x01\0"
    return (
        b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * frames + b";"
    )


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("hello.txt", (2020, 1, 1, 0, 0, 0)), "hello")
    return file.getvalue()


_ENTITIES = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><text y="20">%s</text></svg>\n'
_ICC_START = b"ICC_PROFILE\0\x01\x01"


def _broken() -> dict[str, Picture]:
    def cut(make: Callable[[], bytes], percent: int) -> Picture:
        return refused(Reason.UNDECODABLE, lambda: (data := make())[: len(data) * percent // 100], "I-8")

    def undecodable(make: Callable[[], bytes], *rows: str) -> Picture:
        return refused(Reason.UNDECODABLE, make, *rows)

    def progressive() -> bytes:
        return jpeg_of(whole_scene(), 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)

    return {
        **{f"truncated_{percent:02}pct.jpg": cut(small_jpeg, percent) for percent in (2, 25, 60, 97)},
        "truncated_progressive_50pct.jpg": cut(progressive, 50),
        "truncated_50pct.png": cut(small_png, 50),
        "truncated_50pct.webp": cut(lambda: webp_of(half_scene(), 80), 50),
        "empty.jpg": refused(Reason.MALFORMED, lambda: b""),
        "one_byte.jpg": unsupported(b"\xff", "I-17"),
        "soi_eoi_only.jpg": undecodable(lambda: JPEG_START + JPEG_END),
        "no_eoi.jpg": undecodable(lambda: small_jpeg()[:-2], "I-8"),
        "no_idat.png": undecodable(lambda: png_file(png_header(64, 64, colour=2), PNG_END), "I-8"),
        "no_iend.png": undecodable(lambda: small_png()[:-12], "I-8"),
        "lossless_sof3.jpg": undecodable(lambda: frame_changed(small_jpeg(), marker=0xC3), "I-7"),
        "precision_12bit_header.jpg": undecodable(lambda: frame_changed(small_jpeg(), bits=12), "I-7"),
        "corrupt_huffman_table.jpg": refused(Reason.UNDECODABLE, _corrupt_huffman_table, by_header=False),
        "bad_zlib.png": refused(
            Reason.UNDECODABLE,
            lambda: png_file(png_header(64, 64, colour=2), png_chunk(b"IDAT", bytes(200)), PNG_END),
            by_header=False,
        ),
        "corrupt_scan.jpg": either(_corrupt_scan, size=HALF),
        "bad_crc.png": either(lambda: _overwritten(small_png(), 60, bytes([small_png()[60] ^ 0x5A]))),
    }


def _misnamed() -> dict[str, Picture]:
    script = b"<script>alert('x')</script><?php echo 1; ?>"
    doctype = b'<?xml version="1.0"?><!DOCTYPE s [%s]>'
    return {
        "png_named.jpg": shows((250, 167), small_png, "I-12"),
        "jpeg_named.png": shows(HALF, small_jpeg, "I-12"),
        "trailing_garbage.jpg": shows(HALF, lambda: small_jpeg() + Random(7).randbytes(4_096), "I-12"),
        "two_jpegs_in_one.jpg": shows(HALF, lambda: small_jpeg() + jpeg_of(grey_scene()), "I-12"),
        "polyglot_jpeg_zip.jpg": shows(HALF, lambda: small_jpeg() + _zip(), "I-12"),
        "jpeg_with_html_comment.jpg": shows(
            HALF, lambda: small_jpeg()[:2] + jpeg_segment(0xFE, script) + small_jpeg()[2:], "I-12"
        ),
        "polyglot_gif_script.gif": unsupported(
            _gif((16, 16), 1)[:-1] + b"!\xfe" + bytes([len(script)]) + script + b"\0;", "I-12"
        ),
        "text_named.jpg": unsupported(b"this is not an image\n" * 20, "I-11"),
        "html_named.jpg": unsupported(b"<!doctype html><html><body>" + script + b"</body></html>\n", "I-11"),
        "json_named.jpg": refused(Reason.MALFORMED, lambda: b'{"image": null}\n', "I-11"),
        "elf_header_named.jpg": unsupported(b"\x7fELF\x02\x01\x01" + bytes(200), "I-11"),
        "pdf_named.jpg": unsupported(
            b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n", "I-11"
        ),
        "eps_ghostscript.eps": unsupported(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(/etc/hostname) (r) file pop\nshowpage\n",
            "I-11",
        ),
        "svg_external_entity.svg": unsupported(
            doctype % b'<!ENTITY x SYSTEM "file:///etc/hostname">' + _SVG % b"&x;", "I-11"
        ),
        "svg_billion_laughs.svg": unsupported(
            doctype % (b'<!ENTITY l0 "ha">' + _ENTITIES.encode()) + _SVG % b"&l8;", "I-11"
        ),
    }


def _odd_sizes() -> dict[str, Picture]:
    def plain(suffix: str, width: int, height: int) -> Callable[[], bytes]:
        return lambda: encoded(suffix, np.full((height, width, 3), (0, 0, 255), np.uint8))

    return {
        "1x1.png": either(plain(".png", 1, 1), "I-17", size=(1, 1)),
        "1x1.jpg": either(plain(".jpg", 1, 1), "I-17", size=(1, 1)),
        "4000x1.png": either(plain(".png", 4_000, 1), "I-17", size=(4_000, 1)),
        "1x4000.png": either(plain(".png", 1, 4_000), "I-17", size=(1, 4_000)),
        "2x3.gif": unsupported(_gif((2, 3), 1)),
        "20000x20.png": refused(Reason.PICTURE_TOO_LARGE, plain(".png", 20_000, 20), "I-14"),
    }


def _bombs() -> dict[str, Picture]:
    def too_large(make: Callable[[], bytes], row: str) -> Picture:
        return refused(Reason.PICTURE_TOO_LARGE, make, row)

    largest = 2**31 - 1
    return {
        "30000x30000_1bit.png": too_large(lambda: _bomb_png(30_000, 30_000, bits=1, row_bytes=3_750), "I-1"),
        "12000x12000_gray8.png": too_large(
            lambda: _bomb_png(12_000, 12_000, bits=8, row_bytes=12_000), "I-1"
        ),
        "header_2147483647.png": too_large(lambda: png_of(bytes(100), (largest, largest), colour=6), "I-2"),
        "header_0x0.png": refused(Reason.UNDECODABLE, lambda: png_of(b"", (0, 0), colour=2), "I-2"),
        "idat_64mib_for_8x8.png": either(
            lambda: png_file(png_header(), png_chunk(b"IDAT", _zeros(_64_MIB)), PNG_END), "I-3", size=(8, 8)
        ),
        "iccp_64mib.png": either(
            lambda: _with_chunk(b"iCCP", b"icc\0\0" + _zeros(_64_MIB)), "I-4", size=(8, 8)
        ),
        "ztxt_64mib.png": either(
            lambda: _with_chunk(b"zTXt", b"Comment\0\0" + _zeros(_64_MIB)), "I-4", size=(8, 8)
        ),
        "2000_scans_4000x4000.jpg": refused(Reason.UNDECODABLE, _many_scans, "I-5"),
        "header_65500x65500.jpg": too_large(lambda: huge_jpeg(65_500, 65_500), "I-6"),
        "header_65500x65500_progressive.jpg": too_large(
            lambda: huge_jpeg(65_500, 65_500, marker=0xC2), "I-6"
        ),
        "header_65535x65535.gif": unsupported(_gif((65_535, 65_535), 1)),
        "header_32767x32767.bmp": unsupported(
            b"BM" + struct.pack("<IHHIIiiHH", 118, 0, 0, 54, 40, 32_767, 32_767, 1, 24) + bytes(88)
        ),
        "1500_frames.gif": unsupported(_gif((64, 64), 1_500)),
    }


def _metadata() -> dict[str, Picture]:
    def profile() -> bytes:
        return small_jpeg()[:2] + jpeg_segment(0xE2, _ICC_START + bytes(range(128))) + small_jpeg()[2:]

    return {
        "exif_loop.jpg": shows(
            HALF, lambda: _tagged(tag=0x8769, kind=4, count=1, value=b"\x08\0\0\0"), "I-7"
        ),
        "exif_offset_out_of_range.jpg": shows(
            HALF, lambda: with_exif(small_jpeg(), b"II*\0\xff\xff\xff\x7f"), "I-7"
        ),
        "exif_orientation_as_text.jpg": shows(
            HALF, lambda: _tagged(tag=0x0112, kind=2, count=4, value=b"six\0"), "I-7"
        ),
        "exif_count_huge.jpg": either(
            lambda: _tagged(tag=0x0112, kind=3, count=2**32 - 1, value=b"\x08\0\0\0"), "I-7", size=HALF
        ),
        "icc_garbage.jpg": shows(HALF, profile, "I-7"),
    }


def made_hostile() -> dict[str, Picture]:
    """By file name such as "hostile/bad_crc.png"."""
    files = {**_broken(), **_misnamed(), **_odd_sizes(), **_metadata()}
    files |= {f"bomb_{name}": one for name, one in _bombs().items()}
    return {f"hostile/{name}": one for name, one in files.items()}
