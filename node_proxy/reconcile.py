"""Compares the ledger with the chain, call by call, and with itself.

What is compared: the ledger's running totals with its journal; every batch that the ledger says was applied with
the chain's event of it, and each of its entries with the transaction's input; the next batch number; and what the
chain has taken from each account with what our batches explain (other nodes may have taken more, never less).
"""

from __future__ import annotations

from dataclasses import dataclass

from node_proxy.ledger.base import AccountId, Audit, Batch, BatchState, Ledger
from node_proxy.watcher import READ_AT_ONCE, ChainView
from nvm_chain.chain import topic
from nvm_chain.did import Did
from nvm_chain.entries import Entry
from nvm_chain.plans import PlanId, settled_entries


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """differences: in words, one per number that should be equal and isn't. waiting: calls not applied yet."""

    audit: Audit
    batches: int
    calls: int
    accounts: int
    waiting: int
    block: int
    differences: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not self.differences


async def reconcile(ledger: Ledger, view: ChainView) -> Reconciliation:
    """Reads everything, changes nothing but the view. Raises NvmError where the chain can't be reached."""
    await view.refresh()
    block = view.block
    assert block is not None
    audit = await ledger.audit()
    found = [f"{wrong.what}: {wrong.found} in the books, {wrong.expected} in the journal" for wrong in audit.imbalances]
    applied = await ledger.batches(BatchState.MINED, BatchState.CONFIRMED)
    for batch in applied:
        found += await _batch_differences(view, batch)
    found += await _number_differences(ledger, view, block)
    accounts = await ledger.consumed()
    found += await _account_differences(view, dict(accounts), block)
    calls = sum(batch.calls for batch in applied)
    return Reconciliation(audit, len(applied), calls, len(accounts), audit.charges - calls, block, tuple(found))


async def _batch_differences(view: ChainView, batch: Batch) -> list[str]:
    name = f"batch {batch.number} of {Did(batch.did)} under {PlanId(batch.plan)}"
    assert batch.block is not None
    assert batch.tx_hash is not None
    topics = (None, topic(batch.did), topic(batch.plan), topic(view.node))
    events = await view.chain.logs([view.deployment.plan_registry], batch.block, batch.block, topics)
    settled = [event for event in events if event.name == "Settled" and event.args["batch"] == batch.number]
    if not settled:
        return [f"{name}: the chain has no such settlement in block {batch.block}"]
    args = settled[0].args
    missing = sum(entry.missing for entry in batch.entries)
    pairs = (
        ("calls", batch.calls, args["calls"]),
        ("credits", batch.credits, args["credits"]),
        ("credits taken", batch.credits - missing, args["taken"]),
        ("receipts root", "0x" + batch.root.hex(), "0x" + args["receiptsRoot"].hex()),
        ("transaction", "0x" + batch.tx_hash.hex(), settled[0].tx_hash),
    )
    differences = [
        f"{name}: {what} {ours} in the ledger, {theirs} on the chain" for what, ours, theirs in pairs if ours != theirs
    ]
    return differences + await _entry_differences(view, batch, name)


async def _entry_differences(view: ChainView, batch: Batch, name: str) -> list[str]:
    assert batch.tx_hash is not None
    transaction = await view.chain.rpc("eth_getTransactionByHash", ["0x" + batch.tx_hash.hex()])
    if transaction is None:
        return [f"{name}: the endpoint doesn't know its transaction 0x{batch.tx_hash.hex()}"]
    entries = settled_entries(bytes.fromhex(transaction["input"][2:]))
    if entries is None:
        return [f"{name}: its transaction 0x{batch.tx_hash.hex()} is no settlement"]
    theirs = {entry.subscriber: (entry.calls, entry.credits) for entry in entries}
    ours = {_address(entry.subscriber): (entry.calls, entry.credits) for entry in batch.entries}
    return [
        f"{name}: {who} {ours.get(who, (0, 0))} (calls, credits) in the ledger, {theirs.get(who, (0, 0))} on the chain"
        for who in sorted(ours.keys() | theirs.keys())
        if ours.get(who) != theirs.get(who)
    ]


async def _number_differences(ledger: Ledger, view: ChainView, block: int) -> list[str]:
    differences = []
    claims = {(batch.did, batch.plan) for batch in await ledger.batches(BatchState.MINED, BatchState.CONFIRMED)}
    for did, plan in sorted(claims):
        ours = [
            b for b in await ledger.batches(BatchState.MINED, BatchState.CONFIRMED) if (b.did, b.plan) == (did, plan)
        ]
        expected = max(batch.number for batch in ours) + 1
        call = view.deployment.plans.next_batch(Did(did), PlanId(plan), view.node)
        found = await view.chain.call(call, block)
        if found != expected:
            differences.append(
                f"{Did(did)} under {PlanId(plan)}: the ledger's next batch is {expected}, the chain's is {found}"
            )
    return differences


async def _account_differences(view: ChainView, accounts: dict[AccountId, int], block: int) -> list[str]:
    differences = []
    names = list(accounts)
    for start in range(0, len(names), READ_AT_ONCE):
        part = names[start : start + READ_AT_ONCE]
        pairs = [(PlanId(who.plan), _address(who.subscriber)) for who in part]
        standings = await view.chain.call(view.deployment.views.accounts(pairs), block)
        for who, seen in zip(part, standings, strict=True):
            if seen.account.consumed < accounts[who]:
                differences.append(
                    f"{seen.subscriber} under {seen.plan_id}: our batches took {accounts[who]} credits, "
                    f"the chain says {seen.account.consumed} were taken in all"
                )
    return differences


def _address(account: bytes) -> str:
    return Entry("0x" + account.hex(), 0, 0).subscriber
