"""Sources of model files. A source returns bytes; `store` checks their content."""

import http.client
import time
import urllib.request
from pathlib import Path
from typing import Protocol

from posecluster_inference.errors import ModelError
from posecluster_inference.worker.tasks.model_files import Model

_CONNECT_SECONDS = 5.0  # also the longest pause in a download
_DOWNLOAD_SECONDS = 300.0
_CHUNK_BYTES = 1 << 18


class Unavailable(ModelError):
    """The source does not have the file or cannot be reached; the next source is used."""


class Source(Protocol):
    """A place from which a model file can be fetched.

    `chosen`: the user named this source. A wrong file from it is then an error, and the next source is not
    used.
    """

    name: str
    chosen: bool

    def fetch(self, model: Model) -> bytes:
        """Return the content, cut one byte after the largest accepted size; raises ModelError."""


class LocalPath:
    """A local file of any name, or a folder that contains the file under its published name."""

    chosen = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def fetch(self, model: Model) -> bytes:
        """Read the file; raises Unavailable if the folder lacks it, ModelError if it cannot be read."""
        path = self._path
        try:
            if path.is_dir():
                path /= model.file_name
                if not path.exists():
                    raise Unavailable(f"has no {model.file_name}")
            if not path.is_file():
                raise ModelError(f"{path} is not a file: name {model.file_name} or a folder that contains it")
            with path.open("rb") as file:
                return file.read(model.largest + 1)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error


class OfficialAddress:
    """The address at which the file is published; uses the proxies that the environment sets."""

    name = "official address"
    chosen = False

    def __init__(self, connect_seconds: float = _CONNECT_SECONDS, seconds: float = _DOWNLOAD_SECONDS) -> None:
        self._connect_seconds = connect_seconds
        self._seconds = seconds

    def fetch(self, model: Model) -> bytes:
        """Download the file; raises Unavailable if that fails or takes too long."""
        ends = time.monotonic() + self._seconds
        content = bytearray()
        try:
            # The address is a constant from the catalogue.
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
            raise Unavailable(f"sent an invalid response ({type(error).__name__})") from error
        return bytes(content[: model.largest + 1])
