"""Identifies the caller by its token, by its address, or by the address that a trusted proxy reports."""

import asyncio
import ipaddress
import logging
import re
from functools import lru_cache

from aiohttp import hdrs, web

from posecluster_inference.server.http.service import Service
from posecluster_inference.settings import IPNetwork

logger = logging.getLogger(__name__)

_PORT = re.compile(r"^(?:\[(?P<bracketed>[^]]*)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?$")


def caller_of(request: web.Request, service: Service) -> str:
    """Return the name of the caller for quotas and logs; raises Refusal (unauthorized, quota)."""
    forwarded = request.headers.getall("X-Forwarded-For", [])
    address = quota_key(client_address(request.remote or "", forwarded, service.proxies))
    if service.tokens is not None:
        now = asyncio.get_running_loop().time()
        return service.tokens.caller(request.headers.getall(hdrs.AUTHORIZATION, []), address, now)
    return address


@lru_cache(maxsize=1_024)
def quota_key(address: str) -> str:
    """Return the key of a caller's quota: its IPv4 address, or its IPv6 /64, which one host may own."""
    plain, separator, scope = address.partition("%")  # the scope of a link-local address
    if not _is_address(plain):
        return address
    parsed = ipaddress.ip_address(plain)
    if parsed.version == 4:
        return str(parsed)
    return f"{ipaddress.IPv6Network((int(parsed), 64), strict=False)}{separator}{scope}"


def client_address(peer: str, forwarded: list[str], proxies: tuple[IPNetwork, ...]) -> str:
    """Return the last address in the chain of proxies that is not a trusted proxy.

    Each proxy appends its peer to X-Forwarded-For. Entries before the last untrusted address may be forged,
    because that client may have sent them, and are ignored.
    """
    address = _plain(peer)
    if not proxies:
        return address
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while _is_in(address, proxies):
        hop = _without_port(hops.pop()) if hops else ""
        if not _is_address(hop):
            _warn_of_proxy(address)
            break
        address = _plain(hop)
    return address


def _without_port(hop: str) -> str:
    """Return the address of `address:port`, `[address]:port` or `[address]`, as some proxies write a hop."""
    found = _PORT.match(hop)
    return (found["bracketed"] or found["plain"]) if found else hop


@lru_cache(maxsize=1_024)
def _warn_of_proxy(address: str) -> None:
    logger.warning(
        "A trusted proxy sends no client address in X-Forwarded-For; all its callers share one quota",
        extra={"fields": {"proxy": address}},
    )


@lru_cache(maxsize=1_024)
def _plain(address: str) -> str:
    """Return an IPv4-mapped IPv6 address (::ffff:…) as an IPv4 address, and any other unchanged."""
    mapped = ipaddress.IPv6Address(address).ipv4_mapped if ":" in address and _is_address(address) else None
    return str(mapped) if mapped is not None else address


def _is_address(text: str) -> bool:
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False


def _is_in(text: str, networks: tuple[IPNetwork, ...]) -> bool:
    return bool(networks) and _is_address(text) and any(ipaddress.ip_address(text) in net for net in networks)
