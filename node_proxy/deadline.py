"""Time limits that cost next to nothing, because hardly any is ever reached.

`asyncio.timeout` arms and disarms a timer of its own every time; a call has half a dozen limits, a stream one
per event.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

TICK = 0.05
"""Seconds between two looks at the limits: a block that is out of time hears of it this much later at most."""


class Deadlines:
    """Time limits of many tasks, one timer for all. Belongs to the event loop that it was made in."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._watched: set[Deadline] = set()
        self._ticking = False

    def limit(self, seconds: float | None) -> Deadline:
        """`with deadlines.limit(seconds):` ends the block with TimeoutError when it takes longer; None = never."""
        return Deadline(self, math.inf if seconds is None else self.loop.time() + seconds)

    def _watch(self, deadline: Deadline) -> None:
        self._watched.add(deadline)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        for deadline in [one for one in self._watched if one.at <= now]:
            deadline._reached()
        self._ticking = bool(self._watched)
        if self._ticking:
            self.loop.call_later(TICK, self._tick)


class Deadline:
    """One limit. at: the loop's time when it is reached; may be moved inside the block.

    A cancellation from elsewhere stays one.
    """

    __slots__ = ("_all", "_cancelling", "_over", "_task", "at")

    def __init__(self, all_: Deadlines, at: float) -> None:
        self.at = at
        self._all = all_
        self._task: asyncio.Task[object] | None = None
        self._over = False
        self._cancelling = 0

    @property
    def now(self) -> Callable[[], float]:
        """The clock that `at` is read on."""
        return self._all.loop.time

    def __enter__(self) -> Deadline:
        task = self._task = asyncio.current_task(self._all.loop)
        if task is None:
            raise RuntimeError("a deadline needs a task that it can interrupt")
        self._cancelling = task.cancelling()
        self._all._watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all._watched.discard(self)
        if self._over:
            self.check(error)

    def check(self, error: BaseException | None) -> None:
        """Raises TimeoutError if it was this limit that interrupted the block with `error`."""
        if self._over and self._task is not None:
            self._over = False
            if self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def _reached(self) -> None:
        self._all._watched.discard(self)
        self._over = True
        assert self._task is not None
        self._task.cancel()


class _Begun(Generic[T]):
    """The rest of a coroutine whose first step has been taken. waits_for: what that step wants to wait for."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as error:
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
        except StopIteration as done:
            result: T = done.value
            return result


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises TimeoutError. Where there is nothing to wait for it costs nothing."""
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(max(0.0, seconds)):
        return await _Begun(work, waits_for)
