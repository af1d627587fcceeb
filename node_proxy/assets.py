"""What the node knows of an assistant: its record, its metadata (CID verified), its definition (unsealed).

An opened definition lives in memory only, for a bounded time, and only as long as the chain names the metadata version
it came from: a new version, another owner or a rotated key makes the node open it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node_proxy import logs
from node_proxy.access.keys import ApiKey
from node_proxy.errors import AssetNotFound, AssetUnusable, ChainTooStale, InvalidValue, NodeError, Unavailable
from nvm_chain.assets import Asset
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.errors import DigestMismatch, InvalidInput, MetadataInvalid, NotFound, NvmError, SealBroken
from nvm_chain.ipfs import BlockSource
from nvm_chain.metadata import Metadata
from nvm_chain.sealing import Binding
from nvm_chain.secret import Secret
from nvm_chain.text import show

log = logs.get("assets")

LONGEST_SECONDS = 3600.0
"""How long an opened definition stays in memory at most, also one in use: then it is opened again."""

DIDS_IN_MEMORY = 10_000

FAILURE_SECONDS = 3.0
"""How long a failure to open an assistant is remembered, so that calls don't hammer the stores."""


class Records(Protocol):
    """What is asked of the chain's view."""

    async def asset(self, did: Did) -> Asset:
        """The record, fresh enough to serve on. Raises AssetNotFound, NvmError."""

    def asset_seen(self, did: Did) -> Asset | None:
        """The same at once, if nothing has to be looked up for it."""

    async def served(self) -> Sequence[Did]:
        """All assistants that name this node. Raises NvmError."""

    async def key_versions(self, at_least: int = 0) -> Mapping[int, Secret]:
        """Which of the node's private keys opens secrets of which key version. Raises NvmError.

        at_least: a version that was seen, so that a key of it is looked for.
        """


@dataclass(frozen=True, slots=True)
class Assistant:
    """An opened assistant. expires: unix seconds from which the builder's secret is refused, 0 = never.

    key_version: the node's key that the secret was sealed to.
    """

    did: Did
    owner: str
    metadata: Metadata
    definition: Definition
    expires: int
    key_version: int


@dataclass(slots=True)
class _Entry:
    record: Asset
    assistant: Assistant | None
    failure: NodeError | None
    until: float
    longest: float


