"""Checks a receipt against the chain alone: nothing of what the node says is taken on trust."""

from __future__ import annotations

from dataclasses import dataclass

from nvm_chain.abi import Event
from nvm_chain.chain import Chain, event_topics, topic
from nvm_chain.deployments import Deployment, first_block
from nvm_chain.errors import NotFound
from nvm_chain.receipts import Proof, ReceiptInvalid


@dataclass(frozen=True, slots=True)
class Proven:
    """Where the chain says that the call was settled.

    calls, credits: of the whole batch. missing: credits of the subscriber's entry that the chain didn't take.
    confirmations: blocks from that one to the head, both counted. timestamp: of the block, unix seconds.
    endpoint: of the node, as NodeRegistry has it now; retired: whether the node has left service since.
    """

    block: int
    transaction: str
    timestamp: int
    confirmations: int
    calls: int
    credits: int
    missing: int
    endpoint: str
    retired: bool


async def check_receipt(chain: Chain, deployment: Deployment, proof: Proof, *, from_block: int | None = None) -> Proven:
    """from_block: where to look for the settlement if it isn't in the block that the proof names; None = `first_block`.

    Raises ReceiptInvalid where something doesn't hold, NotFound where the chain has no such settlement, NvmError.
    """
    receipt = proof.receipt
    for what, stated, ours in (
        ("chain", receipt.chain_id, chain.chain_id),
        ("plan registry", receipt.registry, deployment.plan_registry),
    ):
        if stated != ours:
            raise ReceiptInvalid(
                f"the receipt is of {what} {stated}, and {ours} was asked: choose the right --network or --deployment, "
                f"or don't trust the receipt"
            )
    proof.check()
    # Settling takes an authorised node, and that takes a registered one: the event says both of its own block.
    event = await _settlement(chain, deployment, proof, from_block)
    root, calls = event.args["receiptsRoot"], event.args["calls"]
    if root != proof.root:
        raise ReceiptInvalid(
            f"batch {proof.batch} was settled with the root 0x{root.hex()} in {event.tx_hash}, "
            f"the receipt's path leads to 0x{proof.root.hex()}"
        )
    if calls != proof.size:
        raise ReceiptInvalid(f"batch {proof.batch} has {calls} calls on the chain, the proof says {proof.size}")
    taken, missing = await _taken(chain, deployment, proof, event), await _missing(chain, deployment, proof, event)
    if receipt.credits > taken + missing:
        # The root is the node's word; what an entry took is the chain's.
        raise ReceiptInvalid(
            f"batch {proof.batch} took {taken} credits from {receipt.subscriber} and fell {missing} short, "
            f"the receipt says {receipt.credits}: no such call was settled"
        )
    node = await chain.call(deployment.nodes.node(receipt.node))
    header, head = await chain.header(event.block), await chain.block_number()
    return Proven(
        block=event.block,
        transaction=event.tx_hash,
        timestamp=header.timestamp,
        confirmations=head - event.block + 1,
        calls=calls,
        credits=event.args["credits"],
        missing=missing,
        endpoint=node.endpoint,
        retired=not node.active,
    )


async def _settlement(chain: Chain, deployment: Deployment, proof: Proof, from_block: int | None) -> Event:
    receipt = proof.receipt
    topics = [*event_topics("Settled"), topic(receipt.did.value), topic(receipt.plan_id.value), topic(receipt.node)]
    head = await chain.block_number()

    async def look(first: int, last: int) -> Event | None:
        found = await chain.logs([deployment.plan_registry], first, last, topics)
        return next((event for event in found if event.args["batch"] == proof.batch), None)

    event = None
    if proof.block is not None and proof.block <= head:
        event = await look(proof.block, proof.block)
    if event is None:
        first = await first_block(chain, deployment, head) if from_block is None else from_block
        event = await look(first, head)
    if event is not None:
        return event
    raise NotFound(
        f"the chain has no settlement {proof.batch} of {receipt.did} under plan {receipt.plan_id} by node "
        f"{receipt.node} in blocks {first} to {head}: it isn't settled, or the proof is made up"
    )


async def _taken(chain: Chain, deployment: Deployment, proof: Proof, event: Event) -> int:
    """Credits that the settlement burnt of the subscriber's."""
    receipt, nobody = proof.receipt, "0x" + "00" * 20
    topics = [*event_topics("TransferSingle"), topic(receipt.node), topic(receipt.subscriber), topic(nobody)]
    found = await chain.logs([deployment.plan_registry], event.block, event.block, topics)
    plan = int.from_bytes(receipt.plan_id.value, "big")
    return sum(one.args["value"] for one in found if one.tx_hash == event.tx_hash and one.args["id"] == plan)


async def _missing(chain: Chain, deployment: Deployment, proof: Proof, event: Event) -> int:
    receipt = proof.receipt
    topics = [*event_topics("Shortfall"), topic(receipt.plan_id.value), topic(receipt.subscriber), topic(receipt.node)]
    found = await chain.logs([deployment.plan_registry], event.block, event.block, topics)
    return sum(
        one.args["missing"] for one in found if one.tx_hash == event.tx_hash and one.args["batch"] == proof.batch
    )
