"""What /proc reports of processes; sizes in bytes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process now; `started` (clock ticks after boot) distinguishes a reused pid from the old one."""

    pid: int
    parent: int
    session: int
    state: str
    started: int


def read(pid: int) -> Process | None:
    """The process of that pid, or None if there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command's name stands in brackets and may hold anything
    parts = text[text.rindex(")") + 2 :].split()
    return Process(pid, parent=int(parts[1]), session=int(parts[3]), state=parts[0], started=int(parts[19]))


def alive(process: Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    now = read(process.pid)
    return now is not None and now.started == process.started and now.state != "Z"


def in_session(session: int) -> list[Process]:
    """All live processes of a session: a server started by `start_server` and all that it started."""
    found = (read(int(path.name)) for path in _PROC.iterdir() if path.name.isdigit())
    return [process for process in found if process and process.session == session and process.state != "Z"]


def children(pid: int) -> list[Process]:
    """Live direct children of a process."""
    found = (read(int(path.name)) for path in _PROC.iterdir() if path.name.isdigit())
    return [process for process in found if process and process.parent == pid and process.state != "Z"]


def rss(pid: int) -> int:
    """Resident memory; raises ProcessLookupError if the process is gone."""
    try:
        pages = (_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]
    except (FileNotFoundError, IndexError) as error:
        raise ProcessLookupError(pid) from error
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def user(pid: int) -> int:
    """The effective user id. The owner of the folder in /proc is root if the process hides its memory."""
    status = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    return int(next(line.split()[2] for line in status.splitlines() if line.startswith("Uid:")))


def descriptors(pid: int) -> int:
    """Number of open file descriptors; raises ProcessLookupError if the process is gone.

    Skips the test if the process hides them from this user, as a server does.
    """
    try:
        return len(list((_PROC / str(pid) / "fd").iterdir()))
    except PermissionError:
        pytest.skip("needs root, because a server hides its descriptors from its own user")
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error


def threads(pid: int) -> int:
    """Number of threads; raises ProcessLookupError if the process is gone."""
    try:
        return len(list((_PROC / str(pid) / "task").iterdir()))
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error


def cpu_seconds(pid: int) -> float:
    """User and system time used so far; raises ProcessLookupError if the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error
    parts = text[text.rindex(")") + 2 :].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def wait_gone(waiting_for: list[Process], timeout_seconds: float) -> list[Process]:
    """Wait until they have ended; those that have not when the time is over."""
    end = time.monotonic() + timeout_seconds
    left = [process for process in waiting_for if alive(process)]
    while left and time.monotonic() < end:
        time.sleep(0.01)
        left = [process for process in left if alive(process)]
    return left
