"""The OpenAPI document: complete, valid, and the same in docs/ as at the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from node_proxy.api_words import SUMMARIES
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
AGAIN = "write it again: python -m scripts.openapi"


async def served(world: World) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/openapi.json") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {template}": operation
        for template, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_address_is_described(world: World) -> None:
    found = operations(await served(world))
    assert {"POST /v1/responses", "GET /healthz", "DELETE /auth/keys/{id}", "GET /openapi.json"} <= found.keys()
    missing = [name for name, operation in found.items() if not operation["summary"]]
    assert not missing, f"what do these do? Say it in node_proxy/api_words.py: {missing}"
    assert not SUMMARIES.keys() - found.keys(), "these routes are gone"


async def test_the_committed_document_has_the_same_addresses(world: World) -> None:
    there, here = operations(json.loads(COMMITTED.read_text())), operations(await served(world))
    assert there.keys() == here.keys(), AGAIN


async def test_it_is_what_openapi_asks_for(world: World) -> None:
    document = await served(world)
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document["tags"]}
    for template, methods in document["paths"].items():
        assert template.startswith("/")
        for operation in methods.values():
            asked = {one["name"] for one in operation["parameters"] if one.get("in") == "path"}
            assert asked == {part[1:-1] for part in template.split("/") if part.startswith("{")}
            assert set(operation["tags"]) <= tags
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in _references(document):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


async def test_errors_are_as_it_says(world: World) -> None:
    document = await served(world)
    schema = document["components"]["schemas"]["Error"]
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/v1/account") as answer:
        assert answer.status == 401
        Draft202012Validator(schema).validate(await answer.json())


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [one for item in value for one in _references(item)]
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for item in value.values() for one in _references(item)]
    return []
