"""nvm-chain receipt, receipts: what calls have cost, as the node signed it, and whether the chain agrees."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from nvm_chain.access_node import AccessNode, open_node
from nvm_chain.cli.nodes import api_key, node_option
from nvm_chain.cli.output import Moment
from nvm_chain.cli.profiles import default
from nvm_chain.cli.session import Session, command
from nvm_chain.cli.types import DID, PLAN
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.receipt_check import check_receipt
from nvm_chain.receipts import MAX_BYTES, Proof, Receipt
from nvm_chain.text import show as show_text

_RECEIPT_ID = re.compile("chg_[0-9a-f]{28}")


@click.group()
def receipt() -> None:
    """List and check what calls have cost."""


@click.command()
@node_option
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
@click.option("--assistant", type=DID, help="Only calls of this assistant.")
@click.option("--plan", "plan_id", type=PLAN, help="Only calls under this plan.")
@click.option("--settled/--not-settled", default=None, help="Only calls that are on the chain, or that aren't yet.")
@command
async def receipts(
    session: Session, node_url: str, limit: int, assistant: Did | None, plan_id: PlanId | None, settled: bool | None
) -> None:
    """List the receipts of the wallet of NVM_API_KEY, newest first."""
    rows: list[dict[str, Any]] = []
    async with open_node(node_url) as node:
        key, after = api_key(), ""
        while len(rows) < limit:
            page = await node.receipts(
                key,
                limit=min(100, limit - len(rows)),
                after=after,
                assistant=assistant,
                plan_id=plan_id,
                settled=settled,
            )
            rows += [_row(one) for one in page["data"]]
            if not page["has_more"]:
                break
            after = page["last_id"]
    session.output.table(rows, "No calls were charged yet.")


receipt.add_command(receipts, "list")


@receipt.command()
@click.argument("receipt_id", metavar="RECEIPT")
@node_option
@command
async def show(session: Session, receipt_id: str, node_url: str) -> None:
    """Show one receipt, after checking its signature."""
    async with open_node(node_url) as node:
        found = await node.receipt(api_key(), receipt_id)
    read, signature = Receipt.parse(found["receipt"]), bytes.fromhex(str(found["signature"])[2:])
    read.check_signature(signature)
    session.output.record({**read.document(), "signature": found["signature"], "settlement": found["settlement"]})


@receipt.command()
@click.argument("source", metavar="FILE|-|URL|RECEIPT")
@click.option(
    "--node-url",
    default=default("node_url"),
    envvar="NVM_NODE_URL",
    metavar="URL",
    help="The access node, if SOURCE is a receipt's id. Or set NVM_NODE_URL.",
)
@click.option(
    "--from-block",
    type=click.IntRange(0),
    show_default="where the contracts were deployed",
    help="Where to look for the settlement if it is not in the block that the proof names.",
)
@command
async def verify(session: Session, source: str, node_url: str | None, from_block: int | None) -> None:
    """Check a receipt against the chain alone. SOURCE: a proof in a file, on standard input (-), at a URL, or an id.

    Exit code 0: the chain holds it. 1: it does not hold. 3: not on the chain (yet). 4: the chain or the node is away.
    """
    proof = await _proof(source, node_url)
    async with session.chain() as chain:
        found = await check_receipt(chain, session.deployment, proof, from_block=from_block)
    read = proof.receipt
    session.output.record(
        {
            "proven": True,
            "receipt": read.id,
            "credits": str(read.credits),
            "usage": read.usage,
            "flags": sorted(read.flags),
            "charged_at": _time(read.time),
            "subscriber": read.subscriber,
            "assistant": str(read.did),
            "plan": str(read.plan_id),
            "node": read.node,
            "node_endpoint": found.endpoint,
            "node_retired": found.retired,
            "batch": proof.batch,
            "number_in_batch": f"{proof.index + 1} of {found.calls}",
            "batch_credits": found.credits,
            "credits_not_taken_from_subscriber": found.missing,
            "root": "0x" + proof.root.hex(),
            "transaction": found.transaction,
            "block": found.block,
            "settled_at": _time(found.timestamp),
            "confirmations": found.confirmations,
        },
        title="Proven: the node signed this receipt, and its settlement on the chain contains it.",
    )


async def _proof(source: str, node_url: str | None) -> Proof:
    if source == "-":
        return Proof.parse(sys.stdin.buffer.read(MAX_BYTES + 1))
    if source.startswith(("http://", "https://")):
        url, separator, name = source.rstrip("/").removesuffix("/proof").rpartition("/v1/receipts/")
        if not separator:
            raise InvalidInput(f"{source} is not the address of a receipt: it ends in /v1/receipts/chg_…/proof")
        # The key goes to the node that it is of, and not to an address that somebody wrote into a message.
        if node_url is None or _host(node_url) != _host(url):
            raise InvalidInput(f"{_host(url)} is not your access node: name it with --node-url, or save the proof")
        async with open_node(url) as node:
            return await _ask(node, name)
    if _RECEIPT_ID.fullmatch(source):
        if node_url is None:
            raise InvalidInput("no access node: give --node-url, or set NVM_NODE_URL")
        async with open_node(node_url) as node:
            return await _ask(node, source)
    if not (path := Path(source)).exists():
        raise InvalidInput(
            f"{show_text(source)} is neither a file that is there nor a receipt's id, which is chg_ and 28 hex digits: "
            "see `nvm-chain receipts`"
        )
    return Proof.parse(_read(path))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror or error}") from error


async def _ask(node: AccessNode, name: str) -> Proof:
    return await node.proof(api_key(), name)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _row(found: dict[str, Any]) -> dict[str, Any]:
    document, settlement = found["receipt"], found["settlement"]
    return {
        "receipt": document["id"],
        "time": _time(document["time"]),
        "credits": document["credits"],
        "assistant": document["did"],
        "plan": document["plan_id"],
        "flags": document["flags"],
        "state": settlement["state"],
        "batch": settlement["batch"],
        "block": settlement["block"],
    }


def _time(seconds: int) -> str:
    return str(Moment(seconds))
