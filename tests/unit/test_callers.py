"""Only what a trusted proxy wrote itself is believed of X-Forwarded-For."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.callers import client_address
from posecluster_inference.settings import IPNetwork

PROXIES: tuple[IPNetwork, ...] = (
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("2001:db8:ffff::/48"),
)
forged = st.lists(st.text(max_size=30) | st.ip_addresses().map(str), max_size=4)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.9.9.9 ,10.8.8.8"], "198.51.100.7"),
        ("10.0.0.1", ["10.9.9.9"], "10.9.9.9"),
        ("2001:db8:ffff::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["' OR 1=1"], "10.0.0.1"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


@given(peer=st.ip_addresses().map(str) | st.text(max_size=20), forwarded=forged)
def test_without_trusted_proxies_the_field_changes_nothing(peer: str, forwarded: list[str]) -> None:
    assert client_address(peer, forwarded, ()) == peer


@given(forwarded=forged)
def test_what_a_stranger_wrote_before_the_proxys_word_changes_nothing(forwarded: list[str]) -> None:
    assert client_address("10.0.0.1", [*forwarded, "198.51.100.7"], PROXIES) == "198.51.100.7"
