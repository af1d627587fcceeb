"""Builders whose "provider" is the node's own network. The whole provider client against a real server that must stay
untouched; the rules one by one are in tests/unit/test_relay.py.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from node_proxy.config import HostPort, Settings
from node_proxy.errors import NodeError, ProviderNotAllowed
from node_proxy.relay import target
from node_proxy.relay.provider import ProviderCall, open_provider_client
from nvm_chain.secret import Secret

SETTINGS = Settings(rpc_url="http://x", allowed_hosts=("api.openai.com",))


@asynccontextmanager
async def victim() -> AsyncIterator[tuple[int, list[str]]]:
    """Listens on this machine and writes down who connects."""
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append((await reader.read(200)).decode("latin-1"))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], visits


async def call(base_url: str, **allowed: Any) -> None:
    async with open_provider_client(replace(SETTINGS, **allowed)) as client:
        request = ProviderCall(base_url, "/responses", Secret("sk-of-a-builder"), b"{}", frozenset())
        async with client.post(request) as answer:
            await answer.json()


NUMBER = int(ipaddress.ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("127.0.0.1", id="ipv4"),
        pytest.param("[::1]", id="ipv6"),
        pytest.param("[::ffff:127.0.0.1]", id="mapped"),
        pytest.param("[::ffff:7f00:1]", id="mapped-hex"),
        pytest.param(str(NUMBER), id="decimal"),
        pytest.param(hex(NUMBER), id="hex"),
        pytest.param("0177.0.0.1", id="octal"),
        pytest.param("127.1", id="short"),
        pytest.param("0", id="zero"),
        pytest.param("localhost", id="name"),
        pytest.param("localhost.", id="dotted-name"),
        pytest.param("api.openai.com@127.0.0.1", id="credentials"),
        pytest.param("127.0.0.1#.openai.com", id="fragment"),
        pytest.param("api.openai.com.127.0.0.1.nip.io", id="suffix"),
        pytest.param("①②⑦.0.0.1", id="unicode-digits"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_this_machine_is_reached(scheme: str, host: str) -> None:
    async with victim() as (port, visits):
        for url in (f"{scheme}://{host}:{port}/v1", f"{scheme}://{host}/v1"):
            with pytest.raises(ProviderNotAllowed) as refusal:
                await call(url)
            assert str(port) not in refusal.value.message
    assert visits == []


@pytest.mark.parametrize(
    "url",
    [
        *("unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/v1", "file:///etc/passwd", "ftp://h/"),
        *("gopher://127.0.0.1:11211/_x", "data:,x", "//127.0.0.1/", "npipe:////./pipe/docker"),
    ],
)
async def test_no_other_scheme_is_spoken(url: str) -> None:
    with pytest.raises(ProviderNotAllowed):
        await call(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_provider_that_is_allowed_leads_nowhere_else(status: int) -> None:
    async with victim() as (port, visits):

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            there = f"http://127.0.0.1:{port}/latest/meta-data"
            writer.write(f"HTTP/1.1 {status} x\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
            allowed = server.sockets[0].getsockname()[1]
            with pytest.raises(NodeError) as refusal:
                await call(f"http://127.0.0.1:{allowed}/v1", allow_local_providers=(HostPort("127.0.0.1", allowed),))
    assert visits == []
    assert str(port) not in refusal.value.message


class Rebinding(AbstractResolver):
    """A name server of the attacker's: public the first time, this machine from then on."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        address = "1.1.1.1" if self.asked == 1 else "127.0.0.1"
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return None


async def test_a_name_that_changes_leads_only_to_addresses_that_were_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Rebinding()
    connected: list[str] = []

    async def no_connection(*, addr_infos: Any, **_: Any) -> Any:
        connected.extend(info[4][0] for info in addr_infos)
        raise OSError("the test lets nobody out")

    monkeypatch.setattr(target, "DefaultResolver", lambda: names)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", no_connection)
    for _ in range(3):
        with pytest.raises(NodeError):
            await call("https://api.openai.com/v1")
    assert names.asked == 3, "each client of its own asked, and the second and third were lied to"
    assert connected == ["1.1.1.1"]
