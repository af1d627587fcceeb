"""`GET /openapi.json`: the OpenAPI 3.1 document, made from the routes and what their handlers say of themselves.

An operation's summary is its line in `api_words`, its description the handler's docstring. What a body or query holds
stands in `TAKES`, where OpenAI's own reference doesn't say it already.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from node_proxy.api_words import SUMMARIES
from node_proxy.asgi import Exchange, Handler, Router
from nvm_chain import __version__

Json = dict[str, Any]

_TAGS = (
    ("/v1/responses", "Responses"),
    ("/v1/conversations", "Conversations"),
    ("/v1/chat", "Chat Completions"),
    ("/v1/assistants", "Assistants"),
    ("/v1/threads", "Assistants"),
    ("/v1/files", "Files"),
    ("/v1/models", "Models"),
    ("/v1/receipts", "Receipts and vouchers"),
    ("/v1/vouchers", "Receipts and vouchers"),
    ("/v1/account", "Account"),
    ("/v1/", "Other"),
    ("/auth/", "Login and keys"),
    ("/1.0/", "DID resolution"),
    ("/healthz", "Operation"),
    ("/readyz", "Operation"),
    ("/metrics", "Operation"),
    ("/operator", "Operation"),
    ("/.well-known/", "Operation"),
    ("/openapi.json", "Operation"),
    ("/", "Console"),
)

_OPENAI = {
    "Responses": "https://platform.openai.com/docs/api-reference/responses",
    "Conversations": "https://platform.openai.com/docs/api-reference/conversations",
    "Chat Completions": "https://platform.openai.com/docs/api-reference/chat",
    "Assistants": "https://platform.openai.com/docs/api-reference/assistants",
    "Files": "https://platform.openai.com/docs/api-reference/files",
    "Models": "https://platform.openai.com/docs/api-reference/models",
}

_WISHES: Json = {
    "name": {"type": "string", "maxLength": 100},
    "budget": {"type": ["integer", "null"], "minimum": 1, "description": "Credits that the key may spend in all."},
    "expires_in": {"type": ["integer", "null"], "minimum": 1, "description": "Seconds."},
    "assistants": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Did"}},
    "manage": {"type": ["boolean", "null"], "description": "Whether it may make and revoke the wallet's other keys."},
}
_SIGNED: Json = {
    "message": {"type": "string", "description": "Of GET /auth/nonce, as it is."},
    "signature": {"type": "string", "pattern": "^0x[0-9a-fA-F]*$"},
}
_MODEL: Json = {"model": {"type": "string", "description": "The assistant: its DID or `asst_…` id."}}


def _body(properties: Json, *required: str) -> Json:
    schema = {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}
    return {"requestBody": {"required": bool(required), "content": {"application/json": {"schema": schema}}}}


def _query(**parameters: str) -> Json:
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
            for name, text in parameters.items()
        ]
    }


TAKES: dict[str, Json] = {
    "POST /v1/responses": _body({**_MODEL, "input": {}, "stream": {"type": "boolean"}}, "input"),
    "POST /v1/chat/completions": _body(
        {**_MODEL, "messages": {"type": "array"}, "stream": {"type": "boolean"}}, "messages"
    ),
    "GET /auth/nonce": _query(address="The wallet's address: the answer then holds the message to sign."),
    "POST /auth/login": _body({**_SIGNED, **_WISHES}, "message", "signature"),
    "POST /auth/session": _body(_SIGNED, "message", "signature"),
    "POST /auth/keys": _body(_WISHES),
    "POST /provider-check": _body(
        {
            "key_version": {"type": "integer", "description": "Of the node's key in NodeRegistry."},
            "ciphertext": {"type": "string", "contentEncoding": "base64", "description": "A sealed check."},
        },
        "key_version",
        "ciphertext",
    ),
    "GET /1.0/identifiers/{did}": _query(
        versionId="A version of the DID's document.", versionTime="The version of that time, RFC 3339."
    ),
}
"""What operations take besides the parameters of their address."""


def document(router: Router) -> Json:
    """The whole document, for the routes that the router has now."""
    paths: dict[str, Json] = {}
    for method, template, handler in sorted(router.routes(), key=lambda route: (route[1], route[0])):
        paths.setdefault(template, {})[method.lower()] = _operation(method, template, handler)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nvm-node",
            "version": __version__,
            "description": "OpenAI's API for assistants that are paid for on-chain. In words: docs/http-api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(tag for _, tag in _TAGS)],
        "paths": paths,
        "components": _COMPONENTS,
    }


class OpenApiPage:
    """Made when somebody asks first: all routes are there by then."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._made = b""

    async def show(self, exchange: Exchange) -> None:
        """GET /openapi.json: this document."""
        self._made = self._made or orjson.dumps(document(self._router))
        await exchange.respond(200, self._made, headers=[(b"access-control-allow-origin", b"*")])


def _description(handler: Handler) -> str:
    """What the handler says of itself after `GET /v1/x/{id} {wishes}:`."""
    text = " ".join((handler.__doc__ or "").split("\n\n")[0].split())
    text = re.sub(r"^(GET|POST|PUT|DELETE) /(?:[^:{.]|\{[^}]*\}|\.\w)*[:.]\s*", "", text)
    return text[:1].upper() + text[1:]


def _operation(method: str, template: str, handler: Handler) -> Json:
    name, tag = f"{method} {template}", next(tag for prefix, tag in _TAGS if template.startswith(prefix))
    takes = TAKES.get(name, {})
    path = [
        {"name": one, "in": "path", "required": True, "schema": {"type": "string"}}
        for one in re.findall(r"\{(\w+)\}", template)
    ]
    found: Json = {
        "operationId": re.sub(r"\W+", "_", name.lower()).strip("_"),
        "summary": SUMMARIES.get(name, ""),
        "description": _description(handler),
        "tags": [tag],
        "parameters": [*path, *takes.get("parameters", ())],
        "responses": {
            "2XX": {"description": "Done.", "headers": _HEADERS},
            "4XX": {"$ref": "#/components/responses/Refused"},
            "5XX": {"$ref": "#/components/responses/Refused"},
        },
    }
    if tag in _OPENAI:
        found["externalDocs"] = {"url": _OPENAI[tag]}
    if template.startswith("/v1/"):
        found["security"] = [{"key": []}]
        if method == "POST":
            found["parameters"].append({"$ref": "#/components/parameters/IdempotencyKey"})
    elif template.startswith(("/auth/keys", "/auth/session", "/operator", "/provider-check")):
        found["security"] = [{"key": []}, {"session": []}]
    if method in ("POST", "PUT"):
        anything = {"content": {"application/json": {"schema": {"type": "object"}}}}
        found["requestBody"] = takes.get("requestBody", anything)
    return found


_HEADERS = {
    "x-request-id": {"description": "Of the node.", "schema": {"type": "string"}},
    "x-nvm-credits-charged": {"description": "What the call cost.", "schema": {"type": "integer"}},
    "x-nvm-credits-left": {"description": "Under the plan that paid.", "schema": {"type": "integer"}},
}

_COMPONENTS: Json = {
    "securitySchemes": {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, `nvm_…`."},
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-nvm_session"},
    },
    "parameters": {
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key with the same request gets the same answer, and is charged once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    },
    "schemas": {
        "Did": {"type": "string", "pattern": "^did:nv:[0-9a-f]{64}$"},
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": ["string", "null"]},
                    },
                }
            },
        },
    },
    "responses": {
        "Refused": {
            "description": "The reason, in OpenAI's envelope.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    },
}
