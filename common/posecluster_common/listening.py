"""Opens listening sockets: one for each address, all on the same port."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

# Maximum number of connections that asyncio accepts in one iteration of its loop; the others wait in the
# kernel. Each accepted connection uses a descriptor before our code can reject it.
ACCEPTED_AT_ONCE = 4
_BACKLOG = 1_024
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # nosec B104 - the meaning of an unset host
_FAMILY_IS_LACKING = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_PORT_IS_REFUSED = frozenset({errno.EADDRINUSE, errno.EACCES})
_TRIES = 10  # attempts to find a port that is free on every address

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def listen(host: str, port: int, *, port_setting: str) -> list[socket.socket]:
    """Listen on `port` at each address of `host`, a comma-separated list of addresses or names.

    An empty `host` means all addresses. Port 0 selects a port that is free at every address. IPv6 sockets
    accept only IPv6 connections, so that no peer has an IPv4-mapped address. Wildcard and loopback addresses
    of a family that this machine lacks are skipped if another address remains. Raises OSError; its `strerror`
    names the address and, if another port would help, `port_setting`.
    """
    names = [name.strip() for name in host.split(",")]
    addresses = _resolve([name for name in names if name] or _EVERY_ADDRESS, port)
    for _ in range(_TRIES if port == 0 else 0):
        try:
            return _listen_on_all(addresses, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    try:
        return _listen_on_all(addresses, port)
    except OSError as error:
        if error.errno not in _PORT_IS_REFUSED:
            raise
        raise OSError(error.errno, f"{error.strerror}; choose another port with {port_setting}") from error


def extend_backlog(sockets: Sequence[socket.socket]) -> None:
    """Restore the full backlog, which asyncio limits to the connections that it accepts in one iteration."""
    for one in sockets:
        one.listen(_BACKLOG)


def host_and_port(address: Sequence[Any]) -> str:
    """Return `host:port` of a socket's address, with an IPv6 address in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(names: Sequence[str], port: int) -> list[_Address]:
    found: dict[_Address, None] = {}  # ordered, without duplicates
    for name in names:
        try:
            answers = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown = f"cannot listen on {name[:80]!r}: not an address or a known name"
            raise OSError(None, unknown) from error
        found |= dict.fromkeys((family, address) for family, _, _, _, address in answers)
    return list(found)


def _listen_on_all(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    skipped = None
    with ExitStack() as stack:
        for family, (host, _, *scope) in addresses:
            try:
                one = _listen_on(family, (host, port, *scope))
            except OSError as error:
                address = ipaddress.ip_address(host)
                is_general = address.is_unspecified or address.is_loopback
                if not is_general or error.errno not in _FAMILY_IS_LACKING:
                    raise
                skipped = error
                continue
            listeners.append(stack.enter_context(one))
            port = one.getsockname()[1]
        if skipped is not None and not listeners:
            raise skipped
        stack.pop_all()
    return listeners


def _listen_on(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    with ExitStack() as stack:
        try:
            one = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(_BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OSError(error.errno, f"cannot listen on {host_and_port(address)}: {reason}") from error
        stack.pop_all()
        return one
