"""Who is calling: a token's name, else the socket's address, else what a trusted proxy says."""

import ipaddress

from aiohttp import hdrs, web

from posecluster_inference.service import Service
from posecluster_inference.settings import IPNetwork


def caller_of(request: web.Request, service: Service) -> str:
    """Return the name that quotas and logs go by; raises Refusal (unauthorized)."""
    if service.tokens is not None:
        return service.tokens.caller(request.headers.getall(hdrs.AUTHORIZATION, []))
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return client_address(request.remote or "", forwarded, service.proxies)


def client_address(peer: str, forwarded: list[str], proxies: tuple[IPNetwork, ...]) -> str:
    """Return the address nearest to us that is not a trusted proxy.

    Each proxy adds its peer at the right end of X-Forwarded-For, so everything left of the first
    stranger was written by that stranger and is not believed.
    """
    address = peer
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and _is_in(address, proxies):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(text: str, networks: tuple[IPNetwork, ...]) -> bool:
    return bool(networks) and _is_address(text) and any(ipaddress.ip_address(text) in net for net in networks)
