"""The sandbox of a worker process: what code that a picture has taken over can still do.

`enter` runs before the engine loads its model, because Landlock applies only to the calling thread and to
threads that it starts afterwards. From then on the process can read only what an engine needs to load, write
no file, open no socket, start no program and reach no other process. `seal` runs after the warm-up, before
the first picture of a caller: afterwards no file can be opened at all. Both layers, Landlock and seccomp,
forbid most of this independently, so that either is enough where a kernel or a container runtime lacks the
other one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from posecluster_inference.machine import kernel
from posecluster_inference.worker.sandbox import landlock, readable, seccomp

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h; required by both layers


@dataclass(frozen=True, slots=True)
class Protection:
    """How a worker is confined: the ABI of Landlock in use (0: none), and whether seccomp filters are."""

    landlock_abi: int = 0
    seccomp: bool = False


def enter(model: Path) -> Protection:
    """Confine this process for the rest of its life, as far as the kernel allows; `model` stays readable."""
    kernel.forbid_inspection()
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    abi = landlock.restrict(readable.paths(model), landlock.supported_abi())
    if len(os.listdir("/proc/self/task")) > 1:  # an engine has started threads already, which stay outside
        abi = 0
    return Protection(abi, seccomp.install(seccomp.confinement(os.getpid())))


def seal(protection: Protection) -> None:
    """Forbid to open files from now on, if `enter` could install a filter."""
    if protection.seccomp:
        seccomp.install(seccomp.sealing())
