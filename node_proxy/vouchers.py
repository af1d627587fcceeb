"""`/v1/vouchers`: subscribers hand in the ceilings that they have signed, for plans whose settlement needs them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from node_proxy.asgi import Exchange
from node_proxy.errors import (
    AccessDenied,
    ChainTooStale,
    InvalidValue,
    LedgerUnavailable,
    ObjectNotFound,
    PlanRequired,
)
from node_proxy.ledger.base import MAX_CREDITS, AccountId, LedgerFailed, Promise, Standing
from node_proxy.receipt_pages import Caller
from nvm_chain.abi import Abi
from nvm_chain.address import address
from nvm_chain.errors import ContractRefused, InvalidInput, NotFound, NvmError
from nvm_chain.plans import PlanId
from nvm_chain.text import show
from nvm_chain.vouchers import voucher_digest

if TYPE_CHECKING:
    from node_proxy.services import Services

MAX_BODY = 64 * 1024
MAX_SIGNATURE = 16 * 1024
PATIENCE = 5.0
"""Seconds that the chain may take to judge a signature."""


class VoucherRefused(AccessDenied):
    """The signature isn't the subscriber's, for this ceiling, plan, chain and contract (HTTP 403)."""

    code = "voucher_refused"


class VoucherTooLow(InvalidValue):
    """The ceiling isn't above the one that is known, or above what is used up already (HTTP 400)."""

    code = "voucher_too_low"


class VoucherPages:
    """Vouchers of the caller's own wallet."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._validator = Abi.of("SignatureValidator")

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/vouchers {plan_id, ceiling, signature}: keeps it where it is higher than the one before."""
        key = await self._caller(exchange)
        body = await exchange.json(MAX_BODY, self._services.settings.body_timeout)
        if unknown := sorted(body.keys() - {"plan_id", "ceiling", "signature"}):
            raise InvalidValue(
                f"{show(unknown[0])} isn't known here; known: ceiling, plan_id, signature.", param=unknown[0][:100]
            )
        plan, ceiling, signature = _plan_id(body), _ceiling(body), _signature(body)
        account = AccountId(plan.value, bytes.fromhex(key.subscriber[2:]))
        try:
            async with asyncio.timeout(PATIENCE):
                standing = await self._standing(plan, account, key.subscriber)
                await self._check_height(account, standing, ceiling)
                await self._check_signature(plan, key.subscriber, ceiling, signature)
            if not await self._services.ledger.keep_voucher(Promise(account, ceiling, signature, int(time.time()))):
                await self._check_height(account, standing, ceiling)
            answer = await self._shown(account)
        except (NvmError, TimeoutError) as error:
            raise ChainTooStale(
                "The node can't reach the chain to check the voucher. Try again in a moment.", retry_after=5
            ) from error
        except LedgerFailed as error:
            raise LedgerUnavailable("The node's ledger doesn't answer. Try again.", retry_after=1) from error
        await exchange.respond_json(201, answer)

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/vouchers/{plan id}: the highest that the node has."""
        key = await self._caller(exchange)
        plan = _plan_id({"plan_id": exchange.params[0]})
        account = AccountId(plan.value, bytes.fromhex(key.subscriber[2:]))
        try:
            if await self._services.ledger.voucher(account) is None:
                raise ObjectNotFound(f"{key.subscriber} has handed in no voucher for plan {plan}.")
            answer = await self._shown(account)
        except LedgerFailed as error:
            raise LedgerUnavailable("The node's ledger doesn't answer. Try again.", retry_after=1) from error
        await exchange.respond_json(200, answer)

    async def _standing(self, plan: PlanId, account: AccountId, subscriber: str) -> Standing:
        """The account, read at a block of now. Raises InvalidValue, PlanRequired, NvmError."""
        services = self._services
        try:
            terms = (await services.chain.call(services.deployment.plans.plan(plan))).terms
        except (ContractRefused, NotFound):
            raise InvalidValue(f"There is no plan {plan} on this node's chain.", param="plan_id") from None
        if not terms.voucher_required:
            raise InvalidValue(f"Plan {plan} asks for no vouchers: its credits are spent as they are.", param="plan_id")
        standing = await services.ledger.standing(account)
        if standing.snapshot is None or not standing.snapshot.units + standing.snapshot.balance:
            await services.view.refresh()
            await services.view.read([account])
            standing = await services.ledger.standing(account)
        snapshot = standing.snapshot
        # Else anybody could fill the ledger with vouchers of wallets that cost nothing.
        if snapshot is None or not (snapshot.units or snapshot.balance or snapshot.consumed):
            raise PlanRequired(f"{subscriber} doesn't hold plan {plan}. Buy it first, then hand in a voucher.")
        return standing

    async def _check_height(self, account: AccountId, standing: Standing, ceiling: int) -> None:
        known = await self._services.ledger.voucher(account)
        consumed = 0 if standing.snapshot is None else standing.snapshot.consumed
        if known is not None and ceiling <= known.ceiling:
            raise VoucherTooLow(
                f"The node has a voucher up to {known.ceiling} already, and {ceiling} isn't above it: sign more.",
                param="ceiling",
            )
        if ceiling <= consumed:
            raise VoucherTooLow(
                f"{consumed} credits are settled already, so a voucher up to {ceiling} opens nothing: sign more.",
                param="ceiling",
            )

    async def _check_signature(self, plan: PlanId, subscriber: str, ceiling: int, signature: bytes) -> None:
        services = self._services
        digest = voucher_digest(services.chain.chain_id, services.deployment.plan_registry, plan, subscriber, ceiling)
        call = self._validator.call(
            services.deployment.signature_validator, "isValidSignature", subscriber, digest, signature
        )
        try:
            valid = bool(await services.chain.call(call))
        except ContractRefused:
            valid = False
        if not valid:
            raise VoucherRefused(
                f"The signature isn't {subscriber}'s for a ceiling of {ceiling} under plan {plan} on chain "
                f"{services.chain.chain_id}, contract {services.deployment.plan_registry}.",
                param="signature",
            )

    async def _shown(self, account: AccountId) -> dict[str, Any]:
        ledger = self._services.ledger
        known, standing = await ledger.voucher(account), await ledger.standing(account)
        assert known is not None
        return {
            "object": "voucher",
            "plan_id": str(PlanId(account.plan)),
            "subscriber": address("0x" + account.subscriber.hex()),
            "ceiling": str(known.ceiling),
            "created_at": known.created,
            "consumed": str(0 if standing.snapshot is None else standing.snapshot.consumed),
            "charged_not_settled": standing.captured,
            "reserved": standing.reserved,
            "credits_left": standing.under(known.ceiling),
        }


def _plan_id(body: dict[str, Any]) -> PlanId:
    try:
        return PlanId.parse(body.get("plan_id", ""))
    except InvalidInput as error:
        raise InvalidValue(f"`plan_id`: {error}.", param="plan_id") from None


def _ceiling(body: dict[str, Any]) -> int:
    value = body.get("ceiling")
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 80:
        value = int(value)
    if type(value) is not int or not 0 < value <= MAX_CREDITS:
        raise InvalidValue(
            f"`ceiling` must be a whole number of credits from 1 to {MAX_CREDITS}, as a number or a decimal text.",
            param="ceiling",
        )
    return value


def _signature(body: dict[str, Any]) -> bytes:
    value = body.get("signature")
    try:
        raw = bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else b""
    except ValueError:
        raw = b""
    if not 0 < len(raw) <= MAX_SIGNATURE:
        raise InvalidValue(f"`signature` must be 0x and the hex of at most {MAX_SIGNATURE} bytes.", param="signature")
    return raw
