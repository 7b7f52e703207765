"""An engine that a picture takes over: its worker runs the attack that the picture names.

`attack_picture.attack_png("kill", 1)` makes the picture. The worker answers with 422 and a detail in JSON:
`{"done": true}` if the attack succeeded, or else the name of the error, as in `{"error": "EPERM"}`.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attack_picture import MARK
from stub_engine import StubEngine

from posecluster_inference.errors import Undecodable
from posecluster_inference.worker.tasks.pose import Person

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_PTRACE_ATTACH, _PTRACE_DETACH, _WAIT_FOR_ALL = 16, 17, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_PDEATHSIG = 4, 1
_CLONE_NEWUSER = 0x10000000
# Numbers that x86_64 and aarch64 share
_PIDFD_SEND_SIGNAL, _IO_URING_SETUP, _PIDFD_OPEN, _PIDFD_GETFD = 424, 425, 434, 438
_X86_64 = os.uname().machine == "x86_64"
_OTHERS = {  # on x86_64 and on aarch64
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "mount": (165, 40),
    "unshare": (272, 97),
    "shmget": (29, 194),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
}


class AttackEngine(StubEngine):
    """Runs the attacks of this module."""

    def detect(self, picture: "NDArray[np.uint8]") -> list[Person]:
        pixels = picture.tobytes()
        if not pixels.startswith(MARK):
            return super().detect(picture)
        name, *arguments = json.loads(pixels[len(MARK) : pixels.index(b"\0")])
        try:
            ATTACKS[name](*arguments)
        except OSError as error:
            raise Undecodable(
                json.dumps({"error": errno.errorcode.get(error.errno or 0, str(error))})
            ) from error
        raise Undecodable(json.dumps({"done": True}))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _call(number: int, *arguments: Any) -> int:
    return _checked(_libc.syscall(number, *arguments))


def _call_named(name: str, *arguments: Any) -> int:
    return _call(_OTHERS[name][0 if _X86_64 else 1], *arguments)


def _read_file(path: str) -> None:
    with open(path, "rb") as file:
        file.read(16)


def _read_memory(path: str, address: int) -> None:
    """Read /proc/PID/mem."""
    with open(path, "rb", buffering=0) as file:
        file.seek(address)
        file.read(16)


def _write_file(path: str) -> None:
    Path(path).write_bytes(b"taken over")


def _overwrite_file(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _ptrace(pid: int) -> None:
    _checked(_libc.ptrace(_PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, _WAIT_FOR_ALL)
    _checked(_libc.ptrace(_PTRACE_DETACH, pid, None, None))


def _process_vm(name: str, pid: int, address: int) -> None:
    """Read 8 bytes of another process, or write nothing into it."""
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_void_p * 2)(address, 8)
    _call_named(name, pid, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0))


def _take_descriptor(pid: int) -> None:
    held = _call(_PIDFD_OPEN, pid, 0)
    os.close(_call(_PIDFD_GETFD, held, 0, 0))


def _signal_by_pidfd(pid: int, number: int) -> None:
    _call(_PIDFD_SEND_SIGNAL, _call(_PIDFD_OPEN, pid, 0), number, None, 0)


def _signal_by_owner(pid: int, number: int) -> None:
    """Let the kernel send a signal to another process when a pipe can be read."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
        fcntl.fcntl(reader, 10, number)  # F_SETSIG
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(writer, b"x")
    finally:
        os.close(reader)
        os.close(writer)


def _connect(address: str, port: int) -> None:
    socket.create_connection((address, port), timeout=2).close()


def _bind() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()


def _socket(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def _connect_unix(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{name}")


def _socket_pair() -> None:
    for one in socket.socketpair():
        one.close()


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _spawn(program: str) -> None:
    subprocess.run([program], check=True, stdin=subprocess.DEVNULL, close_fds=False)


def _exec(program: str) -> None:
    os.execv(program, [program])  # noqa: S606


def _limit_other(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_CORE, resource.prlimit(pid, resource.RLIMIT_CORE))


def _slow_down_other(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


def _move_other(pid: int) -> None:
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


def _prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _x32(number: int) -> None:
    _call(0x40000000 | number)


def _no_environment(name: str) -> None:
    """Find a variable of the server in this process's environment."""
    if name not in os.environ:
        raise OSError(errno.ENOENT, name)


def _write_log(text: str, times: int) -> None:
    """Write to standard error, which belongs to the server in the control."""
    for _ in range(times):
        os.write(2, text.encode())


def _abort(text: str) -> None:
    """Not an attack: a native library ends the process after a message."""
    os.write(2, text.encode())
    os.abort()


def _allocate() -> None:
    """Not an attack: memory and threads still work."""
    import threading

    sums: list[int] = []
    threads = [threading.Thread(target=lambda: sums.append(sum(bytearray(1 << 20)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with mmap.mmap(-1, 64 << 20) as memory:
        memory[:: 1 << 12] = b"x" * ((64 << 20) >> 12)
    assert sums == [0] * 4


ATTACKS: dict[str, Callable[..., None]] = {
    "read_file": _read_file,
    "list_folder": lambda path: list(os.scandir(path)) and None,
    "read_memory": _read_memory,
    "write_file": _write_file,
    "overwrite_file": _overwrite_file,
    "chmod": lambda path, mode: os.chmod(path, mode),
    "unlink": os.unlink,
    "ptrace": _ptrace,
    "process_vm": _process_vm,
    "take_descriptor": _take_descriptor,
    "kill": os.kill,
    "signal_by_pidfd": _signal_by_pidfd,
    "signal_by_owner": _signal_by_owner,
    "connect": _connect,
    "connect_unix": _connect_unix,
    "bind": _bind,
    "socket": _socket,
    "socket_pair": _socket_pair,
    "fork": _fork,
    "spawn": _spawn,
    "exec": _exec,
    "limit_other": _limit_other,
    "slow_down_other": _slow_down_other,
    "move_other": _move_other,
    "be_dumpable": lambda: _prctl(_PR_SET_DUMPABLE, 1),
    "outlive_the_server": lambda: _prctl(_PR_SET_PDEATHSIG, 0),
    "io_uring": lambda: os.close(_call(_IO_URING_SETUP, 4, ctypes.create_string_buffer(120))),
    "x32": _x32,
    "keyctl": lambda: _call_named("keyctl", 0, -3, 0) and None,  # KEYCTL_GET_KEYRING_ID of the session
    "bpf": lambda: _call_named("bpf", 0, None, 0) and None,
    "perf_event_open": lambda: _call_named("perf_event_open", None, 0, -1, -1, 0) and None,
    "userfaultfd": lambda: os.close(_call_named("userfaultfd", 1)),  # UFFD_USER_MODE_ONLY
    "memfd_create": lambda: os.close(_call_named("memfd_create", b"x", 0)),
    "mount": lambda: _call_named("mount", b"none", b"/tmp", b"tmpfs", 0, None) and None,
    "unshare": lambda: _call_named("unshare", ctypes.c_ulong(_CLONE_NEWUSER)) and None,
    "shmget": lambda: _call_named("shmget", 0, 4096, 0o1600) and None,
    "environment": _no_environment,
    "write_log": _write_log,
    "abort": _abort,
    "allocate": _allocate,
}
