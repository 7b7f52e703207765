"""A number that processes share, with the lock under which they change it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Users:
    """How many processes use `what` at the moment; `folder` is the same for all of them."""

    folder: Path
    what: str

    @contextmanager
    def change(self, by: int) -> Iterator[int]:
        """Add to the number and yield the sum; other processes wait until the block ends."""
        with (self.folder / f"users-{self.what}").open("a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            count = int(file.read() or 0) + by
            file.truncate(0)
            file.write(str(count))
            file.flush()
            yield count
