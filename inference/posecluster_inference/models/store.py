"""The folder of model files. Only files whose sha256 is in the catalogue are stored or used.

A file is stored trimmed (`trimming`) unless the user wants it as published. Both are accepted at start.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posecluster_inference.errors import ModelError
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.models.sources import Source, Unavailable
from posecluster_inference.models.trimming import trimmed
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned


class WrongContent(ModelError):
    """A file with content that the catalogue does not accept."""


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A model file whose content has been checked.

    `sha256` is the hash of the file, `published_sha256` that of the published file from which it was made.
    The two are equal unless the file is trimmed.
    """

    path: Path
    sha256: str
    published_sha256: str
    origin: Origin

    @property
    def trimmed(self) -> bool:
        """Whether the file lacks the parts of the published one that no result depends on."""
        return self.sha256 != self.published_sha256


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
        sha256, pinned = _identify(str(path), _read(path, model), model)
    except ModelError as error:
        command = f"posecluster-inference models fetch --variant {variant} --dir {model_dir}"
        raise ModelError(f"{error}; run: {command}") from error
    return VerifiedModel(path, sha256, pinned.sha256, pinned.origin)


def fetch(
    model: Model,
    model_dir: Path,
    sources: Sequence[Source],
    report: Callable[[str], None],
    *,
    as_published: bool = False,
) -> VerifiedModel:
    """Fetch the file into `model_dir` from the first source that has it, unless a correct file exists.

    The file is trimmed, unless it is wanted `as_published` or the hash of its trimmed form is unknown; a
    published file that exists is trimmed without being fetched again. Only a complete and checked file
    appears under its name. Raises Unavailable if every source fails; the message has the reason for each.
    Raises ModelError if a chosen source has a wrong file or the folder cannot be written. `report` is called
    with a line for each source that fails.
    """
    path = model_dir / model.file_name
    existing = None
    try:
        content = _read(path, model)
        _check_form(str(path), content, model, as_published)
        existing = content
    except WrongContent as error:
        report(f"{error}; replacing it")
    except ModelError:
        pass
    content = existing or _first_right(model, sources, report, as_published)
    sha256, pinned = _identify(path.name, content, model)
    if not as_published and sha256 == pinned.sha256 and pinned.trimmed_sha256:
        content = trimmed(content)
        sha256, pinned = _identify(f"{path.name}, trimmed,", content, model)
    if content is not existing:
        try:
            _put(path, content)
        except OSError as error:
            raise ModelError(f"{path} cannot be written: {error.strerror}") from error
    return VerifiedModel(path, sha256, pinned.sha256, pinned.origin)


def _first_right(
    model: Model, sources: Sequence[Source], report: Callable[[str], None], as_published: bool
) -> bytes:
    reasons = []
    for source in sources:
        try:
            content = source.fetch(model)
            _check_form(f"{model.file_name} from {source.name}", content, model, as_published)
        except WrongContent as error:
            if source.chosen:
                raise
            reason = str(error)
        except Unavailable as error:
            reason = f"{source.name}: {error}"
        else:
            return content
        report(f"{model.file_name}: {reason}")
        reasons.append(reason)
    raise Unavailable(f"{model.file_name} is not available: {'; '.join(reasons) or 'no source was given'}")


def _check_form(name: str, content: bytes, model: Model, as_published: bool) -> None:
    """Raise WrongContent unless the content is accepted and can be stored in the wanted form."""
    sha256, pinned = _identify(name, content, model)
    if as_published and sha256 != pinned.sha256:
        raise WrongContent(f"{name} is trimmed, and not as published")


def _read(path: Path, model: Model) -> bytes:
    try:
        if not path.is_file():
            raise ModelError(f"{path} is missing")
        with path.open("rb") as file:
            return file.read(model.largest + 1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _identify(name: str, content: bytes, model: Model) -> tuple[str, Pinned]:
    """Return the sha256 of an accepted content, and the published file that it is or was made from."""
    found = hashlib.sha256(content).hexdigest()
    for pinned in model.accepted:
        if found in (pinned.sha256, pinned.trimmed_sha256):
            return found, pinned
    if len(content) > model.largest:
        raise WrongContent(f"{name} is longer than the expected {model.largest} bytes")
    hashes = [item for pinned in model.accepted for item in (pinned.sha256, pinned.trimmed_sha256) if item]
    raise WrongContent(f"{name} is the wrong file: expected sha256 {' or '.join(hashes)}, found {found}")


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
