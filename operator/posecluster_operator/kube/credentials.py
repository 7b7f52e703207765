"""Access to the API server: address, TLS, proxy, and a token that is reloaded.

This is the only module that imports `kubernetes`, and it does so only to open a connection.
"""

import asyncio
import logging
import os
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from posecluster_operator import __version__
from posecluster_operator.errors import InvalidSetting

logger = logging.getLogger(__name__)

USER_AGENT = f"posecluster-operator/{__version__}"
CONNECTIONS = 64
_READ_BYTES = 1 << 20
_RELOAD_SECONDS = 60.0  # the kubelet renews a token after 80 % of its lifetime of an hour
_SOONEST_RELOAD_SECONDS = 2.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Access:
    """Address and credentials of the API server; usable from any thread and event loop.

    `ssl` is None for http. Sessions of other event loops may use it.
    """

    def __init__(self, client: Any, reload: Callable[[], None]) -> None:
        configuration = client.configuration
        self.server: str = configuration.host
        self.ssl: ssl.SSLContext | None = None
        if self.server.startswith("https:"):
            # A second context for other event loops, because the client uses its own.
            self.ssl = type(client.rest_client)(configuration).ssl_context
        self.proxy: str | None = configuration.proxy
        self.tls_server_name: str | None = configuration.tls_server_name
        self._client, self._configuration, self._reload = client, configuration, reload
        self._loaded = time.monotonic()
        self._reload_at = self._loaded + _RELOAD_SECONDS
        self._reloading = threading.Lock()
        self._failed = False

    async def authorization(self) -> dict[str, str]:
        """Return the headers with the credentials, which are reloaded each minute and after `expire`."""
        if time.monotonic() >= self._reload_at and self._reloading.acquire(blocking=False):
            try:
                await asyncio.to_thread(self._read_again)
            finally:
                self._reloading.release()
        token = self._configuration.api_key.get("BearerToken")
        return {"Authorization": token} if token else {}

    def expire(self) -> None:
        """Reload the credentials before the next request, because of a 401; at most every 2 s."""
        self._reload_at = min(self._reload_at, self._loaded + _SOONEST_RELOAD_SECONDS)

    def _read_again(self) -> None:
        self._loaded = time.monotonic()
        self._reload_at = self._loaded + _RELOAD_SECONDS
        try:
            self._reload()
        except InvalidSetting as error:
            if not self._failed:
                logger.warning("Credentials could not be reloaded", extra={"fields": {"error": error}})
            self._failed = True
        else:
            self._failed = False

    def open(self, on_body: Callable[[], None], *, unacknowledged_seconds: float) -> Any:
        """Return the client for the running loop; `on_body()` runs right before a request body is sent.

        The kernel retransmits data for up to 15 minutes, even after the process has closed the connection,
        so that a write could arrive when another operator holds the Lease. Therefore data that the API
        server has not acknowledged after `unacknowledged_seconds` is dropped.
        """

        async def body_leaves(*_unused: object) -> None:
            on_body()

        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(body_leaves)
        rest = self._client.rest_client
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS,
            ssl=rest.ssl_context,
            socket_factory=lambda address: _open_socket(address, unacknowledged_seconds),
        )
        # Replaces the client's session, which would use ~/.netrc and the proxies of the environment.
        rest.pool_manager = aiohttp.ClientSession(
            connector=connector,
            trace_configs=[trace],
            read_bufsize=_READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp would repeat a GET, PUT or DELETE if the connection broke. This doubles the load on an
        # overloaded server, and a Lease renewal that succeeded would end in a conflict. There is no public
        # option for it.
        rest.pool_manager._retry_connection = False
        return self._client


def load_access() -> Access:
    """Load KUBECONFIG's current context, or else the pod's service account; raises InvalidSetting.

    Call it in a thread, because it reads files and its imports take half a second.
    """
    _provide_home()
    from kubernetes.aio.client.api_client import ApiClient  # 61 MiB
    from kubernetes.aio.client.configuration import Configuration

    configuration = Configuration()
    reload = _loader(configuration)
    reload()
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    try:
        return Access(ApiClient(configuration), reload)
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"The certificates for {configuration.host} cannot be used: {error}") from error


def _provide_home() -> None:
    """Set HOME if it is unset, because the client's import raises RuntimeError for users without a home."""
    os.environ.setdefault("HOME", "/")


def context_namespace() -> str:
    """Return the namespace of KUBECONFIG's context, else of this pod, else `default`; reads files."""
    _provide_home()
    from kubernetes.aio import config
    from yaml import YAMLError

    path = os.environ.get("KUBECONFIG", "")
    if not path:
        return own_namespace() or "default"
    read: Any = config.list_kube_config_contexts  # untyped
    try:
        _, current = read(path)
        return str(current["context"].get("namespace") or "default")
    except (YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError, config.ConfigException):
        return "default"  # `load_access` reports the error


def own_namespace() -> str:
    """Return the namespace of this pod, or an empty text outside a pod; reads a file."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _loader(configuration: Any) -> Callable[[], None]:
    from kubernetes.aio import config
    from kubernetes.aio.config.config_exception import ConfigException
    from yaml import YAMLError

    from_file: Any = config.load_kube_config  # untyped
    from_pod: Any = config.load_incluster_config
    path = os.environ.get("KUBECONFIG", "")
    where = (
        f"KUBECONFIG={path}"
        if path
        else "KUBECONFIG is unset, and this process is not in a pod with a service account"
    )

    def load() -> None:
        try:
            if path:
                asyncio.run(from_file(path, client_configuration=configuration, persist_config=False))
            else:
                from_pod(configuration, try_refresh_token=False)
        # including the errors that the client raises for malformed files
        except (
            ConfigException,
            YAMLError,
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
        ) as error:
            raise InvalidSetting(f"{where}: {error}") from error

    return load


def _proxy(server: str) -> str | None:
    """Return the proxy for this server from the environment, as client-go does."""
    url = urlsplit(server)
    host = url.hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"} or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _open_socket(address: Any, unacknowledged_seconds: float) -> socket.socket:
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = round(unacknowledged_seconds * 1000)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return opened
