"""Receipts: what an access node says that a call cost, signed by it, and provable from the chain once it is settled.

A receipt is one canonical JSON document (RFC 8785). Its hash is a leaf of the Merkle tree of its batch, whose root the
node's settlement puts into the event `Settled`. The signature is EIP-712 over that hash, by the node's settlement key,
so that there is something to show before the batch is settled, and when it never is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nvm_chain.address import address
from nvm_chain.canonical import MAX_SAFE, dumps, loads
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.merkle import leaf_hash, root_of
from nvm_chain.plans import PlanId
from nvm_chain.text import show
from nvm_chain.wallet import Wallet

VERSION = 1
MAX_BYTES = 1 << 20
_DOMAIN = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


class ReceiptInvalid(NvmError):
    """A receipt or its proof doesn't hold: it was altered, or the node never said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One charged call.

    node: account that serves and settles. registry: address of the PlanRegistry. id: of the charge, `chg_…`.
    credits: 0 <= credits < 2**64. usage: what the provider counted, by name; None = it didn't say. time: unix seconds.
    """

    node: str
    chain_id: int
    registry: str
    did: Did
    plan_id: PlanId
    subscriber: str
    id: str
    request_id: str
    credits: int
    usage: Mapping[str, int] | None
    flags: frozenset[str]
    time: int

    def document(self) -> dict[str, Any]:
        """As JSON values. Credits are a decimal string; counts beyond 2**53 - 1 are written as that."""
        usage = None if self.usage is None else {name: min(n, MAX_SAFE) for name, n in self.usage.items()}
        return {
            "v": VERSION,
            "node": self.node,
            "chain_id": self.chain_id,
            "registry": self.registry,
            "did": str(self.did),
            "plan_id": str(self.plan_id),
            "subscriber": self.subscriber,
            "id": self.id,
            "request_id": self.request_id,
            "credits": str(self.credits),
            "usage": usage,
            "flags": sorted(self.flags),
            "time": self.time,
        }

    @classmethod
    def parse(cls, value: object) -> Receipt:
        """Reads what `document` has written. Raises ReceiptInvalid for anything else, however small the difference."""
        if not isinstance(value, dict):
            raise ReceiptInvalid(f"a receipt is a JSON object, not {show(value)}")
        if value.get("v") != VERSION:
            raise ReceiptInvalid(f"this is no receipt of version {VERSION}: its `v` is {show(value.get('v'))}")
        try:
            read = cls(
                node=address(value["node"], "node"),
                chain_id=_count(value["chain_id"]),
                registry=address(value["registry"], "registry"),
                did=Did.parse(value["did"]),
                plan_id=PlanId.parse(value["plan_id"]),
                subscriber=address(value["subscriber"], "subscriber"),
                id=_text(value["id"]),
                request_id=_text(value["request_id"]),
                credits=_credits(value["credits"]),
                usage=None
                if value["usage"] is None
                else {_text(name): _count(n) for name, n in dict(value["usage"]).items()},
                flags=frozenset(_text(flag) for flag in list(value["flags"])),
                time=_count(value["time"]),
            )
            same = read.canonical() == dumps(value)
        except KeyError as error:
            raise ReceiptInvalid(f"the receipt has no field {error}") from None
        except (InvalidInput, TypeError, ValueError) as error:
            raise ReceiptInvalid(f"the receipt can't be read: {error}") from None
        if not same:
            raise ReceiptInvalid("the receipt isn't in its one form: a field is unknown, or written in another way")
        return read

    @property
    def leaf(self) -> bytes:
        """Its hash: keccak256(0x00 ‖ canonical JSON)."""
        return leaf_hash(self.canonical())

    def canonical(self) -> bytes:
        """`document` in RFC 8785 canonical form."""
        if all(name.isascii() for name in self.usage or ()):
            # The same bytes, ten times as fast: no fractions, small integers, keys whose order isn't in question.
            return json.dumps(self.document(), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        return dumps(self.document())

    def typed_data(self) -> dict[str, Any]:
        """The EIP-712 document that the node signs."""
        return {
            "types": {"EIP712Domain": _DOMAIN, "Receipt": [{"name": "hash", "type": "bytes32"}]},
            "primaryType": "Receipt",
            "domain": {
                "name": "nvm-chain receipt",
                "version": str(VERSION),
                "chainId": self.chain_id,
                "verifyingContract": self.registry,
            },
            "message": {"hash": self.leaf},
        }

    async def sign(self, wallet: Wallet) -> bytes:
        """65 bytes; the same every time (RFC 6979). wallet: the node's settlement account."""
        return await wallet.sign_typed_data(self.typed_data())

    def check_signature(self, signature: bytes) -> None:
        """Raises ReceiptInvalid unless the receipt's node signed it."""
        from eth_account import Account  # here, because it takes long to load
        from eth_account.messages import encode_typed_data

        signer = None
        if len(signature) == 65:
            try:
                signable = encode_typed_data(full_message=self.typed_data())
                signer = Account.recover_message(signable, signature=signature)
            except Exception:  # what eth_account raises for bytes that are no signature isn't one class
                signer = None
        if signer != self.node:
            by = "is no signature of it" if signer is None else f"is by {signer}"
            raise ReceiptInvalid(f"the receipt names the node {self.node}, and its signature {by}: it was altered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A signed receipt with its way to the root of a settled batch.

    index, size: which of how many receipts of the batch. batch: the contract's number. block, transaction: where the
    node says that it was settled; only hints.
    """

    receipt: Receipt
    signature: bytes
    index: int
    size: int
    path: tuple[bytes, ...] = field(repr=False)
    root: bytes
    batch: int
    block: int | None = None
    transaction: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values: what `GET /v1/receipts/{id}/proof` answers and `nvm-chain receipt verify` reads."""
        return {
            "object": "receipt.proof",
            "receipt": self.receipt.document(),
            "hash": "0x" + self.receipt.leaf.hex(),
            "signature": "0x" + self.signature.hex(),
            "index": self.index,
            "size": self.size,
            "path": ["0x" + one.hex() for one in self.path],
            "root": "0x" + self.root.hex(),
            "batch": self.batch,
            "block": self.block,
            "transaction": self.transaction,
        }

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Reads JSON. Raises ReceiptInvalid, InvalidInput for something that is no proof."""
        value = loads(data, max_bytes=MAX_BYTES)
        if isinstance(value, dict) and "receipt" in value and "path" not in value:
            raise InvalidInput("this is a receipt without its proof: ask the node for /v1/receipts/{id}/proof")
        if not isinstance(value, dict) or "receipt" not in value:
            raise InvalidInput("this is no proof of a receipt: it is what /v1/receipts/{id}/proof answers")
        receipt = Receipt.parse(value["receipt"])
        try:
            block, transaction = value.get("block"), value.get("transaction")
            proof = cls(
                receipt=receipt,
                signature=_hex(value["signature"]),
                index=_count(value["index"]),
                size=_count(value["size"]),
                path=tuple(_hex(one) for one in value["path"]),
                root=_hex(value["root"]),
                batch=_count(value["batch"]),
                block=None if block is None else _count(block),
                transaction=None if transaction is None else "0x" + _hex(transaction).hex(),
            )
            stated = _hex(value["hash"]) if "hash" in value else receipt.leaf
        except KeyError as error:
            raise ReceiptInvalid(f"the proof has no field {error}") from None
        except (TypeError, ValueError) as error:
            raise ReceiptInvalid(f"the proof can't be read: {error}") from None
        if stated != receipt.leaf:
            raise ReceiptInvalid(f"the receipt's hash is 0x{receipt.leaf.hex()}, the proof says 0x{stated.hex()}")
        return proof

    def check(self) -> None:
        """What can be checked without a chain: signature and path. Raises ReceiptInvalid."""
        self.receipt.check_signature(self.signature)
        if root_of(self.receipt.leaf, self.index, self.size, self.path) != self.root:
            raise ReceiptInvalid(
                f"the path doesn't lead from the receipt, number {self.index} of {self.size}, to the root "
                f"0x{self.root.hex()}: one of them was altered"
            )


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SAFE:
        raise ValueError(f"{show(value)} is not a whole number")
    return value


def _credits(value: object) -> int:
    text = value if isinstance(value, str) else ""
    if not (text.isascii() and text.isdecimal()) or len(text) > 20 or not (credits := int(text)) < 2**64:
        raise ValueError(f"{show(value)} is no number of credits, which is a decimal string")
    return credits


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is no text")
    return value


def _hex(value: object) -> bytes:
    text = value if isinstance(value, str) else ""
    if not text.startswith("0x") or len(text) > 2_000:
        raise ValueError(f"{show(value)} is no 0x hex")
    return bytes.fromhex(text[2:])
