"""Errors in OpenAI's envelope, with the texts, codes and statuses that OpenAI uses."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer other than 2xx: `{"error": {message, type, param, code}}`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.kind = status, message, param, code, kind
        self.headers = headers or {}

    def envelope(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400."""
    return ApiError(400, message, param=param, code=code)


def not_found(noun: str, id: str) -> ApiError:
    """A 404 for an object that does not exist, or not for this key."""
    return ApiError(404, f"{noun} with id '{id}' not found.")


def no_key() -> ApiError:
    """No `Authorization: Bearer …` header."""
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY).",
    )


def wrong_key(key: str) -> ApiError:
    """An unknown key. Like OpenAI's own, the message repeats the ends of the key: a relay has to remove that."""
    masked = key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
    return ApiError(
        401,
        f"Incorrect API key provided: {masked}. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def unknown_model(model: str) -> ApiError:
    """The model does not exist."""
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def scripted(status: int, code: str | None) -> ApiError:
    """The failure that a directive `fail STATUS [CODE]` asks for."""
    if status == 429 and code == "insufficient_quota":
        return ApiError(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            code=code,
            kind="insufficient_quota",
        )
    if status == 429:
        return ApiError(
            429,
            "Rate limit reached for stand-in in organization org-builder on requests per min (RPM): Limit 3, Used 3.",
            code=code or "rate_limit_exceeded",
            kind="requests",
            headers={"retry-after": "1", "retry-after-ms": "800"},
        )
    if status >= 500:
        return ApiError(
            status,
            "The server had an error while processing your request. Sorry about that!",
            code=code,
            kind="server_error",
        )
    return ApiError(status, f"Scripted failure {status}.", code=code)
