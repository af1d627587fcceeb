"""Takes settlements into the ledger that the chain has and the ledger doesn't: after it was restored from an old copy.

What waits in such a ledger may have been settled already. A batch takes all that waits, oldest first; so of each entry
on the chain the oldest charges that the copy still has were in it, and the rest are charges that are lost. Nothing is
settled twice then; a charge that the copy has and that no batch explains still waits.
"""

from __future__ import annotations

import dataclasses

from node_proxy.ledger.base import Applied, Batch, BatchConflict, BatchState, Entry, Forgotten, Ledger
from node_proxy.watcher import ChainView
from nvm_chain.abi import Event
from nvm_chain.chain import event_topics, topic
from nvm_chain.deployments import first_block
from nvm_chain.did import Did
from nvm_chain.errors import NotFound
from nvm_chain.plans import PlanId, settled_entries


async def recover(ledger: Ledger, view: ChainView, *, from_block: int = 0) -> list[Batch]:
    """Adopts every forgotten batch of the claims that the ledger knows, in their order; answers them.

    from_block: where the registry's history begins; 0 = `first_block`. Raises BatchConflict, NotFound, NvmError.
    """
    await view.refresh()
    head = view.block
    assert head is not None
    node = bytes.fromhex(view.node[2:])
    claims = {(one.did, one.plan) for one in await ledger.backlog(expiring_before=0)}
    claims |= {(one.did, one.plan) for one in await ledger.batches(*BatchState)}
    adopted = []
    for did, plan in sorted(claims):
        expected = await view.chain.call(view.deployment.plans.next_batch(Did(did), PlanId(plan), view.node), head)
        known = await ledger.last_number(did, plan, node)
        under_way = await ledger.batches(BatchState.PREPARED, BatchState.SENT)
        open_now = [one for one in under_way if (one.did, one.plan) == (did, plan)]
        if any(one.state is BatchState.SENT for one in open_now):
            raise BatchConflict(f"a batch of {Did(did)} is on its way: run `nvm-node settle` first, then this again")
        first = min([known + 1, *(one.number for one in open_now)])
        if first >= expected:
            continue
        topics = [*event_topics("Settled"), topic(did), topic(plan), topic(view.node)]
        from_block = from_block or await first_block(view.chain, view.deployment, head)
        events = await view.chain.logs([view.deployment.plan_registry], from_block, head, topics)
        found = {event.args["batch"]: event for event in events}
        for number in range(first, expected):
            if number not in found:
                raise NotFound(f"the endpoint has no event of batch {number} of {Did(did)} from block {from_block} on")
            adopted.append(await ledger.adopt(await _forgotten(view, found[number])))
    return adopted


async def _forgotten(view: ChainView, event: Event) -> Forgotten:
    transaction = await view.chain.rpc("eth_getTransactionByHash", [event.tx_hash])
    entries = None if transaction is None else settled_entries(bytes.fromhex(transaction["input"][2:]))
    if entries is None:
        raise NotFound(f"the endpoint doesn't give the settlement {event.tx_hash}: use one that keeps old transactions")
    topics = [*event_topics("Shortfall"), topic(event.args["planId"]), None, topic(view.node)]
    short = await view.chain.logs([view.deployment.plan_registry], event.block, event.block, topics)
    missing = {
        bytes.fromhex(one.args["subscriber"][2:]): one.args["missing"]
        for one in short
        if one.tx_hash == event.tx_hash and one.args["batch"] == event.args["batch"]
    }
    whole = [Entry(bytes.fromhex(one.subscriber[2:]), one.calls, one.credits) for one in entries]
    return Forgotten(
        applied=Applied(
            did=event.args["did"],
            plan=event.args["planId"],
            node=bytes.fromhex(view.node[2:]),
            number=event.args["batch"],
            block=event.block,
            block_hash=bytes.fromhex(event.block_hash[2:]),
            tx_hash=bytes.fromhex(event.tx_hash[2:]),
            missing=missing,
        ),
        root=event.args["receiptsRoot"],
        entries=tuple(dataclasses.replace(one, missing=missing.get(one.subscriber, 0)) for one in whole),
        time=(await view.chain.header(event.block)).timestamp,
    )
