"""Sending a transaction from the terminal: simulate, show, ask, send, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nvm_chain.abi import Call, display
from nvm_chain.amounts import format_units
from nvm_chain.chain import Chain, Receipt
from nvm_chain.cli.output import Money, Output
from nvm_chain.deployments import Network
from nvm_chain.wallet import Wallet


class Sender(Protocol):
    """What sending needs of a session, or of an operator."""

    @property
    def output(self) -> Output: ...

    @property
    def network(self) -> Network: ...

    @property
    def dry_run(self) -> bool: ...

    def confirm(self, question: str) -> None:
        """Raises Declined."""


async def submit(session: Sender, chain: Chain, wallet: Wallet, call: Call[Any], what: str) -> Receipt | None:
    """Sends the call after a yes; None on a dry run, which shows the transaction instead. what: "Buy 1 unit of …"."""
    await chain.call(call, sender=wallet.address)
    gas, fees = await chain.estimate(call, wallet.address), await chain.fees()
    cost = Money(gas * fees.maximum, f"{format_units(gas * fees.maximum, 18)} {session.network.currency}")
    if session.dry_run:
        session.output.record(
            {
                "action": what,
                "from": wallet.address,
                "to": call.to,
                "function": f"{call.contract}.{call.function}",
                "arguments": {name: display(value) for name, value in call.args.items()},
                "value": Money(call.value, f"{format_units(call.value, 18)} {session.network.currency}"),
                "gas": gas,
                "gas_cost_at_most": cost,
                "data": "0x" + call.data.hex(),
            },
            title="Dry run: this transaction would succeed now; nothing was sent.",
        )
        return None
    session.confirm(f"{what}? Gas costs at most {cost.text}.")
    async with session.output.waiting(lambda: "the transaction waits for its block"):
        receipt = await chain.send(call, wallet)
    session.output.note(f"{what}: done in block {receipt.block}")
    return receipt


def transaction(session: Sender, receipt: Receipt) -> Mapping[str, Any]:
    """The fields of a receipt for a result."""
    explorer = session.network.explorer
    link = {} if explorer is None else {"link": f"{explorer}/tx/{receipt.tx_hash}"}
    return {
        "transaction": receipt.tx_hash,
        **link,
        "block": receipt.block,
        "gas": receipt.gas_used,
        "fee": Money(receipt.fee, f"{format_units(receipt.fee, 18)} {session.network.currency}"),
    }
