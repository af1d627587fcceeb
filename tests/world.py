"""A whole world on free ports: anvil with the contracts, the provider stand-in, an access node and a block store.

    async with World() as world:
        plan = (await world.create_plan(price=10**16, credits=100)).plan_id
        assistant = await world.register(plan)
        subscriber = await world.wallet()
        await world.buy(plan, subscriber)
        with world.openai(await world.login(subscriber)) as client:
            client.responses.create(model=str(assistant.did), input="hello")

Everything is a real process with real files, in a folder that goes away with the world.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from openai import AsyncOpenAI, OpenAI

from nvm_chain.assets import OfferInput
from nvm_chain.chain import Chain, Receipt, open_chain
from nvm_chain.definition import Definition
from nvm_chain.deployments import PROXY, Deployed, Deployment, deploy, install_proxy
from nvm_chain.ipfs import LocalStore
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Payee, PlanId, Terms
from nvm_chain.purchases import buy
from nvm_chain.registration import Draft, Registration, named_salt, pin, register_assistant
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet, Wallet
from tests import leaks
from tests.anvil import CHAIN_ID, KEYS, binary
from tests.leaks import Watch
from tests.processes import Child, child

ROOT = Path(__file__).resolve().parent.parent
ETHER = 10**18
NODE = (sys.executable, "-c", "from node_proxy.cli import main; main(prog_name='nvm-node')")
NODE_READY = r"listening on (http://\S+)"
PROVIDER_KEY = "sk-stand-in-builder-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class ProviderProcess:
    """The stand-in. url: an OpenAI client's base_url. key: the API key that it accepts."""

    process: Child
    url: str
    key: str

    async def requests(self) -> list[dict[str, Any]]:
        """What it received, oldest first: method, path, headers, body, status, events, finished."""
        found: list[dict[str, Any]] = await self._control("GET", "requests")
        return found

    async def forget(self) -> None:
        """Empties the journal."""
        await self._control("DELETE", "requests")

    async def queue(self, directives: str, *, path: str = "/v1/", times: int = 1) -> None:
        """Applies directives such as `[[fail 500]]` to the next requests whose path contains `path`."""
        await self._control("POST", "faults", {"directives": directives, "path": path, "times": times})

    async def _control(self, method: str, what: str, body: object = None) -> Any:
        url = self.url.removesuffix("/v1") + f"/__control__/{what}"
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()


