"""The demo's story: see scripts/demo.py, which starts it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import openai

from nvm_chain.chain import event_topics
from nvm_chain.errors import NvmError
from nvm_chain.registration import Registration
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from scripts._terminal import Step, Terminal, ether, short
from tests.processes import ProcessFailed
from tests.world import World

ROOT = Path(__file__).resolve().parent.parent
CREDITS, PRICE, PER_CALL = 100, 5 * 10**15, 20
AT_ONCE = 8
QUESTIONS = ("17 * 23", "2 * 3 * 5 * 7", "99 * 101", "(3 + 4) * 5", "12 * 12", "1 + 2 + 3 + 4", "64 * 64", "1000 - 1")
DEFINITION = {
    "instructions": "You are a maths teacher. Answer in one short line.",
    "settings": {"max_output_tokens": 400},
}


class Demo:
    """One run of the story in a world. calls: answered and charged."""

    def __init__(self, world: World, terminal: Terminal, openai_key: str | None) -> None:
        self.world, self.terminal, self.openai_key = world, terminal, openai_key
        self.subscriber = LocalWallet.create()
        self.stranger = LocalWallet.create()
        self.calls = 0

    async def tell(self) -> dict[str, Any]:
        """Everything from plan to earnings. Returns what build/demo.json holds, `seconds` excepted."""
        await self.sell()
        await self.refuse()
        await self.buy()
        await self.stream()
        await self.exhaust()
        return await self.settle()

    async def sell(self) -> None:
        """The builder's part."""
        show, world = self.terminal, self.world
        show.scene("builder", "sells access to an assistant, and keeps its key and definition private")
        with show.step("builder", f"create a plan: {CREDITS} credits for {ether(PRICE)}") as step:
            plan = await world.create_plan(credits=CREDITS, price=PRICE, title="Maths, 100 credits")
            self.plan, step.gas = plan.plan_id, plan.receipt.gas_used
        show.detail("plan", str(self.plan))
        with show.step("builder", f"seal and register an assistant: {PER_CALL} credits a call") as step:
            self.assistant = await self.register()
            step.gas = self.assistant.receipt.gas_used if self.assistant.receipt else None
            step.note = "the definition and the builder's API key are encrypted to the node: nobody else can open them"
        show.detail("DID", str(self.assistant.did))
        show.detail("metadata", f"{self.assistant.cid}")

    async def register(self) -> Registration:
        """The assistant: at OpenAI with a key, else at the stand-in."""
        fields: dict[str, Any] = dict(DEFINITION)
        if self.openai_key:
            fields |= {"base_url": "https://api.openai.com/v1", "api_key": Secret(self.openai_key), "model": model()}
        return await self.world.register(
            self.plan,
            credits=PER_CALL,
            title="Maths teacher",
            description="Works out sums and explains them in one line.",
            tags=("maths", "teaching"),
            notes="Ask one question at a time, in words or digits.",
            definition=self.world.definition(**fields),
        )

    async def refuse(self) -> None:
        """Somebody without a plan."""
        show = self.terminal
        show.scene("stranger", "signs in with a wallet that has bought nothing")
        with show.step("stranger", "call the assistant without a plan") as step:
            key = await self.world.login(self.stranger)
            error = await self.refused(key)
            step.credits, step.note = "0", f"402 {error.code}: {error.body_message}"

    async def buy(self) -> None:
        """The subscriber's purchase and login."""
        show, world = self.terminal, self.world
        show.scene("subscriber", "buys the plan with a wallet, and keeps the OpenAI client")
        await world.fund(self.subscriber.address)
        with show.step("subscriber", f"buy the plan for {ether(PRICE)}") as step:
            receipt = await world.buy(self.plan, self.subscriber)
            step.gas, step.credits = receipt.gas_used, f"+{CREDITS}"
        self.credits_before = await world.credits(self.plan, self.subscriber)
        with show.step("subscriber", "sign in with the wallet, get an API key"):
            self.key = await world.login(self.subscriber, name="demo")
        show.detail("API key", f"{self.key[:10]}…  (the node keeps only its hash)")

    async def stream(self) -> None:
        """One streamed answer through the official client."""
        show, first = self.terminal, 0.0
        show.write(f"      {show.paint('>', 'dim')} What is {QUESTIONS[0]}?\n      {show.paint('<', 'dim')} ")
        async with self.client(self.key) as client:
            began = time.perf_counter()
            stream = await client.responses.create(
                model=str(self.assistant.did), input=f"What is {QUESTIONS[0]}?", stream=True
            )
            async for event in stream:
                if event.type == "response.output_text.delta":
                    first = first or time.perf_counter() - began
                    show.quote(event.delta)
        show.write("\n")
        self.calls += 1
        took = time.perf_counter() - began
        note = f"first token after {first * 1000:,.0f} ms"
        show.done(Step("stream an answer with the openai package", "subscriber", None, str(PER_CALL), note, took))

    async def exhaust(self) -> None:
        """More calls at once than there are credits for, then one more."""
        show = self.terminal
        left = CREDITS - PER_CALL
        with show.step("subscriber", f"{AT_ONCE} calls at once, with {left} credits left") as step:
            async with self.client(self.key) as client:
                paid = sum(await asyncio.gather(*(self.ask(client, question) for question in QUESTIONS[:AT_ONCE])))
            self.calls += paid
            self.settling = asyncio.create_task(self.watch_settlement())
            step.credits = str(paid * PER_CALL)
            step.note = f"{paid} answered, {AT_ONCE - paid} refused with 402: reserved before they run, never overspent"
        with show.step("subscriber", "one more call") as step:
            error = await self.refused(self.key)
            step.credits, step.note = "0", f"402 {error.code}: {error.body_message}"

    async def watch_settlement(self) -> float:
        """Seconds from the last paid answer until the chain has all charges."""
        began = time.perf_counter()
        await self.world.settled(self.plan, self.subscriber, self.calls * PER_CALL)
        return time.perf_counter() - began

    async def settle(self) -> dict[str, Any]:
        """The node brings the charges to the chain; everything else is read from there."""
        show, world = self.terminal, self.world
        plans, chain = world.deployment.plans, world.chain
        show.scene("operator", f"the node settles {self.calls} calls in one transaction, by itself")
        with show.step("operator", f"settle {self.calls} calls on the chain") as step:
            took = await self.settling
            head = await chain.block_number()
            (settled,) = await chain.logs([plans.address], 0, head, [event_topics("Settled")])
            receipt = await chain.receipt(settled.tx_hash)
            assert receipt is not None
            step.gas, step.credits = receipt.gas_used, f"-{settled.args['taken']}"
            step.note = f"seen on the chain {took * 1000:,.0f} ms after the last answer"
        show.detail("transaction", receipt.tx_hash)
        account = await chain.call(plans.account(self.plan, self.subscriber.address))
        cid = await chain.call(world.deployment.assets.cid(self.assistant.did))
        facts = {
            "did": str(self.assistant.did),
            "plan": str(self.plan),
            "cid": str(cid),
            "chain_id": chain.chain_id,
            "calls": settled.args["calls"],
            "credits_before": self.credits_before,
            "credits_after": await world.credits(self.plan, self.subscriber),
            "credits_charged": account.consumed,
            "settlement_tx": receipt.tx_hash,
            "settlement_gas": receipt.gas_used,
            "earnings_wei": await world.earnings(self.plan),
        }
        before, charged, after = (facts[f"credits_{name}"] for name in ("before", "charged", "after"))
        show.detail("subscriber", f"{before} credits bought, {charged} charged, {after} left, as the chain has it")
        show.detail("builder", f"{ether(facts['earnings_wei'])} earned, to withdraw at any time")
        return facts

    def client(self, key: str) -> openai.AsyncOpenAI:
        """The official client, at the node."""
        return self.world.async_openai(key).with_options(timeout=60)

    async def ask(self, client: openai.AsyncOpenAI, question: str) -> bool:
        """Whether one plain call was answered; False when it was refused with 402."""
        try:
            await client.responses.create(model=str(self.assistant.did), input=f"What is {question}?")
        except openai.APIStatusError as error:
            if error.status_code != 402:
                raise
            return False
        return True

    async def refused(self, key: str) -> Refusal:
        """A call that has to be refused with 402."""
        try:
            async with self.client(key) as client:
                answer = await client.responses.create(model=str(self.assistant.did), input="What is 1 + 1?")
        except openai.APIStatusError as error:
            if error.status_code == 402:
                return Refusal(error)
            raise
        raise RuntimeError(f"the node answered a call that nobody paid for: {answer.output_text}")


