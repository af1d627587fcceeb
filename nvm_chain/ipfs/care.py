"""Who holds which block, and getting more places to hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nvm_chain.cid import Cid
from nvm_chain.errors import NvmError
from nvm_chain.ipfs.pinning import Pin, PinningService
from nvm_chain.ipfs.stores import Fault, Holding, Stores

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Report:
    """A block and the places that were asked, in their order. A pinning service's answer is its word only."""

    cid: Cid
    holdings: tuple[Holding, ...]

    @property
    def copies(self) -> int:
        """How many places hold it."""
        return sum(holding.holds for holding in self.holdings)


@dataclass(frozen=True, slots=True)
class Repinned:
    """What became of one block. source: where it was read from, None if nobody had it. pins: at pinning services."""

    cid: Cid
    source: str | None
    held: tuple[str, ...] = ()
    pins: tuple[tuple[str, Pin], ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every place has taken it, or is fetching it."""
        return self.source is not None and not self.faults


async def holdings(stores: Stores, services: Sequence[PinningService], cids: Iterable[Cid]) -> list[Report]:
    """Asks every place about every block, a few at a time."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(cid: Cid) -> Report:
        async with limit:
            found = await stores.where(cid)
            return Report(cid, (*found, *await asyncio.gather(*(_asked(service, cid) for service in services))))

    return list(await asyncio.gather(*map(one, cids)))


async def repin(
    stores: Stores, services: Sequence[PinningService], cid: Cid, *, name: str = "", patience: float = 0.0
) -> Repinned:
    """Reads the block from wherever it is, verified, keeps it in every store, and asks the services to pin it.

    patience: seconds to wait for each service. Raises nothing of a single place's: `faults` tells.
    """
    try:
        fetched = await stores.fetch(cid)
    except NvmError as error:
        return Repinned(cid, None, faults=(Fault("every place", error),))
    held, faults = [], []
    for store in (stores.primary, *stores.pins):
        try:
            await store.put(fetched.block)
            held.append(store.name)
        except NvmError as error:
            faults.append(Fault(store.name, error))
    pins = []
    for service in services:
        try:
            pin = await service.wait(await service.add(cid, name=name), patience)
            pins.append((service.name, pin))
        except NvmError as error:
            faults.append(Fault(service.name, error))
    return Repinned(cid, fetched.source, tuple(held), tuple(pins), tuple(faults))


async def _asked(service: PinningService, cid: Cid) -> Holding:
    try:
        return Holding(service.name, await service.has(cid))
    except NvmError as error:
        return Holding(service.name, False, error)