class Assets:
    """chain_id, registry, node: what a secret must be bound to. ttl: seconds unused; size: assistants in memory."""

    def __init__(
        self,
        records: Records,
        store: BlockSource,
        *,
        chain_id: int,
        registry: str,
        node: str,
        ttl: float,
        size: int,
    ) -> None:
        self._records = records
        self._store = store
        self._chain_id = chain_id
        self._registry = registry
        self._node = node
        self._ttl = ttl
        self._size = size
        # By the DIDs' bytes, because a `Did` is hashed by Python code; what was used last is at the end.
        self._entries: dict[bytes, _Entry] = {}
        self._opening: dict[Did, asyncio.Lock] = {}
        self._ids: dict[str, Did] = {}
        self._dids: dict[str, Did] = {}

    # ---------------------------------------------------------------------------------------------------- which one

    async def resolve(self, model: object, key: ApiKey) -> Did:
        """The assistant that `model` names: a DID, an `asst_…` id, or nothing where the key opens exactly one.

        Raises InvalidValue, AssetNotFound, NotYours, ChainTooStale.
        """
        did = self._dids.get(model) if isinstance(model, str) else None
        if did is None:
            did = await self._find(model, key)
        if key.dids is not None:
            key.check_opens(did)
        return did

    async def _find(self, model: object, key: ApiKey) -> Did:
        if model is None or model == "":
            if key.dids is not None and len(key.dids) == 1:
                return next(iter(key.dids))
            raise InvalidValue(
                "`model` is missing: name the assistant by its DID (did:nv:…) or asst_ id.", param="model"
            )
        if not isinstance(model, str):
            raise InvalidValue("`model` must be a text: the assistant's DID (did:nv:…) or asst_ id.", param="model")
        return await self._by_id(model) if model.startswith("asst_") else self._parse(model)

    def _parse(self, text: str) -> Did:
        try:
            did = Did.parse(text)
        except InvalidInput as error:
            raise AssetNotFound(
                f"`model` names the assistant here, and {error}. GET /v1/models lists those that your key opens.",
                param="model",
            ) from None
        if len(self._dids) >= DIDS_IN_MEMORY:
            self._dids.clear()
        self._dids[text] = did
        return did

    async def served(self) -> Sequence[Did]:
        """Raises ChainTooStale."""
        try:
            return await self._records.served()
        except NvmError as error:
            raise _no_chain() from error

    async def _by_id(self, assistant_id: str) -> Did:
        did = self._ids.get(assistant_id)
        if did is None:
            self._ids = {did.assistant_id: did for did in await self.served()}
            did = self._ids.get(assistant_id)
        if did is None:
            raise AssetNotFound(
                f"`model` {show(assistant_id)} is no assistant of this node. An id of an assistant at OpenAI can't be "
                "called here: use the id or DID that it got when it was registered.",
                param="model",
            )
        return did

    # ------------------------------------------------------------------------------------------------------- opening

    async def record(self, did: Did) -> Asset:
        """Raises AssetNotFound, ChainTooStale."""
        try:
            return await self._records.asset(did)
        except NvmError as error:
            raise _no_chain() from error

    async def open(self, did: Did) -> Assistant:
        """The assistant as its builder defined it last. Raises AssetNotFound, AssetUnusable, Unavailable."""
        record = await self.record(did)
        entry = self._fresh(record)
        if entry is None:
            async with self._opening.setdefault(did, asyncio.Lock()):
                entry = self._fresh(record)
                if entry is None:
                    entry = await self._open(record)
                    self._keep(did, entry)
            self._opening.pop(did, None)
        return _usable(entry)

    def opened(self, did: Did) -> Assistant | None:
        """The same at once, if it is in memory. Raises AssetUnusable, Unavailable."""
        record = self._records.asset_seen(did)
        entry = None if record is None else self._fresh(record)
        return None if entry is None else _usable(entry)

    def forget(self) -> None:
        """Drops all definitions from memory."""
        self._entries.clear()

    def sweep(self) -> None:
        """Drops the definitions that nobody has used for `ttl` seconds."""
        now = time.monotonic()
        for did in [did for did, entry in self._entries.items() if entry.until <= now]:
            del self._entries[did]

    async def close_retired(self) -> None:
        """Drops the definitions that were opened with a key whose overlap has ended. Raises ChainTooStale."""
        usable = await self._keys()
        for did, entry in list(self._entries.items()):
            if entry.assistant is not None and entry.assistant.key_version not in usable:
                del self._entries[did]

    @property
    def open_count(self) -> int:
        """Definitions in memory."""
        return len(self._entries)

    def _fresh(self, record: Asset) -> _Entry | None:
        """What is in memory of the assistant, if it was opened as the record says."""
        name, now = record.did.value, time.monotonic()
        entry = self._entries.get(name)
        if entry is None or entry.until <= now:
            return None
        if entry.record is not record:
            if (entry.record.metadata, entry.record.owner) != (record.metadata, record.owner):
                return None
            entry.record = record
        if entry.failure is None:
            entry.until = min(now + self._ttl, entry.longest)
            self._entries[name] = self._entries.pop(name)
        return entry

    def _keep(self, did: Did, entry: _Entry) -> None:
        self._entries.pop(did.value, None)
        self._entries[did.value] = entry
        while len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]

    async def _open(self, record: Asset) -> _Entry:
        now = time.monotonic()
        try:
            metadata = await self._metadata(record)
            assistant = await self._unseal(record, metadata)
        except NodeError as failure:
            log.warning("asset.unusable", did=str(record.did), cid=str(record.metadata), reason=str(failure.__cause__))
            return _Entry(record, None, failure, now + FAILURE_SECONDS, now + FAILURE_SECONDS)
        log.info("asset.opened", did=str(record.did), cid=str(record.metadata), version=record.version)
        return _Entry(record, assistant, None, now + min(self._ttl, LONGEST_SECONDS), now + LONGEST_SECONDS)

    async def _metadata(self, record: Asset) -> Metadata:
        try:
            block = record.metadata.verify(await self._store.get(record.metadata), "the block store")
            return await asyncio.to_thread(
                Metadata.from_block, block, did=record.did, chain_id=self._chain_id, registry=self._registry
            )
        except (DigestMismatch, MetadataInvalid) as error:
            raise AssetUnusable(
                f"This assistant can't run: the metadata block {record.metadata} of {record.did} is damaged or isn't "
                "its own. Its builder has to publish it again."
            ) from error
        except NotFound as error:
            raise Unavailable(
                f"The metadata block {record.metadata} of {record.did} can't be found. Nothing was charged.",
                retry_after=5,
            ) from error
        except NvmError as error:
            raise Unavailable(
                f"The metadata block {record.metadata} of {record.did} can't be read at the moment. Nothing was "
                "charged; try again later.",
                retry_after=5,
            ) from error

    async def _unseal(self, record: Asset, metadata: Metadata) -> Assistant:
        mine = [sealed for sealed in metadata.sealed if sealed.node == self._node]
        keys = await self._keys(max((sealed.key_version for sealed in mine), default=0))
        usable = sorted(
            (sealed for sealed in mine if sealed.key_version in keys), key=lambda sealed: -sealed.key_version
        )
        if not usable:
            why = SealBroken(
                "sealed to other nodes only"
                if not mine
                else f"sealed to key version {mine[0].key_version}; this node has {sorted(keys)}"
            )
            raise AssetUnusable(
                "This assistant can't run: its builder's secret isn't sealed to a current key of this node."
            ) from why
        sealed = usable[0]
        expected = Binding(
            did=record.did,
            owner=record.owner,
            chain_id=self._chain_id,
            registry=self._registry,
            node=self._node,
            key_version=sealed.key_version,
        )
        try:
            opened = await asyncio.to_thread(sealed.open, keys[sealed.key_version], expected)
        except SealBroken as error:
            raise AssetUnusable(
                "This assistant can't run: its builder's secret doesn't open, or was made for something else."
            ) from error
        return Assistant(
            record.did, record.owner, metadata, opened.definition, opened.binding.expires, sealed.key_version
        )

    async def _keys(self, at_least: int = 0) -> Mapping[int, Secret]:
        try:
            return await self._records.key_versions(at_least)
        except NvmError as error:
            raise _no_chain() from error


def _usable(entry: _Entry) -> Assistant:
    assistant = entry.assistant
    if assistant is None:
        assert entry.failure is not None
        raise entry.failure.with_traceback(None)
    if assistant.expires and assistant.expires <= time.time():
        raise AssetUnusable("This assistant can't run: its builder's secret has expired and has to be sealed again.")
    return assistant


def _no_chain() -> ChainTooStale:
    return ChainTooStale(
        "The node can't reach the chain to look the assistant up. Nothing was charged; try again in a moment.",
        retry_after=5,
    )
