"""A worker that was taken over: what attacks it can make on the server, its neighbours and the machine.

Each attack runs inside a real worker, as the same user as the server and without capabilities. It must fail
there, and succeed in the control, which is the same worker without the sandbox.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.attack_picture import attack_png
from engines.stub_engine import Command, command_png
from harness import assigned_user, client, pictures
from harness.assigned_user import ASSIGNED
from harness.server import ROOT, ServerProcess, start_server
from harness.stub import DETECT

pytestmark = pytest.mark.component

SERVE = (sys.executable, "-m", "posecluster_inference", "serve")
ENGINE = "attack_engine:AttackEngine"
SECRET = "OTEL_EXPORTER_OTLP_HEADERS"
TOKEN = "a-token-that-only-the-server-reads"
# What the sandbox answers. ENOENT and EACCES come from what is hidden, the others from what is forbidden.
FORBIDDEN = {"EPERM", "EACCES", "ENOENT", "ENOSYS"}
_CONTINUE = int(signal.SIGCONT)  # without an effect on a process that runs
# The system calls of each layer. A container runtime that refuses them is simulated by a filter.
LAYERS = ("landlock", "seccomp")
REFUSE = """
import os, sys
from posecluster_inference.machine import kernel
from posecluster_inference.worker.sandbox import seccomp
kernel.prctl(38, 1)
refused = [444] if sys.argv[1] == "landlock" else [317 if os.uname().machine == "x86_64" else 277]
assert seccomp.install(seccomp.refusing(refused))
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with two workers, and what an attacker would like to reach."""

    server: ServerProcess
    folder: Path
    attacker: int
    neighbour: int
    outside: int  # a port of a server elsewhere
    unix: str  # the name of an abstract socket of the test

    def attack(self, name: str, *arguments: object) -> dict[str, Any]:
        """Run an attack in the worker `attacker`, and return its result."""
        reply = client.post(
            self.server.url + DETECT,
            attack_png(name, *arguments),
            headers={"Authorization": f"Bearer {TOKEN}", "Cache-Control": "no-cache"},
        )
        if reply.reason == "worker_crashed":
            return {"crashed": True}
        assert reply.reason == "undecodable", reply.body
        result: dict[str, Any] = json.loads(json.loads(reply.body)["detail"])
        return result


@contextmanager
def scene(folder: Path, *, sandbox: str) -> Iterator[Scene]:
    """Start the server as a user without capabilities; a test that may not, uses its own user."""
    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "mobile").write_text(TOKEN, encoding="utf-8")
    command = (sys.executable, "-c", REFUSE, sandbox, *SERVE) if sandbox in LAYERS else SERVE
    if os.getuid() == 0:
        os.chown(tokens / "mobile", ASSIGNED.user, ASSIGNED.group)
        command = assigned_user.command(ASSIGNED, folder / "root", command, tokens)
    unix = f"posecluster-test-{os.getpid()}-{sandbox}"
    with (
        socket.create_server(("127.0.0.1", 0)) as outside,
        socket.socket(socket.AF_UNIX) as abstract,
        start_server(
            command=command,
            engine=ENGINE,
            engine_environment="",
            env={SECRET: "authorization=secret"},
            sandbox="off" if sandbox == "off" else "on",
            auth_tokens_dir=tokens,
            workers=2,
            recycle_requests=0,
        ) as server,
    ):
        abstract.bind(f"\0{unix}")
        abstract.listen()
        first, second = server.worker_pids()
        yield Scene(server, folder, first, second, outside.getsockname()[1], unix)


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("confined"), sandbox="on") as made:
        yield made


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("free"), sandbox="off") as made:
        yield made


def _mapped(pid: int) -> int:
    """An address that the process can read."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="ascii", errors="replace")
    return int(next(line for line in maps.splitlines() if " rw-p " in line).split("-")[0], 16)