class Refusal:
    """code, body_message: what the node's error envelope says."""

    def __init__(self, error: openai.APIStatusError) -> None:
        body: Any = error.body
        self.code: str = body["code"]
        self.body_message: str = short(body["message"].split(". ")[0].rstrip(".") + ".")


def model() -> str:
    """The model at OpenAI."""
    return os.environ.get("OPENAI_MODEL", "gpt-5.4-mini")


async def play(world: World, demo: Demo) -> None:
    """Hands the running world over to a person, until Ctrl-C."""
    wallet = await world.wallet()
    await world.buy(demo.plan, wallet)
    key = await world.login(wallet, name="play")
    did, write = demo.assistant.did, demo.terminal.write
    write(
        f"""
  The world is running. Another wallet has bought the plan: {CREDITS // PER_CALL} calls are yours.
  Ctrl-C ends everything.

  chain      {world.rpc_url}   (anvil, chain id {world.chain.chain_id}, ten accounts with money)
  console    {world.node.url}/   (in a browser, with a wallet)
  node       {world.node.url}/v1   health {world.node.url}/healthz   metrics {world.node.url}/metrics
  API key    {key}
  assistant  {did}

  export NVM_RPC_URL={world.rpc_url} NVM_STORE={world.store.name} NVM_NODE_URL={world.node.url} NVM_API_KEY={key}

  .venv/bin/nvm-chain assistant search maths
  .venv/bin/nvm-chain usage

  export OPENAI_BASE_URL={world.node.url}/v1 OPENAI_API_KEY={key}

  curl $OPENAI_BASE_URL/responses -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\
    -d '{{"model": "{did}", "input": "What is 17 * 23?"}}'

  .venv/bin/python -c 'import openai; print(openai.OpenAI().responses.create(
    model="{did}", input="What is 6 * 7?").output_text)'

  curl $OPENAI_BASE_URL/account -H "Authorization: Bearer $OPENAI_API_KEY"      # credits left
  NVM_NODE logs: {world.folder}
"""
    )
    await asyncio.Event().wait()


