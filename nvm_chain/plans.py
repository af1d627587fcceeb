"""Plans: what a builder sells, and where a subscriber stands. Calls of the PlanRegistry contract.

Writes return a `Call`, to be simulated or sent with `chain.send(call, wallet)`; reads return a `Call` too, read with
`await chain.call(call, block)`. Amounts are in the plan token's base units (wei), times in unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from nvm_chain.abi import ZERO_ADDRESS, Abi, Call, decode
from nvm_chain.address import address
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.errors import InvalidInput
from nvm_chain.text import show
from nvm_chain.vouchers import Voucher

BASIS_POINTS = 10_000
MAX_PAYEES = 8


@dataclass(frozen=True, slots=True, order=True)
class PlanId:
    """A plan's id: 32 bytes, keccak256(abi.encode(chain id, registry, owner, salt))."""

    value: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.value, bytes) or len(self.value) != 32:
            got = f"{len(self.value)} bytes" if isinstance(self.value, bytes) else type(self.value).__name__
            raise InvalidInput(f"a plan id holds 32 bytes, not {got}; PlanId.parse reads the text form")

    @classmethod
    def parse(cls, text: str) -> PlanId:
        """Reads 0x and 64 hex digits. Raises InvalidInput."""
        digits = text[2:] if isinstance(text, str) and text[:2] == "0x" else ""
        if len(digits) != 64 or not all(c in "0123456789abcdefABCDEF" for c in digits):
            raise InvalidInput(f"{show(text)} is not a plan id: write 0x and 64 hex digits")
        return cls(bytes.fromhex(digits))

    @classmethod
    def derive(cls, chain_id: int, registry: str, owner: str, salt: bytes) -> PlanId:
        """The id that `owner` gets by creating a plan with `salt` (32 bytes). The same as PlanRegistry.planIdOf."""
        if len(salt) != 32:
            raise InvalidInput(f"a salt has 32 bytes, not {len(salt)}")
        words = [chain_id, int(address(registry, "registry"), 16), int(address(owner, "owner"), 16)]
        return cls(keccak(b"".join(word.to_bytes(32, "big") for word in words) + salt))

    @property
    def token_id(self) -> int:
        """The id of the plan's ERC-1155 token."""
        return int.from_bytes(self.value, "big")

    def __bytes__(self) -> bytes:
        return self.value

    def __str__(self) -> str:
        return "0x" + self.value.hex()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a subscriber agrees to; never changes.

    token: ERC-20 address, or ZERO_ADDRESS for the native currency. price: base units per unit, 0 = free.
    credits_per_unit: 0 = a time plan. duration: seconds per unit, 0 = never expires.
    purchase_limit: units per account ever, 0 = none. supply: units in all, 0 = no limit.
    refund_cooldown: seconds, 0 = not refundable.
    """

    token: str = ZERO_ADDRESS
    price: int = 0
    credits_per_unit: int = 0
    duration: int = 0
    purchase_limit: int = 0
    supply: int = 0
    refund_cooldown: int = 0
    voucher_required: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", address(self.token, "token"))
        for name, bits in (
            ("price", 96), ("credits_per_unit", 64), ("duration", 32),
            ("purchase_limit", 24), ("supply", 32), ("refund_cooldown", 24),
        ):  # fmt: skip
            _fits(name, getattr(self, name), bits)

    @property
    def is_time_plan(self) -> bool:
        return self.credits_per_unit == 0

    @property
    def is_native(self) -> bool:
        """Whether the plan is paid in the chain's own currency."""
        return self.token == ZERO_ADDRESS

    def due(self, units: int) -> int:
        """Base units that `units` cost."""
        return self.price * units

    @property
    def _tuple(self) -> tuple[Any, ...]:
        return (
            self.token, self.price, self.credits_per_unit, self.duration,
            self.purchase_limit, self.supply, self.refund_cooldown, self.voucher_required,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Payee:
    """One share of a plan's revenue. basis_points: of 10,000."""

    account: str
    basis_points: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "account", address(self.account, "payee"))
        if not 0 < self.basis_points <= BASIS_POINTS:
            raise InvalidInput(f"a payee's share of {self.basis_points} basis points is not within 1 to {BASIS_POINTS}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan's record. sold: units sold, grants not counted. metadata: sha-256 digest of the metadata block, or None.

    revenue: base units earned so far, before the protocol fee, paid out or not. pending_owner: None = none.
    """

    plan_id: PlanId
    owner: str
    pending_owner: str | None
    paused: bool
    retired: bool
    sold: int
    metadata: bytes | None
    revenue: int
    terms: Terms

    @property
    def on_sale(self) -> bool:
        """Whether it can be bought now."""
        sold_out = self.terms.supply != 0 and self.sold >= self.terms.supply
        return not (self.paused or self.retired or sold_out)

    @classmethod
    def decode(cls, plan_id: PlanId, raw: Mapping[str, Any]) -> Plan:
        """From the struct IPlanRegistry.Plan."""
        terms = raw["terms"]
        return cls(
            plan_id=plan_id,
            owner=raw["owner"],
            pending_owner=None if raw["pendingOwner"] == ZERO_ADDRESS else raw["pendingOwner"],
            paused=raw["paused"],
            retired=raw["retired"],
            sold=raw["sold"],
            metadata=raw["metadata"] if any(raw["metadata"]) else None,
            revenue=raw["revenue"],
            terms=Terms(
                token=terms["token"],
                price=terms["price"],
                credits_per_unit=terms["creditsPerUnit"],
                duration=terms["duration"],
                purchase_limit=terms["purchaseLimit"],
                supply=terms["supply"],
                refund_cooldown=terms["refundCooldown"],
                voucher_required=terms["voucherRequired"],
            ),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """One subscriber's standing under one plan.

    balance: credits held, expired or not. consumed: credits settled so far, never decreases.
    expiry: unix seconds, 0 = never bought or never expires. units_bought: grants not counted.
    """

    balance: int
    consumed: int
    expiry: int
    units_bought: int

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Account:
        """From the struct IPlanRegistry.Account."""
        return cls(raw["balance"], raw["consumed"], raw["expiry"], raw["unitsBought"])


@dataclass(frozen=True, slots=True)
class Refund:
    """What a subscriber would get back now, or could announce.

    quantity: credits, or seconds on a time plan. amount: base units. available_at: unix seconds, 0 = not announced.
    """

    quantity: int
    amount: int
    available_at: int


class PlanRegistry:
    """Calls of one PlanRegistry."""

    def __init__(self, registry: str) -> None:
        self.address = address(registry, "plan registry")
        self._abi = Abi.of("PlanRegistry")

    def _call(self, function: str, *args: Any) -> Call[Any]:
        return self._abi.call(self.address, function, *args)

    # ---------------------------------------------------------------------------------------------------- owner

    def create(
        self, salt: bytes, terms: Terms, payees: Sequence[Payee] = (), metadata: bytes | None = None
    ) -> Call[PlanId]:
        """A plan owned by the sender. payees: empty = all to the owner. metadata: sha-256 digest of its block."""
        if payees:
            check_split(payees)
        shares = [(payee.account, payee.basis_points) for payee in payees]
        call = self._call("createPlan", _word("salt", salt), terms._tuple, shares, metadata or bytes(32))
        return call.returning(PlanId)

    def set_paused(self, plan_id: PlanId, paused: bool) -> Call[None]:
        """Pauses or resumes sales."""
        return self._call("setPaused", plan_id.value, paused)

    def retire(self, plan_id: PlanId) -> Call[None]:
        """Ends sales for good."""
        return self._call("retire", plan_id.value)

    def offer_plan(self, plan_id: PlanId, to: str | None) -> Call[None]:
        """Offers the plan to another owner; None withdraws the offer."""
        return self._call("offerPlan", plan_id.value, ZERO_ADDRESS if to is None else address(to, "new owner"))

    def accept_plan(self, plan_id: PlanId) -> Call[None]:
        """Accepts an offered plan."""
        return self._call("acceptPlan", plan_id.value)

    def grant(self, plan_id: PlanId, subscriber: str, units: int = 1) -> Call[None]:
        """Gives units without payment on the chain."""
        return self._call("grant", plan_id.value, address(subscriber, "subscriber"), _units(units))

    # ------------------------------------------------------------------------------------------------ purchases

    def purchase(self, plan_id: PlanId, subscriber: str, units: int, max_price: int, value: int = 0) -> Call[None]:
        """Buys units. max_price: most the payer accepts in all. value: wei to send; a native plan wants its price."""
        args = (plan_id.value, address(subscriber, "subscriber"), _units(units), max_price)
        return self._call("purchase", *args).sending(value)

    def purchase_with_permit(
        self, plan_id: PlanId, subscriber: str, units: int, max_price: int, deadline: int, signature: bytes
    ) -> Call[None]:
        """Buys with an ERC-2612 permit of the sender for exactly the price. signature: 65 bytes."""
        r, s, v = signature[:32], signature[32:64], signature[64]
        args = (plan_id.value, address(subscriber, "subscriber"), _units(units), max_price, deadline, v, r, s)
        return self._call("purchaseWithPermit", *args)

    def purchase_with_authorisation(
        self,
        plan_id: PlanId,
        subscriber: str,
        units: int,
        payer: str,
        salt: bytes,
        valid_after: int,
        valid_before: int,
        signature: bytes,
    ) -> Call[None]:
        """Buys with the payer's EIP-3009 authorisation; anybody may send it."""
        who = (plan_id.value, address(subscriber, "subscriber"), _units(units), address(payer, "payer"))
        args = (*who, _word("salt", salt), valid_after, valid_before, signature)
        return self._call("purchaseWithAuthorisation", *args)

    def authorisation_nonce(self, plan_id: PlanId, subscriber: str, units: int, salt: bytes) -> Call[bytes]:
        """The nonce that binds an EIP-3009 authorisation to this purchase."""
        args = (plan_id.value, address(subscriber, "subscriber"), _units(units), _word("salt", salt))
        return self._call("authorisationNonce", *args)

    # ----------------------------------------------------------------------------------------------- settlement

    def settle(
        self, did: Did, plan_id: PlanId, batch: int, entries: Sequence[Entry], receipts_root: bytes = bytes(32)
    ) -> Call[None]:
        """Applies a batch that the sender, a node, has served."""
        words = [entry.word for entry in entries]
        return self._call("settle", did.value, plan_id.value, batch, _word("receipts root", receipts_root), words)

    def settle_with_vouchers(
        self,
        did: Did,
        plan_id: PlanId,
        batch: int,
        entries: Sequence[Entry],
        vouchers: Sequence[Voucher],
        receipts_root: bytes = bytes(32),
    ) -> Call[None]:
        """The same with one voucher per entry, in the same order."""
        words = [entry.word for entry in entries]
        signed = [(voucher.ceiling, voucher.signature) for voucher in vouchers]
        root = _word("receipts root", receipts_root)
        return self._call("settleWithVouchers", did.value, plan_id.value, batch, root, words, signed)

    def next_batch(self, did: Did, plan_id: PlanId, node: str) -> Call[int]:
        """Number of the node's next batch for (did, plan)."""
        return self._call("nextBatch", did.value, plan_id.value, address(node, "node"))

    # ---------------------------------------------------------------------------------------- refunds, earnings

    def announce_refund(self, plan_id: PlanId) -> Call[None]:
        """Announces that the sender wants unused credits or time back."""
        return self._call("announceRefund", plan_id.value)

    def cancel_refund(self, plan_id: PlanId) -> Call[None]:
        """Calls the announcement off."""
        return self._call("cancelRefund", plan_id.value)

    def take_refund(self, plan_id: PlanId, to: str) -> Call[int]:
        """After the cooldown, pays the sender's refund to `to`. Result: base units."""
        return self._call("takeRefund", plan_id.value, address(to, "recipient"))

    def refund_of(self, plan_id: PlanId, subscriber: str) -> Call[Refund]:
        """What take_refund would give now, and from when."""
        call = self._call("refundOf", plan_id.value, address(subscriber, "subscriber"))
        return call.returning(lambda values: Refund(*values))

    def accrue(self, plan_id: PlanId, subscriber: str) -> Call[None]:
        """Moves to revenue what a refundable plan has earned from the subscriber by expiry or elapsed time."""
        return self._call("accrue", plan_id.value, address(subscriber, "subscriber"))

    def earnings(self, plan_id: PlanId, account: str) -> Call[int]:
        """Base units that the account can withdraw now."""
        return self._call("earnings", plan_id.value, address(account))

    def withdraw(self, plan_id: PlanId, account: str) -> Call[int]:
        """Sends the account its earnings; anybody may. Result: base units."""
        return self._call("withdraw", plan_id.value, address(account))

    def withdraw_to(self, plan_id: PlanId, to: str) -> Call[int]:
        """Sends the sender's earnings to `to`. Result: base units."""
        return self._call("withdrawTo", plan_id.value, address(to, "recipient"))

    # ---------------------------------------------------------------------------------------------------- reads

    def plan(self, plan_id: PlanId) -> Call[Plan]:
        """The plan's record. Refused with PlanUnknown."""
        return self._call("plan", plan_id.value).returning(lambda raw: Plan.decode(plan_id, raw))

    def payees(self, plan_id: PlanId) -> Call[tuple[Payee, ...]]:
        """The revenue split; empty = the owner."""
        call = self._call("payees", plan_id.value)
        return call.returning(lambda rows: tuple(Payee(row["account"], row["basisPoints"]) for row in rows))

    def account(self, plan_id: PlanId, subscriber: str) -> Call[Account]:
        """The subscriber's slot."""
        return self._call("account", plan_id.value, address(subscriber, "subscriber")).returning(Account.decode)

    def balance_of(self, plan_id: PlanId, subscriber: str) -> Call[int]:
        """Credits that can be spent now; on a time plan 1 while it is active, else 0."""
        return self._call("balanceOf", address(subscriber, "subscriber"), plan_id.token_id)

    def asset_registry(self) -> Call[str]:
        """The AssetRegistry that this contract deployed."""
        return self._call("assetRegistry")

    def protocol_fee(self) -> Call[tuple[str, int]]:
        """Recipient, and basis points of revenue."""
        return self._call("protocolFee")

    def domain_separator(self) -> Call[bytes]:
        """EIP-712 domain separator of vouchers."""
        return self._call("DOMAIN_SEPARATOR")


def settled_entries(data: bytes) -> list[Entry] | None:
    """The entries in the input of a transaction that settles; None for any other input."""
    function = next((f for f in Abi.of("PlanRegistry").functions.values() if f.selector == data[:4]), None)
    if function is None or function.name not in ("settle", "settleWithVouchers"):
        return None
    return [Entry.unpack(word) for word in decode(function.inputs, data[4:])[4]]


def check_split(payees: Sequence[Payee]) -> None:
    """Raises InvalidInput unless the payees are at most 8, distinct, non-zero and share 10,000 basis points in all."""
    total = sum(payee.basis_points for payee in payees)
    accounts = [payee.account for payee in payees]
    if len(payees) > MAX_PAYEES:
        raise InvalidInput(f"{len(payees)} payees: a plan has at most {MAX_PAYEES}")
    if len(set(accounts)) != len(accounts) or ZERO_ADDRESS in accounts:
        raise InvalidInput("payees must be distinct and not the zero address: name each account once")
    if total != BASIS_POINTS:
        raise InvalidInput(f"the payees' shares are {total} basis points in all: make them {BASIS_POINTS} (= 100 %)")


def _fits(name: str, value: int, bits: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**bits:
        raise InvalidInput(f"{name} {show(value)} is not a whole number from 0 to 2^{bits} - 1")


def _units(units: int) -> int:
    _fits("units", units, 32)
    return units


def _word(what: str, value: bytes) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise InvalidInput(f"a {what} has 32 bytes, not {len(value)}")
    return value