# By name: the attack and its arguments
ATTACKS: dict[str, Callable[[Scene], tuple[object, ...]]] = {
    "read a token": lambda s: ("read_file", str(s.folder / "tokens" / "mobile")),
    "list the tokens": lambda s: ("list_folder", str(s.folder / "tokens")),
    "read /etc/passwd": lambda _: ("read_file", "/etc/passwd"),
    "read the source code beside the packages": lambda _: ("read_file", str(ROOT / "pyproject.toml")),
    "read the server's environment": lambda s: ("read_file", f"/proc/{s.server.pid}/environ"),
    "read the server's memory map": lambda s: ("read_file", f"/proc/{s.server.pid}/maps"),
    "read the server's memory": lambda s: (
        "read_memory",
        f"/proc/{s.server.pid}/mem",
        _mapped(s.server.pid),
    ),
    "list the server's descriptors": lambda s: ("list_folder", f"/proc/{s.server.pid}/fd"),
    "read the server's memory by a call": lambda s: (
        "process_vm",
        "process_vm_readv",
        s.server.pid,
        _mapped(s.server.pid),
    ),
    "write the server's memory by a call": lambda s: (
        "process_vm",
        "process_vm_writev",
        s.server.pid,
        _mapped(s.server.pid),
    ),
    "trace the server": lambda s: ("ptrace", s.server.pid),
    "take a descriptor of the server": lambda s: ("take_descriptor", s.server.pid),
    "signal the server": lambda s: ("kill", s.server.pid, _CONTINUE),
    "signal the server by a pidfd": lambda s: ("signal_by_pidfd", s.server.pid, _CONTINUE),
    "signal the server as the owner of a pipe": lambda s: ("signal_by_owner", s.server.pid, _CONTINUE),
    "change the server's limits": lambda s: ("limit_other", s.server.pid),
    "change the server's priority": lambda s: ("slow_down_other", s.server.pid),
    "move the server to other processors": lambda s: ("move_other", s.server.pid),
    "read a neighbour's memory map": lambda s: ("read_file", f"/proc/{s.neighbour}/maps"),
    "read a neighbour's environment": lambda s: ("read_file", f"/proc/{s.neighbour}/environ"),
    "signal a neighbour": lambda s: ("kill", s.neighbour, _CONTINUE),
    "connect to the client port": lambda s: ("connect", "127.0.0.1", s.server.port),
    "connect to the admin port": lambda s: ("connect", "127.0.0.1", s.server.admin_port),
    "connect to another server": lambda s: ("connect", "127.0.0.1", s.outside),
    "connect to an abstract socket": lambda s: ("connect_unix", s.unix),
    "listen": lambda _: ("bind",),
    "open a UDP socket": lambda _: ("socket", int(socket.AF_INET), int(socket.SOCK_DGRAM)),
    "open a Unix socket": lambda _: ("socket", int(socket.AF_UNIX), int(socket.SOCK_STREAM)),
    "open a netlink socket": lambda _: ("socket", int(socket.AF_NETLINK), int(socket.SOCK_RAW)),
    "open a pair of sockets": lambda _: ("socket_pair",),
    "fork": lambda _: ("fork",),
    "start a program": lambda _: ("spawn", "/bin/true"),
    "write to /tmp": lambda _: ("write_file", "/tmp/posecluster-taken-over"),
    "write to shared memory": lambda _: ("write_file", "/dev/shm/posecluster-taken-over"),
    "make shared memory": lambda _: ("shmget",),
    "make a file in memory": lambda _: ("memfd_create",),
    "write the token file": lambda s: ("overwrite_file", str(s.folder / "tokens" / "mobile")),
    "change the mode of a token file": lambda s: ("chmod", str(s.folder / "tokens" / "mobile"), 0o644),
    "write its own memory through /proc": lambda _: ("overwrite_file", "/proc/self/mem"),
    "become a target of the debugger again": lambda _: ("be_dumpable",),
    "outlive the server": lambda _: ("outlive_the_server",),
    "find a secret variable": lambda _: ("environment", SECRET),
    "set up io_uring": lambda _: ("io_uring",),
    "load a BPF program": lambda _: ("bpf",),
    "count events of the processor": lambda _: ("perf_event_open",),
    "handle page faults": lambda _: ("userfaultfd",),
    "use the key rings": lambda _: ("keyctl",),
    "mount": lambda _: ("mount",),
    "make a user namespace": lambda _: ("unshare",),
    "call by the x32 ABI": lambda _: ("x32", 39),
    "become another program": lambda _: ("exec", "/bin/true"),  # the last, because the control loses workers
}
# Attacks that some machines forbid to every process, so that the control has nothing to show there
FORBIDDEN_BY_SOME_MACHINES = {
    "set up io_uring": "kernel.io_uring_disabled, or a kernel without it",
    "load a BPF program": "needs a capability",
    "count events of the processor": "kernel.perf_event_paranoid",
    "handle page faults": "a kernel without it",
    "use the key rings": "a kernel without them",
    "mount": "needs a capability",
    "make a user namespace": "user namespaces may be disabled; a process with threads cannot make one",
    "call by the x32 ABI": "a kernel without x32, and aarch64",
    "write the token file": "the stand-in mounts it read-only",
    "write its own memory through /proc": "the stand-in mounts it read-only",
    "change the mode of a token file": "the stand-in mounts it read-only",
    "write to shared memory": "the stand-in mounts it read-only",
    "make shared memory": "a kernel without System V shared memory",
    "trace the server": "kernel.yama.ptrace_scope",
    "take a descriptor of the server": "kernel.yama.ptrace_scope",
    "read the server's memory": "kernel.yama.ptrace_scope",
    "read the server's memory by a call": "kernel.yama.ptrace_scope",
    "write the server's memory by a call": "kernel.yama.ptrace_scope",
}
# The kernel read the arguments, which make no sense, so the call itself was allowed
REACHED = ({"error": "EINVAL"}, {"error": "EFAULT"})
ALWAYS_MINIMAL = {"find a secret variable"}  # with and without the sandbox


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_from_a_worker_fails(confined: Scene, name: str) -> None:
    result = confined.attack(*ATTACKS[name](confined))
    assert result.get("error") in FORBIDDEN, result


