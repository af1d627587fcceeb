"""Vouchers: a subscriber's signed, cumulative ceiling on what may be settled under a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from nvm_chain.errors import InvalidInput
from nvm_chain.wallet import Wallet

if TYPE_CHECKING:
    from nvm_chain.plans import PlanId

_DOMAIN = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
_VOUCHER = [
    {"name": "planId", "type": "bytes32"},
    {"name": "subscriber", "type": "address"},
    {"name": "ceiling", "type": "uint256"},
]


_MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

VOUCHER_GAS = 1_000_000 * 64 // 63 + 5_000
"""Gas that PlanRegistry wants to have left for each voucher that a wallet's code judges, and lets it burn."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """ceiling: `consumed` may rise to at most this many credits. An older voucher is only ever weaker."""

    ceiling: int
    signature: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.ceiling < 2**256:
            raise InvalidInput(f"a voucher's ceiling of {self.ceiling} is not a 256-bit number")


def voucher_typed_data(chain_id: int, registry: str, plan_id: PlanId, subscriber: str, ceiling: int) -> dict[str, Any]:
    """The EIP-712 document that a subscriber's wallet shows and signs. registry: address of the PlanRegistry."""
    return {
        "types": {"EIP712Domain": _DOMAIN, "Voucher": _VOUCHER},
        "primaryType": "Voucher",
        "domain": {
            "name": "nvm-chain PlanRegistry",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": registry,
        },
        "message": {"planId": plan_id.value, "subscriber": subscriber, "ceiling": ceiling},
    }


def voucher_digest(chain_id: int, registry: str, plan_id: PlanId, subscriber: str, ceiling: int) -> bytes:
    """The 32 bytes that the signature is over: what SignatureValidator checks."""
    domain = keccak(
        keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + keccak(text="nvm-chain PlanRegistry")
        + keccak(text="1")
        + chain_id.to_bytes(32, "big")
        + bytes.fromhex(registry[2:]).rjust(32, b"\0")
    )
    struct = keccak(
        keccak(text="Voucher(bytes32 planId,address subscriber,uint256 ceiling)")
        + plan_id.value
        + bytes.fromhex(subscriber[2:]).rjust(32, b"\0")
        + ceiling.to_bytes(32, "big")
    )
    return keccak(b"\x19\x01" + domain + struct)


def is_signed_by(chain_id: int, registry: str, plan_id: PlanId, subscriber: str, voucher: Voucher) -> bool:
    """Whether the signature is the account's own, as the contract sees it without asking anybody's code.

    65 bytes r, s, v with low s and v 27 or 28. Where it isn't, code of the subscriber's choice judges it.
    """
    signature = voucher.signature
    if len(signature) != 65 or signature[64] not in (27, 28) or int.from_bytes(signature[32:64], "big") > _MAX_S:
        return False
    from eth_account import Account  # here, because it takes long to load
    from eth_account.messages import encode_typed_data

    typed = voucher_typed_data(chain_id, registry, plan_id, subscriber, voucher.ceiling)
    try:
        signer = Account.recover_message(encode_typed_data(full_message=typed), signature=signature)
    except Exception:  # what eth_account raises for bytes that are no signature isn't one class
        return False
    return bool(signer.lower() == subscriber.lower())


async def sign_voucher(wallet: Wallet, chain_id: int, registry: str, plan_id: PlanId, ceiling: int) -> Voucher:
    """Signs a ceiling for the wallet's own account."""
    typed = voucher_typed_data(chain_id, registry, plan_id, wallet.address, ceiling)
    return Voucher(ceiling, await wallet.sign_typed_data(typed))
