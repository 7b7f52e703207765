"""Checks of the operating system, C library and processor, and the memory use of this process.

This module can be imported on any system, so that an unsupported one gets a clear error.
"""

import os
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from pathlib import Path

from posecluster_inference.errors import InvalidSetting

_IN_A_CONTAINER = "run its image in a container (README.md has the command)"
NO_THREAD = "can't start new thread"  # message of CPython's RuntimeError
# Advice for a thread or process that cannot be started
ALLOW_PROCESSES = "raise the limit on processes and threads (ulimit -u, --pids-limit, podPidsLimit)"
_CPUINFO = Path("/proc/cpuinfo")
_STATM_BYTES = 256  # more than seven numbers need
# The platforms for which all locked packages have builds: the line of /proc/cpuinfo that lists the features
# of the processor, and the features that the builds use unconditionally. If one is missing, SIGILL ends the
# process.
_FEATURES = {
    # NumPy uses x86-64-v2, and MediaPipe uses AVX
    "x86_64-linux-gnu": ("flags", ("avx", "cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")),
    # MediaPipe uses the atomic instructions of Armv8.1 (LSE)
    "aarch64-linux-gnu": ("Features", ("atomics",)),
}
_OLDEST = {
    "flags": "x86-64 with AVX (most since 2011)",
    "Features": "Armv8.1 with LSE (not Cortex-A72 and older)",
}


def check_system() -> None:
    """Raise InvalidSetting unless this is Linux with a C library for which MediaPipe has a build."""
    if sys.platform != "linux":
        raise InvalidSetting(f"the server runs only on Linux, but this is {sys.platform}: {_IN_A_CONTAINER}")
    if (platform := _platform()) and platform not in _FEATURES:
        raise InvalidSetting(
            f"MediaPipe has builds for {' and '.join(_FEATURES)}, but this Python is built for {platform}: "
            f"use a Python that is built for one of them, such as Debian's, or {_IN_A_CONTAINER}"
        )


def check_processor(cpuinfo: Path = _CPUINFO) -> None:
    """Raise InvalidSetting if the processor lacks a feature that the locked packages use.

    Passes if /proc/cpuinfo lists no features, as under some emulators; SIGILL in a worker is reported
    separately.
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
    """Return the resident memory of this process; 0 if the system does not report it."""
    try:
        return int(os.pread(_statm(), _STATM_BYTES, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@cache
def _statm() -> int:
    """Return a descriptor that stays open, because a worker cannot open files during a request."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def _platform() -> str:
    """Return the platform of this Python, such as `x86_64-linux-gnu`; empty if it is unknown."""
    return "-".join(str(sysconfig.get_config_var("SOABI") or "").split("-")[2:])
