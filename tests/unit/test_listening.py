"""Listening: all IP families unless an address is given, and one port for all of them."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from posecluster_common.listening import host_and_port, listen

pytestmark = pytest.mark.unit

Listen = Callable[[str, int], dict[str, int]]


@pytest.fixture
def listens() -> Iterator[Listen]:
    """Listen until the test's end; return the port at each address."""
    with ExitStack() as stack:

        def listens(host: str, port: int = 0) -> dict[str, int]:
            sockets = [stack.enter_context(one) for one in listen(host, port, port_setting="PORT")]
            return dict(one.getsockname()[:2] for one in sockets)

        yield listens


def has(address: str) -> bool:
    """Whether this machine can listen there."""
    try:
        with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            return True
    except OSError:
        return False


needs_both = pytest.mark.skipif(
    not (has("127.0.0.1") and has("::1")), reason="this machine has no loopback address of each family"
)


def lacking(monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, number: int) -> None:
    """Make the kernel refuse a family as one without IPv6 does."""
    made = socket.socket

    class Refusing(made):  # type: ignore[misc, valid-type]
        def __init__(self, wanted: int = -1, *arguments: int) -> None:
            if wanted == family:
                raise OSError(number, "refused")
            super().__init__(wanted, *arguments)

    monkeypatch.setattr(socket, "socket", Refusing)


@needs_both
@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("", ["0.0.0.0", "::"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::", ["::"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        (" 127.0.0.1, ::1,", ["127.0.0.1", "::1"]),
        ("::1,::1", ["::1"]),
    ],
)
def test_unset_is_every_family_and_an_address_is_only_itself(
    listens: Listen, host: str, addresses: list[str]
) -> None:
    found = listens(host)
    assert list(found) == addresses
    assert len(set(found.values())) == 1, "one port for all"
    assert 0 not in found.values()


@needs_both
@pytest.mark.parametrize(("host", "other"), [("::", "127.0.0.1"), ("0.0.0.0", "::1")])
def test_a_wildcard_address_does_not_listen_on_the_other_family(
    listens: Listen, host: str, other: str
) -> None:
    [port] = listens(host).values()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((other, port), timeout=5)
    assert listens(other, port) == {other: port}, "the port is free there"


@needs_both
def test_no_peer_has_an_ipv4_mapped_address() -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(one) for one in listen("", 0, port_setting="PORT")]
        for one, address in zip(both, ("127.0.0.1", "::1"), strict=True):
            stack.enter_context(socket.create_connection((address, one.getsockname()[1]), timeout=5))
            accepted, peer = one.accept()
            stack.enter_context(accepted)
            assert peer[0] == address


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize(
    ("host", "left"), [("", "0.0.0.0"), ("127.0.0.1,::1", "127.0.0.1"), ("0.0.0.0,::", "0.0.0.0")]
)
def test_a_family_that_the_kernel_lacks_is_skipped(
    monkeypatch: pytest.MonkeyPatch, listens: Listen, host: str, left: str, number: int
) -> None:
    lacking(monkeypatch, socket.AF_INET6, number)
    assert list(listens(host)) == [left]


@pytest.mark.parametrize("host", ["::", "::1", "127.0.0.1,2001:db8::1"])
def test_an_address_that_the_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    lacking(monkeypatch, socket.AF_INET6, errno.EADDRNOTAVAIL)
    with pytest.raises(OSError, match=r"cannot listen on \[.*\]:8080: Cannot assign requested address"):
        listen(host, 8080, port_setting="PORT")


@pytest.mark.parametrize("host", ["[::1]", "no such name", "127.0.0.1:8080", "\udcff", "x" * 300])
def test_an_invalid_address_is_named(host: str) -> None:
    with pytest.raises(OSError, match=r"cannot listen on '.*': not an address or a known name") as caught:
        listen(host, 0, port_setting="PORT")
    assert len(str(caught.value.strerror)) < 200


@needs_both
def test_a_port_that_is_taken_at_one_address_is_refused_and_none_stays_open(listens: Listen) -> None:
    [port] = listens("::1").values()
    said = rf"cannot listen on \[::1\]:{port}: Address already in use; choose another port with PORT"
    with pytest.raises(OSError, match=said):
        listen("127.0.0.1,::1", port, port_setting="PORT")
    assert listens("127.0.0.1", port) == {"127.0.0.1": port}


@needs_both
def test_a_free_port_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch, listens: Listen) -> None:
    """The first port that the kernel gives is taken at ::1: another one is tried."""
    [taken] = listens("::1").values()
    offered = iter([taken])
    bound = socket.socket.bind

    def bind(self: socket.socket, address: tuple[str, int]) -> None:
        if address[:2] == ("127.0.0.1", 0):
            address = (address[0], next(offered, 0))
        bound(self, address)

    class Offering(socket.socket):
        pass

    Offering.bind = bind  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(socket, "socket", Offering)
    found = listens("127.0.0.1,::1")
    assert set(found) == {"127.0.0.1", "::1"}
    assert len(set(found.values()) - {taken}) == 1


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("::1", 80, 0, 0), "[::1]:80"),
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
    ],
)
def test_ipv6_addresses_are_written_in_brackets(address: tuple[str, int], text: str) -> None:
    assert host_and_port(address) == text
