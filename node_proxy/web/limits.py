"""How often a stranger may ask: a leaky bucket for each client, bounded in memory."""

from __future__ import annotations

import time
from collections import OrderedDict

from node_proxy.access.guesses import network_of
from node_proxy.errors import TooManyRequests

_CLIENTS = 20_000


class Bucket:
    """size: what a client may use at once. per_second: what comes back. what: is limited, for the message."""

    def __init__(self, size: float, per_second: float, what: str) -> None:
        self._size, self._per_second, self._what = size, per_second, what
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, amount: float = 1.0) -> None:
        """Counts a use. Raises TooManyRequests with the seconds to wait; then nothing is counted."""
        client, now = network_of(client), time.monotonic()
        used, since = self._used.get(client, (0.0, now))
        used = max(0.0, used - (now - since) * self._per_second) + amount
        if used > self._size:
            wait = (used - self._size) / self._per_second
            raise TooManyRequests(f"Too many {self._what}: wait a moment.", retry_after=min(wait, 3600.0))
        self._used[client] = (used, now)
        self._used.move_to_end(client)
        while len(self._used) > _CLIENTS:
            self._used.popitem(last=False)
