"""What Prometheus reads is what was counted."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node_proxy.metrics import Metrics


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_counters_say_how_often_with_which_labels() -> None:
    metrics = Metrics()
    metrics.requests.labels("/v1/responses", "200").inc()
    metrics.requests.labels("/v1/responses", "200").inc(2)
    metrics.requests.labels("/v1/responses", "402").inc()
    metrics.credits.inc(7)
    metrics.gauge("nvm_calls_in_flight", "Calls", lambda: 3)
    found = read(metrics)
    assert found["nvm_http_requests_total", (("route", "/v1/responses"), ("status", "200"))] == 3
    assert found["nvm_http_requests_total", (("route", "/v1/responses"), ("status", "402"))] == 1
    assert found["nvm_credits_charged_total", ()] == 7
    assert found["nvm_calls_in_flight", ()] == 3


def test_a_histogram_counts_what_took_at_most_as_long() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.006, 3, 5000):
        metrics.first.observe(seconds)
    found = read(metrics)

    def at_most(bound: str) -> float:
        return found["nvm_provider_first_byte_seconds_bucket", (("le", bound),)]

    assert [at_most(bound) for bound in ("0.005", "0.01", "2.5", "5.0", "900.0", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert found["nvm_provider_first_byte_seconds_count", ()] == 5
    assert found["nvm_provider_first_byte_seconds_sum", ()] == pytest.approx(5003.012)


def test_a_wrong_number_of_labels_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="route, status"):
        Metrics().requests.labels("/v1/responses")
