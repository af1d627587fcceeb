"""Receipts of what was charged: made from the journal, signed when somebody asks, proven once their batch is settled.

Nothing of this is in the path of a call. A receipt follows from its charge and never changes; so does its signature
(RFC 6979), and nothing has to be kept but the root of each batch, which is on disk before the batch is signed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from node_proxy.errors import Conflict
from node_proxy.ledger.base import Batch, BatchState, ChargeRecord, Ledger
from nvm_chain.address import address
from nvm_chain.did import Did
from nvm_chain.merkle import Tree
from nvm_chain.plans import PlanId
from nvm_chain.receipts import Proof, Receipt
from nvm_chain.wallet import Wallet

LEAVES_IN_MEMORY = 100_000
"""Of batches whose proofs were asked for lately: 64 bytes each."""


class NotSettledYet(Conflict):
    """The call is charged, and the chain has no proof of it so far (HTTP 409)."""

    code = "not_settled_yet"


class NotProvable(Conflict):
    """The batch was settled without this receipt's root (HTTP 409)."""

    code = "not_provable"


class Receipts:
    """wallet: the node's settlement account. registry: address of the PlanRegistry."""

    def __init__(self, ledger: Ledger, wallet: Wallet, *, chain_id: int, registry: str) -> None:
        self._ledger = ledger
        self._wallet = wallet
        self._chain_id = chain_id
        self._registry = registry
        self._trees: OrderedDict[int, Tree] = OrderedDict()
        self._building = asyncio.Lock()
        self._signing = asyncio.Lock()

    def of(self, charge: ChargeRecord) -> Receipt:
        """The receipt of a charge."""
        return Receipt(
            node=self._wallet.address,
            chain_id=self._chain_id,
            registry=self._registry,
            did=Did(charge.did),
            plan_id=PlanId(charge.account.plan),
            subscriber=_address(charge.account.subscriber),
            id=charge.id,
            request_id=charge.request_id,
            credits=charge.credits,
            usage=charge.usage,
            flags=charge.flags,
            time=charge.created,
        )

    async def signed(self, charge: ChargeRecord, batch: Batch | None) -> dict[str, Any]:
        """The receipt as the API shows it. batch: the charge's, None = it waits."""
        receipt = self.of(charge)
        return {
            "id": charge.id,
            "object": "receipt",
            "receipt": receipt.document(),
            "hash": "0x" + receipt.leaf.hex(),
            "signature": "0x" + (await self._sign(receipt)).hex(),
            "settlement": _settlement(batch),
        }

    async def _sign(self, receipt: Receipt) -> bytes:
        """One after the other, whoever asks: a signature is a millisecond of the event loop, and calls are waiting."""
        async with self._signing:
            signature = await receipt.sign(self._wallet)
            await asyncio.sleep(0)
            return signature

    async def root(self, batch_id: int) -> bytes:
        """Of the batch as it is now, computed from its charges."""
        return (await self._tree(batch_id)).root

    async def proof(self, charge: ChargeRecord, batch: Batch | None) -> Proof:
        """Raises NotSettledYet, NotProvable."""
        if batch is None or not batch.applied:
            raise NotSettledYet(_why_not(batch), retry_after=60)
        receipt = self.of(charge)
        async with self._building:  # one large batch at a time
            tree = self._trees.get(batch.id)
            if tree is None or tree.root != batch.root:
                tree = await self._tree(batch.id)
        if tree.root != batch.root:
            raise NotProvable(
                f"Batch {batch.number} was settled with another root than its receipts give now. "
                f"The receipt's signature still holds; the node's operator can say why."
            )
        self._remember(batch.id, tree)
        index = tree.index(receipt.leaf)
        return Proof(
            receipt=receipt,
            signature=await self._sign(receipt),
            index=index,
            size=tree.size,
            path=tree.path(index),
            root=tree.root,
            batch=batch.number,
            block=batch.block,
            transaction=None if batch.tx_hash is None else "0x" + batch.tx_hash.hex(),
        )

    async def _tree(self, batch_id: int) -> Tree:
        leaves = await self._ledger.each_charge(batch_id, lambda charge: self.of(charge).leaf)
        return await asyncio.to_thread(Tree, leaves)

    def _remember(self, batch_id: int, tree: Tree) -> None:
        self._trees[batch_id] = tree
        self._trees.move_to_end(batch_id)
        while sum(one.size for one in self._trees.values()) > LEAVES_IN_MEMORY:
            self._trees.popitem(last=False)


@lru_cache(4_096)
def _address(account: bytes) -> str:
    return address("0x" + account.hex())


def _settlement(batch: Batch | None) -> Mapping[str, Any]:
    """How far the charge has come. Numbers and hashes only where the chain has them."""
    if batch is None:
        return {"state": "waiting", "batch": None, "root": None, "block": None, "transaction": None}
    here = batch.state is not BatchState.PARKED
    return {
        "state": str(batch.state),
        "batch": batch.number if here else None,
        "root": "0x" + batch.root.hex() if here and any(batch.root) else None,
        "block": batch.block,
        "transaction": None if batch.tx_hash is None else "0x" + batch.tx_hash.hex(),
    }


def _why_not(batch: Batch | None) -> str:
    if batch is None:
        why = "The call waits for the next settlement"
    elif batch.state is BatchState.PARKED:
        why = "The call was set aside because the contract refused its settlement, and the node's operator has to look"
    else:
        why = f"The call is in batch {batch.number}, which isn't on the chain yet"
    return f"{why}: until then there is the signed receipt, and no proof."
