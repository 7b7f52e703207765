"""Add to a released pose network the metadata of its official bundle; runs in a separate process.

Called as `python -I repack.py FLATBUFFERS SCHEMAS KIND SOURCE TARGET`: two import paths (both may
lie inside a wheel), `detector` or `landmarks`, and two files. A child process, because flatbuffers
must be an exact old version (newer versions use another layout) and must not conflict with an
installed one. Needs numpy: without it flatbuffers packs byte by byte. The texts are those
of the released pose_landmarker_full.task, read back with the same schema.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

_METADATA_NAME = b"TFLITE_METADATA"
_IMAGE, _FEATURES = 2, 1  # ContentProperties in metadata_schema.fbs
_NORMALIZATION = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType

# name, description, input description, mean, deviation, least value, outputs
_TEXTS: dict[str, tuple[str, str, str, float, float, float, list[tuple[str, str]]]] = {
    "detector": (
        "Pose Detection",
        "Detects human poses",
        "Input image to be detected",
        127.5,
        127.5,
        -1.0,
        [
            ("raw boxes/keypoints", "Undecoded face bboxes location and keypoints"),
            ("scores", "Scores of the detected bboxes."),
        ],
    ),
    "landmarks": (
        "Pose Landmark",
        "Detects human pose landmarks with frontal camera.",
        "Input image to be landmarked",
        0.0,
        255.0,
        0.0,
        [
            ("landmarks", "Pose landmarks"),
            ("presence", "Presence of pose."),
            ("segmentation_mask", "Segmentation mask for pose."),
            ("heat_map", "Heat map for pose."),
            ("world_landmarks", "World landmarks for pose."),
        ],
    ),
}


def metadata(kind: str, schema: Any, numpy: Any) -> Any:
    """Build the ModelMetadataT of one network; `schema` is metadata_schema_py_generated."""
    name, description, input_description, mean, deviation, least, outputs = _TEXTS[kind]

    picture = _tensor(schema, "image", input_description, _IMAGE, schema.ImagePropertiesT())
    picture.content.contentProperties.colorSpace = _RGB
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = _NORMALIZATION, schema.NormalizationOptionsT()
    unit.options.mean = numpy.array([mean], numpy.float32)
    unit.options.std = numpy.array([deviation], numpy.float32)
    picture.processUnits = [unit]
    picture.stats.max = numpy.array([1.0], numpy.float32)
    picture.stats.min = numpy.array([least], numpy.float32)

    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [picture]
    graph.outputTensorMetadata = [
        _tensor(schema, output, text, _FEATURES, schema.FeaturePropertiesT()) for output, text in outputs
    ]
    model = schema.ModelMetadataT()
    model.name, model.description, model.version = name, description, "1"
    model.subgraphMetadata = [graph]
    model.author, model.minParserVersion = "MediaPipe", "1.0.0"
    return model


def _tensor(schema: Any, name: str, description: str, kind: int, properties: Any) -> Any:
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.description = name, description
    tensor.content = schema.ContentT()
    tensor.content.contentPropertiesType, tensor.content.contentProperties = kind, properties
    tensor.stats = schema.StatsT()
    return tensor


def _packed(flatbuffers: Any, item: Any, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(item.Pack(builder), identifier)
    return bytes(builder.Output())


def repack(kind: str, network: bytes) -> bytes:
    """Return `network` (a .tflite file) with the metadata set, laid out as the released bundles have it."""
    flatbuffers, numpy, model_schema, metadata_schema = (
        importlib.import_module(name)
        for name in ("flatbuffers", "numpy", "schema_py_generated", "metadata_schema_py_generated")
    )
    text = _packed(flatbuffers, metadata(kind, metadata_schema, numpy), b"M001")
    model = model_schema.ModelT.InitFromObj(model_schema.Model.GetRootAs(network, 0))
    entries = model.metadata = model.metadata or []
    index = next((entry.buffer for entry in entries if entry.name == _METADATA_NAME), None)
    if index is None:
        entry = model_schema.MetadataT()
        entry.name, entry.buffer = _METADATA_NAME, len(model.buffers)
        entries.append(entry)
        model.buffers.append(model_schema.BufferT())
        index = entry.buffer
    model.buffers[index].data = numpy.frombuffer(text, numpy.uint8)
    return _packed(flatbuffers, model, b"TFL3")


if __name__ == "__main__":
    flatbuffers_path, schemas_path, wanted, source, target = sys.argv[1:]
    sys.path[:0] = [flatbuffers_path, schemas_path]
    Path(target).write_bytes(repack(wanted, Path(source).read_bytes()))
