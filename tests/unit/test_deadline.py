"""Time limits: reached in time, only by whoever is too slow, and never in the way of a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import coroutine

import pytest

from node_proxy.deadline import Deadlines, within


async def test_a_block_that_takes_too_long_ends_with_timeout_error() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.limit(0.01):
        await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing is left that would interrupt what follows


async def test_a_block_that_is_quick_enough_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.limit(0.02), deadlines.limit(None):
        pass
    await asyncio.sleep(0.2)


async def test_a_deadline_can_be_moved() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    with deadlines.limit(0.02) as deadline:
        deadline.at = loop.time() + 60
        await asyncio.sleep(0.3)

    async def moved() -> None:
        with deadlines.limit(None) as deadline:
            deadline.at = loop.time()
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await moved()


async def test_nested_limits_that_are_reached_together_end_at_the_outer_one() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.limit(0.01), deadlines.limit(0.01):
        await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_stays_a_cancellation() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.limit(0.01):
            try:
                await asyncio.sleep(60)
            finally:
                task.cancel()  # while the limit's own interruption is on its way

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass() -> None:
    deadlines = Deadlines()
    with pytest.raises(KeyError), deadlines.limit(60):
        raise KeyError("x")


@coroutine
def _turns(times: int, *, seen: list[int]) -> Generator[None, None, int]:
    for number in range(times):
        yield
        seen.append(number)
    return times


async def test_within_gives_the_result_with_and_without_waiting() -> None:
    async def work(times: int, seen: list[int]) -> int:
        result: int = await _turns(times, seen=seen)
        return result

    for times in (0, 1, 3):
        seen: list[int] = []
        assert await within(60, work(times, seen)) == times
        assert seen == list(range(times))


async def test_within_passes_errors_and_cancellations_into_the_work() -> None:
    async def fails(after: int) -> None:
        await _turns(after, seen=[])
        raise KeyError(after)

    for after in (0, 2):
        with pytest.raises(KeyError):
            await within(60, fails(after))

    ended = asyncio.Event()

    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(within(60, sleeps()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    with pytest.raises(TimeoutError):
        await within(0.01, sleeps())
