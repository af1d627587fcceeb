"""Who may keep threads here: whoever holds a live plan. Credits may be used up: what was paid for stays readable."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from node_proxy.access.keys import ApiKey
from node_proxy.admission import Way
from node_proxy.errors import NodeError, PlanRequired
from node_proxy.ledger.base import AccountId, Standing
from nvm_chain.did import Did
from nvm_chain.errors import NvmError

BELIEVED_SECONDS = 10.0
"""How long a plan that was seen to be live is believed to be, for calls that cost nothing."""

_REMEMBERED = 100_000
_PATIENCE = 5.0


class Plans(Protocol):
    """What is asked of the chain's view."""

    def now(self) -> float:
        """The later of our clock and the chain's."""

    async def ways(self, did: Did) -> Sequence[Way]:
        """Open ways into the asset. Raises AssetNotFound, NotServed, NvmError."""

    async def refresh(self) -> None:
        """Works in everything up to the chain's head now. Raises NvmError."""

    async def read(self, accounts: Sequence[AccountId]) -> None:
        """Reads accounts into the ledger. Raises NvmError."""


class Books(Protocol):
    """What is asked of the ledger."""

    async def standing(self, account: AccountId) -> Standing:
        """How the account stands."""


class Served(Protocol):
    """What is asked of the assets."""

    async def served(self) -> Sequence[Did]:
        """All assistants of this node. Raises ChainTooStale."""


class Members:
    """Answers whether a wallet holds a live plan, and remembers it for a moment."""

    def __init__(self, plans: Plans, books: Books, assets: Served) -> None:
        self._plans = plans
        self._books = books
        self._assets = assets
        self._seen: OrderedDict[tuple[str, frozenset[Did] | None], tuple[float, Did]] = OrderedDict()

    async def check(self, key: ApiKey) -> None:
        """Raises PlanRequired (402) where the wallet holds no plan of any assistant that the key opens."""
        who = (key.subscriber, key.dids)
        until, last = self._seen.get(who, (0.0, None))
        if until > time.monotonic():
            return
        did = await self._find(key, last)
        if did is None:  # bought a moment ago, maybe
            with suppress(NvmError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._plans.refresh()
            did = await self._find(key, None)
        if did is not None:
            self._seen[who] = time.monotonic() + BELIEVED_SECONDS, did
            self._seen.move_to_end(who)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return
        raise PlanRequired(
            f"{key.subscriber} holds no live plan of an assistant that this key opens. Buy or renew one; "
            "GET /v1/models/{id} shows each assistant, and a call of it names the plans that open it."
        )

    async def _find(self, key: ApiKey, last: Did | None) -> Did | None:
        """An assistant that a live plan of the wallet opens. last: the one of the time before, most likely the same."""
        candidates = list(key.dids if key.dids is not None else await self._assets.served())
        candidates.sort(key=lambda did: did != last)
        for did in candidates:
            if await self.holds(key.subscriber, did):
                return did
        return None

    async def holds(self, subscriber: str, did: Did) -> bool:
        """Whether a live plan of the wallet opens the assistant."""
        holder = bytes.fromhex(subscriber[2:])
        with suppress(NodeError, NvmError):
            for way in await self._plans.ways(did):
                account = AccountId(way.plan, holder)
                standing = await self._books.standing(account)
                if standing.snapshot is None:
                    await self._plans.read([account])
                    standing = await self._books.standing(account)
                if live(standing, self._plans.now()):
                    return True
        return False


def live(standing: Standing, now: float) -> bool:
    """Whether the account has bought the plan and its time isn't over."""
    held = standing.snapshot
    if held is None or 0 < held.expiry <= now:
        return False
    return bool(held.balance or held.consumed or held.units or held.expiry)
