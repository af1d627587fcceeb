"""`GET /v1/receipts`: what the caller's wallet was charged, signed, and proven once it is settled."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.errors import InvalidValue, LedgerUnavailable, ObjectNotFound
from node_proxy.ledger.base import Batch, ChargeRecord, LedgerFailed
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.text import show

if TYPE_CHECKING:
    from node_proxy.services import Services

Caller = Callable[[Exchange], Awaitable[ApiKey]]
"""Who sends a request: by API key, or by the console's session."""

MAX_PAGE = 100
_KNOWN = frozenset({"limit", "order", "after", "before", "assistant", "plan", "settled"})
_CHARGE_ID = re.compile(r"chg_[0-9a-f]{28}")


class ReceiptPages:
    """Own receipts only: somebody else's get the same answer as those that don't exist."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller

    async def page(self, exchange: Exchange) -> None:
        """GET /v1/receipts[?limit, order, after, before, assistant, plan, settled]: newest first."""
        key = await self._caller(exchange)
        query = exchange.query
        if unknown := sorted(query.keys() - _KNOWN):
            raise InvalidValue(
                f"{show(unknown[0])} isn't known here; known: {', '.join(sorted(_KNOWN))}.", param=unknown[0][:100]
            )
        limit, newest = _limit(query.get("limit", "20")), _one_of(query, "order", "desc", "asc") == "desc"
        after, before = (_cursor(query, name) for name in ("after", "before"))
        if after and before:
            raise InvalidValue("Give `after` or `before`, not both.", param="before")
        # With `before` alone: the ones right before it, looked up from there.
        backwards = bool(before)
        cursor, ascending = before or after, newest == backwards
        try:
            found = await self._services.ledger.charges(
                subscriber=bytes.fromhex(key.subscriber[2:]),
                dids=self._dids(query, key),
                plan=_plan(query),
                settled={"": None, "true": True, "false": False}[_one_of(query, "settled", "", "true", "false")],
                after=cursor if ascending else "",
                before="" if ascending else cursor,
                newest_first=not ascending,
                limit=limit + 1,
            )
            page = found[:limit][::-1] if backwards else found[:limit]
            data = await self._shown(page)
        except LedgerFailed as error:
            raise _unavailable() from error
        answer = {
            "object": "list",
            "data": data,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": len(found) > limit,
        }
        await exchange.respond_json(200, answer)

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/receipts/{id}"""
        try:
            charge, _ = await self._charge(exchange)
            (shown,) = await self._shown([charge])
        except LedgerFailed as error:
            raise _unavailable() from error
        await exchange.respond_json(200, shown)

    async def proof(self, exchange: Exchange) -> None:
        """GET /v1/receipts/{id}/proof: what anybody can check against the chain alone. 409 before it is settled."""
        try:
            charge, batch = await self._charge(exchange)
            proof = await self._services.settlement.receipts.proof(charge, batch)
        except LedgerFailed as error:
            raise _unavailable() from error
        await exchange.respond_json(200, proof.document())

    async def _charge(self, exchange: Exchange) -> tuple[ChargeRecord, Batch | None]:
        key, name = await self._caller(exchange), exchange.params[0]
        ledger = self._services.ledger
        charge = await ledger.charge(name) if _CHARGE_ID.fullmatch(name) else None
        mine = charge is not None and charge.account.subscriber.hex() == key.subscriber[2:].lower()
        if charge is None or not mine or (key.dids is not None and Did(charge.did) not in key.dids):
            raise ObjectNotFound(f"There is no receipt {show(name)} of {key.subscriber}; list them.")
        batch = None if charge.batch is None else (await ledger.heads([charge.batch])).get(charge.batch)
        return charge, batch

    async def _shown(self, charges: list[ChargeRecord]) -> list[dict[str, Any]]:
        services = self._services
        heads = await services.ledger.heads(list({one.batch for one in charges if one.batch is not None}))
        shown = []
        for one in charges:
            batch = None if one.batch is None else heads.get(one.batch)
            shown.append(await services.settlement.receipts.signed(one, batch))
        return shown

    def _dids(self, query: dict[str, str], key: ApiKey) -> list[bytes] | None:
        """Of which assistants; None = all."""
        allowed = None if key.dids is None else [did.value for did in key.dids]
        if "assistant" not in query:
            return allowed
        try:
            did = Did.parse(query["assistant"])
        except InvalidInput as error:
            raise InvalidValue(f"`assistant`: {error}.", param="assistant") from None
        return [did.value] if allowed is None or did.value in allowed else []


def _unavailable() -> LedgerUnavailable:
    return LedgerUnavailable("The node's ledger doesn't answer. Try again.", retry_after=1)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidValue(f"`limit` must be a whole number from 1 to {MAX_PAGE}.", param="limit")
    return int(text)


def _one_of(query: dict[str, str], name: str, *values: str) -> str:
    """The first of `values` is the default."""
    value = query.get(name, values[0])
    if value not in values:
        raise InvalidValue(f"`{name}` must be {' or '.join(filter(None, values))}.", param=name)
    return value


def _cursor(query: dict[str, str], name: str) -> str:
    value = query.get(name, "")
    if value and not _CHARGE_ID.fullmatch(value):
        raise InvalidValue(f"`{name}` must be a receipt's id: `chg_` and 28 hex digits.", param=name)
    return value


def _plan(query: dict[str, str]) -> bytes | None:
    if "plan" not in query:
        return None
    try:
        return PlanId.parse(query["plan"]).value
    except InvalidInput as error:
        raise InvalidValue(f"`plan`: {error}.", param="plan") from None
