"""One run as it proceeds: it holds its access from beginning to end, whoever listens, and is charged once.

queued ─ in_progress ─┬─ completed, incomplete, failed, cancelled, expired
    └─ requires_action ┘   each kept, and paid for, before it is told
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, suppress

import orjson

from node_proxy import logs
from node_proxy.errors import (
    AssetUnusable,
    BadRequest,
    LedgerUnavailable,
    NodeError,
    ProviderBusy,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    StorageUnavailable,
    as_node_error,
)
from node_proxy.ledger.base import Charge
from node_proxy.openai.assistants_api import narration, shapes
from node_proxy.openai.assistants_api.audience import DONE, Audience, Stream
from node_proxy.openai.assistants_api.narration import Narration, Unable
from node_proxy.openai.assistants_api.progress import Progress, tokens
from node_proxy.openai.assistants_api.questions import Question, Questions
from node_proxy.openai.assistants_api.record import NotWaiting, Record, TakenOver
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf, new_id
from node_proxy.openai.assistants_api.unheld import STOPPED
from node_proxy.openai.calls import Access, credit_comment
from node_proxy.openai.face import TERMINAL
from node_proxy.openai.metering import read_usage
from node_proxy.openai.objects import Stored
from node_proxy.openai.streaming import read_to_the_end, response_of
from node_proxy.relay import sse

log = logs.get("runs")

_SILENCE = 10.0
"""Seconds that a cancelled answer of which nothing had come yet may still take to say what it used."""

_TRIES = 8

_ANOTHERS = BadRequest | ProviderError | AssetUnusable
"""Failures of anybody but the node."""


class Running:
    """A run under way. `start` it once; it ends by itself and leaves nothing reserved.

    access: open; `owns` hands over how it is closed. stored: the run as it is kept. ended: called at the end.
    """

    def __init__(
        self,
        shelf: Shelf,
        access: Access,
        stored: Stored,
        progress: Progress,
        questions: Questions,
        *,
        drain_timeout: float,
        ended: Callable[[Running], None],
    ) -> None:
        self.run: Json = stored.data["run"]
        self.thread_id = stored.parent
        self.facts = access.facts
        self._access = access
        self._stack = AsyncExitStack()
        self._progress = progress
        self._record = Record(shelf, stored, self.run, progress, lambda: self.stop("cancelled"))
        self._questions = questions
        self._question: Question | None = None
        self._drain_timeout = drain_timeout
        self._on_end = ended
        self._audience = Audience(shelf, self.run["id"], self.thread_id)
        self._narration: Narration | None = None
        self._waiting: list[Json] = []
        self._outputs: dict[str, str] | None = None
        self._ending: str | None = None
        self._bound: asyncio.Timeout | None = None
        self._wake = asyncio.Event()
        self._paused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._taken = self._concluding = self._begun = False
        self._charge: Charge | None = None
        self.hung_up = False

    # -------------------------------------------------------------------------------------------------- from outside

    def owns(self, stack: AsyncExitStack) -> None:
        """Closes the stack at its end: the access."""
        self._stack = stack

    def kept(self, stored: Stored) -> None:
        """The record that it goes on from."""
        self._record.goes_on_from(stored)

    def ready(self) -> None:
        """Puts the first question into the dialect's words, so that what it can't say is refused at once.

        Raises BadRequest, AssetUnusable.
        """
        if self._questions.limit() is None:
            self._question = self._questions.next()

    def start(self) -> None:
        """Goes on in the background until the run ends."""
        self._timer = asyncio.get_running_loop().call_later(
            max(0.0, self.run["expires_at"] - time.time()), self.stop, "expired"
        )
        self._task = asyncio.create_task(self._work())

    def listen(self) -> Stream:
        """What is told from now on, as server-sent events; None is the end of the stream."""
        return self._audience.listen()

    @property
    def max_credits(self) -> int:
        """What is held for it, the most that it can cost."""
        return self._access.max_credits

    def done(self) -> asyncio.Future[None]:
        """Done when it has ended, or waits for its caller."""
        return self._paused

    @property
    def waits(self) -> bool:
        """Whether it waits for tool outputs."""
        return self.run["status"] == "requires_action" and self._outputs is None and self._ending is None

    async def submit(self, outputs: dict[str, str]) -> None:
        """Gives it the outputs that it waits for, by call id; durable when it returns.

        Raises NotWaiting where another process has just been given them, StorageUnavailable.
        """
        asked = self.run["required_action"]
        self._outputs = outputs
        self.run.update(status="queued", required_action=None)
        try:
            await self._record.save()
        except BaseException as error:
            self._outputs = None
            self.run.update(status="requires_action", required_action=asked)
            if isinstance(error, TakenOver):
                raise NotWaiting("Somebody else goes on with the run just now.") from error
            raise
        self._wake.set()

    def stop(self, status: str) -> None:
        """Ends it early, as `cancelled` or `expired`: what was used meanwhile is still counted, for a while."""
        if self._ending is None:
            self._ending = self._record.ending = status
            if status == "cancelled":
                self.run["status"] = "cancelling"
                self._audience.tell("thread.run.cancelling", self.run)
            self._hurry()
            self._wake.set()

    async def close(self) -> None:
        """The node stops: a run that waits may be gone on with later, any other has failed."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # --------------------------------------------------------------------------------------------------------- rounds

    async def _work(self) -> None:
        try:
            async with self._stack:
                await self._proceed_or_fail()
        except TakenOver:
            pass
        except Exception:  # neither the charge nor the run could be written: it is found interrupted later
            log.exception("run.lost", run=self.run["id"])
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._pause()
            self._audience.close()
            self._on_end(self)
            log.info("run.ended", run=self.run["id"], status=self.run["status"], **self.facts)

    async def _proceed_or_fail(self) -> None:
        try:
            await self._proceed()
        except TakenOver:
            raise
        except asyncio.CancelledError:
            if not self._taken and not self.waits:
                await self._fail(NodeError(STOPPED))
            raise
        except NodeError as error:
            await self._fail(error)
        except Exception as error:
            log.exception("run.broken", run=self.run["id"])
            await self._fail(as_node_error(error))

    async def _proceed(self) -> None:
        waits = self._question is None and bool(self._progress.calls)
        if not waits:
            waits = await self._round()
        while waits:
            self._pause()
            await self._wake.wait()
            self._wake.clear()
            if self._ending is not None:
                await (
                    self._record.save()
                )  # claims the end: whoever goes on with the run elsewhere has it already, or never
                await self._end(self._ending)
                return
            if self._outputs is not None:
                self._paused = asyncio.get_running_loop().create_future()
                self._answer(self._outputs)
                waits = await self._round()

    def _pause(self) -> None:
        if not self._paused.done():
            self._paused.set_result(None)

    async def _round(self) -> bool:
        """One answer; whether it left the run waiting for its caller."""
        run = self.run
        run["status"] = "queued"
        self._audience.tell("thread.run.queued", run)
        run.update(status="in_progress", started_at=run["started_at"] or _now())
        self._audience.tell("thread.run.in_progress", run)
        if self._ending is None and (reason := self._questions.limit()) is not None:
            await self._end("incomplete", reason=reason)
            return False
        question, self._question = self._question, None
        told = self._narration = Narration(run, self._access.ids, new_id)
        self._audience.said = told.said
        saving = asyncio.create_task(self._record.save())
        try:
            return await self._hear(told, question or self._questions.next())
        finally:
            with suppress(StorageUnavailable):  # the next one tells
                await saving

    async def _hear(self, told: Narration, question: Question) -> bool:
        """Tells the answer as it comes. Raises ProviderError."""
        self._concluding = self._begun = False
        try:
            async with asyncio.timeout(None) as self._bound:
                if self._ending is not None:
                    self._hurry()
                async with question as answer:
                    events = answer.events()
                    response = await self._hear_out(told, events)
                    self._concluding = True  # from here on it goes to its end, whatever happens
                    self._bound.reschedule(None)
                    waits = await self._conclude(told, response)
                    await read_to_the_end(events)
                    return waits
        except TimeoutError:
            if self._ending is None:
                raise
            await self._end(self._ending, cut_off=True)
            return False
        finally:
            self._bound = None

    async def _hear_out(self, told: Narration, events: AsyncIterator[Iterable[sse.Event]]) -> Json:
        """The finished response; the events before its end are told."""
        async for group in events:
            for event in group:
                if event.data == b"[DONE]":
                    continue
                try:
                    value = orjson.loads(event.data)
                    kind = value["type"]
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    raise ProviderGarbage("The assistant's provider sent a broken event.") from None
                if kind in TERMINAL or kind == "error":
                    return response_of(value)
                if self._ending is None:
                    self._tell(told, value)
        raise ProviderGarbage("The assistant's provider broke off before the end of its answer.")

    def _tell(self, told: Narration, value: Json) -> None:
        try:
            self._audience.tell_all(told.tell(value))
        except Unable as error:
            raise AssetUnusable(
                "This assistant calls a kind of tool that the Assistants API doesn't have: use it through Responses."
            ) from error
        self._begun = self._begun or bool(told.steps)

    async def _conclude(self, told: Narration, response: Json) -> bool:
        """The answer is there. Whether the caller has to go on."""
        status = response["status"]
        usage, progress = read_usage(response), self._progress
        progress.add(usage)
        self._access.ended(status)
        if self._ending is not None:
            await self._end(self._ending)
            return False
        share = tokens(usage)
        if status == "incomplete":
            details = response.get("incomplete_details")
            filtered = isinstance(details, dict) and details.get("reason") == "content_filter"
            self._audience.tell_all(told.end(share, "content_filter" if filtered else "max_tokens"))
            await self._end("incomplete", reason=None if filtered else "max_completion_tokens")
            return False
        self._audience.tell_all(told.end(share))
        if not told.calls:
            await self._end("completed")
            return False
        self._waiting = [step for step in told.steps if step["status"] == "in_progress"]
        progress.items += told.items
        progress.calls = told.calls
        progress.steps = [step["id"] for step in self._waiting]
        progress.share = share if told.steps[-1] in self._waiting else dict(shapes.NO_USAGE)
        self._outputs = None
        for step in self._waiting:
            self._audience.keep_step(step)
        self.run.update(status="requires_action", required_action=narration.required_action(told.calls))
        await self._insist()
        self._audience.tell("thread.run.requires_action", self.run)
        self._audience.close(DONE)
        return True

    def take_up(self, steps: list[Json]) -> None:
        """Goes on with a run that another process left waiting. steps: those that wait for outputs."""
        self._waiting = steps

    def _answer(self, outputs: dict[str, str]) -> None:
        """Puts the caller's outputs into the steps that waited, and before the model."""
        progress, now = self._progress, _now()
        for position, step in enumerate(self._waiting):
            for call in step["step_details"]["tool_calls"]:
                if call["type"] == "function":
                    call["function"]["output"] = outputs[call["id"]]
            last = position == len(self._waiting) - 1
            step.update(status="completed", completed_at=now, usage=progress.share if last else dict(shapes.NO_USAGE))
            self._audience.tell("thread.run.step.completed", dict(step))
        progress.items += [
            {"type": "function_call_output", "call_id": call["call_id"], "output": outputs[call["id"]]}
            for call in progress.calls
        ]
        self._waiting, self._outputs = [], None
        progress.calls, progress.steps, progress.share = [], [], None

    # ----------------------------------------------------------------------------------------------------------- ends

    async def _end(self, status: str, *, reason: str | None = None, cut_off: bool = False) -> None:
        """Ends the run, charged. reason: why it is incomplete. cut_off: nobody said what the last answer used."""
        if status in ("cancelled", "expired"):
            self._stop_all(status)
        elif status == "incomplete":
            self._stop_all("cancelled")
            self.run["incomplete_details"] = {} if reason is None else {"reason": reason}
        if cut_off and self._begun and not self._fixed:
            # Anything less could be had by cancelling one word before the end.
            self._charge = await self._access.charge_most()
        elif cut_off or self._progress.rounds:
            self._charge = await self._access.charge(self._progress.usage, hung_up=self.hung_up)
        await self._close(status)

    async def _fail(self, error: NodeError) -> None:
        """Ends the run as failed. Earlier rounds were given, and are charged unless it is the node that fails.

        Whatever makes a later one fail, a caller may be able to bring it about: with outputs that break or delay it, or
        with so many calls that the provider refuses more.
        """
        self._access.ended(error.code)
        self.facts["error"] = error.code
        if self._ending is not None and self._charge is None and not isinstance(error, LedgerUnavailable):
            await self._end(self._ending)
            return
        self._stop_all("failed")
        message = error.message
        if isinstance(error, _ANOTHERS) and self._progress.rounds and self._charge is None:
            self._charge = await self._access.charge(self._progress.usage, hung_up=self.hung_up)
            message = message.replace("Nothing was charged", "The run's earlier answers were charged")
        self.run["last_error"] = {"code": _error_code(error), "message": message}
        await self._close("failed")

    async def _close(self, status: str) -> None:
        run = self.run
        run.update(
            status=status,
            required_action=None,
            expires_at=None,
            usage=tokens(self._progress.usage),
        )
        self._record.credits = None if self._charge is None else self._charge.credits
        if f"{status}_at" in run:
            run[f"{status}_at"] = _now()
        self._progress.calls = []
        try:
            await self._insist()
        except StorageUnavailable:
            log.error("run.not_kept", run=run["id"], status=status)
        self._audience.write(credit_comment(self._charge))
        self._audience.tell(f"thread.run.{status}", run)
        self._audience.close(DONE)

    def _stop_all(self, status: str) -> None:
        if self._narration is not None:
            self._audience.tell_all(self._narration.stop(status))
        for step in self._waiting:
            if step["status"] == "in_progress":
                self._audience.tell_all(narration.stop_step(step, status, _now()))
        self._waiting = []

    @property
    def _fixed(self) -> bool:
        """Whether the price doesn't depend on what is used."""
        return self._access.definition.pricing.mode == "fixed" or self._access.max_credits == 0

    def _hurry(self) -> None:
        """The caller has left it: reads on for the usage only, and only where the price depends on it."""
        if self._bound is None or self._concluding:
            return
        patience = self._drain_timeout if self._begun else min(self._drain_timeout, _SILENCE)
        at = asyncio.get_running_loop().time() + (0 if self._fixed else patience)
        with suppress(RuntimeError):  # it is over just now
            self._bound.reschedule(at)

    # ---------------------------------------------------------------------------------------------------- keeping

    async def _insist(self) -> None:
        """Keeps everything, trying for a while: a run that never ends locks its thread. Raises StorageUnavailable."""
        for number in range(_TRIES):
            try:
                await self._audience.flush()
                await self._record.save()
                return
            except StorageUnavailable:
                if number == _TRIES - 1:
                    raise
                await asyncio.sleep(min(2.0, 0.1 * 2**number))

    async def look(self) -> None:
        """Looks whether another process cancelled the run, deleted it or goes on with it. Raises StorageUnavailable."""
        try:
            await self._record.look()
        except TakenOver:
            self._taken = True
            if self._task is not None:
                self._task.cancel()


def _now() -> int:
    return int(time.time())


def _error_code(error: NodeError) -> str:
    if isinstance(error, ProviderBusy):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, BadRequest | ProviderRejected) else "server_error"
