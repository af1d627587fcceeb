"""What the node answers when it says no. The HTTP status and the code belong to the error, not to the view.

Every message is written for the person who reads it on the other side: it names the value and the way out, and never
holds a secret, a provider's words or a stack trace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from node_proxy.storage.base import StorageFailed


class NodeError(Exception):
    """Anything the node refuses on purpose.

    status: HTTP status. code, type: OpenAI's `error.code` and `error.type`. param: the request's parameter that was
    wrong, if one was. retry_after: seconds after which the same request may succeed, None = no promise.
    extras: further members of the error object (JSON values), for programs that can act on them.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    retry: ClassVar[bool | None] = None
    """What `x-should-retry` tells the SDKs; None = leave it to their own rule."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.extras: dict[str, Any] = dict(extras or {})

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error object: `{"error": {message, type, param, code, …}}`."""
        error: dict[str, Any] = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        for name, value in self.extras.items():
            error.setdefault(name, value)
        return {"error": error}

    def body(self) -> bytes:
        """The envelope as JSON bytes."""
        return orjson.dumps(self.envelope())

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that go with the answer: `retry-after` (whole seconds, rounded up) and `x-should-retry`."""
        headers: list[tuple[bytes, bytes]] = []
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, -int(-self.retry_after // 1))))
        if self.retry is not None:
            headers.append((b"x-should-retry", b"true" if self.retry else b"false"))
        return headers


# ------------------------------------------------------------------------------------------------ the request is wrong


class BadRequest(NodeError):
    """The request is malformed, or asks for something that the builder or this version doesn't allow (HTTP 400)."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class UnsupportedParameter(BadRequest):
    """A parameter that the caller may not set, or that this node doesn't support (HTTP 400)."""

    code = "unsupported_parameter"


class InvalidValue(BadRequest):
    """A parameter has a value of the wrong type or out of range (HTTP 400)."""

    code = "invalid_value"


class RouteNotFound(NodeError):
    """There is nothing at this address (HTTP 404)."""

    status, code, type = 404, "unknown_url", "invalid_request_error"


class MethodNotAllowed(NodeError):
    """The address exists, the verb doesn't (HTTP 405)."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*super().headers(), (b"allow", ", ".join(self.allowed).encode())]


class RequestTimeout(NodeError):
    """The client took too long to send its body (HTTP 408)."""

    status, code, type = 408, "request_timeout", "invalid_request_error"


class BodyTooLarge(NodeError):
    """The body is longer than the operator's bound (HTTP 413)."""

    status, code, type = 413, "request_too_large", "invalid_request_error"


class UnsupportedMediaType(NodeError):
    """The body isn't JSON, or is compressed (HTTP 415)."""

    status, code, type = 415, "unsupported_media_type", "invalid_request_error"


class Unprocessable(NodeError):
    """The body is JSON of the wrong shape: not an object, too deep (HTTP 422)."""

    status, code, type = 422, "unprocessable", "invalid_request_error"


class TooManyRequests(NodeError):
    """This caller asks too often, or has too many calls in flight (HTTP 429)."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


# ------------------------------------------------------------------------------------------------------ access denied


class AccessDenied(NodeError):
    """The caller may not do this; the subclasses say why."""

    status, code, type = 403, "access_denied", "permission_error"
    retry = False


class KeyMissing(AccessDenied):
    """No API key was sent (HTTP 401)."""

    status, code, type = 401, "missing_api_key", "authentication_error"

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*super().headers(), (b"www-authenticate", b"Bearer")]


class KeyInvalid(KeyMissing):
    """The API key is garbled or unknown (HTTP 401)."""

    code = "invalid_api_key"


class KeyRevoked(KeyMissing):
    """The API key was revoked (HTTP 401)."""

    code = "api_key_revoked"


class KeyExpired(KeyMissing):
    """The API key's time is over (HTTP 401)."""

    code = "api_key_expired"


class LoginRefused(KeyMissing):
    """The wallet login doesn't hold: message, nonce, domain, chain, time or signature (HTTP 401)."""

    code = "login_refused"


class PaymentRequired(AccessDenied):
    """Base of what a purchase or a larger budget would cure (HTTP 402).

    plans: which plans open the assistant, as JSON values (id, price, token, chain id, contract, the call that buys).
    """

    status, code, type = 402, "payment_required", "insufficient_credits"

    def __init__(
        self,
        message: str,
        *,
        plans: Sequence[Mapping[str, Any]] = (),
        param: str | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, param=param, extras={"plans": [dict(plan) for plan in plans], **dict(extras or {})})


class PlanRequired(PaymentRequired):
    """The subscriber holds none of the plans that open the assistant (HTTP 402)."""

    code = "plan_required"


