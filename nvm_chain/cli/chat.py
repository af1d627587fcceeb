"""nvm-chain chat: a conversation with an assistant in the terminal, through the official OpenAI client."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from nvm_chain.access_node import NodeRefused, NodeUnavailable
from nvm_chain.amounts import Currency
from nvm_chain.cli.nodes import api_key, node_option
from nvm_chain.cli.output import Money, visible
from nvm_chain.cli.session import Session, command
from nvm_chain.cli.types import DID
from nvm_chain.cli.voucher import answer_402
from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.urls import base_url

if TYPE_CHECKING:
    from openai import APIStatusError


class CallRefused(NodeRefused):
    """The node didn't let the call in. plans: what can be bought so that it does, cheapest first."""

    def __init__(self, message: str, status: int, code: str | None, plans: Sequence[Mapping[str, Any]]) -> None:
        ways = [f"  {plan['buy']}    {plan['text']}" for plan in plans]
        super().__init__("\n".join([message, *ways]), status, code)
        shown = [{name: value for name, value in plan.items() if name != "text"} for plan in plans]
        self.values = {"status": status, "code": code, "plans": shown}


class Unfinished(NodeUnavailable):
    """The stream ended without a complete answer. values: what there is of it, as --json shows an answer."""

    def __init__(self, message: str, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.values = answer


@click.command()
@click.argument("did", type=DID)
@click.argument("message", required=False)
@node_option
@click.option(
    "--max-credits",
    type=click.IntRange(1),
    help="Sign vouchers that the plan asks for, up to so many credits beyond what is consumed on the chain.",
)
@command
async def chat(session: Session, did: Did, message: str | None, node_url: str, max_credits: int | None) -> None:
    """Ask the assistant MESSAGE; without one, talk with it line by line until the end of input (Ctrl-D).

    With --json every answer is one JSON object on a line of its own: one for MESSAGE, else one for each turn.
    """
    from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

    base = base_url(node_url).removesuffix("/v1") + "/v1"
    try:
        async with AsyncOpenAI(base_url=base, api_key=api_key().reveal()) as client:
            history: list[Any] = []
            signed = 0
            while (line := message if message is not None else _ask()) is not None:
                history.append({"role": "user", "content": line})
                try:
                    text = await _answer(session, client, did, history)
                except APIStatusError as error:
                    if error.code != "voucher_required":
                        raise
                    ceiling = await answer_402(session, did, error.body, node_url, max_credits, signed)
                    if ceiling is None:
                        raise
                    signed, text = ceiling, await _answer(session, client, did, history)
                history.append({"role": "assistant", "content": text})
                if message is not None:
                    return
    except APIConnectionError as error:
        raise NodeUnavailable(f"no access node answers at {base}: check the URL, or try again") from error
    except APIStatusError as error:
        raise _refused(session, error) from error
    except APIError as error:
        raise NodeUnavailable(f"the answer broke off: {error.message}") from error


async def _answer(session: Session, client: Any, did: Did, history: list[Any]) -> str:
    text, final = "", None
    async with client.responses.stream(model=str(did), input=history) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
                if not session.output.as_json:
                    click.echo(visible(event.delta, "\n\t"), nl=False)
                    sys.stdout.flush()
            elif event.type in ("response.completed", "response.incomplete", "response.failed"):
                final = event.response
    usage = getattr(final, "usage", None)
    answer = {
        "response": getattr(final, "id", None),
        "status": getattr(final, "status", None),
        "text": text,
        "usage": None if usage is None else usage.model_dump(),
    }
    if not session.output.as_json:
        click.echo()
    if final is None or final.status == "failed":
        problem = getattr(getattr(final, "error", None), "message", None)
        raise Unfinished(f"the assistant did not finish its answer: {problem or 'the stream ended early'}", answer)
    if session.output.as_json:
        session.output.record(answer)
    if final.status == "incomplete":
        session.output.note("(the answer was cut off at its length limit)")
    return text


def _ask() -> str | None:
    if sys.stdin.isatty():
        click.secho("> ", bold=True, nl=False, err=True)
    for line in sys.stdin:
        if line.strip():
            return line.strip()
    if sys.stdin.isatty():
        click.echo(err=True)  # Ctrl-D leaves the cursor behind the prompt
    return None


def _refused(session: Session, error: APIStatusError) -> NodeRefused | NodeUnavailable:
    if error.status_code >= 500:
        return NodeUnavailable(str(error.message))
    body = error.body if isinstance(error.body, Mapping) else {}
    offered = [one for one in body.get("plans") or () if isinstance(one, Mapping) and one.get("on_sale") is True]
    plans = [_way_in(session, one) for one in offered]
    return CallRefused(str(body.get("message") or error.message), error.status_code, error.code, plans)


def _way_in(session: Session, plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan that the node offers. What it costs is the node's word: `plan buy` asks the chain, and then the person."""
    plan_id, price, token = str(PlanId.parse(plan.get("plan_id", ""))), str(plan.get("price", "")), plan.get("token")
    amount = int(price) if price.isascii() and price.isdecimal() and len(price) < 80 else None
    if amount is None:
        text = "a price that the node doesn't tell"
    elif token is None:
        text = Currency(session.network.currency, 18).format(amount)
    else:
        text = f"{amount} base units of token {token}"
    return {
        "plan": plan_id,
        "price": None if amount is None else Money(amount, text),
        "token": token,
        "credits": plan.get("credits_per_unit"),
        "buy": f"nvm-chain plan buy {plan_id}",
        "text": text,
    }
