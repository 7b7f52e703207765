"""A network with only one IP family, for processes that must work there.

    with only(Family.IPV6) as network:
        subprocess.run(network.command("posecluster-inference", "serve"))
        status, body = network.fetch("http://[::1]:9090/readyz")

It is a network namespace of the kernel that has only a loopback interface.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import pytest

_SECONDS = 30.0
_WAYS = (("--net",), ("--map-root-user", "--net"))  # as root, and as anybody where the kernel allows it

_SET_UP = """
import fcntl, pathlib, socket, struct, sys
family = sys.argv[1]
if family == "ipv4":
    for switch in pathlib.Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"):
        switch.write_text("1")
with socket.socket() as control:
    name, up = b"lo", 0x1
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", name, up))  # SIOCSIFFLAGS
    if family == "ipv6":
        none = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, bytes(4))
        fcntl.ioctl(control, 0x8916, none)  # SIOCSIFADDR: takes 127.0.0.1 away
print("ready", flush=True)
sys.stdin.read()
"""

_FETCH = """
import http.client, json, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
body = sys.stdin.buffer.read()
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
try:
    connection.request("POST" if body else "GET", url.path, body or None)
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


class Family(StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @property
    def loopback(self) -> str:
        """Its loopback address as URLs have it."""
        return "127.0.0.1" if self is Family.IPV4 else "[::1]"


@dataclass(frozen=True, slots=True)
class Network:
    """One namespace; `enter` is the beginning of a command that runs there."""

    family: Family
    enter: tuple[str, ...]

    def command(self, *arguments: str) -> tuple[str, ...]:
        """This command, in the network."""
        return (*self.enter, *arguments)

    def python(self, code: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run Python there; what it printed."""
        done = subprocess.run(
            self.command(sys.executable, "-c", code, *arguments),
            input=stdin,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def fetch(self, url: str, body: bytes = b"") -> tuple[int, str]:
        """GET, or POST of a body; status and text, status 0 and the error if nothing answered."""
        status, text = json.loads(self.python(_FETCH, url, stdin=body))
        return status, text


@contextmanager
def only(family: Family) -> Iterator[Network]:
    """Make the network; skips where this machine cannot."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter: install util-linux")
    problem = ""
    for way in _WAYS:
        holder = subprocess.Popen(
            ["unshare", *way, sys.executable, "-c", _SET_UP, family],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline() == "ready\n":
                user = ("--user", "--preserve-credentials") if len(way) > 1 else ()
                try:
                    yield Network(family, ("nsenter", "--target", str(holder.pid), *user, "--net", "--"))
                finally:
                    holder.stdin.close()
                return
            holder.stdin.close()
            problem = holder.stderr.read().strip().rpartition("\n")[2]
    pytest.skip(f"this machine cannot make a network namespace: {problem}")
