"""A pinning service, written to the IPFS Pinning Service API 1.0.0: it fetches what it is asked to pin from a store."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from nvm_chain.cid import Cid
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.ipfs import BlockSource

STATUSES = ("queued", "pinning", "pinned", "failed")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """The service's state. network: where it finds blocks; seconds: how long it looks before it gives up.

    requests: what it was asked, as (method, path, authorization).
    """

    token: str
    network: BlockSource
    seconds: float = 5.0
    url: str = ""
    pins: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def app(self) -> web.Application:
        """The API below /psa."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/psa/pins", self._list)
        app.router.add_post("/psa/pins", self._add)
        app.router.add_get("/psa/pins/{id}", self._get)
        app.router.add_post("/psa/pins/{id}", self._replace)
        app.router.add_delete("/psa/pins/{id}", self._delete)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return failure(401, "UNAUTHORIZED", "Access token is missing or invalid")
        return await handler(request)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        if unknown := set(query) - {"cid", "name", "match", "status", "before", "after", "limit", "meta"}:
            return failure(400, "BAD_REQUEST", f"unknown parameter {min(unknown)}")
        cids, statuses = query.getall("cid", []), query.getall("status", ["pinned"])
        limit = query.get("limit", "10")
        if len(cids) > 10 or len(set(cids)) != len(cids):
            return failure(400, "BAD_REQUEST", "cid: 1 to 10 different ones")
        if not set(statuses) <= set(STATUSES) or not limit.isdigit() or not 1 <= int(limit) <= 1000:
            return failure(400, "BAD_REQUEST", "status or limit")
        found = [
            pin
            for pin in reversed(self.pins.values())
            if pin["status"] in statuses
            and (not cids or pin["pin"]["cid"] in cids)
            and ("name" not in query or pin["pin"].get("name") == query["name"])
        ]
        return web.json_response({"count": len(found), "results": found[: int(limit)]})

    async def _add(self, request: web.Request) -> web.Response:
        pin = await _checked(request)
        if isinstance(pin, web.Response):
            return pin
        return web.json_response(self._start(pin), status=202)

    async def _get(self, request: web.Request) -> web.Response:
        pin = self.pins.get(request.match_info["id"])
        return failure(404, "NOT_FOUND", "no such pin") if pin is None else web.json_response(pin)

    async def _replace(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self.pins:
            return failure(404, "NOT_FOUND", "no such pin")
        pin = await _checked(request)
        if isinstance(pin, web.Response):
            return pin
        del self.pins[request.match_info["id"]]
        return web.json_response(self._start(pin), status=202)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.pins.pop(request.match_info["id"], None) is None:
            return failure(404, "NOT_FOUND", "no such pin")
        return web.Response(status=202)

    def _start(self, pin: dict[str, Any]) -> dict[str, Any]:
        request_id = secrets.token_hex(16)
        entry = {
            "requestid": request_id,
            "status": "queued",
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "pin": pin,
            "delegates": ["/dnsaddr/pin.example"],
        }
        self.pins[request_id] = entry
        task = asyncio.get_running_loop().create_task(self._fetch(entry))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return dict(entry)

    async def _fetch(self, entry: dict[str, Any]) -> None:
        cid, deadline = entry["pin"]["cid"], asyncio.get_running_loop().time() + self.seconds
        entry["status"] = "pinning"
        while asyncio.get_running_loop().time() < deadline:
            with suppress(NvmError):
                self.held[cid] = await self.network.get(Cid.parse(cid))
                entry["status"] = "pinned"
                return
            await asyncio.sleep(0.05)
        entry["status"], entry["info"] = "failed", {"status_details": "no provider has the block"}


async def _checked(request: web.Request) -> dict[str, Any] | web.Response:
    try:
        pin = await request.json()
        assert isinstance(pin, dict)
        assert set(pin) <= {"cid", "name", "origins", "meta"}
        Cid.parse(pin["cid"])
        assert isinstance(pin.get("name", ""), str)
        assert len(pin.get("name", "")) <= 255
        origins = pin.get("origins", [])
        assert len(origins) <= 20
        assert len(set(origins)) == len(origins)
        assert all(re.match(r"/(ip4|ip6|dns|dnsaddr|p2p)/", origin) for origin in origins)
        return pin
    except (ValueError, AssertionError, KeyError, InvalidInput):
        return failure(400, "BAD_REQUEST", "the body is no Pin object")


def failure(status: int, reason: str, details: str) -> web.Response:
    """The API's Failure object."""
    return web.json_response({"error": {"reason": reason, "details": details}}, status=status)


@asynccontextmanager
async def pinning_service(
    network: BlockSource, *, token: str = "t0ken", seconds: float = 5.0
) -> AsyncIterator[Service]:
    """The service on a free port of 127.0.0.1."""
    service = Service(token, network, seconds)
    async with TestServer(service.app(), host="127.0.0.1") as server:
        service.url = str(server.make_url("/psa"))
        yield service
        for task in list(service.tasks):
            task.cancel()
        await asyncio.gather(*service.tasks, return_exceptions=True)
