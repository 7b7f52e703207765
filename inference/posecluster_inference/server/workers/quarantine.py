"""Remembers pictures that ended workers, by the hash of their content."""

from collections import OrderedDict

_KILLS = 2
_SECONDS = 600.0
_ENTRIES = 1_000


class Quarantine:
    """Counts the workers that each picture ended; after two, the picture is refused for ten minutes."""

    def __init__(self) -> None:
        self._kills: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def record(self, digest: bytes, now: float) -> None:
        """Record that a worker crashed or hung while it processed this picture."""
        kills, _until = self._current(digest, now)
        self._kills[digest] = (kills + 1, now + _SECONDS)
        self._kills.move_to_end(digest)
        if len(self._kills) > _ENTRIES:
            self._kills.popitem(last=False)

    def forgive(self, digest: bytes) -> None:
        """Remove the record of one worker, because the picture has now been answered."""
        if self._kills.get(digest, (0, 0.0))[0] < _KILLS:
            self._kills.pop(digest, None)

    def holds(self, digest: bytes, now: float) -> bool:
        return self._current(digest, now)[0] >= _KILLS

    def _current(self, digest: bytes, now: float) -> tuple[int, float]:
        kills, until = self._kills.get(digest, (0, 0.0))
        return (kills, until) if now < until else (0, 0.0)
