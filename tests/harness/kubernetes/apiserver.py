"""API servers for tests: that of KUBECONFIG, or a temporary etcd and kube-apiserver.

Clusters that are not for tests are never used: KUBECONFIG counts only if its context is `posecluster-local`
or begins with `kind-posecluster`, or if it has no nodes and listens on loopback.
"""

import base64
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from harness.kubernetes.certificates import make_certificates, write_kubeconfig

NONE_FOUND = "set KUBECONFIG to a throw-away cluster or KUBEBUILDER_ASSETS to etcd and kube-apiserver"
_OWN_CONTEXTS = ("posecluster-local", "kind-posecluster")
OWN_CONTEXTS = f"its context must be {_OWN_CONTEXTS[0]}, or begin with {_OWN_CONTEXTS[1]}"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_MAY_DO_ALL = {"spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}}}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_START_SECONDS = 60.0


class Server:
    """Where an API server is and how its admin gets in; `own` ones can be stopped and started again."""

    own = False

    def __init__(self, *, url: str, kubeconfig: Path, ca_file: Path, folder: Path) -> None:
        self.url = url
        self.kubeconfig = kubeconfig
        self.ca_file = ca_file
        self.folder = folder
        self.certificate: tuple[str, str] | None = None
        self.token = ""

    def connect(self, **options: Any) -> httpx.Client:
        """A client as admin; the caller closes it."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        defaults: dict[str, Any] = {"timeout": 30.0, "trust_env": False, "headers": headers}
        return httpx.Client(base_url=self.url, verify=context, **(defaults | options))

    def has_controllers(self) -> bool:
        """Whether a controller manager works here: then a Player would be one too many."""
        with self.connect() as client:
            return client.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").status_code == 200


class OwnServer(Server):
    """etcd and kube-apiserver as children of ours, in a folder of their own."""

    own = True

    def __init__(self, folder: Path, assets: Path) -> None:
        certificates = folder / "certificates"
        make_certificates(certificates)
        self._ports = _free_ports(3)
        url = f"https://127.0.0.1:{self._ports[2]}"
        user = {
            "client-certificate": str(certificates / "admin.crt"),
            "client-key": str(certificates / "admin.key"),
        }
        ca_file = certificates / "ca.crt"
        kubeconfig = write_kubeconfig(folder / "kubeconfig", server=url, ca_file=ca_file, user=user)
        super().__init__(url=url, kubeconfig=kubeconfig, ca_file=ca_file, folder=folder)
        self.certificate = (user["client-certificate"], user["client-key"])
        self._assets = assets
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start what does not run and wait until /readyz answers; data of an earlier run are kept."""
        if self._etcd is None:
            self._etcd = self._run("etcd", self._etcd_arguments())
        if self._api is None:
            self._api = self._run("kube-apiserver", self._api_arguments())
        end = time.monotonic() + _START_SECONDS
        with self.connect(timeout=5.0) as client:
            while time.monotonic() < end:
                with suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        return
                for process in (self._etcd, self._api):
                    if process.poll() is not None:
                        raise AssertionError(f"API server ended at start:\n{self._log_tail()}")
                time.sleep(0.05)
        raise AssertionError(f"API server not ready after {_START_SECONDS} s:\n{self._log_tail()}")

    def stop(self) -> None:
        """Kill the API server, as a crash does; etcd stays, so `start` restores everything."""
        _end(self._api)
        self._api = None

    def pause(self) -> None:
        """The API server accepts connections and says nothing (SIGSTOP)."""
        assert self._api is not None
        self._api.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        assert self._api is not None
        self._api.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End both; nothing in them is worth a graceful end."""
        _end(self._api)
        _end(self._etcd)
        self._api = self._etcd = None

    def _run(self, name: str, arguments: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(self._assets / name), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _etcd_arguments(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[:2])
        return [
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=error",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _api_arguments(self) -> list[str]:
        certificates = self.folder / "certificates"
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports[0]}",
            f"--secure-port={self._ports[2]}",
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",  # as clusters have it
            f"--client-ca-file={certificates / 'ca.crt'}",
            f"--tls-cert-file={certificates / 'apiserver.crt'}",
            f"--tls-private-key-file={certificates / 'apiserver.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates / 'sa.pub'}",
            f"--service-account-signing-key-file={certificates / 'sa.key'}",
            # no controller creates a namespace's ServiceAccount `default` here
            "--disable-admission-plugins=ServiceAccount",
            f"--cert-dir={self.folder / 'apiserver'}",
        ]

    def _log_tail(self) -> str:
        return "\n".join(
            path.read_text(encoding="utf-8", errors="replace")[-2_000:] for path in self.folder.glob("*.log")
        )


@contextmanager
def find_server() -> Iterator[Server]:
    """The API server for this session of tests; skips, saying what to set, if there is none."""
    assets = _assets()
    with tempfile.TemporaryDirectory(prefix="posecluster-api-") as folder:
        named = None
        if os.environ.get("KUBECONFIG"):
            try:
                named = named_server(Path(folder))
            except pytest.skip.Exception:  # foreign, or not there
                if assets is None:
                    raise
        if named is not None and (assets is None or not named.has_controllers()):
            yield named
            return
    if assets is None:
        pytest.skip(NONE_FOUND)
    with own_server() as server:
        yield server


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """An empty API server of our own from KUBEBUILDER_ASSETS; skips if that is not set."""
    assets = _assets()
    if assets is None:
        pytest.skip("set KUBEBUILDER_ASSETS to the folder of etcd and kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="posecluster-api-") as folder:
        server = OwnServer(Path(folder), assets)
        try:
            server.start()
            yield server
        finally:
            server.close()


def is_own_context(context: str) -> bool:
    """Whether a context's name says that the cluster is there for these tests."""
    return context == _OWN_CONTEXTS[0] or context.startswith(_OWN_CONTEXTS[1])


def may_touch(*, context: str, url: str, nodes: int) -> bool:
    """Whether the tests may write to a cluster that KUBECONFIG names."""
    return is_own_context(context) or (nodes == 0 and urlsplit(url).hostname in _LOOPBACK)


def _assets() -> Path | None:
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent")
    return folder if all((folder / name).exists() for name in ("etcd", "kube-apiserver")) else None


def named_server(folder: Path, *, needs_own_context: bool = False) -> Server:
    """The server of KUBECONFIG's current context; skips if it is missing, unreachable or not for tests.

    needs_own_context: for tests that install something; a loopback address is not enough for these.
    """
    source = Path(os.environ["KUBECONFIG"])
    if not source.is_file():
        pytest.skip(f"KUBECONFIG is not a file: {source}: start its cluster (make kind-up), or name one file")
    document = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    context = document.get("current-context") or ""
    if not context:
        pytest.skip(
            f"KUBECONFIG has no current context: {source}: make kind-up, or kubectl config use-context"
        )
    chosen = _named(document["contexts"], context)["context"]
    cluster = _named(document["clusters"], chosen["cluster"])["cluster"]
    user = _named(document["users"], chosen["user"])["user"]
    ca_file = _as_file(cluster, "certificate-authority", folder)
    server = Server(url=cluster["server"].rstrip("/"), kubeconfig=source, ca_file=ca_file, folder=folder)
    if "client-certificate-data" in user or "client-certificate" in user:
        certificate = _as_file(user, "client-certificate", folder)
        server.certificate = (str(certificate), str(_as_file(user, "client-key", folder)))
    server.token = user.get("token", "")
    if needs_own_context and not is_own_context(context):
        pytest.skip(f"KUBECONFIG names a cluster that is not for tests ({context}): {OWN_CONTEXTS}")
    with server.connect() as client:
        try:
            answer = client.post(_REVIEWS, json=_MAY_DO_ALL)
            is_admin = answer.is_success and answer.json()["status"]["allowed"]
            if answer.status_code in (401, 403) or not (is_admin or answer.is_error):
                pytest.skip(f"the user of KUBECONFIG must be an administrator of the cluster ({context})")
            nodes = len(client.get("/api/v1/nodes").raise_for_status().json()["items"])
        except httpx.HTTPError as error:
            pytest.skip(
                f"the server of KUBECONFIG does not answer as it should ({error}): start its cluster"
                " (make kind-up), or unset KUBECONFIG"
            )
    if not may_touch(context=context, url=server.url, nodes=nodes):
        pytest.skip(f"KUBECONFIG names a cluster that is not for tests ({context}): {NONE_FOUND}")
    return server


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _as_file(entry: dict[str, str], key: str, folder: Path) -> Path:
    if key in entry:
        return Path(entry[key])
    path = folder / key
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
    return path


def _free_ports(count: int) -> list[int]:
    """Ports that were free just now: they are held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _end(process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.kill()
        process.wait(10)
