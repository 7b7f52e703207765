"""Pack two pose networks into a .task bundle that equals the released one byte for byte.

A bundle is a ZIP without compression: the person detector, then the landmark network. The layout
is that of the released files; with the right networks the result has their sha256.
"""

import struct
import zlib

DETECTOR_MEMBER = "pose_detector.tflite"
LANDMARKS_MEMBER = "pose_landmarks_detector.tflite"

_VERSION = 20  # 2.0, what a stored member needs
_MADE_BY = 3 << 8 | _VERSION  # Unix
_EXTERNAL_ATTRIBUTES = 0o600 << 16
_DATE = (2023 - 1980) << 9 | 4 << 5 | 28
_TIME = 0 << 11 | 45 << 5 | 14 // 2  # 00:45:14, the release /1/
_ALIGNMENT = 4  # networks are mapped in place


def with_end_record(network: bytes) -> bytes:
    """Append the empty ZIP directory that the official metadata tool leaves behind a network."""
    return network + _end_record(0, 0, len(network))


def pack(detector: bytes, landmarks: bytes) -> bytes:
    """Return the bundle of two networks that have their metadata (see `repack`)."""
    body = bytearray()
    directory = bytearray()
    for name, content in ((DETECTOR_MEMBER, detector), (LANDMARKS_MEMBER, landmarks)):
        encoded = name.encode("ascii")
        size = len(content)
        common = struct.pack(
            "<HHHHHIIIHH", _VERSION, 0, 0, _TIME, _DATE, zlib.crc32(content), size, size, len(encoded), 0
        )
        header = b"PK\x03\x04" + common + encoded
        body += bytes(-(len(body) + len(header)) % _ALIGNMENT)
        directory += b"PK\x01\x02" + struct.pack("<H", _MADE_BY) + common
        directory += struct.pack("<HHHII", 0, 0, 0, _EXTERNAL_ATTRIBUTES, len(body)) + encoded
        body += header + content
    return bytes(body + directory) + _end_record(2, len(directory), len(body))


def _end_record(members: int, directory_size: int, directory_offset: int) -> bytes:
    return b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, members, members, directory_size, directory_offset, 0
    )
