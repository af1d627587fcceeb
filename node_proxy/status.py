"""What the node says about itself: liveness, readiness, metrics, identity."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

from node_proxy.asgi import Exchange
from node_proxy.metrics import CONTENT_TYPE
from node_proxy.settlement import Status
from nvm_chain import __version__
from nvm_chain.errors import NvmError

if TYPE_CHECKING:
    from node_proxy.services import Services


class StatusPages:
    """/healthz, /readyz, /metrics, /.well-known/nvm-node.json."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def health(self, exchange: Exchange) -> None:
        """GET /healthz: 200 as long as the process answers, with facts."""
        await exchange.respond_json(200, {"status": "ok", **self._shown(exchange)})

    async def ready(self, exchange: Exchange) -> None:
        """GET /readyz: 200 if calls are admitted now, else 503 with the reasons."""
        services, reasons = self._services, []
        if services.stopping:
            reasons.append("the node is stopping")
        if services.view.age > services.settings.max_chain_age:
            reasons.append("the chain was not reached recently")
        status = {"status": "not ready" if reasons else "ready", "reasons": reasons, **self._shown(exchange)}
        await exchange.respond_json(503 if reasons else 200, status)

    async def metrics(self, exchange: Exchange) -> None:
        """GET /metrics, for Prometheus."""
        await exchange.respond(200, self._services.metrics.render(), content_type=CONTENT_TYPE)

    async def well_known(self, exchange: Exchange) -> None:
        """GET /.well-known/nvm-node.json. Convenience only: builders read the key from NodeRegistry."""
        services = self._services
        try:
            record = await services.records.node()
        except NvmError:
            record = None
        await exchange.respond_json(
            200,
            {
                "node": services.identity.address,
                "encryption_key": "0x" + services.identity.public_key.to_bytes().hex(),
                "key_version": None if record is None else record.version,
                "registered": record is not None and record.active,
                "chain_id": services.chain.chain_id,
                "contracts": services.deployment.to_dict(),
                "api": f"{services.origin}/v1",
                "login": f"{services.origin}/auth/login",
                "version": __version__,
            },
        )

    def _shown(self, exchange: Exchange) -> dict[str, Any]:
        """What anybody may know; all of it for `nvm-node status`, which has the node's secret."""
        if is_operator(self._services, exchange):
            return self._facts()
        if exchange.bearer():
            self._services.guessed(exchange)
        return self._public()

    def _facts(self) -> dict[str, Any]:
        """Everything, for the operator."""
        return {**self._public(), "settlement": _settlement(self._services.settling)}

    def _public(self) -> dict[str, Any]:
        services = self._services
        age = services.view.age
        return {
            "version": __version__,
            "node": services.identity.address,
            "chain_id": services.chain.chain_id,
            "block": services.view.block,
            "chain_age_seconds": round(age, 3) if age < float("inf") else None,
            "calls_in_flight": services.calls.running,
            "uptime_seconds": int(time.time() - services.started),
        }


def operator_token(secret: bytes) -> str:
    """What shows the node that it is asked by somebody who holds its secret: `nvm-node status`, a monitor."""
    return hashlib.blake2b(b"nvm-node status", key=secret[:64], digest_size=32).hexdigest()


def is_operator(services: Services, exchange: Exchange) -> bool:
    """Whether the request shows the operator's token."""
    token = operator_token(services.identity.secret)
    return hmac.compare_digest(exchange.bearer().encode(), token.encode())


def _settlement(status: Status | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {
        "waiting_calls": sum(waiting.calls for waiting in status.backlog),
        "waiting_credits": sum(waiting.credits for waiting in status.backlog),
        "open_batches": len(status.open),
        "parked_batches": len(status.parked),
        "problems": list(status.problems),
        "signer_balance": str(status.balance),
        "signer_low": status.low,
        "runway": status.runway,
    }