async def main_async(options: argparse.Namespace) -> None:
    """Builds the world and tells the story in it."""
    began = time.perf_counter()
    terminal = Terminal()
    key = os.environ.get("OPENAI_API_KEY") or None
    where = f"OpenAI, {model()}" if key else "stand-in"
    terminal.title("nvm-chain", f"a paid assistant, from plan to settlement · provider: {where}")
    terminal.scene("operator", "brings up a chain, the contracts and an access node")
    # Five calls make a batch; in production it is a hundred, or an hour.
    node = {"settle_interval": "0.2", "settle_min_calls": str(CREDITS // PER_CALL)}
    world = World(node=node, stand_in=key is None)
    with terminal.step("operator", "start the chain" + ("" if key else " and the stand-in")):
        await world.start()
    try:
        with terminal.step("operator", "deploy the contracts") as step:
            await world.deploy()
            step.gas = sum(one.receipt.gas_used for one in world.deployed if one.receipt)
        with terminal.step("operator", "register the access node's key and address") as step:
            world.node = await world.add_node(node, serve=False)
            step.gas = world.node.registered.gas_used
        with terminal.step("operator", "start the node"):
            await world.node.start()
        demo = Demo(world, terminal, key)
        facts = await demo.tell()
        terminal.table()
        facts["seconds"] = round(time.perf_counter() - began, 3)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(facts, indent=2) + "\n")
        terminal.write(f"\n  {facts['seconds']} s in all; figures in {shown(options.json)}\n")
        if key is None:
            terminal.write(f"  {terminal.paint('With OPENAI_API_KEY set, the same goes to OpenAI.', 'dim')}\n")
        if options.keep:
            await play(world, demo)
    except Exception:
        terminal.write(logs(world.folder))
        raise
    finally:
        await world.close()


def logs(folder: Path) -> str:
    """The end of what the processes printed, for whoever has to find out why a step failed."""
    tails = [(path, path.read_text("utf-8", errors="replace").splitlines()[-12:]) for path in folder.rglob("*.log")]
    return "".join(f"\n  {path.name}\n    " + "\n    ".join(lines) + "\n" for path, lines in tails if lines)


def shown(path: Path) -> str:
    """The path as somebody in the project's folder would write it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


async def _interruptible(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await main_async(options)


def main(description: str) -> None:
    """Exits with 1 when a step failed. Raises KeyboardInterrupt when it is told to end."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the world running until Ctrl-C")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "demo.json", help="where the figures go")
    try:
        asyncio.run(_interruptible(parser.parse_args()))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except (NvmError, ProcessFailed, openai.OpenAIError, FileNotFoundError, RuntimeError, TimeoutError) as error:
        sys.exit(f"\n  demo: {type(error).__name__}: {error}")
