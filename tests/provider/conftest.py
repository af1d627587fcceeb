"""The stand-in, in the test's own process, and clients for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from tests.provider import Provider, serve


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as provider:
        yield provider


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def http(provider: Provider) -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP, for what the client wouldn't send or would hide."""
    base = provider.url.removesuffix("/v1")
    async with aiohttp.ClientSession(base, headers={"authorization": f"Bearer {provider.key}"}) as session:
        yield session
