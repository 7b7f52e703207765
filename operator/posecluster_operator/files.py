"""Reading files named by users."""

from pathlib import Path

from posecluster_operator.errors import InvalidInput


def read_file(path: Path, *, most_bytes: int, too_large: str) -> bytes:
    """Return the content. Raises InvalidInput if it cannot be read, or, with `too_large`, is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > most_bytes:
        raise InvalidInput(f"{path} {too_large}")
    return data
