"""What tests of the Assistants API share: assistants of every dialect, and a subscriber with clients for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import orjson

from nvm_chain.definition import Dialect
from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.provider.model import Json
from tests.world import NodeProcess, World, until

BETA = {"openai-beta": "assistants=v2"}
WEATHER: Json = {"type": "function", "name": "weather", "description": "", "parameters": {}, "strict": False}
WEATHER_CALL = '[[call weather {"city": "Oslo"}]]what weather?'
BUILDER = "Never tell that you are Otto."
CREDITS = 100_000


@dataclass(frozen=True, slots=True)
class Sold:
    """An assistant, and a subscriber who holds its plan. id: its asst_ id."""

    world: World
    plan: PlanId
    did: Did
    wallet: LocalWallet
    key: str
    client: openai.AsyncOpenAI
    node: NodeProcess

    @property
    def id(self) -> str:
        return self.did.assistant_id

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Plain HTTP: (status, JSON)."""
        given = {"authorization": f"Bearer {self.key}", **BETA, **headers}
        url = f"{self.node.url}/v1{path}"
        async with aiohttp.ClientSession(headers=given) as http, http.request(method, url, json=body) as answer:
            return answer.status, await answer.json()

    async def knows(self, did: Did) -> None:
        """Waits until the node has seen an assistant's registration, so that its asst_ id leads to it."""

        async def there() -> bool:
            return (await self.call("GET", f"/assistants/{did.assistant_id}"))[0] == 200

        await until(there, f"the node to see {did}")

    async def stream(self, path: str, body: object) -> list[tuple[str, Json]]:
        """(name, object) of every event as it stood on the wire; the end is ("done", {})."""
        return await read_stream(f"{self.node.url}/v1{path}", self.key, body)

    async def plan_stands(self) -> Json:
        """Credits as the node counts them."""
        found = (await self.call("GET", "/account"))[1]
        (plan,) = [one for one in found["plans"] if one["plan_id"] == f"0x{self.plan.value.hex()}"]
        stands: Json = plan
        return stands

    async def left(self) -> int:
        """Credits left, once nothing is held any more."""

        async def free() -> bool:
            return not (await self.plan_stands())["reserved"]

        await until(free, "nothing to be reserved")
        left: int = (await self.plan_stands())["credits_left"]
        return left

    async def thread(self, *texts: str) -> str:
        """A thread with these messages of its user."""
        return (await self.client.beta.threads.create(messages=[{"role": "user", "content": one} for one in texts])).id

    async def run(self, thread: str, **fields: Any) -> Any:
        """A run to where it ends or waits."""
        return await self.client.beta.threads.runs.create_and_poll(
            thread_id=thread, assistant_id=self.id, poll_interval_ms=50, **fields
        )

    async def said(self, thread: str) -> str:
        """The text of the newest message."""
        (message,) = (await self.client.beta.threads.messages.list(thread, limit=1)).data
        block = message.content[0]
        assert block.type == "text", block
        return block.text.value


async def read_stream(url: str, key: str, body: object) -> list[tuple[str, Json]]:
    """All events of a stream of the old API."""
    headers = {"authorization": f"Bearer {key}", **BETA}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        text = await answer.text()
        assert answer.status == 200, text
    events = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            name, data = (line.partition(": ")[2] for line in lines)
            events.append((name, {} if data == "[DONE]" else orjson.loads(data)))
    return events


class Shop:
    """Registers assistants at the stand-in and sells their plans."""

    def __init__(self, world: World, stack: AsyncExitStack) -> None:
        self.world = world
        self._stack = stack
        self._upstream: dict[bool, str] = {}

    async def sell(
        self,
        dialect: Dialect = "responses",
        *,
        credits: int | tuple[int, int] = 1,
        per_unit: int = CREDITS,
        node: NodeProcess | None = None,
        **definition: Any,
    ) -> Sold:
        """An assistant with a `weather` function whose caller may ask for everything, and a new subscriber."""
        fields: Json = {"dialect": dialect, "instructions": BUILDER, "tools": (WEATHER,), "policy": EVERYTHING}
        if dialect == "chat":
            function = {name: value for name, value in WEATHER.items() if name != "type"}
            fields["tools"] = ({"type": "function", "function": function},)
        if dialect == "assistants":
            fields |= {"tools": (), "model": "", "instructions": "", "assistant_id": await self._stored_assistant()}
            fields |= {"base_url": self.world.provider.url, "api_key": Secret(self.world.provider.key)}
        fields |= definition
        plan = (await self.world.create_plan(price=10**12, credits=per_unit)).plan_id
        registered = await self.world.register(
            plan, credits=credits, title="Otto", node=node, definition=self.world.definition(**fields)
        )
        return await self.subscribe(plan, registered.did, node)

    async def subscribe(self, plan: PlanId, did: Did, node: NodeProcess | None = None, **wishes: Any) -> Sold:
        """Another subscriber of the plan."""
        wallet = await self.world.wallet()
        await self.world.buy(plan, wallet)
        key = await self.world.login(wallet, node=node, **wishes)
        client = await self._stack.enter_async_context(self.world.async_openai(key, node=node))
        sold = Sold(self.world, plan, did, wallet, key, client, node or self.world.node)
        await sold.knows(did)
        return sold

    async def _stored_assistant(self) -> str:
        """An assistant that the stand-in keeps, as providers of the old API do."""
        tools: list[Any] = [{"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}]
        async with openai.AsyncOpenAI(base_url=self.world.provider.url, api_key=self.world.provider.key) as client:
            made = await client.beta.assistants.create(model="stand-in", instructions=BUILDER, tools=tools)
            return made.id


EVERYTHING = Policy(
    function_tools=True,
    temperature=True,
    top_p=True,
    reasoning=True,
    max_output_tokens=10_000,
    extra_instructions=True,
    images=True,
    files=True,
    structured_output=True,
)
BY_TOKENS = Pricing(mode="tokens", input=1_000_000, output=1_000_000)
"""A credit for each token."""


@asynccontextmanager
async def open_shop(world: World) -> AsyncIterator[Shop]:
    """Closes the clients at its end."""
    async with AsyncExitStack() as stack:
        yield Shop(world, stack)
