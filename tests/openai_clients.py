"""Three OpenAI clients behind one door: the Python package, synchronous and asynchronous, and the npm package.

    async with open_client("npm", url, key) as client:
        completion = await client.call("chat.completions.create", model=…, messages=[…])
        chunks = await client.events("chat.completions.create", model=…, messages=[…], stream=True)

All unmodified. Answers come as plain JSON, so that what one client makes of the wire can be compared with another.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import openai
import orjson

CLIENTS = ("python", "python-async", "npm")
SCRIPT = Path(__file__).parent / "peers" / "client.mjs"
PACKAGE = SCRIPT.parent / "node_modules" / "openai" / "package.json"


class Refused(Exception):
    """The client raised its own error. kind: its class; status, code, param: as the client has them."""

    def __init__(self, kind: str, status: int | None, code: str | None, param: str | None, message: str) -> None:
        super().__init__(f"{kind} {status} {code} {param}: {message}")
        self.kind, self.status, self.code, self.param, self.message = kind, status, code, param, message


class Client(Protocol):
    """One of the three. Methods in Python's spelling, `beta.threads.create_and_run`; ids come first, by position."""

    async def call(self, method: str, *ids: str, **params: Any) -> Any:
        """What the method returns, as JSON. Raises Refused."""

    async def events(self, method: str, *ids: str, **params: Any) -> list[Any]:
        """All that is streamed or listed, page by page. Raises Refused."""


@asynccontextmanager
async def open_client(kind: str, url: str, key: str) -> AsyncIterator[Client]:
    """kind: one of CLIENTS. url: with /v1. Raises RuntimeError where npm's package isn't installed."""
    if kind == "npm":
        async with open_npm(url, key) as npm:
            yield npm
    elif kind == "python":
        with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
            yield _Python(client)
    else:
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as asynchronous:
            yield _AsyncPython(asynchronous)


def _method(client: Any, path: str) -> Any:
    for part in path.split("."):
        client = getattr(client, part)
    return client


def _plain(value: Any) -> Any:
    return value.to_dict(mode="json") if hasattr(value, "to_dict") else value


def _refused(error: openai.APIError) -> Refused:
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    return Refused(type(error).__name__, status, error.code, error.param, error.message)


class _Python:
    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    async def call(self, method: str, *ids: str, **params: Any) -> Any:
        return await asyncio.to_thread(self._run, False, method, ids, params)

    async def events(self, method: str, *ids: str, **params: Any) -> list[Any]:
        found: list[Any] = await asyncio.to_thread(self._run, True, method, ids, params)
        return found

    def _run(self, collect: bool, method: str, ids: Sequence[str], params: dict[str, Any]) -> Any:
        try:
            answer = _method(self._client, method)(*ids, **params)
            return [_plain(one) for one in answer] if collect else _plain(answer)
        except openai.APIError as error:
            raise _refused(error) from None


class _AsyncPython:
    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def call(self, method: str, *ids: str, **params: Any) -> Any:
        try:
            return _plain(await _method(self._client, method)(*ids, **params))
        except openai.APIError as error:
            raise _refused(error) from None

    async def events(self, method: str, *ids: str, **params: Any) -> list[Any]:
        try:
            answer = _method(self._client, method)(*ids, **params)
            if asyncio.iscoroutine(answer):
                answer = await answer
            return [_plain(one) async for one in answer]
        except openai.APIError as error:
            raise _refused(error) from None


class Npm:
    """npm's package in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    async def call(self, method: str, *ids: str, **params: Any) -> Any:
        return await self._send("value", method, ids, params)

    async def events(self, method: str, *ids: str, **params: Any) -> list[Any]:
        found: list[Any] = await self._send("events", method, ids, params)
        return found

    async def final(self, method: str, *ids: str, **params: Any) -> Any:
        """What one of its streaming helpers puts together, `chat.completions.stream`. Raises Refused."""
        return await self._send("final", method, ids, params)

    async def _send(self, as_: str, method: str, ids: Sequence[str], params: dict[str, Any]) -> Any:
        given = [*ids, params] if params or not ids else [*ids]
        line = orjson.dumps({"method": _camel(method), "arguments": given, "as": as_})
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._one_at_a_time:
            process.stdin.write(line + b"\n")
            told = await process.stdout.readline()
        if not told:
            raise RuntimeError("node ended")
        answer = orjson.loads(told)
        if "broken" in answer:
            raise RuntimeError(answer["broken"])
        if error := answer.get("error"):
            status, code, param = (error.get(name) for name in ("status", "code", "param"))
            raise Refused(error["class"], status, code, param, error["message"])
        return answer["value"]


def _camel(method: str) -> str:
    """`create_and_run` is `createAndRun` there; `del` is `delete` in both."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), method)


@asynccontextmanager
async def open_npm(url: str, key: str) -> AsyncIterator[Npm]:
    """Raises RuntimeError where the package isn't installed."""
    node = shutil.which("node")
    if node is None or not PACKAGE.is_file():
        raise RuntimeError("npm's openai isn't installed: run `python scripts/setup.py peers`")
    process = await asyncio.create_subprocess_exec(
        node,
        str(SCRIPT),
        url,
        key,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 << 20,
    )
    try:
        yield Npm(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
