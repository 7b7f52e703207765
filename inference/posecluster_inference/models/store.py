"""The folder of model files. Only files whose sha256 is in the catalogue are stored or used."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posecluster_inference.errors import ModelError
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.models.sources import Source, Unavailable
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned


class WrongContent(ModelError):
    """A file with content that the catalogue does not accept."""


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A model file whose content has been checked."""

    path: Path
    sha256: str
    origin: Origin


def select(task: str, variant: str, catalogue: Iterable[Model] = CATALOGUE) -> Model:
    """Return the model of a task and variant; raises ModelError if the catalogue has none."""
    known = list(catalogue)
    for model in known:
        if (model.task, model.variant) == (task, variant):
            return model
    names = ", ".join(f"{model.task} {model.variant}" for model in known)
    raise ModelError(f"there is no model {task} {variant}; the known models are {names}")


def verified(
    model_dir: Path | str, task: str, variant: str, *, catalogue: Iterable[Model] = CATALOGUE
) -> VerifiedModel:
    """Return the model file of a task and variant after checking its content.

    Raises ModelError if it is missing or wrong; the message ends with the command that fetches it.
    """
    model = select(task, variant, catalogue)
    path = Path(model_dir) / model.file_name
    try:
        pinned = _check_file(path, model)
    except ModelError as error:
        command = f"posecluster-inference models fetch --variant {variant} --dir {model_dir}"
        raise ModelError(f"{error}; run: {command}") from error
    return VerifiedModel(path, pinned.sha256, pinned.origin)


def fetch(
    model: Model, model_dir: Path, sources: Sequence[Source], report: Callable[[str], None]
) -> VerifiedModel:
    """Fetch the file into `model_dir` from the first source that has it, unless a correct file exists.

    Only a complete and checked file appears under its name. Raises Unavailable if every source fails; the
    message has the reason for each. Raises ModelError if a chosen source has a wrong file or the folder
    cannot be written. `report` is called with a line for each source that fails.
    """
    path = model_dir / model.file_name
    try:
        pinned = _check_file(path, model)
    except WrongContent as error:
        report(f"{error}; replacing it")
    except ModelError:
        pass
    else:
        return VerifiedModel(path, pinned.sha256, pinned.origin)
    content, pinned = _first_right(model, sources, report)
    try:
        _put(path, content)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror}") from error
    return VerifiedModel(path, pinned.sha256, pinned.origin)


def _first_right(
    model: Model, sources: Sequence[Source], report: Callable[[str], None]
) -> tuple[bytes, Pinned]:
    reasons = []
    for source in sources:
        try:
            content = source.fetch(model)
            return content, _check(f"{model.file_name} from {source.name}", content, model)
        except WrongContent as error:
            if source.chosen:
                raise
            reason = str(error)
        except Unavailable as error:
            reason = f"{source.name}: {error}"
        report(f"{model.file_name}: {reason}")
        reasons.append(reason)
    raise Unavailable(f"{model.file_name} is not available: {'; '.join(reasons) or 'no source was given'}")


def _check_file(path: Path, model: Model) -> Pinned:
    try:
        if not path.is_file():
            raise ModelError(f"{path} is missing")
        with path.open("rb") as file:
            content = file.read(model.largest + 1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    return _check(str(path), content, model)


def _check(name: str, content: bytes, model: Model) -> Pinned:
    found = hashlib.sha256(content).hexdigest()
    for pinned in model.accepted:
        if found == pinned.sha256:
            return pinned
    if len(content) > model.largest:
        raise WrongContent(f"{name} is longer than the expected {model.largest} bytes")
    expected = " or ".join(pinned.sha256 for pinned in model.accepted)
    raise WrongContent(f"{name} is the wrong file: expected sha256 {expected}, found {found}")


def _put(path: Path, content: bytes) -> None:
    """Write a temporary file and rename it, so that no incomplete file appears under the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp creates it with 0600, but in an image another user reads it
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
