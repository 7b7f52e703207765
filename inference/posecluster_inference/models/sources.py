"""Where a model file can come from. A source only returns bytes; `store` decides whether they are right."""

import http.client
import time
import urllib.request
from pathlib import Path
from typing import Protocol

from posecluster_inference.errors import ModelError
from posecluster_inference.worker.tasks.model_files import Model

_CONNECT_SECONDS = 5.0  # also the longest silence in a download
_DOWNLOAD_SECONDS = 300.0
_CHUNK_BYTES = 1 << 18


class Unavailable(ModelError):
    """A source does not have the file, or cannot be reached; the next source may have it."""


class Source(Protocol):
    """One place to get a model file from.

    `chosen`: the user named this place, so that a wrong file there is an error and not a reason to
    try the next source.
    """

    name: str
    chosen: bool

    def fetch(self, model: Model) -> bytes:
        """Return the file's bytes, at most one more than the largest accepted; raises Unavailable."""


class LocalPath:
    """The file itself, whatever its name, or a folder that holds it under its own name."""

    chosen = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def fetch(self, model: Model) -> bytes:
        """Read the file; raises Unavailable if the folder lacks it, ModelError if the path is unusable."""
        path = self._path
        try:
            if path.is_dir():
                path /= model.file_name
                if not path.exists():
                    raise Unavailable(f"has no {model.file_name}")
            if not path.is_file():
                raise ModelError(f"{path} is not a file: name {model.file_name} or a folder that holds it")
            with path.open("rb") as file:
                return file.read(model.largest + 1)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error


class OfficialAddress:
    """The publisher's store; proxies as in the environment."""

    name = "official address"
    chosen = False

    def __init__(self, connect_seconds: float = _CONNECT_SECONDS, seconds: float = _DOWNLOAD_SECONDS) -> None:
        self._connect_seconds = connect_seconds
        self._seconds = seconds

    def fetch(self, model: Model) -> bytes:
        """Download it; raises Unavailable soon if the store cannot be reached."""
        ends = time.monotonic() + self._seconds
        content = bytearray()
        try:
            # the address is a constant of the catalogue
            with urllib.request.urlopen(model.address, timeout=self._connect_seconds) as answer:  # noqa: S310 # nosec B310
                while chunk := answer.read1(_CHUNK_BYTES):
                    content += chunk
                    if len(content) > model.largest:
                        break
                    if time.monotonic() > ends:
                        raise Unavailable(f"took longer than {self._seconds:.0f} s")
        except OSError as error:
            raise Unavailable(f"cannot be reached ({getattr(error, 'reason', None) or error})") from error
        except http.client.HTTPException as error:
            raise Unavailable(f"answered wrongly ({type(error).__name__})") from error
        return bytes(content[: model.largest + 1])
