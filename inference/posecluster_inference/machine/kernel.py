"""System calls that Python's standard library has no function for."""

import ctypes
import os
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MAPPED_FROM_BYTES = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def return_freed_memory() -> None:
    """Let malloc return blocks of 1 MiB and more to the system when they are freed.

    By default glibc raises this threshold up to 32 MiB with the blocks that are freed, and then keeps them.
    Other C libraries have no such setting.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)


def prctl(option: int, value: int) -> int:
    """Call prctl(2) with one argument; raises OSError."""
    rest = (ctypes.c_ulong(0),) * 3
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), *rest))


def call(number: int, *arguments: "int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None") -> int:
    """Call a system call by its number; structures and buffers are passed by reference. Raises OSError."""
    passed = (ctypes.c_long(one) if isinstance(one, int) else one and ctypes.byref(one) for one in arguments)
    _libc.syscall.restype = ctypes.c_long
    return _checked(_libc.syscall(ctypes.c_long(number), *passed))


def forbid_inspection() -> None:
    """Hide this process's memory, environment and descriptors from other processes of the same user.

    Its files in /proc then belong to root, no debugger can attach to it, and it never leaves a core dump.
    """
    if sys.platform == "linux":
        prctl(_PR_SET_DUMPABLE, 0)
