"""Programs that only record how they were called, for tests of scripts that call real ones."""

import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.server import ROOT

# what the scripts may use of the machine; all else on PATH is a stand-in or missing
_REAL = (
    "awk",
    "bash",
    "cat",
    "date",
    "dirname",
    "env",
    "git",
    "grep",
    "make",
    "mkdir",
    "mktemp",
    "rm",
    "sh",
    "tail",
)
_STAND_IN = """#!/bin/sh
line=$(basename "$0")
for word in "$@"; do line="$line $word"; done
printf '%s\\n' "$line" >>"$STAND_INS_LOG"  # in one write: several may run at the same time
"""


@dataclass(slots=True)
class StandIns:
    """A PATH of stand-ins; each runs the shell lines that it was given after noting its call."""

    folder: Path
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "calls"
        path = self.folder / "bin"
        path.mkdir(parents=True)
        for name in (*_REAL, "basename"):
            real = next(
                (Path(part, name) for part in ("/usr/bin", "/bin") if Path(part, name).exists()), None
            )
            if real is not None:
                (path / name).symlink_to(real)

    def add(self, name: str, lines: str = "") -> None:
        """Put a program there; `lines` are what it does, with its arguments as $1, $2 and so on."""
        program = self.folder / "bin" / name
        program.unlink(missing_ok=True)  # it may be a link to the real one
        program.write_text(f"{_STAND_IN}{lines}\n", encoding="utf-8")
        program.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the repository with nothing but the stand-ins and these variables."""
        self.log.write_text("", encoding="utf-8")
        home = os.environ.get("HOME", "/")
        return subprocess.run(
            command,
            cwd=ROOT,
            env={"PATH": str(self.folder / "bin"), "HOME": home, "STAND_INS_LOG": str(self.log)}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
        )

    @property
    def calls(self) -> list[str]:
        """The calls of the last run, in their order."""
        return self.log.read_text(encoding="utf-8").splitlines()


def shown(errors: str) -> list[str]:
    """The commands that a script showed it runs, or would run."""
    return [shlex.join(shlex.split(line[2:])) for line in errors.splitlines() if line.startswith("+ ")]
