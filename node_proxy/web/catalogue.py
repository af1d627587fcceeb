"""What this node serves, for the marketplace: assistants with their plans, searched and sorted."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from node_proxy import logs
from node_proxy.asgi import Exchange
from node_proxy.errors import AssetNotFound, InvalidValue, NodeError
from nvm_chain.address import address
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.lens import AssetView
from nvm_chain.metadata import Metadata
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Plan

if TYPE_CHECKING:
    from node_proxy.services import Services

log = logs.get("catalogue")

FRESH_SECONDS = 2.0
MAX_PAGE = 100
_TEXTS = 5_000
_AT_ONCE = 16
_EXCERPT = 280


@dataclass(frozen=True, slots=True)
class Entry:
    """One assistant. words: all that a search looks through, in lower case."""

    did: Did
    owner: str
    created: int
    title: str
    words: str
    tags: frozenset[str]
    price: int
    public: dict[str, Any]


_ORDERS: dict[str, Callable[[Entry], Any]] = {
    "new": lambda entry: (-entry.created, str(entry.did)),
    "title": lambda entry: (entry.title.casefold(), str(entry.did)),
    "price": lambda entry: (entry.price, -entry.created, str(entry.did)),
}


# What a plan on sale can be.
_KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "credits": lambda offer: offer["on_sale"] and offer["credits_per_unit"] > 0,
    "time": lambda offer: offer["on_sale"] and offer["credits_per_unit"] == 0,
    "free": lambda offer: offer["on_sale"] and offer["price"] == "0",
    "refundable": lambda offer: offer["on_sale"] and offer["refundable"],
}


class Catalogue:
    """Kept for a moment, so that many visitors cost one look at the chain."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._texts: OrderedDict[Cid, Metadata | PlanMetadata | None] = OrderedDict()
        self._entries: list[Entry] = []
        self._until = 0.0
        self._looking = asyncio.Lock()

    async def page(self, exchange: Exchange) -> None:
        """GET /catalogue?q=&tag=&owner=&plan=&kind=&sort=&limit=&after=: the assistants that this node serves."""
        query = exchange.query
        sort = query.get("sort", "new")
        if sort not in _ORDERS:
            raise InvalidValue(f"`sort` must be one of {', '.join(_ORDERS)}.", param="sort")
        kind = query.get("kind", "")
        if kind and kind not in _KINDS:
            raise InvalidValue(f"`kind` must be one of {', '.join(_KINDS)}.", param="kind")
        limit = query.get("limit", "24")
        if not limit.isascii() or not limit.isdigit() or len(limit) > 9 or not 1 <= int(limit) <= MAX_PAGE:
            raise InvalidValue(f"`limit` must be a number from 1 to {MAX_PAGE}.", param="limit")
        owner = query.get("owner")
        try:
            owner = owner and address(owner, "owner")
        except InvalidInput as error:
            raise InvalidValue(f"The {error}.", param="owner") from None
        words = query.get("q", "").lower()[:200].split()
        tag, plan = query.get("tag", "").lower(), query.get("plan", "").lower()
        found = sorted(
            (
                entry
                for entry in await self.entries()
                if all(word in entry.words for word in words)
                and (not tag or tag in entry.tags)
                and (not owner or entry.owner == owner)
                and (not kind or any(map(_KINDS[kind], entry.public["offers"])))
                and (not plan or any(offer["plan_id"] == plan for offer in entry.public["offers"]))
            ),
            key=_ORDERS[sort],
        )
        after = query.get("after")
        first = next((i + 1 for i, entry in enumerate(found) if str(entry.did) == after), 0) if after else 0
        page = found[first : first + int(limit)]
        counts: dict[str, int] = {}
        for entry in found:
            for name in entry.tags:
                counts[name] = counts.get(name, 0) + 1
        answer = {
            "object": "list",
            "data": [entry.public for entry in page],
            "has_more": first + len(page) < len(found),
            "total": len(found),
            "tags": [name for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:24]],
        }
        await exchange.respond_json(200, answer, headers=[(b"cache-control", b"no-cache")])

    async def entry(self, did: Did) -> Entry | None:
        """One assistant; None where it isn't served here or can't be read."""
        found = next((entry for entry in await self.entries() if entry.did == did), None)
        if found is None and did in await self._services.assets.served():  # a moment old, or closed
            found = await self._entry(did)
        return found

    async def entries(self) -> list[Entry]:
        """All, as the chain stood a moment ago; what can't be read is left out."""
        if time.monotonic() < self._until:
            return self._entries
        async with self._looking:
            if time.monotonic() >= self._until:
                dids = await self._services.assets.served()
                places = asyncio.Semaphore(_AT_ONCE)

                async def read(did: Did) -> Entry | None:
                    async with places:
                        return await self._entry(did)

                self._entries = [entry for entry in await asyncio.gather(*map(read, dids)) if entry is not None]
                self._until = time.monotonic() + FRESH_SECONDS
        return self._entries

    async def _entry(self, did: Did) -> Entry | None:
        services = self._services
        try:
            await services.view.ways(did)
            view = await services.view.describe(did)
        except AssetNotFound:
            return None
        except (NvmError, NodeError) as error:
            log.debug("catalogue.unread", did=str(did), error=str(error))
            return None
        metadata = await self._text(view.cid)
        if not isinstance(metadata, Metadata) or metadata.did != did:
            return None
        if (metadata.chain_id, metadata.registry) != (services.chain.chain_id, services.deployment.asset_registry):
            return None
        now = int(services.view.now())
        offers = []
        for offer in view.offers:
            rule = offer.offer.rule_at(now)
            if rule is not None:
                offers.append(await self._offer(offer.plan, rule))
        offers.sort(key=lambda offer: int(offer["price"]))
        return _make(did, view, metadata, offers)

    async def _offer(self, plan: Plan, rule: tuple[int, int]) -> dict[str, Any]:
        text = None if plan.metadata is None else await self._text(Cid.from_digest(plan.metadata))
        terms = plan.terms
        return {
            "plan_id": str(plan.plan_id),
            "title": text.title if isinstance(text, PlanMetadata) else "",
            "min_credits": rule[0],
            "max_credits": rule[1],
            "on_sale": plan.on_sale,
            "price": str(terms.price),
            "token": None if terms.is_native else terms.token,
            "credits_per_unit": terms.credits_per_unit,
            "duration": terms.duration,
            "refundable": terms.refund_cooldown > 0,
            "trial": terms.price == 0 and terms.purchase_limit > 0,
        }

    async def _text(self, cid: Cid) -> Metadata | PlanMetadata | None:
        """What a block says, its CID checked; None for one that isn't ours. What can't be read is asked for later."""
        if cid in self._texts:
            self._texts.move_to_end(cid)
            return self._texts[cid]
        try:
            block = cid.verify(await self._services.store.get(cid), "the block store")
        except NvmError:
            return None
        found = await asyncio.to_thread(_parsed, block)
        self._texts[cid] = found
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return found


def _parsed(block: bytes) -> Metadata | PlanMetadata | None:
    for read in (PlanMetadata.from_block, Metadata.from_block):
        try:
            return read(block)
        except NvmError:
            pass
    return None


def _make(did: Did, view: AssetView, metadata: Metadata, offers: list[dict[str, Any]]) -> Entry:
    asset, text = view.asset, metadata.description
    public = {
        "object": "assistant",
        "did": str(did),
        "assistant_id": did.assistant_id,
        "owner": asset.owner,
        "title": metadata.title,
        "description": text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rstrip() + "…",
        "tags": list(metadata.tags),
        "cid": str(view.cid),
        "version": asset.version,
        "created": asset.created_at,
        "updated": asset.updated_at,
        "offers": offers,
    }
    words = "\n".join([metadata.title, text, *metadata.tags, str(did), asset.owner]).lower()
    on_sale = [int(offer["price"]) for offer in offers if offer["on_sale"]]
    price = min(on_sale, default=2**96)
    return Entry(did, asset.owner, asset.created_at, metadata.title, words, frozenset(metadata.tags), price, public)
