"""What the server needs of the machine: system, C library, processor, and the memory that a process has.

Imports only what any system has.
"""

import os
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from posecluster_inference.errors import InvalidSetting

_IN_A_CONTAINER = "run its image in a container (README.md has the command)"
NO_THREAD = "can't start new thread"  # the text of CPython's RuntimeError
# What to do about it, and about a process that cannot be started
ALLOW_PROCESSES = "raise the limit on processes and threads (ulimit -u, --pids-limit, podPidsLimit)"
_CPUINFO = Path("/proc/cpuinfo")
# The platforms that all locked packages have builds for: the line of /proc/cpuinfo that lists the processor's
# features, and those that the builds use without asking. Without one of them the process ends by SIGILL.
_FEATURES = {
    # x86-64-v2 by NumPy, AVX by MediaPipe
    "x86_64-linux-gnu": ("flags", ("avx", "cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")),
    # the atomic instructions of Armv8.1 (LSE), by MediaPipe
    "aarch64-linux-gnu": ("Features", ("atomics",)),
}
_OLDEST = {
    "flags": "x86-64 with AVX (most since 2011)",
    "Features": "Armv8.1 with LSE (not Cortex-A72 and older)",
}


def check_system() -> None:
    """Raise InvalidSetting unless this is Linux with a C library that MediaPipe has a build for."""
    if sys.platform != "linux":
        raise InvalidSetting(f"the server runs on Linux, and this is {sys.platform}: {_IN_A_CONTAINER}")
    if (platform := _platform()) and platform not in _FEATURES:
        raise InvalidSetting(
            f"MediaPipe has builds for {' and '.join(_FEATURES)}, and this Python is for {platform}: "
            f"use a Python for one of them, such as Debian's, or {_IN_A_CONTAINER}"
        )


def check_processor(cpuinfo: Path = _CPUINFO) -> None:
    """Raise InvalidSetting if /proc/cpuinfo says that the processor lacks what the locked packages use.

    Passes where that file does not say, as under some emulators. A worker that SIGILL ends is reported, too.
    """
    line, needed = _FEATURES.get(_platform(), ("", ()))
    with suppress(OSError):
        rows = (
            row.partition(":") for row in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        )
        listed = [set(features.split()) for name, _, features in rows if name.strip() == line]
        missing = [one for one in needed if not all(one in features for features in listed)]
        if missing:
            raise InvalidSetting(
                f"this processor lacks {', '.join(missing)}: MediaPipe and NumPy need {_OLDEST[line]}"
            )


def resident_bytes() -> int:
    """Return this process's resident memory; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _platform() -> str:
    """Return what this Python was built for, such as `x86_64-linux-gnu`; empty if it does not say."""
    return "-".join(str(sysconfig.get_config_var("SOABI") or "").split("-")[2:])
