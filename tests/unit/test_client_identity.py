"""X-Forwarded-For is believed only as far as trusted proxies wrote it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.server.http import client_identity
from posecluster_inference.server.http.client_identity import client_address, quota_key
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
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7:51234"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.9.9.9:443"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]:51234"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["[198.51.100.7"], "10.0.0.1"),
        ("10.0.0.1", ["[fe80::1%eth0]:80"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:port"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["' OR 1=1"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, 2001:db8:ffff::2%1"], "10.0.0.1"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


@pytest.mark.parametrize("forwarded", [[], ["unknown"], [""], ["198.51.100.7, unknown"], ["10.9.9.9"]])
def test_a_proxy_that_sends_no_usable_address_is_logged_once(
    forwarded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client_identity._warn_of_proxy.cache_clear()
    for _ in range(3):
        client_address("10.0.0.1", forwarded, PROXIES)
    assert client_address("10.0.0.1", ["198.51.100.7"], PROXIES) == "198.51.100.7"
    assert client_address("192.0.2.1", forwarded, PROXIES) == "192.0.2.1"
    (record,) = caplog.records
    assert vars(record)["fields"]["proxy"] in ("10.0.0.1", "10.9.9.9")


@given(peer=st.ip_addresses().map(str) | st.text(max_size=20), forwarded=forged)
def test_without_trusted_proxies_the_field_changes_nothing(peer: str, forwarded: list[str]) -> None:
    assert client_address(peer, forwarded, ()) == peer


@given(forwarded=forged)
def test_forwarded_addresses_from_untrusted_clients_change_nothing(forwarded: list[str]) -> None:
    assert client_address("10.0.0.1", [*forwarded, "198.51.100.7"], PROXIES) == "198.51.100.7"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:DB8:0001:0002::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64%eth0"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_quotas_are_per_ipv4_address_or_ipv6_network(address: str, key: str) -> None:
    assert quota_key(address) == key


@given(network=st.integers(0, (1 << 64) - 1), hosts=st.lists(st.integers(0, (1 << 64) - 1), min_size=1))
def test_another_ipv6_address_of_the_same_host_gives_no_second_quota(network: int, hosts: list[int]) -> None:
    addresses = [ipaddress.IPv6Address(network << 64 | host) for host in hosts]
    spellings = [text for address in addresses for text in (str(address), address.exploded.upper())]
    assert len({quota_key(text) for text in spellings}) == 1


@given(one=st.ip_addresses(v=4), other=st.ip_addresses(v=4))
def test_ipv4_addresses_have_a_quota_each(one: ipaddress.IPv4Address, other: ipaddress.IPv4Address) -> None:
    assert (quota_key(str(one)) == quota_key(str(other))) == (one == other)
