"""Landlock: which files this process may read. Numbers are those of linux/landlock.h.

Each ABI of the kernel knows more rights; a right that it does not know cannot be denied.
"""

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from posecluster_inference.machine import kernel

NEWEST_ABI = 7  # newer ones are used as this one
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on all architectures
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# By ABI: the number of rights on files, of rights on TCP (bind, connect), and of scopes (abstract Unix
# sockets, signals)
_RIGHTS = {1: (13, 0, 0), 2: (14, 0, 0), 3: (15, 0, 0), 4: (15, 2, 0), 5: (16, 2, 0), 6: (16, 2, 2)}
_MEMBER_BYTES = 8


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr"""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # as `_pack_` implies, but Python 3.14 and newer want it named
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def supported_abi() -> int:
    """Return the ABI of this kernel; 0 if it lacks Landlock or a container runtime forbids it."""
    try:
        return kernel.call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def ruleset(abi: int) -> tuple[Ruleset, int]:
    """Return the rights that are denied unless a rule grants them, and the size of the structure in bytes."""
    files, network, scopes = _RIGHTS[min(abi, max(_RIGHTS))]
    members = 3 if scopes else 2 if network else 1
    return Ruleset((1 << files) - 1, (1 << network) - 1, (1 << scopes) - 1), members * _MEMBER_BYTES


def restrict(readable: Iterable[Path], abi: int) -> int:
    """Deny this thread and its later threads all files but `readable`, and return the ABI in use.

    Folders are readable with all that they contain; missing files are ignored. Returns 0 if `abi` is 0 or
    the kernel refuses.
    """
    abi = min(abi, NEWEST_ABI)
    if not abi:
        return 0
    denied, size = ruleset(abi)
    try:
        rules = kernel.call(_CREATE_RULESET, denied, size, 0)
    except OSError:
        return 0
    try:
        for path in readable:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(rules, path)
        kernel.call(_RESTRICT_SELF, rules, 0)
    except OSError:
        return 0
    finally:
        os.close(rules)
    return abi


def _allow(rules: int, path: Path) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
        kernel.call(_ADD_RULE, rules, _PATH_BENEATH, _PathBeneath(rights, opened), 0)
    finally:
        os.close(opened)