class PlanExpired(PaymentRequired):
    """The subscriber's plan has run out of time (HTTP 402)."""

    code = "plan_expired"


class CreditsExhausted(PaymentRequired):
    """The subscriber has no spendable credits left under any plan that opens the assistant (HTTP 402)."""

    code = "credits_exhausted"


class VoucherRequired(PaymentRequired):
    """The plan's credits are there, and the subscriber has to sign a (higher) ceiling for their use (HTTP 402)."""

    code = "voucher_required"


class BudgetExhausted(PaymentRequired):
    """The API key has spent the budget that its owner gave it; the plan may still hold credits (HTTP 402)."""

    code = "key_budget_exhausted"


class NotYours(AccessDenied):
    """It exists and belongs to the caller's wallet in part only: the API key isn't allowed to use it (HTTP 403)."""

    code = "not_allowed_for_key"


class AssetNotFound(AccessDenied):
    """No such assistant is registered, or this node doesn't serve it (HTTP 404)."""

    status, code, type = 404, "assistant_not_found", "invalid_request_error"


class NotServed(AssetNotFound):
    """The assistant exists, but this node may not serve it now: deactivated, node removed, no open offer (HTTP 404)."""

    code = "assistant_not_served"


class ObjectNotFound(AccessDenied):
    """A response, key or other object that the caller doesn't own, or that doesn't exist: same answer (HTTP 404)."""

    status, code, type = 404, "not_found", "invalid_request_error"


# --------------------------------------------------------------------------------------------------------- conditions


class Conflict(NodeError):
    """The same thing is being done at this moment (HTTP 409)."""

    status, code, type = 409, "conflict", "invalid_request_error"


class Unavailable(NodeError):
    """The node can't answer now; nothing was charged (HTTP 503)."""

    status, code, type = 503, "unavailable", "server_error"


class ChainTooStale(Unavailable):
    """What the node knows of the chain is too old to admit calls on (HTTP 503)."""

    code = "chain_unavailable"


class LedgerUnavailable(Unavailable):
    """The ledger can't take a reservation or a charge (HTTP 503)."""

    code = "ledger_unavailable"


class StorageUnavailable(Unavailable):
    """The database with keys, objects and answers doesn't answer (HTTP 503)."""

    code = "storage_unavailable"


class ShuttingDown(Unavailable):
    """The node is stopping and takes no new calls (HTTP 503)."""

    code = "shutting_down"


class AssetUnusable(Unavailable):
    """The assistant is registered for this node but can't run: metadata wrong, secret doesn't open (HTTP 503).

    The builder has to repair it; the subscriber isn't charged.
    """

    code = "assistant_unavailable"
    retry = False


# ----------------------------------------------------------------------------------------------------------- provider


class ProviderError(NodeError):
    """The builder's provider failed; the call isn't charged (HTTP 502)."""

    status, code, type = 502, "provider_error", "server_error"


def failure_kind(error: ProviderError) -> str:
    """What the operator counts it as: `provider_unreachable`. Codes are the subscriber's, who is told less."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


class ProviderUnreachable(ProviderError):
    """No connection to the provider (HTTP 502)."""

    code = "provider_unreachable"


class ProviderGarbage(ProviderError):
    """The provider's answer isn't what its API promises: HTML, broken JSON, no end, too long (HTTP 502)."""

    code = "provider_bad_answer"


class ProviderTimeout(ProviderError):
    """The provider didn't answer in time (HTTP 504)."""

    status, code = 504, "provider_timeout"


class ProviderBusy(ProviderError):
    """The provider asks to slow down (HTTP 429)."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class ProviderRefusedBuilder(ProviderError):
    """The provider refuses the builder's key or quota: never the subscriber's fault (HTTP 503)."""

    status, code = 503, "assistant_unavailable"
    retry = False


class ProviderRefusedSetup(ProviderRefusedBuilder):
    """The provider finds fault with what came from the builder, or doesn't know what it was to remember (HTTP 503)."""


class ProviderRejected(ProviderError):
    """The provider found the request wrong in a parameter that the caller sent (HTTP 400)."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class ProviderNotAllowed(ProviderError):
    """The builder's base URL isn't one that this node's operator allows (HTTP 503)."""

    status, code = 503, "assistant_unavailable"
    retry = False


def as_node_error(error: BaseException) -> NodeError:
    """The error itself, or an opaque 500 for anything that wasn't foreseen: its text stays in the log."""
    if isinstance(error, NodeError):
        return error
    if isinstance(error, StorageFailed):
        unavailable = StorageUnavailable("The node's database doesn't answer. Try again in a moment.", retry_after=1)
        unavailable.__cause__ = error
        return unavailable
    return NodeError("The node failed on this request. Its operator finds the reason in the log by the request id.")
