"""Reading of traces: CSV files with the number of requests in each second or minute."""

from dataclasses import dataclass
from pathlib import Path

from posecluster_operator.errors import InvalidInput
from posecluster_operator.files import read_file

LONGEST_SECONDS = 31 * 86_400
_UNITS = {"second": 1, "minute": 60}
_MOST_BYTES = 64 * 1024 * 1024
_MOST_REQUESTS = 1_000_000_000  # in one row


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of requests in consecutive bins of `bin_seconds`."""

    bin_seconds: int
    requests: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """The total length in seconds."""
        return float(self.bin_seconds * len(self.requests))

    def part(self, *, skip_seconds: float, seconds: float | None) -> "Counts":
        """Return the bins after `skip_seconds` that make up `seconds`, or all remaining ones."""
        first = int(skip_seconds // self.bin_seconds)
        last = None if seconds is None else first + int(-(-seconds // self.bin_seconds))
        return Counts(self.bin_seconds, self.requests[first:last])


def read_trace(path: Path) -> Counts:
    """Return the counts of a file with the header `second,requests` or `minute,requests`.

    Rows start at 0 and ascend; missing rows count as 0 requests. Raises InvalidInput, which names the line.
    """
    too_large = f"has more than {_MOST_BYTES // 1024**2} MiB: shorten it"
    data = read_file(path, most_bytes=_MOST_BYTES, too_large=too_large)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text") from error
    return parse_trace(lines, name=str(path))


def parse_trace(lines: list[str], *, name: str) -> Counts:
    """Return the counts as `read_trace` does, from the lines of a file."""
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    head = [part.strip() for part in rows[0][1].split(",")] if rows else []
    if len(head) != 2 or head[0] not in _UNITS or head[1] != "requests":
        raise InvalidInput(f"{name} must begin with the line second,requests or minute,requests")
    bin_seconds = _UNITS[head[0]]
    counts: list[int] = []
    for number, line in rows[1:]:
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise InvalidInput(f"line {number} of {name} must be two whole numbers, such as 17,4")
        if len(parts[0]) > 12 or int(parts[0]) * bin_seconds >= LONGEST_SECONDS:
            raise InvalidInput(
                f"line {number} of {name} is after {LONGEST_SECONDS // 86_400} days: remove it"
            )
        if len(parts[1]) > 12 or int(parts[1]) > _MOST_REQUESTS:
            raise InvalidInput(f"line {number} of {name} has too many requests: at most {_MOST_REQUESTS}")
        index = int(parts[0])
        if index < len(counts):
            raise InvalidInput(
                f"line {number} of {name} is out of order: sort the rows, and remove duplicates"
            )
        counts.extend([0] * (index - len(counts)))
        counts.append(int(parts[1]))
    if not any(counts):
        raise InvalidInput(f"{name} has no requests: add some")
    return Counts(bin_seconds, tuple(counts))
