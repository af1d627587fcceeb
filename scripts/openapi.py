"""Writes docs/openapi.json as a node serves it: `python -m scripts.openapi`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.world import World

TARGET = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"


async def fetch() -> str:
    async with World(stand_in=False) as world:
        url = f"{world.node.url}/openapi.json"
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.get(url) as answer:
            return json.dumps(await answer.json(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(asyncio.run(fetch()))
