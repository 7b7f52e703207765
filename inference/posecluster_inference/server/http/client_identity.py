"""Who is calling: a token's name, else the socket's address, else what a trusted proxy says."""

import ipaddress
from functools import lru_cache

from aiohttp import hdrs, web

from posecluster_inference.server.http.service import Service
from posecluster_inference.settings import IPNetwork


def caller_of(request: web.Request, service: Service) -> str:
    """Return the name that quotas and logs go by; raises Refusal (unauthorized)."""
    if service.tokens is not None:
        return service.tokens.caller(request.headers.getall(hdrs.AUTHORIZATION, []))
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return quota_key(client_address(request.remote or "", forwarded, service.proxies))


@lru_cache(maxsize=1_024)
def quota_key(address: str) -> str:
    """Return what one caller can be told by: an address, or the /64 that an IPv6 host owns whole."""
    plain, separator, scope = address.partition("%")  # of a link-local address
    if not _is_address(plain):
        return address
    parsed = ipaddress.ip_address(plain)
    if parsed.version == 4:
        return str(parsed)
    return f"{ipaddress.IPv6Network((int(parsed), 64), strict=False)}{separator}{scope}"


def client_address(peer: str, forwarded: list[str], proxies: tuple[IPNetwork, ...]) -> str:
    """Return the address nearest to us that is not a trusted proxy.

    Each proxy adds its peer at the right end of X-Forwarded-For, so everything left of the first
    stranger was written by that stranger and is not believed.
    """
    address = _plain(peer)
    if not proxies:
        return address
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and _is_in(address, proxies):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = _plain(hop)
    return address


@lru_cache(maxsize=1_024)
def _plain(address: str) -> str:
    """Return an IPv4 address that a dual-stack socket wrote as IPv6 (::ffff:…) in its own form."""
    mapped = ipaddress.IPv6Address(address).ipv4_mapped if ":" in address and _is_address(address) else None
    return str(mapped) if mapped is not None else address


def _is_address(text: str) -> bool:
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False


def _is_in(text: str, networks: tuple[IPNetwork, ...]) -> bool:
    return bool(networks) and _is_address(text) and any(ipaddress.ip_address(text) in net for net in networks)
