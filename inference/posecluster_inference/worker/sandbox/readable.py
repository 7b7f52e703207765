"""The files that a worker needs to load its engine and model, wherever Python is installed."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = (
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
)


def paths(model: Path) -> list[Path]:
    """Return the files and folders that stay readable; some may be missing.

    Of folders outside of the Python installation, such as the working folder and those in PYTHONPATH, only
    the packages that have been imported are included, because such a folder can contain secrets.
    """
    found = [
        Path(one) for one in (*_SYSTEM, f"/proc/{os.getpid()}", *_installation(), *_imported(), *_libraries())
    ]
    return list(dict.fromkeys([model.resolve(), *found]))


def _installation() -> Iterator[str]:
    """Yield the folders of the standard library and of installed packages."""
    yield from (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from site.getsitepackages([sys.prefix, sys.base_prefix])
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()


def _imported() -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        if "." not in name:
            yield from getattr(module, "__path__", ())


def _libraries() -> Iterator[str]:
    """Yield the folder of the C library, where native code finds others, and those of LD_LIBRARY_PATH."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        mapped = {line.split(maxsplit=5)[5].strip() for line in maps if "/libc" in line}
    yield from (
        os.path.dirname(one) for one in mapped if os.path.basename(one).startswith(("libc.so", "libc-"))
    )
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
