"""Where a builder's base URL may lead: nowhere, unless the operator allows it.

An allowed host is reached by https on port 443, at public addresses only, also when its name resolves to others later;
a named local server is reached as the operator wrote it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from node_proxy.config import HostPort
from node_proxy.errors import ProviderNotAllowed

_REASON = (
    "This assistant can't run here: its builder registered a provider address that this node doesn't allow ({why})."
)


class AddressForbidden(OSError):
    """A host name resolved to an address that isn't public."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator allows. hosts: names, or `*.example.org`. local: servers that may be private and plain http."""

    hosts: Sequence[str]
    local: Sequence[HostPort]

    def host(self, name: str) -> bool:
        """Whether `name` is on the list."""
        return any(name == host or (host.startswith("*.") and name.endswith(host[1:])) for host in self.hosts)

    def url(self, base_url: str) -> str:
        """`base_url` in the form that is safe to append a path to. Raises ProviderNotAllowed that says why not."""
        if not base_url.isascii() or any(character <= " " or character in "\\\x7f" for character in base_url):
            raise _refused("it has characters that no URL has")
        try:
            parts = urlsplit(base_url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise _refused("it isn't a URL") from None
        if parts.username is not None or parts.password is not None:
            raise _refused("it contains a user name")
        if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
            raise _refused("it has a query or a fragment")
        if parts.scheme not in ("http", "https") or not host:
            raise _refused("it doesn't start with https://")
        port = port or (443 if parts.scheme == "https" else 80)
        path = parts.path.rstrip("/")
        if ".." in path.split("/") or "%" in path:
            raise _refused("its path has dots or escapes")
        if HostPort(host, port) not in self.local:
            if parts.scheme != "https":
                raise _refused("it isn't https")
            if _is_address(host):
                raise _refused("it names an address instead of a host")
            if not self.host(host):
                # Which one is the builder's secret, and in the log for the operator.
                raise _refused("its host isn't on the operator's list") from AddressForbidden(f"host {host[:100]}")
            if port != 443:
                raise _refused("its port isn't 443")
        shown = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{shown}:{port}{path}"


def _refused(why: str) -> ProviderNotAllowed:
    return ProviderNotAllowed(_REASON.format(why=why))


def _is_address(host: str) -> bool:
    """Also the spellings that only the C library knows: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        pass
    try:
        socket.inet_aton(host)
        return True
    except OSError:
        return False


def is_public(address: str) -> bool:
    """Whether `address` (text, scope id allowed) is one that the whole Internet can reach."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if parsed.teredo is not None or parsed.packed[:12] == bytes(12) or parsed.is_site_local:
            return False
        if inner is not None and not _public(inner):
            return False
    return _public(parsed)


_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "64:ff9b::/96",  # NAT64
            "3fff::/20",  # documentation, which Python doesn't know yet
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16/32",  # what Azure's machines talk to their platform by
        ),
    )
)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class PublicResolver(AbstractResolver):
    """Resolves names and refuses the whole answer if one address isn't public. aiohttp connects to what it returns."""

    def __init__(self, local: Sequence[HostPort], resolver: AbstractResolver | None = None) -> None:
        self._local = frozenset(local)
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressForbidden."""
        results = await self._resolver.resolve(host, port, family)
        if HostPort(host.rstrip(".").lower(), port) not in self._local:
            for result in results:
                if not is_public(result["host"]):
                    raise AddressForbidden(f"{host} resolves to {result['host']}, which isn't a public address")
        return results

    async def close(self) -> None:
        await self._resolver.close()
