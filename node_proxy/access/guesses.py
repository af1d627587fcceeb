"""Slows down whoever tries keys, sessions or signatures that are none.

Counted per client address (IPv6: per /64). Who has used up its tries waits, except with a key that is known to be good,
so that a stranger behind the same address stops nobody's running program.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Sequence

TRIES = 20
"""Failures that a client may make at once."""

SECONDS_EACH = 3.0
"""Seconds after which one more is forgiven."""

_CLIENTS = 50_000
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


class Guesses:
    """Failed tries by client, in memory, bounded."""

    def __init__(self) -> None:
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anybody has failed lately."""
        return bool(self._spent)

    def wait(self, client: str) -> float:
        """Seconds until the client may try again; 0 = now."""
        spent = self._now(network_of(client))
        return 0.0 if spent <= TRIES - 1 else (spent - TRIES + 1) * SECONDS_EACH

    def failed(self, client: str) -> None:
        """Counts a failure."""
        network = network_of(client)
        self._spent[network] = (self._now(network) + 1, time.monotonic())
        self._spent.move_to_end(network)
        while len(self._spent) > _CLIENTS:
            self._spent.popitem(last=False)

    def _now(self, network: str) -> float:
        spent, since = self._spent.get(network, (0.0, 0.0))
        return max(0.0, spent - (time.monotonic() - since) / SECONDS_EACH) if spent else 0.0


def client_of(peer: str, forwarded: str, trusted: Sequence[str]) -> str:
    """Whose request it is: the peer's, or, if that is a trusted proxy, the last address that no trusted proxy has.

    peer: the address that connected. forwarded: its X-Forwarded-For. trusted: addresses and networks.
    """
    for address in (peer, *(_bare(part.strip()) for part in reversed(forwarded[-1000:].split(",")))):
        if not _in(address, trusted):
            return address or peer
    return peer


def _bare(address: str) -> str:
    """Without the port that some proxies write, which is another one for each connection."""
    found = _WITH_PORT.fullmatch(address)
    return address if found is None else found[1] or found[2] or address


def _in(address: str, networks: Sequence[str]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network) for network in networks)


def network_of(client: str) -> str:
    """Who counts as one client: an IPv4 address, an IPv6 network of /64, or whatever else the text says."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
