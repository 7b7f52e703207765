"""seccomp: which system calls this process may make, as programs of classic BPF.

Everything that is not listed fails with EPERM: a library that tries (MediaPipe looks up a host name) goes on
without, and an attacker gains nothing by it. The list has what CPython, NumPy, OpenCV, MediaPipe and the C
library need to load a model and to process pictures. Constants are those of linux/filter.h, linux/audit.h and
linux/seccomp.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from posecluster_inference.machine import kernel

# System calls that are allowed with any arguments: their numbers on x86_64 and on aarch64
ALLOWED: Mapping[str, tuple[int | None, int | None]] = {
    # descriptors that are open, and files by name (`confinement` allows to open them only for reading)
    **{"read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67)},
    **{"lseek": (8, 62), "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None)},
    **{"dup3": (292, 24), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None), "lstat": (6, None)},
    **{"statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439)},
    **{"readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "getdents64": (217, 61)},
    **{"statfs": (137, 43), "fstatfs": (138, 44), "sendto": (44, 206), "recvfrom": (45, 207)},
    **{"shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209)},
    **{"poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72)},
    **{"epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None)},
    **{"epoll_pwait": (281, 22), "eventfd2": (290, 19), "pipe": (22, None), "pipe2": (293, 59)},
    # memory
    **{"mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "brk": (12, 214)},
    **{"madvise": (28, 233), "mincore": (27, 232), "membarrier": (324, 283), "get_mempolicy": (239, 236)},
    **{"pkey_alloc": (330, 289), "pkey_mprotect": (329, 288)},
    # threads (`confinement` allows to start them)
    **{"futex": (202, 98), "futex_waitv": (449, 449), "set_robust_list": (273, 99), "rseq": (334, 293)},
    **{"set_tid_address": (218, 96), "arch_prctl": (158, None), "exit": (60, 93), "exit_group": (231, 94)},
    **{"sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121)},
    **{"sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125), "getcpu": (309, 168)},
    **{"sched_get_priority_min": (147, 126), "getpriority": (140, 141)},
    # facts about this process and the machine, time, random numbers
    **{"gettid": (186, 178), "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174)},
    **{"geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getrusage": (98, 165)},
    **{"getrlimit": (97, 163), "times": (100, 153), "uname": (63, 160), "sysinfo": (99, 179)},
    **{"getrandom": (318, 278), "time": (201, None), "gettimeofday": (96, 169), "clock_gettime": (228, 113)},
    **{"clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101)},
    # its own timers and signals
    **{"timer_create": (222, 107), "timer_settime": (223, 110), "timer_gettime": (224, 108)},
    **{"timer_delete": (226, 111), "timer_getoverrun": (225, 109), "setitimer": (38, 103)},
    **{"getitimer": (36, 102), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135)},
    **{"rt_sigreturn": (15, 139), "rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133)},
    **{"rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132), "restart_syscall": (219, 128)},
    # a further filter, for `sealing`
    **{"seccomp": (317, 277)},
}
# System calls that are allowed with some arguments only (`_conditions`)
CONDITIONAL: Mapping[str, tuple[int | None, int | None]] = {
    **{"open": (2, None), "openat": (257, 56), "clone": (56, 220), "clone3": (435, 435), "kill": (62, 129)},
    **{"tgkill": (234, 131), "prlimit64": (302, 261), "prctl": (157, 167), "ioctl": (16, 29)},
    **{"fcntl": (72, 25)},
}
SEALED = ("open", "openat", "seccomp")
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # index into the tables, AUDIT_ARCH_*

_LOAD, _RETURN = 0x20, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_SET_MODE_FILTER = 1
_TO_ALL_THREADS, _WITHOUT_SPECULATION_BARRIERS = 1, 4
_X32 = 0x40000000  # numbers from here on are those of the x32 ABI

# Flags of open(2): anything but reading (O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE)
_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000
_CLONE_THREAD, _CLONE_NAMESPACES = 0x10000, 0x7E020080
# PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_SET_VMA. Not PR_SET_DUMPABLE or PR_SET_PDEATHSIG.
_PRCTL = (15, 16, 23, 0x53564D41)
_IOCTL = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. Not F_SETOWN, which sends signals to others.
_FCNTL = (0, 1, 2, 3, 4, 1030)


class Instruction(NamedTuple):
    """struct sock_filter: the two jumps count the instructions to skip."""

    code: int
    if_true: int
    if_false: int
    value: int


def _load(offset: int) -> Instruction:
    return Instruction(_LOAD, 0, 0, offset)


def _return(action: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, action)


_DENY = _return(_FAIL | errno.EPERM)


def _when(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run `body`, which must return, for the system call of this number."""
    return [Instruction(_IF_EQUAL, 0, len(body), number), *body]


