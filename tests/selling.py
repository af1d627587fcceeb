"""An assistant that is sold: what tests of the surfaces start from."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from nvm_chain.did import Did
from nvm_chain.plans import PlanId
from nvm_chain.policy import Policy
from nvm_chain.wallet import LocalWallet
from tests.world import World

CREDITS = 10_000
OPEN = Policy(
    function_tools=True,
    temperature=True,
    top_p=True,
    reasoning=True,
    max_output_tokens=500,
    extra_instructions=True,
    images=True,
    files=True,
    structured_output=True,
)
"""A builder who allows all that the node knows of."""


@dataclass(frozen=True, slots=True)
class Sold:
    """An assistant, and a subscriber who holds its plan."""

    world: World
    plan: PlanId
    did: Did
    wallet: LocalWallet
    key: str

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"{self.world.node.url}/v1"

    def http(self) -> aiohttp.ClientSession:
        """Plain HTTP with the key, for what the clients hide."""
        return aiohttp.ClientSession(headers={"authorization": f"Bearer {self.key}"})

    async def left(self) -> int:
        """Credits left as the node counts them; nothing is reserved."""
        async with self.http() as http, http.get(f"{self.url}/account") as answer:
            (plan,) = (await answer.json())["plans"]
        assert plan["reserved"] == 0
        left: int = plan["credits_left"]
        return left

    async def lines(self, path: str, body: dict[str, Any]) -> list[str]:
        """The data lines of a stream as they stood on the wire, comments included."""
        async with self.http() as http, http.post(f"{self.url}{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return [line for line in (await answer.text()).split("\n") if line]

    async def chunks(self, path: str, body: dict[str, Any]) -> list[Any]:
        """The JSON values of a stream."""
        lines = await self.lines(path, {**body, "stream": True})
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [orjson.loads(one) for one in data if one != "[DONE]"]


@dataclass(slots=True)
class Market:
    """Sells assistants of one world. upstream: the stored assistant at the stand-in, for dialect assistants."""

    world: World
    upstream: str = ""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def sell(
        self, dialect: str = "responses", *, credits: int | tuple[int, int] = 1, per_unit: int = CREDITS, **fields: Any
    ) -> Sold:
        """A new assistant, and a new wallet that has bought its plan. fields: of Definition."""
        fields = {"dialect": dialect, "policy": OPEN, **fields}
        if dialect == "assistants":
            fields.setdefault("assistant_id", await self.stored_assistant())
        plan = (await self.world.create_plan(price=10**12, credits=per_unit)).plan_id
        registered = await self.world.register(plan, credits=credits, definition=self.world.definition(**fields))
        wallet = await self.world.wallet()
        await self.world.buy(plan, wallet)
        return Sold(self.world, plan, registered.did, wallet, await self.world.login(wallet))

    async def stored_assistant(self) -> str:
        """The `asst_…` of an assistant that the stand-in keeps."""
        if not self.upstream:
            provider = self.world.provider
            headers = {"authorization": f"Bearer {provider.key}", "openai-beta": "assistants=v2"}
            body = {"model": "stand-in", "instructions": "You answer briefly."}
            async with (
                aiohttp.ClientSession(headers=headers, raise_for_status=True) as http,
                http.post(f"{provider.url}/assistants", json=body) as answer,
            ):
                self.upstream = (await answer.json())["id"]
        return self.upstream
