"""Slows down whoever tries keys, sessions or signatures that are none.

Counted per client address (IPv6: per /64). Who has used up its tries waits, except with a key that is known to be good,
so that a stranger behind the same address stops nobody's running program.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict

TRIES = 20
"""Failures that a client may make at once."""

SECONDS_EACH = 3.0
"""Seconds after which one more is forgiven."""

_CLIENTS = 50_000


class Guesses:
    """Failed tries by client, in memory, bounded."""

    def __init__(self) -> None:
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until the client may try again; 0 = now."""
        if not self._spent:
            return 0.0
        spent = self._now(_network(client))
        return 0.0 if spent <= TRIES - 1 else (spent - TRIES + 1) * SECONDS_EACH

    def failed(self, client: str) -> None:
        """Counts a failure."""
        network = _network(client)
        self._spent[network] = (self._now(network) + 1, time.monotonic())
        self._spent.move_to_end(network)
        while len(self._spent) > _CLIENTS:
            self._spent.popitem(last=False)

    def _now(self, network: str) -> float:
        spent, since = self._spent.get(network, (0.0, 0.0))
        return max(0.0, spent - (time.monotonic() - since) / SECONDS_EACH) if spent else 0.0


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