def _argument(index: int) -> Instruction:
    return _load(_FIRST_ARGUMENT_OFFSET + 8 * index)  # the low half: all of these are 32 bits wide


def _one_of(index: int, values: Iterable[int]) -> list[Instruction]:
    """Allow if an argument has one of the values."""
    checks = [step for value in values for step in _when(value, [_return(_ALLOW)])]
    return [_argument(index), *checks, _DENY]


def _without(index: int, bits: int) -> list[Instruction]:
    """Allow if an argument has none of the bits."""
    return [_argument(index), Instruction(_IF_ANY_BIT, 0, 1, bits), _DENY, _return(_ALLOW)]


def _conditions(pid: int) -> dict[str, list[Instruction]]:
    return {
        "open": _without(1, _WRITING),
        "openat": _without(2, _WRITING),
        "clone": [
            _argument(0),
            *[Instruction(_IF_ANY_BIT, 0, 1, _CLONE_NAMESPACES), _DENY],
            *[Instruction(_IF_ANY_BIT, 0, 1, _CLONE_THREAD), _return(_ALLOW)],
            _DENY,
        ],
        # Its flags are in memory, where a filter cannot read them. The C library then uses clone.
        "clone3": [_return(_FAIL | errno.ENOSYS)],
        "kill": _one_of(0, [pid]),
        "tgkill": _one_of(0, [pid]),
        "prlimit64": _one_of(0, [0, pid]),
        "prctl": _one_of(0, _PRCTL),
        "ioctl": _one_of(1, _IOCTL),
        "fcntl": _one_of(1, _FCNTL),
    }


def confinement(pid: int) -> list[Instruction]:
    """Return the filter of a worker process; empty if this machine is neither x86_64 nor aarch64."""
    machine = os.uname().machine
    if machine not in _MACHINES:
        return []
    column, architecture = _MACHINES[machine]
    conditions = _conditions(pid)
    rules = {name: [_return(_ALLOW)] for name in ALLOWED} | conditions
    numbers = {name: numbers[column] for name, numbers in {**ALLOWED, **CONDITIONAL}.items()}
    return [
        *[_load(_ARCHITECTURE_OFFSET), Instruction(_IF_EQUAL, 1, 0, architecture), _DENY],
        *[_load(_NUMBER_OFFSET), Instruction(_IF_AT_LEAST, 0, 1, _X32), _DENY],
        *(
            step
            for name, body in rules.items()
            if (number := numbers[name]) is not None
            for step in _when(number, body)
        ),
        _DENY,
    ]


def sealing() -> list[Instruction]:
    """Return the filter for the time after the warm-up, in addition to `confinement`: no file is opened."""
    column, _architecture = _MACHINES[os.uname().machine]
    numbers = [{**ALLOWED, **CONDITIONAL}[name][column] for name in SEALED]
    return refusing(number for number in numbers if number is not None)


def refusing(numbers: Iterable[int]) -> list[Instruction]:
    """Return a filter that denies only the system calls of these numbers."""
    steps = [step for number in numbers for step in _when(number, [_DENY])]
    return [_load(_NUMBER_OFFSET), *steps, _return(_ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(program: list[Instruction]) -> bool:
    """Apply a filter to all threads of this process; False if the kernel or a container runtime refuses."""
    if not program:
        return False
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(packed, len(packed))
    pointer = _Program(len(program), ctypes.cast(memory, ctypes.c_void_p))
    number = ALLOWED["seccomp"][_MACHINES[os.uname().machine][0]]
    assert number is not None
    flags = _TO_ALL_THREADS | _WITHOUT_SPECULATION_BARRIERS
    try:
        return kernel.call(number, _SET_MODE_FILTER, flags, pointer) == 0
    except OSError:
        return False
