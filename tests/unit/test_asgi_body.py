"""A request's body as JSON: nothing is read that couldn't be written again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from node_proxy.asgi import MOST_LEVELS, Exchange
from node_proxy.errors import InvalidValue


async def read(body: bytes) -> dict[str, Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        """Nothing is answered."""

    scope = {"method": "POST", "path": "/", "headers": [(b"content-type", b"application/json")]}
    return await Exchange(scope, receive, send).json(2**20, 5.0)


def nested(levels: int, pair: tuple[bytes, bytes] = (b'{"a":', b"}")) -> bytes:
    return pair[0] * (levels - 1) + b"{}" + pair[1] * (levels - 1)


@pytest.mark.parametrize("pair", [(b'{"a":', b"}"), (b'{"a":[1,', b"]}")])
async def test_a_body_is_nested_as_deep_as_allowed_and_no_deeper(pair: tuple[bytes, bytes]) -> None:
    step = pair[0].count(b"[") + 1
    most = (MOST_LEVELS - 1) // step + 1
    assert orjson.dumps(await read(nested(most, pair)))
    for levels in (most + 1, 250 // step, 500 // step):
        with pytest.raises(InvalidValue, match=f"at most {MOST_LEVELS}"):
            await read(nested(levels, pair))


async def test_a_long_body_and_brackets_in_texts_are_not_deep() -> None:
    value = {"list": [{"a": [1]}] * 1_000, "text": "[{" * 1_000}
    assert await read(orjson.dumps(value)) == value
