"""The pages of the node's OpenAI surfaces without a network: a real store, and a provider that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import orjson

from node_proxy.access.keys import ApiKey
from node_proxy.asgi import Exchange
from node_proxy.ledger.base import Charge
from node_proxy.openai.assistants_api.assistants import AssistantPages
from node_proxy.openai.assistants_api.messages import MessagePages
from node_proxy.openai.assistants_api.runner import Runner
from node_proxy.openai.assistants_api.runs import RunPages
from node_proxy.openai.assistants_api.surface import Surface
from node_proxy.openai.assistants_api.threads import ThreadPages
from node_proxy.openai.chat import ChatCompletions
from node_proxy.openai.chat_store import ChatStore
from node_proxy.openai.conversations import Conversations
from node_proxy.openai.face import Face
from node_proxy.openai.file_pages import FilePages
from node_proxy.openai.files import Files
from node_proxy.openai.history import History
from node_proxy.openai.ids import IdMap
from node_proxy.openai.models import ModelPages
from node_proxy.openai.objects import Objects
from node_proxy.openai.room import Room
from node_proxy.relay import sse
from nvm_chain.policy import Policy
from tests.unit import sample

Json = dict[str, Any]

_DAY = 86_400
_POLICY = Policy(
    function_tools=True,
    temperature=True,
    top_p=True,
    extra_instructions=True,
    images=True,
    files=True,
    structured_output=True,
)
DEFINITION = sample.definition(policy=_POLICY, settings={}, tools=({"type": "file_search"},))
SETTINGS = {"max_body_bytes": 2**20, "max_file_bytes": 2**20, "body_timeout": 5.0, "drain_timeout": 5.0}


class Desk:
    """about: the metadata of the one assistant. said: the provider's next answers, each its events or its response."""

    def __init__(self, objects: Objects) -> None:
        self.about = sample.metadata()
        self.said: list[list[Json]] = []
        calls: Any = SimpleNamespace(
            key=self._key,
            resolve=self._resolve,
            access=self._access,
            secret=b"s" * 32,
            settings=SimpleNamespace(**SETTINGS, shutdown_grace=5.0, run_lifetime=600.0),
        )
        members: Any = SimpleNamespace(check=self._yes, holds=self._yes)
        assets: Any = SimpleNamespace(served=self._served, open=self._open, resolve=self._resolve)
        services: Any = SimpleNamespace(keys=SimpleNamespace(verify=self._key), assets=assets, opens=self._yes)
        room, files = Room(objects, 2**40), Files(calls, objects)
        self.runner = Runner(calls, objects, self._attach)
        surface = Surface(calls, objects, assets, members, self.runner, room, _DAY)
        self.conversations = Conversations(calls, members, objects, History(calls, objects, files, _DAY), room)
        self.files = FilePages(calls, members, objects, files, room, _DAY)
        self.chat_store = ChatStore(calls, members, objects, room, _DAY)
        self.chat = ChatCompletions(calls, self.chat_store, files)
        self.models, self.assistants = ModelPages(services), AssistantPages(surface)
        self.threads, self.messages, self.runs = ThreadPages(surface), MessagePages(surface), RunPages(surface)

    async def ask(
        self,
        page: Callable[[Exchange], Awaitable[None]],
        *params: str,
        body: object = None,
        form: bytes = b"",
        **query: str,
    ) -> Any:
        """The answer's JSON, or the events of a stream. form: the rest of a multipart body with the boundary `x`."""
        kind = b"multipart/form-data; boundary=x" if form else b"application/json"
        data = form or orjson.dumps({} if body is None else body)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(data))]
        scope = {"method": "", "path": "", "headers": headers, "query_string": urlencode(query).encode()}
        asked, answer = [{"type": "http.request", "body": data}], bytearray()

        async def receive() -> Any:
            return asked.pop() if asked else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            answer.extend(message.get("body", b""))

        exchange = Exchange(scope, receive, send)
        exchange.params = params
        try:
            await page(exchange)
        finally:
            exchange.close()
        if answer.startswith(b"{"):
            return orjson.loads(answer)
        found = sse.Parser(2**20).feed(bytes(answer))
        return [orjson.loads(event.data) for event in found if event.data != b"[DONE]"]

    # ----------------------------------------------------------------------------------------- what the pages lean on

    async def _key(self, _: object) -> ApiKey:
        return ApiKey("key_1", "0x" + "a1" * 20, "k", None, None, None, False, 0)

    async def _yes(self, *_: object) -> bool:
        return True

    async def _served(self) -> list[Any]:
        return [sample.DID]

    async def _resolve(self, *_: object) -> Any:
        return sample.DID

    async def _open(self, _: object) -> Any:
        return SimpleNamespace(metadata=self.about, owner=sample.OWNER)

    async def _attach(self, _: object, items: list[Json]) -> list[Json]:
        return items

    @asynccontextmanager
    async def _access(self, key: ApiKey, *_: object, **__: object) -> AsyncIterator[Any]:
        yield _Access(key, self.said)


class _Access:
    """In place of `calls.Access`: nothing is reserved, nothing charged."""

    did, definition = sample.DID, DEFINITION
    ids = IdMap(b"s" * 32, sample.OWNER, "0xs")
    safety_identifier, max_credits = "nvm-x", 5

    def __init__(self, key: ApiKey, said: list[list[Json]]) -> None:
        self.key = key
        self.facts: Json = {}
        self._said = said

    def face(self, echo: Json) -> Face:
        return Face(self.ids, str(self.did), echo)

    def ask(self, *_: object, **__: object) -> AbstractAsyncContextManager[Any]:
        return _answer(self._said)

    async def charge(self, *_: object, **__: object) -> Charge:
        return Charge("chg_1", 1, 4)

    charge_most = charge

    def ended(self, _: str) -> None:
        pass

    def used_up(self, _: object) -> bool:
        return False


@asynccontextmanager
async def _answer(said: list[list[Json]]) -> AsyncIterator[Any]:
    told = said.pop(0)

    async def whole() -> Any:
        return told[-1]["response"]

    async def events() -> AsyncIterator[list[sse.Event]]:
        yield [sse.Event(b"", orjson.dumps(one)) for one in told]

    yield SimpleNamespace(json=whole, events=events, headers=[])
