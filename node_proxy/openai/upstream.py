"""What a provider of dialect `responses` keeps for us: conversations, responses in the background, files.

Only the node knows the provider's ids; everything here takes and gives them.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from node_proxy import logs
from node_proxy.errors import NodeError, ProviderError, ProviderGarbage
from node_proxy.relay.provider import ProviderAnswer, ProviderCall, ProviderClient
from nvm_chain.definition import Definition
from nvm_chain.did import Did

if TYPE_CHECKING:
    from node_proxy.openai.calls import Calls

log = logs.get("upstream")

Json = dict[str, Any]

ITEMS_AT_ONCE = 20
"""Items that one request may add to a conversation."""

_FORGET_SECONDS = 5.0


def keeps_state(definition: Definition) -> bool:
    """Whether the provider keeps conversations and responses."""
    return definition.dialect == "responses"


def account(secret: bytes, definition: Definition) -> str:
    """Names the builder's account at the provider, without telling it: objects made there exist only there."""
    text = f"{definition.base_url}|{definition.api_key.reveal()}".encode()
    return hashlib.blake2b(text, key=secret[:64], digest_size=12, person=b"nvm account").hexdigest()


class Upstream:
    """One builder's account at a provider. Every method raises ProviderError in its kinds."""

    def __init__(self, client: ProviderClient, definition: Definition) -> None:
        self._client = client
        self._definition = definition

    async def new_conversation(self, items: list[Json]) -> str:
        """A conversation that begins with these items; its id."""
        made = await self._json("POST", "/conversations", {"items": items[:ITEMS_AT_ONCE]})
        conversation = _id_of(made)
        await self.add_items(conversation, items[ITEMS_AT_ONCE:])
        return conversation

    async def add_items(self, conversation: str, items: list[Json]) -> None:
        """Appends items to a conversation, in order."""
        for start in range(0, len(items), ITEMS_AT_ONCE):
            body = {"items": items[start : start + ITEMS_AT_ONCE]}
            await self._json("POST", f"/conversations/{_quoted(conversation)}/items", body)

    async def forget(self, what: str, id: str) -> None:
        """Deletes something; what is gone already is no error. what: conversations, responses or files."""
        try:
            await self._json("DELETE", f"/{what}/{_quoted(id)}")
        except ProviderError as error:
            if error.status not in (400, 404, 503):
                raise

    async def cancel(self, response: str) -> Json:
        """Stops a response in the background; the response as it is then."""
        return await self._json("POST", f"/responses/{_quoted(response)}/cancel")

    async def response(self, response: str) -> Json:
        """A response as it is now."""
        return await self._json("GET", f"/responses/{_quoted(response)}")

    def follow(self, response: str, after: int) -> AbstractAsyncContextManager[ProviderAnswer]:
        """The events of a response in the background after the provider's number `after`."""
        return self._ask("GET", f"/responses/{_quoted(response)}?stream=true&starting_after={after}")

    async def count(self, body: Json, caller_params: frozenset[str]) -> int:
        """Tokens that an input takes."""
        counted = await self._json("POST", "/responses/input_tokens", body, caller_params)
        tokens = counted.get("input_tokens")
        if type(tokens) is not int or tokens < 0:
            raise ProviderGarbage("The assistant's provider didn't say a number of tokens.")
        return tokens

    async def upload(self, name: str, purpose: str, content: bytes) -> str:
        """Uploads a file; its id."""
        boundary = secrets.token_hex(24)
        plain = "".join(
            letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in name
        )
        body = b"".join(
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n'.encode(),
                b"Content-Type: application/octet-stream\r\n\r\n",
                content,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        call = self._call("POST", "/files", body, content_type=f"multipart/form-data; boundary={boundary}")
        async with self._client.post(call) as answer:
            return _id_of(await answer.json())

    async def _json(
        self, method: str, path: str, body: Json | None = None, caller_params: frozenset[str] = frozenset()
    ) -> Json:
        async with self._ask(method, path, body, caller_params) as answer:
            return await answer.json()

    def _ask(
        self, method: str, path: str, body: Json | None = None, caller_params: frozenset[str] = frozenset()
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        raw = b"" if body is None else orjson.dumps(body)
        return self._client.post(self._call(method, path, raw, caller_params))

    def _call(
        self,
        method: str,
        path: str,
        body: bytes,
        caller_params: frozenset[str] = frozenset(),
        content_type: str = "application/json",
    ) -> ProviderCall:
        definition = self._definition
        return ProviderCall(definition.base_url, path, definition.api_key, body, caller_params, method, content_type)


async def forget(calls: Calls, did: str, what: str, id_at: Callable[[Definition], str | None]) -> None:
    """Deletes something at an assistant's provider, as far as that can be reached. id_at: its id there, None = none."""
    try:
        async with asyncio.timeout(_FORGET_SECONDS):
            definition = (await calls.open(Did.parse(did))).definition
            if keeps_state(definition) and (id := id_at(definition)):
                await Upstream(calls.provider, definition).forget(what, id)
    except (NodeError, TimeoutError) as error:
        log.info("upstream.left", what=what, error=type(error).__name__)


def _quoted(id: str) -> str:
    return quote(id, safe="")


def _id_of(made: Json) -> str:
    id = made.get("id")
    if not isinstance(id, str) or not id:
        raise ProviderGarbage("The assistant's provider answered with an object that has no id.")
    return id
