"""GET /models and /models/{id}."""

from __future__ import annotations

from aiohttp import web

from tests.provider.model import MODELS, Json, known
from tests.provider.wire import send_json


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    app.router.add_get("/v1/models", _list)
    app.router.add_get("/v1/models/{id}", _retrieve)


async def _list(request: web.Request) -> web.StreamResponse:
    return await send_json(request, {"object": "list", "data": [_model(name) for name in MODELS]})


async def _retrieve(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _model(known(request.match_info["id"])))


def _model(name: str) -> Json:
    model: Json = {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "stand-in"}
    if date := MODELS.get(name):
        model["shutdown_date"] = date
    return model
