"""Several places as one: kept in more than one, read from whichever has it, liars named."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nvm_chain.cid import Cid
from nvm_chain.errors import BlockTooLarge, DigestMismatch, NotFound, NvmError, StoreUnavailable
from nvm_chain.ipfs.store import BlockSource, BlockStore, Closing

T = TypeVar("T")
log = logging.getLogger("nvm_chain.ipfs")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that did not do what it was asked.

    lied: it served other bytes than the CID promises.
    """

    source: str
    error: NvmError

    @property
    def lied(self) -> bool:
        return isinstance(self.error, DigestMismatch | BlockTooLarge)

    def __str__(self) -> str:
        return f"{self.source}: {self.error}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified block, where it came from, and which places failed before."""

    block: bytes
    source: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class PutReport:
    """Which places hold a block now, and which don't and why."""

    cid: Cid
    held: tuple[str, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """Whether one place holds a block. error: why that isn't known, or what is wrong with what it holds."""

    source: str
    holds: bool
    error: NvmError | None = None


class Stores(Closing):
    """A store that keeps blocks in `primary`, copies them to `pins`, and reads from all of these and from `gateways`.

    patience: seconds without an answer after which the next place is asked as well.
    on_fault: told each place that failed during a `get`; the default writes a warning to the log for those that lied.
    """

    def __init__(
        self,
        primary: BlockStore,
        pins: Sequence[BlockStore] = (),
        gateways: Sequence[BlockSource] = (),
        *,
        patience: float = 2.0,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self.primary, self.pins, self.gateways = primary, tuple(pins), tuple(gateways)
        self.patience = patience
        self._on_fault = on_fault or _warn

    @property
    def name(self) -> str:
        return self.primary.name

    @property
    def sources(self) -> tuple[BlockSource, ...]:
        """All places, in the order in which they are asked."""
        return (self.primary, *self.pins, *self.gateways)

    async def put(self, block: bytes) -> Cid:
        """Keeps the block in the primary store and copies it to the others; see `publish` for which took it."""
        return (await self.publish(block)).cid

    async def publish(self, block: bytes) -> PutReport:
        """Keeps the block in the primary store (raises if that fails) and in all pins at once (reported)."""
        cid = await self.primary.put(block)
        results = await asyncio.gather(*(_try(store, store.put(block)) for store in self.pins))
        faults = tuple(result for result in results if isinstance(result, Fault))
        failed = {fault.source for fault in faults}
        held = (self.primary.name, *(store.name for store in self.pins if store.name not in failed))
        return PutReport(cid, held, faults)

    async def get(self, cid: Cid, *, keep: bool = True) -> bytes:
        """The block from the first place that gives it, see `fetch`; faults go to `on_fault`."""
        fetched = await self.fetch(cid, keep=keep)
        for fault in fetched.faults:
            self._on_fault(fault)
        return fetched.block

    async def fetch(self, cid: Cid, *, keep: bool = True) -> Fetched:
        """The block, its source and the faults on the way; a block from elsewhere is kept in the primary store.

        keep: False where a stranger chose the CID, who could fill the primary store. Anybody may name any block.
        Raises NotFound if every place says so, DigestMismatch if one lied and no other has it, else StoreUnavailable.
        """
        faults: list[Fault] = []
        waiting = list(self.sources)
        running: dict[asyncio.Task[bytes], BlockSource] = {}
        try:
            while waiting or running:
                if waiting:
                    source = waiting.pop(0)
                    running[asyncio.create_task(source.get(cid))] = source
                done, _ = await asyncio.wait(
                    running, timeout=self.patience if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    source = running.pop(task)
                    error = task.exception()
                    if error is None:
                        fetched = Fetched(task.result(), source.name, tuple(faults))
                        return await self._keep(fetched) if keep else fetched
                    if not isinstance(error, NvmError):
                        raise error
                    faults.append(Fault(source.name, error))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        raise _none(cid, faults)

    async def where(self, cid: Cid) -> tuple[Holding, ...]:
        """Asks every place at once whether it holds the block."""

        async def ask(source: BlockSource) -> Holding:
            result = await _try(source, source.has(cid))
            return (
                Holding(source.name, False, result.error) if isinstance(result, Fault) else Holding(source.name, result)
            )

        return tuple(await asyncio.gather(*map(ask, self.sources)))

    async def has(self, cid: Cid) -> bool:
        """Whether any place holds the block."""
        return any(holding.holds for holding in await self.where(cid))

    async def aclose(self) -> None:
        for source in self.sources:
            await source.aclose()

    async def _keep(self, fetched: Fetched) -> Fetched:
        if fetched.source != self.primary.name:
            with contextlib.suppress(StoreUnavailable):  # a full disk must not keep a good block from its reader
                await self.primary.put(fetched.block)
        return fetched


async def _try(source: BlockSource, work: Awaitable[T]) -> T | Fault:
    try:
        return await work
    except NvmError as error:
        return Fault(source.name, error)


def _warn(fault: Fault) -> None:
    if fault.lied:
        log.warning("ipfs.lie source=%s error=%s", fault.source, fault.error)


def _none(cid: Cid, faults: list[Fault]) -> NvmError:
    told = "; ".join(str(fault.error) for fault in faults)
    if any(fault.lied for fault in faults):
        return DigestMismatch(f"no place gave the block {cid} as it is: {told}")
    if all(isinstance(fault.error, NotFound) for fault in faults):
        return NotFound(f"no place has the block {cid} ({', '.join(fault.source for fault in faults)})")
    return StoreUnavailable(f"the block {cid} can't be had now: {told}")
