"""Files: upload, list, retrieve, content, delete."""

from __future__ import annotations

import time

from aiohttp import web

from tests.provider import items
from tests.provider.errors import invalid, not_found
from tests.provider.model import Json, new_id
from tests.provider.state import STATE
from tests.provider.wire import headers, send_json

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


def add_routes(app: web.Application) -> None:
    """Adds the surface's routes."""
    app.router.add_post("/v1/files", _create)
    app.router.add_get("/v1/files", _list)
    app.router.add_get("/v1/files/{id}", _retrieve)
    app.router.add_get("/v1/files/{id}/content", _content)
    app.router.add_delete("/v1/files/{id}", _delete)


async def _create(request: web.Request) -> web.StreamResponse:
    if request.content_type != "multipart/form-data":
        raise invalid("Expected a multipart/form-data request with 'file' and 'purpose'.", "file")
    form = await request.post()
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, web.FileField):
        raise invalid("Missing required parameter: 'file'.", "file", "missing_required_parameter")
    if not isinstance(purpose, str) or purpose not in _PURPOSES:
        listed = ", ".join(f"'{name}'" for name in _PURPOSES)
        raise invalid(f"Invalid value: {purpose!r}. Supported values are: {listed}.", "purpose", "invalid_value")
    content = upload.file.read()
    upload.file.close()
    file: Json = {
        "id": new_id("file", 24).replace("_", "-"),
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "expires_at": None,
        "filename": upload.filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    request.app[STATE].files[file["id"]] = (file, content)
    return await send_json(request, file)


async def _list(request: web.Request) -> web.StreamResponse:
    return await send_json(request, items.page(request, [file for file, _ in request.app[STATE].files.values()]))


async def _retrieve(request: web.Request) -> web.StreamResponse:
    return await send_json(request, _find(request)[0])


async def _content(request: web.Request) -> web.StreamResponse:
    kind = {"content-type": "application/octet-stream"}
    return web.Response(body=_find(request)[1], headers={**headers(request), **kind})


async def _delete(request: web.Request) -> web.StreamResponse:
    id = _find(request)[0]["id"]
    del request.app[STATE].files[id]
    return await send_json(request, {"id": id, "object": "file", "deleted": True})


def _find(request: web.Request) -> tuple[Json, bytes]:
    found = request.app[STATE].files.get(request.match_info["id"])
    if found is None:
        raise not_found("File", request.match_info["id"])
    return found