@dataclass(slots=True)
class NodeProcess:
    """An access node. url: its base without /v1. registered: the transaction that put it into NodeRegistry."""

    url: str
    wallet: LocalWallet
    registered: Receipt
    settings: dict[str, str]
    on_start: Callable[[Child], None]
    process: Child | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def account(self) -> str:
        """The node's address in NodeRegistry."""
        return self.wallet.address

    @property
    def environ(self) -> dict[str, str]:
        """The environment that `nvm-node` takes its settings from."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NVM_NODE_")}
        return inherited | {f"NVM_NODE_{name.upper()}": value for name, value in self.settings.items()}

    async def start(self) -> None:
        """Starts it and waits until it serves. Raises ProcessFailed."""
        ledger = self.settings["ledger"]
        beside = Path(urlsplit(self.settings["store"]).path) if "://" in ledger else Path(ledger)
        log = beside.with_name("node.log" if beside.suffix else f"node-{urlsplit(self.url).port}.log")
        self.process = await self.stack.enter_async_context(
            child("nvm-node", *NODE, "serve", ready=NODE_READY, log=log, env=self.environ, cwd=ROOT)
        )
        self.on_start(self.process)

    async def stop(self) -> None:
        """Ends it in order; `start` starts it again on the same ledger."""
        await self.stack.aclose()
        self.process = None

    async def restart(self, **settings: str) -> None:
        """Starts it anew on the same ledger, with changed settings."""
        await self.stop()
        self.settings |= settings
        await self.start()

    async def run(self, *arguments: str) -> str:
        """Runs another `nvm-node` command and returns what it printed. Raises RuntimeError with the output.

        One that sends something is answered with yes.
        """
        if {"register", "settle", "rotate", "retire"}.intersection(arguments[:2]):
            arguments = (*arguments, "--yes")
        process = await asyncio.create_subprocess_exec(
            *NODE,
            *arguments,
            env=self.environ,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"nvm-node {' '.join(arguments)} failed ({process.returncode}):\n{output.decode()}")
        return output.decode()


class World:
    """See the module. block_time: seconds between anvil's blocks, besides one at once for every transaction; 0 = none.

    node: settings of the first node (`{"settle_interval": "1"}`). folder: where files go, and stay; default: a
    temporary one. stand_in: whether the provider stand-in runs. Entering a world does `start`, `deploy`, `add_node`.
    """

    folder: Path
    rpc_url: str
    chain: Chain
    deployment: Deployment
    deployed: list[Deployed]
    provider: ProviderProcess
    node: NodeProcess
    store: LocalStore
    leaks: Watch
    builder: LocalWallet
    operator: LocalWallet

    def __init__(
        self,
        *,
        block_time: int = 1,
        node: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stand_in: bool = True,
    ) -> None:
        self._block_time, self._node_settings, self._folder, self._stand_in = block_time, node, folder, stand_in
        self._stack = AsyncExitStack()
        self._children: list[Child] = []
        self._plans = self._assistants = 0

    async def __aenter__(self) -> World:
        try:
            await self.start()
            await self.deploy()
            self.node = await self.add_node(self._node_settings)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def processes(self) -> list[Child]:
        """The processes that run now."""
        return [one for one in self._children if one.process.returncode is None]

    async def close(self) -> None:
        """Ends every process and removes the temporary folder."""
        await self._stack.aclose()

    async def start(self) -> None:
        """Starts the chain and the stand-in. Raises ProcessFailed; `close` ends what had been started."""
        enter = self._stack.enter_async_context
        self.folder = self._folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="nvm-world-")))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.leaks = Watch()
        self.leaks.note(PROVIDER_KEY)
        self._stack.callback(self.leaks.check, self.folder)
        self.store = LocalStore(self.folder / "blocks")
        anvil = await enter(self._anvil())
        self._children.append(anvil)
        self.rpc_url = f"http://{anvil.found[1]}"
        if self._stand_in:
            process = await enter(self._provider())
            self._children.append(process)
            self.provider = ProviderProcess(process, process.found[1], PROVIDER_KEY)
        self.chain = await enter(open_chain(self.rpc_url, CHAIN_ID))
        self.operator, self.builder = (LocalWallet(Secret(key)) for key in KEYS[:2])

    async def deploy(self) -> None:
        """Deploys the contracts; `deployed` tells what each took."""
        self.deployed = []
        if not await self.chain.code(PROXY):
            await install_proxy(self.chain, self.operator)
        self.deployment = await deploy(self.chain, self.operator, on_step=self.deployed.append)

    def _anvil(self) -> Any:
        mining = ("--block-time", str(self._block_time), "--mixed-mining") if self._block_time else ()
        command = (str(binary("anvil")), "--port", "0", "--chain-id", str(CHAIN_ID), *mining)
        return child("anvil", *command, ready=r"Listening on (127\.0\.0\.1:\d+)", log=self.folder / "anvil.log")

    def _provider(self) -> Any:
        command = (sys.executable, "-m", "tests.provider", "--key", PROVIDER_KEY)
        log = self.folder / "provider.log"
        return child("provider stand-in", *command, ready=r"^(http://\S+)$", log=log, cwd=ROOT)

    async def add_node(self, settings: Mapping[str, str] | None = None, *, serve: bool = True) -> NodeProcess:
        """Registers an access node with a ledger of its own, and starts it. settings: by name, without `NVM_NODE_`."""
        settlement, encryption = generate_private_key(), generate_private_key()
        wallet = LocalWallet(settlement)
        await self.fund(wallet.address)
        url = f"http://127.0.0.1:{free_port()}"
        receipt = await self.chain.send(self.deployment.nodes.register(public_key_of(encryption), url), wallet)
        folder = self.folder / f"node-{wallet.address[2:10].lower()}"
        folder.mkdir()
        common = {
            "rpc_url": self.rpc_url,
            "chain_id": str(self.chain.chain_id),
            "ledger": str(folder / "ledger.db"),
            "store": f"file://{self.folder / 'blocks'}",
            "bind": urlsplit(url).netloc,
            "public_url": url,
            "settlement_key": settlement.reveal_bytes().hex(),
            "encryption_key": encryption.reveal_bytes().hex(),
            "poll_interval": "0.2",
            "confirmations": "1",
        }
        if level := os.environ.get(leaks.DEBUG):
            common["log_level"] = level
        if self._stand_in:
            common["allow_local_providers"] = urlsplit(self.provider.url).netloc
        node = NodeProcess(url, wallet, receipt, {**common, **(settings or {})}, self._children.append)
        for name in ("settlement_key", "encryption_key"):
            self.leaks.note(common[name])
        self._stack.push_async_callback(node.stop)
        if serve:
            await node.start()
        return node

    # -------------------------------------------------------------------------------------------------------- people

    async def wallet(self, wei: int = 10 * ETHER) -> LocalWallet:
        """A new wallet with so much of the native currency."""
        wallet = LocalWallet.create()
        await self.fund(wallet.address, wei)
        return wallet

    async def fund(self, account: str, wei: int = 10 * ETHER) -> None:
        """Sets an account's balance."""
        await self.chain.rpc("anvil_setBalance", [account, hex(wei)])

    async def mine(self, blocks: int = 1, seconds: int | None = None) -> None:
        """Mines blocks at once, `seconds` apart from each other."""
        await self.chain.rpc("anvil_mine", [hex(blocks)] if seconds is None else [hex(blocks), hex(seconds)])

    # ------------------------------------------------------------------------------------------------------- builder

    async def create_plan(
        self,
        *,
        credits: int = 100,
        price: int = 10**16,
        title: str = "Plan",
        description: str = "",
        owner: Wallet | None = None,
        payees: Sequence[Payee] = (),
        **terms: Any,
    ) -> CreatedPlan:
        """Creates a plan. price: wei. terms: the other fields of `Terms`; credits=0 makes a time plan."""
        owner = owner or self.builder
        self._plans += 1
        salt = named_salt(f"plan {self._plans}")
        cid = await pin(self.store, PlanMetadata(title, description).to_block())
        call = self.deployment.plans.create(
            salt, Terms(price=price, credits_per_unit=credits, **terms), payees, cid.digest
        )
        receipt = await self.chain.send(call, owner)
        plan_id = PlanId.derive(self.chain.chain_id, self.deployment.plan_registry, owner.address, salt)
        return CreatedPlan(plan_id, receipt)

    def definition(self, **fields: Any) -> Definition:
        """What an assistant at the stand-in is; `fields` of Definition instead of the defaults."""
        if "base_url" not in fields:
            here = {"base_url": self.provider.url, "api_key": Secret(self.provider.key), "model": "stand-in"}
            fields = {**here, **fields}
        fields = {"instructions": "You answer briefly.", **fields}
        self.leaks.note(fields["instructions"])
        return Definition(**fields)

    async def register(
        self,
        *plans: PlanId,
        credits: int | tuple[int, int] = 1,
        title: str = "Assistant",
        owner: Wallet | None = None,
        node: NodeProcess | None = None,
        definition: Definition | None = None,
        **draft: Any,
    ) -> Registration:
        """Registers an assistant that the plans open. credits: per access, or (minimum, maximum)."""
        self._assistants += 1
        low, high = credits if isinstance(credits, tuple) else (credits, credits)
        return await register_assistant(
            self.chain,
            self.deployment,
            self.store,
            owner or self.builder,
            Draft(
                salt=named_salt(f"assistant {self._assistants}"),
                title=title,
                definition=definition or self.definition(),
                offers=[OfferInput(plan, low, high) for plan in plans],
                nodes=[(node or self.node).account],
                **draft,
            ),
        )

    # ---------------------------------------------------------------------------------------------------- subscriber

    async def buy(self, plan: PlanId, wallet: Wallet, units: int = 1) -> Receipt:
        """Buys units of a plan with the wallet's money."""
        return await buy(self.chain, self.deployment.plans, wallet, plan, units=units)

    async def login(self, wallet: Wallet, *, node: NodeProcess | None = None, **wishes: Any) -> str:
        """Signs in with the wallet and returns an API key, `nvm_…`. wishes: name, budget, expires_in, assistants.

        Raises aiohttp.ClientResponseError.
        """
        base = (node or self.node).url
        body = {**await self.signed(wallet, node=node), **wishes}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.post(f"{base}/auth/login", json=body) as answer,
        ):
            key: str = (await answer.json())["key"]
            self.leaks.note(key)
            return key

    async def signed(self, wallet: Wallet, *, node: NodeProcess | None = None) -> dict[str, str]:
        """What shows a node whose wallet it is: `message` and `signature`. Raises aiohttp.ClientResponseError."""
        url = f"{(node or self.node).url}/auth/nonce"
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.get(url, params={"address": wallet.address}) as answer,
        ):
            message: str = (await answer.json())["message"]
        signature = "0x" + (await wallet.sign_message(message)).hex()
        self.leaks.note(signature)
        return {"message": message, "signature": signature}

    def openai(self, key: str, *, node: NodeProcess | None = None, retries: int = 0) -> OpenAI:
        """The official client, pointed at a node."""
        return OpenAI(base_url=f"{(node or self.node).url}/v1", api_key=key, max_retries=retries)

    def async_openai(self, key: str, *, node: NodeProcess | None = None, retries: int = 0) -> AsyncOpenAI:
        """The official asynchronous client, pointed at a node."""
        return AsyncOpenAI(base_url=f"{(node or self.node).url}/v1", api_key=key, max_retries=retries)

    # --------------------------------------------------------------------------------------------------------- chain

    async def credits(self, plan: PlanId, wallet: Wallet) -> int:
        """Credits that the wallet can spend, as the chain has it."""
        return await self.chain.call(self.deployment.plans.balance_of(plan, wallet.address))

    async def consumed(self, plan: PlanId, wallet: Wallet) -> int:
        """Credits settled so far, as the chain has it."""
        return (await self.chain.call(self.deployment.plans.account(plan, wallet.address))).consumed

    async def settled(self, plan: PlanId, wallet: Wallet, credits: int, seconds: float = 30) -> None:
        """Waits until the chain has so many of the wallet's credits as consumed. Raises TimeoutError."""

        async def there() -> bool:
            return await self.consumed(plan, wallet) >= credits

        await until(there, f"{credits} credits of {wallet.address} to be settled", seconds)

    async def proven(self, key: str, seconds: float = 30) -> None:
        """Waits until the node has a proof for every receipt that the key may see. Raises TimeoutError."""
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as http:

            async def there() -> bool:
                async with http.get(f"{self.node.url}/v1/receipts") as answer:
                    receipts = (await answer.json())["data"]
                for one in receipts:
                    async with http.get(f"{self.node.url}/v1/receipts/{one['id']}/proof") as answer:
                        if answer.status != 200:
                            return False
                return bool(receipts)

            await until(there, "the proofs of all receipts", seconds)

    async def earnings(self, plan: PlanId, account: str | None = None) -> int:
        """Wei that the builder can withdraw."""
        return await self.chain.call(self.deployment.plans.earnings(plan, account or self.builder.address))


@dataclass(frozen=True, slots=True)
class CreatedPlan:
    """A plan that was just created."""

    plan_id: PlanId
    receipt: Receipt


async def until(there: Callable[[], Awaitable[bool]], what: str, seconds: float = 30, every: float = 0.05) -> None:
    """Waits for something that can only be asked for. Raises TimeoutError that names it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if await there():
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(every)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
