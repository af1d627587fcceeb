"""How many calls run at once, and how often one subscriber may begin one."""

from __future__ import annotations

from typing import Any

import pytest

from node_proxy import limits as limits_module
from node_proxy.access.keys import ApiKey
from node_proxy.config import Settings
from node_proxy.errors import TooManyRequests
from node_proxy.limits import Limits

ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


def limits(clock: Clock | None = None, **settings: Any) -> Limits:
    return Limits(Settings(rpc_url="http://localhost", **settings), clock or Clock())


def key(subscriber: str = ALICE, name: str = "key_1") -> ApiKey:
    return ApiKey(name, subscriber, name, None, None, None, False, 0)


def retry_after(error: TooManyRequests) -> int:
    return int(dict(error.headers())[b"retry-after"])


def test_a_key_has_its_own_bound_and_the_subscriber_one_over_all_keys() -> None:
    bound = limits(max_calls_per_key=2, max_calls_per_subscriber=3)
    for _ in range(2):
        bound.ask(key())
    with pytest.raises(TooManyRequests, match="this API key"):
        bound.ask(key())
    bound.ask(key(name="key_2"))
    with pytest.raises(TooManyRequests, match=f"{ALICE} are running already, over all"):
        bound.ask(key(name="key_3"))
    bound.ask(key(BOB, "key_4"))
    bound.leave(key(), entered=False)
    bound.ask(key(name="key_3"))


def test_calls_that_wait_to_be_let_in_take_no_place_of_the_node() -> None:
    bound = limits(max_calls=1)
    for n in range(10):
        bound.ask(key(BOB, f"key_{n}"))
    bound.ask(key())
    bound.enter()
    assert bound.running == 1
    with pytest.raises(TooManyRequests, match="busy"):
        bound.enter()
    with pytest.raises(TooManyRequests, match="busy"):
        bound.ask(key())
    bound.leave(key(), entered=True)
    bound.leave(key(BOB, "key_0"), entered=False)
    assert bound.running == 0
    bound.ask(key())


def test_nothing_is_kept_of_calls_that_have_ended() -> None:
    bound = limits()
    for n in range(100):
        bound.ask(key(name=f"key_{n}"))
        bound.enter()
    for n in range(100):
        bound.leave(key(name=f"key_{n}"), entered=True)
    assert (bound._keys, bound._subscribers, bound.running) == ({}, {}, 0)


def test_a_minute_s_calls_may_come_at_once_and_then_evenly() -> None:
    clock = Clock()
    bound = limits(clock, calls_per_minute=30, max_calls_per_key=1_000)
    for n in range(30):
        bound.ask(key(name=f"key_{n % 3}"))
    with pytest.raises(TooManyRequests, match="30 calls within a minute") as caught:
        bound.ask(key())
    assert retry_after(caught.value) == 2
    bound.ask(key(BOB, "key_9"))
    clock.time += 1.9
    with pytest.raises(TooManyRequests) as caught:
        bound.ask(key())
    assert retry_after(caught.value) == 1
    clock.time += 0.2
    bound.ask(key())
    with pytest.raises(TooManyRequests):
        bound.ask(key())
    clock.time += 3_600
    for _ in range(30):
        bound.ask(key())
    with pytest.raises(TooManyRequests):
        bound.ask(key())


def test_a_refused_call_is_not_counted() -> None:
    bound = limits(max_calls_per_key=1, calls_per_minute=2)
    bound.ask(key())
    for _ in range(5):
        with pytest.raises(TooManyRequests, match="this API key"):
            bound.ask(key())
    bound.leave(key(), entered=False)
    bound.ask(key())


def test_what_is_remembered_of_rates_is_bounded_and_forgets_no_offender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "SUBSCRIBERS_IN_MEMORY", 100)
    clock = Clock()
    bound = limits(clock, calls_per_minute=1)
    bound.ask(key(ALICE))
    for n in range(1_000):
        clock.time += 0.7
        bound.ask(key(f"0x{n:040x}", f"key_{n}"))
        assert len(bound._buckets) <= 100
        if clock.time < 1_059:
            with pytest.raises(TooManyRequests):
                bound.ask(key(ALICE, "another"))
