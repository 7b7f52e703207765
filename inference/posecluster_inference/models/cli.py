"""`posecluster-inference models fetch|list|verify`: each says in lines what it found, 0 or 1 at the end."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from posecluster_inference.errors import ModelError
from posecluster_inference.models import sources, store
from posecluster_inference.models.catalogue import CATALOGUE, Model
from posecluster_inference.models.packages import PackageShelf

_ALL = "all"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their flags to the parser of `posecluster-inference models`."""
    variants = [*(model.variant for model in CATALOGUE), _ALL]
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dir",
        default=os.environ.get("POSECLUSTER_MODEL_DIR") or "models",
        help="folder with the model files (default: POSECLUSTER_MODEL_DIR, else models)",
    )
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="fetch|list|verify")
    fetch = commands.add_parser("fetch", parents=[common], help="bring model files here, checked by sha256")
    fetch.add_argument("--variant", choices=variants, default="full", help="(default: full)")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="FOLDER",
        help="look into this folder first (default: POSECLUSTER_MODEL_SOURCE)",
    )
    commands.add_parser("list", parents=[common], help="show the known model files and their state")
    verify = commands.add_parser("verify", parents=[common], help="check the files that are here by sha256")
    verify.add_argument("--variant", choices=variants, help="this one must be here (default: those here)")


def run(arguments: argparse.Namespace, catalogue: Sequence[Model] = CATALOGUE) -> int:
    """Do what `add_commands` parsed; 0 if all went well, 1 after one line on stderr for each failure."""
    folder = Path(arguments.dir)
    if arguments.models_command == "list":
        return _list(folder, catalogue)
    named = [model for model in catalogue if arguments.variant in (model.variant, _ALL)]
    if arguments.models_command == "fetch":
        try:
            return _fetch(folder, named, arguments.source)
        except OSError as error:  # the scratch folder: full or not writable; the model folder has its own
            _complain(f"{tempfile.gettempdir()} cannot be used for downloads: {error.strerror}")
            return 1
    if arguments.variant is None:
        named = [model for model in catalogue if (folder / model.file_name).exists()]
        if not named:
            _complain(f"{folder} has no model files; run: posecluster-inference models fetch --dir {folder}")
            return 1
    return _verify(folder, named, catalogue)


def _fetch(folder: Path, models: Sequence[Model], source: str | None) -> int:
    failures = 0
    local = sources.chosen_folders(source, os.environ)
    with tempfile.TemporaryDirectory(prefix="posecluster-models-") as workspace:
        shelf = PackageShelf(Path(workspace))
        for model in models:
            places = sources.usual(model, local, shelf, Path(workspace))
            try:
                found = store.fetch(model, folder, places, _complain)
            except ModelError as error:
                _complain(str(error))
                failures += 1
            else:
                _say(f"{found.path} {found.origin} sha256 {found.sha256}")
    return 1 if failures else 0


def _verify(folder: Path, models: Sequence[Model], catalogue: Sequence[Model]) -> int:
    failures = 0
    for model in models:
        try:
            found = store.verified(folder, model.task, model.variant, catalogue=catalogue)
        except ModelError as error:
            _complain(str(error))
            failures += 1
        else:
            _say(f"{found.path} {found.origin} sha256 {found.sha256}")
    return 1 if failures else 0


def _list(folder: Path, catalogue: Sequence[Model]) -> int:
    _say(f"{'TASK':<6}{'VARIANT':<9}{'BYTES':>10}  {'STATE':<10}FILE")
    for model in catalogue:
        path = folder / model.file_name
        size, state = model.accepted[0].size, "missing"
        if path.exists():
            try:
                state = store.verified(folder, model.task, model.variant, catalogue=catalogue).origin
                size = path.stat().st_size
            except ModelError:
                state = "wrong"
        _say(f"{model.task:<6}{model.variant:<9}{size:>10}  {state:<10}{path}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str) -> None:
    sys.stderr.write(f"posecluster-inference: {line}\n")
