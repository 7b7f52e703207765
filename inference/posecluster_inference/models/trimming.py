"""Remove the segmentation branch from a pose bundle; the landmarks stay equal bit for bit.

The landmark network computes a mask of the person, which MediaPipe drops unless it was asked for masks. The
operators that only lead to this mask are removed, and the output of the mask becomes an alias of the output
of the presence score, so that the network still has the five outputs that MediaPipe expects.

The file is edited in place instead of being serialised again. Therefore the result depends on the bundle
only, not on the version of a library, and it can be pinned by its sha256. The layout is that of FlatBuffers
(https://flatbuffers.dev/internals/) with the schema tensorflow/lite/schema/schema.fbs.
"""

import io
import struct
import zipfile
import zlib

_NETWORK = "pose_landmarks_detector.tflite"

# Places of fields in the tables of the schema
_MODEL_SUBGRAPHS = 2
_GRAPH_OUTPUTS = 2
_GRAPH_OPERATORS = 3
_OPERATOR_INPUTS = 1
_OPERATOR_OUTPUTS = 2

# Places in the network's list of outputs: landmarks, presence, mask, heat map, world landmarks
_PRESENCE = 1
_MASK = 2


def trimmed(bundle: bytes) -> bytes:
    """Return the bundle, of the same length, without the segmentation branch of its landmark network.

    The bundle must be an accepted published file; the caller compares the result with its pinned sha256.
    """
    content = bytearray(bundle)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        entry = archive.getinfo(_NETWORK)
    # The network follows its name, because bundles are neither compressed nor padded there.
    start = bundle.index(_NETWORK.encode(), entry.header_offset) + len(_NETWORK)
    network = memoryview(content)[start : start + entry.file_size]
    _remove_mask(network)
    old, new = struct.pack("<I", entry.CRC), struct.pack("<I", zlib.crc32(network))
    for header in (entry.header_offset, start + entry.file_size):  # before the file, and in the directory
        place = bundle.index(old, header)
        content[place : place + len(new)] = new
    return bytes(content)


def _remove_mask(network: memoryview) -> None:
    outputs, operators = _graph(network)
    numbers = list(_numbers(network, outputs))
    needed = {number for place, number in enumerate(numbers) if place != _MASK}
    kept: list[int] = []  # positions of the operators' tables
    for place in reversed(_items(network, operators)):
        table = place + _integer(network, place)
        if needed.intersection(_numbers(network, _field(network, table, _OPERATOR_OUTPUTS))):
            needed.update(_numbers(network, _field(network, table, _OPERATOR_INPUTS)))
            kept.append(table)
    for place, table in zip(_items(network, operators), reversed(kept), strict=False):
        struct.pack_into("<I", network, place, table - place)
    struct.pack_into("<I", network, operators, len(kept))
    struct.pack_into("<i", network, _items(network, outputs)[_MASK], numbers[_PRESENCE])


def _graph(network: memoryview) -> tuple[int, int]:
    """Return the positions of the vectors of outputs and of operators of the network's only graph."""
    graphs = _field(network, _integer(network, 0), _MODEL_SUBGRAPHS)
    (place,) = _items(network, graphs)
    graph = place + _integer(network, place)
    return _field(network, graph, _GRAPH_OUTPUTS), _field(network, graph, _GRAPH_OPERATORS)


def _field(network: memoryview, table: int, field: int) -> int:
    """Return the position of the vector that a table's field refers to."""
    vtable = table - _integer(network, table, signed=True)
    place = table + _integer(network, vtable + 4 + 2 * field, size=2)
    return place + _integer(network, place)


def _items(network: memoryview, vector: int) -> range:
    """Return the positions of a vector's items, which have four bytes each."""
    return range(vector + 4, vector + 4 + 4 * _integer(network, vector), 4)


def _numbers(network: memoryview, vector: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{_integer(network, vector)}i", network, vector + 4)


def _integer(network: memoryview, place: int, *, size: int = 4, signed: bool = False) -> int:
    return int.from_bytes(network[place : place + size], "little", signed=signed)
