"""How many calls may be in flight, and how often one subscriber may begin one. In memory, for this process.

A call is counted against its key and its subscriber from the moment that it asks to be let in, against the node only
once it is: strangers who wait for a slow chain take no place of anybody's who has paid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from node_proxy.access.keys import ApiKey
from node_proxy.config import Settings
from node_proxy.errors import TooManyRequests

SUBSCRIBERS_IN_MEMORY = 50_000


@dataclass(slots=True)
class _Bucket:
    """Calls that a subscriber may begin now, as of `at`."""

    tokens: float
    at: float


class Limits:
    """See `Settings`: max_calls, max_calls_per_key, max_calls_per_subscriber, calls_per_minute. now: seconds."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._most = settings.max_calls
        self._most_of_key = settings.max_calls_per_key
        self._most_of_subscriber = settings.max_calls_per_subscriber
        self._per_minute = settings.calls_per_minute
        self._now = now
        self._keys: dict[str, int] = {}
        self._subscribers: dict[str, int] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.running = 0
        """Calls that were let in and haven't ended."""

    def ask(self, key: ApiKey) -> None:
        """Counts a call that asks to be let in; `leave` ends it. Raises TooManyRequests."""
        mine, ours = self._keys.get(key.id, 0), self._subscribers.get(key.subscriber, 0)
        if mine >= self._most_of_key:
            raise TooManyRequests(
                f"{mine} calls of this API key are running already; wait for one to end.", retry_after=1
            )
        if ours >= self._most_of_subscriber:
            raise TooManyRequests(
                f"{ours} calls of {key.subscriber} are running already, over all of its keys; wait for one to end.",
                retry_after=1,
            )
        self._check_room()  # before the ledger and the chain are asked
        if self._per_minute is not None:
            self._take(key.subscriber, self._per_minute)
        self._keys[key.id], self._subscribers[key.subscriber] = mine + 1, ours + 1

    def enter(self) -> None:
        """A call is let in; `leave` ends it. Raises TooManyRequests where the node is full."""
        self._check_room()
        self.running += 1

    def leave(self, key: ApiKey, *, entered: bool) -> None:
        """A call has ended, or was refused. entered: whether it had been let in."""
        self.running -= entered
        for counts, name in ((self._keys, key.id), (self._subscribers, key.subscriber)):
            if left := counts[name] - 1:
                counts[name] = left
            else:
                del counts[name]

    def _check_room(self) -> None:
        if self.running >= self._most:
            raise TooManyRequests("The node is busy; try again in a moment.", retry_after=1)

    def _take(self, subscriber: str, per_minute: int) -> None:
        now, each = self._now(), 60 / per_minute
        bucket = self._buckets.get(subscriber)
        if bucket is None:
            if len(self._buckets) >= SUBSCRIBERS_IN_MEMORY:
                self._forget_the_full(now, each, per_minute)
            bucket = self._buckets[subscriber] = _Bucket(per_minute, now)
        bucket.tokens = min(per_minute, bucket.tokens + (now - bucket.at) / each)
        bucket.at = now
        if bucket.tokens < 1:
            raise TooManyRequests(
                f"{subscriber} has begun {per_minute} calls within a minute, the most that this node takes.",
                retry_after=(1 - bucket.tokens) * each,
            )
        bucket.tokens -= 1

    def _forget_the_full(self, now: float, each: float, most: int) -> None:
        """Who could begin as many calls as anybody need not be remembered; if all are at it, the quietest half goes."""
        kept = {who: one for who, one in self._buckets.items() if one.tokens + (now - one.at) / each < most}
        if len(kept) >= SUBSCRIBERS_IN_MEMORY // 2:
            latest = sorted(kept.items(), key=lambda pair: pair[1].at)[len(kept) // 2 :]
            kept = dict(latest)
        self._buckets = kept
