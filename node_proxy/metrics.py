"""What the node counts, for Prometheus. No label names a subscriber, a key, an assistant or a provider."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)


class Metrics:
    """One registry per node, so that several can live in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "nvm_http_requests", "Answers by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "nvm_http_request_seconds", "Until the answer ended", ["route"], buckets=_SECONDS, registry=registry
        )
        self.calls = Gauge("nvm_calls_in_flight", "Calls of assistants that are running", registry=registry)
        self.credits = Counter("nvm_credits_charged", "Credits captured", registry=registry)
        self.tokens = Counter("nvm_tokens", "Tokens that providers counted", ["kind"], registry=registry)
        self.outcomes = Counter("nvm_calls", "Calls by how they ended", ["outcome"], registry=registry)
        self.first = Histogram(
            "nvm_provider_first_byte_seconds", "Until the provider's answer began", buckets=_SECONDS, registry=registry
        )

    def gauge(self, name: str, doc: str, read: Callable[[], float]) -> None:
        """A number that is read when somebody asks."""
        Gauge(name, doc, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