@pytest.mark.control
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ALWAYS_MINIMAL])
def test_the_attack_succeeds_without_the_sandbox(free: Scene, name: str) -> None:
    result = free.attack(*ATTACKS[name](free))
    if name in {"load a BPF program", "count events of the processor"} and result in REACHED:
        return
    if "error" in result and name in FORBIDDEN_BY_SOME_MACHINES:
        pytest.skip(f"open: {FORBIDDEN_BY_SOME_MACHINES[name]}: {result['error']}")
    assert result in ({"done": True}, {"crashed": True} if name == "become another program" else {}), result


def test_memory_and_threads_work_in_the_sandbox(confined: Scene) -> None:
    assert confined.attack("allocate") == {"done": True}


def test_the_admin_port_the_model_and_a_metric_show_the_sandbox(confined: Scene, free: Scene) -> None:
    shown = confined.server.health()["sandbox"]
    assert shown["seccomp"] is True
    assert confined.server.metrics("worker_sandbox", layer="seccomp") == 1
    assert confined.server.metrics("worker_sandbox", layer="landlock") == shown["landlock_abi"]
    model = client.get(confined.server.url + "/v1/model", headers={"Authorization": f"Bearer {TOKEN}"})
    assert model.json()["sandbox"] == shown
    assert free.server.health()["sandbox"] == {"landlock_abi": 0, "seccomp": False}
    assert free.server.metrics("worker_sandbox") == 0
    assert free.server.logs().count("Workers are not fully sandboxed") == 1
    assert "switched off" in free.server.logs()


def test_a_worker_inherits_only_its_pipe_and_standard_streams(confined: Scene) -> None:
    if os.getuid() != 0:
        pytest.skip("open: needs root, because a worker hides its descriptors")
    links = [os.readlink(one) for one in Path(f"/proc/{confined.attacker}/fd").iterdir()]
    kinds = sorted(link.partition(":")[0].rpartition("/")[2] for link in links)
    # Input, output and what muted libraries write; its memory use; its connection; standard error
    assert kinds == sorted(["null", "null", "null", "statm", "socket", "pipe"])


