"""What the node counts, for Prometheus. No label names a subscriber, a key, an assistant or a provider.

Counting is done on the event loop only, so it needs no locks: a plain addition, which prometheus-client reads when
somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_LE = (*(str(float(bound)) for bound in _SECONDS), "+Inf")


class Tally:
    """One number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Spread:
    """How long something took, by length. Seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(_LE)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds


class Tallies(Collector):
    """A counter with labels, of which each combination of values has a tally."""

    def __init__(self, registry: CollectorRegistry, name: str, doc: str, labels: Sequence[str] = ()) -> None:
        self._name, self._doc, self._labels = name, doc, labels
        self._tallies: dict[tuple[str, ...], Tally] = {} if labels else {(): Tally()}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """The tally of one combination."""
        tally = self._tallies.get(values)
        if tally is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}, not {len(values)}")
            tally = self._tallies[values] = Tally()
        return tally

    def collect(self) -> Iterable[Metric]:
        """Asked by prometheus-client."""
        family = CounterMetricFamily(self._name, self._doc, labels=self._labels)
        for values, tally in self._tallies.items():
            family.add_metric(values, tally.value)
        return [family]


class Spreads(Collector):
    """A histogram of seconds with labels."""

    def __init__(self, registry: CollectorRegistry, name: str, doc: str, labels: Sequence[str] = ()) -> None:
        self._name, self._doc, self._labels = name, doc, labels
        self._spreads: dict[tuple[str, ...], Spread] = {} if labels else {(): Spread()}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """The spread of one combination."""
        spread = self._spreads.get(values)
        if spread is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}, not {len(values)}")
            spread = self._spreads[values] = Spread()
        return spread

    def collect(self) -> Iterable[Metric]:
        """Asked by prometheus-client."""
        family = HistogramMetricFamily(self._name, self._doc, labels=self._labels)
        for values, spread in self._spreads.items():
            family.add_metric(values, list(zip(_LE, accumulate(spread.counts), strict=True)), spread.total)
        return [family]


class Metrics:
    """One registry per node, so that several can live in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._routes: dict[tuple[str, int], tuple[Tally, Spread]] = {}
        self.requests = Tallies(registry, "nvm_http_requests", "Answers by route and status", ["route", "status"])
        self.seconds = Spreads(registry, "nvm_http_request_seconds", "Until the answer ended", ["route"])
        self.credits = Tallies(registry, "nvm_credits_charged", "Credits captured").labels()
        self.tokens = Tallies(registry, "nvm_tokens", "Tokens that providers counted", ["kind"])
        self.input_tokens, self.output_tokens = self.tokens.labels("input"), self.tokens.labels("output")
        self.outcomes = Tallies(registry, "nvm_calls", "Calls by how they ended", ["outcome"])
        self.failures = Tallies(registry, "nvm_provider_errors", "What providers failed with", ["kind"])
        first = Spreads(registry, "nvm_provider_first_byte_seconds", "Until the provider's answer began")
        self.first = first.labels()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        known = self._routes.get((route, status))
        if known is None:
            tally, spread = self.requests.labels(route, str(status)), self.seconds.labels(route)
            known = self._routes[route, status] = tally, spread
        known[0].value += 1
        known[1].observe(seconds)

    def gauge(self, name: str, doc: str, read: Callable[[], float]) -> None:
        """A number that is read when somebody asks."""
        Gauge(name, doc, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