def test_a_worker_cannot_forge_a_line_of_the_log(confined: Scene) -> None:
    forged = "2026-12-01T00:00:00.000Z INFO Stopped"
    assert confined.attack("write_log", f"\r{forged}\n", 1) == {"done": True}
    confined.server.wait_until(lambda: forged in confined.server.logs(), "logged")
    [line] = [line for line in confined.server.logs().splitlines() if forged in line]
    assert "WARNING Worker wrote to standard error" in line
    assert f'text="\\r{forged}"' in line


def test_the_message_of_a_native_crash_reaches_the_log(start: Callable[..., ServerProcess]) -> None:
    server = start(engine=ENGINE, engine_environment="", workers=1)
    client.post(server.url + DETECT, attack_png("abort", "F1201 graph.cc:7] Check failed: packet"))
    server.wait_until(lambda: "Check failed: packet" in server.logs(), "logged")


def test_a_worker_that_floods_the_log_waits_and_is_replaced(start: Callable[..., ServerProcess]) -> None:
    server = start(engine=ENGINE, engine_environment="", workers=1, hang_limit_ms=2_000)
    before = server.log_path.stat().st_size
    reply = client.post(server.url + DETECT, attack_png("write_log", "flood\n" * 20, 1_000_000))
    assert reply.reason == "worker_hung"
    server.wait_until(lambda: "Dropped what a worker wrote to standard error" in server.logs(), "summarised")
    assert server.log_path.stat().st_size - before < 100_000


def _is_sandboxed(server: ServerProcess) -> bool:
    return bool(server.health()["sandbox"].get("seccomp"))


def test_every_thread_of_mediapipe_is_confined(start: Callable[..., ServerProcess], full_model: Path) -> None:
    server = start(workers=1)
    if not _is_sandboxed(server):
        pytest.skip("open: the kernel or the container runtime does not offer seccomp")
    for kind in ("application/json", "image/jpeg", "image/png", "image/webp"):
        reply = client.post(server.url + DETECT, pictures.built_in(), headers={"Accept": kind})
        assert reply.status == 200, reply.body
    (worker,) = server.worker_pids()
    threads = list(Path(f"/proc/{worker}/task").iterdir())
    assert len(threads) > 1
    for thread in threads:
        status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_is_refused_is_reported_and_the_other_one_holds(tmp_path: Path, layer: str) -> None:
    with scene(tmp_path, sandbox=layer) as degraded:
        shown = degraded.server.health()["sandbox"]
        assert bool(shown["landlock_abi"]) == (layer != "landlock")
        assert shown["seccomp"] == (layer != "seccomp")
        assert degraded.server.logs().count("Workers are not fully sandboxed") == 1
        names = ["read a token", "read /etc/passwd", "read the source code beside the packages"]
        names += ["read the server's memory", "trace the server", "signal the server", "write to /tmp"]
        names += [
            "connect to the client port",
            "connect to an abstract socket",
            "read a neighbour's memory map",
        ]
        for name in names:
            result = degraded.attack(*ATTACKS[name](degraded))
            assert result.get("error") in FORBIDDEN, (name, result)


@pytest.mark.parametrize("end", ["crash", "renewal"])
def test_answers_of_a_worker_leave_the_cache_with_it(start: Callable[..., ServerProcess], end: str) -> None:
    """A taken-over worker cannot be recognised, but its false answers end with it."""
    server = start(engine="stub", workers=1, recycle_requests=2 if end == "renewal" else 0)
    url, picture = server.url + DETECT, command_png(Command.OK, 0, b"asked twice")
    (worker,) = server.worker_pids()
    assert client.post(url, picture).json()["cached"] is False
    assert client.post(url, picture).json()["cached"] is True
    if end == "crash":
        os.kill(worker, signal.SIGKILL)
    else:
        client.post(url, command_png(Command.OK, 0, b"another"))
    server.wait_until(lambda: worker not in server.worker_pids(), "replaced")
    server.wait_until(
        lambda: client.post(url, command_png(Command.OK, 0, os.urandom(8))).status == 200, "served again"
    )
    assert client.post(url, picture).json()["cached"] is False
