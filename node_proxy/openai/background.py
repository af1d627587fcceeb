"""Responses in the background: the node works on them while nobody listens, and anybody who asks later hears it all.

A task of the process that took the request holds the access open until its end, and charges once, before the response
shows as completed. Its events are kept, encrypted, a moment after they come: a stream can be resumed at any process of
the node. What a process left behind when it died shows as failed, and was not charged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import orjson

from node_proxy import logs
from node_proxy.asgi import Exchange
from node_proxy.errors import (
    BadRequest,
    NodeError,
    ProviderGarbage,
    ProviderTimeout,
    ProviderUnreachable,
    as_node_error,
)
from node_proxy.openai import ids
from node_proxy.openai.calls import Access, Calls
from node_proxy.openai.face import TERMINAL
from node_proxy.openai.history import History
from node_proxy.openai.metering import read_usage
from node_proxy.openai.objects import Objects, Step, Stored
from node_proxy.openai.request import Prepared
from node_proxy.openai.running import Running
from node_proxy.openai.streaming import provider_error
from node_proxy.openai.turn import Turn
from node_proxy.openai.upstream import Upstream, keeps_state
from node_proxy.relay import sse
from node_proxy.relay.heartbeat import Heartbeat
from node_proxy.storage import StorageFailed

log = logs.get("background")

Json = dict[str, Any]
Key = tuple[str, str]

PENDING = frozenset({"queued", "in_progress"})
KEEP_SECONDS = 0.5
"""How long an event may be in memory only; also how soon another process's wish to cancel is seen."""

_ACCEPT_SECONDS = 10.0
_CANCEL_SECONDS = 15.0
_RESUMES = 5
_KEEPS = 6
_CANCEL = -1
"""Number of the part that asks the process at work to cancel."""


class CannotCancel(BadRequest):
    """The response doesn't run in the background, or has come to its end (HTTP 400)."""


class Background:
    """All responses in the background of this process."""

    def __init__(self, calls: Calls, objects: Objects, history: History) -> None:
        self._calls = calls
        self._objects = objects
        self._history = history
        self._running: dict[Key, Running] = {}
        self._heartbeat = Heartbeat()

    # --------------------------------------------------------------------------------------------------------- begin

    async def start(self, access: Access, prepared: Prepared, turn: Turn, stack: AsyncExitStack) -> Running:
        """Begins a response. stack: holds the access and the turn, and is closed at the response's end.

        Raises what the provider says at once against the request.
        """
        id = ids.new("resp_")
        prepared.echo |= {"id": id, "created_at": int(time.time())}
        prepared.body["stream"] = True
        if keeps_state(access.definition):
            prepared.body["background"] = True
        face = access.face(prepared.echo)
        running = Running(id, access, prepared, turn, face, face.response({"status": "queued"}))
        try:
            await self._objects.write(turn.waiting(running.shown, self._objects.owner))
        except BaseException:
            await stack.aclose()
            raise
        self._running[running.subscriber, id] = running
        running.task = asyncio.create_task(self._run(running, stack))
        running.answered = not keeps_state(access.definition)
        if not running.answered:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ACCEPT_SECONDS):
                    await running.accepted.wait()
            if running.refusal is not None:
                raise running.refusal
            running.answered = True
        return running

    async def answer(self, exchange: Exchange, running: Running, *, stream: bool) -> None:
        """Answers the request that began it."""
        reserved = (b"x-nvm-credits-reserved", b"%d" % running.access.max_credits)
        exchange.facts["begun"] = True
        if stream:
            await self._send(exchange, self._live(running, -1), running, reserved)
        else:
            await exchange.respond_json(200, running.shown, headers=[reserved])

    # ---------------------------------------------------------------------------------------------------------- work

    async def _run(self, running: Running, stack: AsyncExitStack) -> None:
        saver = asyncio.create_task(self._save_for_ever(running))
        outcome = "internal_error"
        try:
            async with stack:
                outcome = await self._to_the_end(running)
        except asyncio.CancelledError:
            outcome = "shutdown"
            raise
        except Exception:
            log.exception("background.failure", response=running.id)
        finally:
            saver.cancel()
            running.ended = True
            running.accepted.set()
            running.wake()
            self._running.pop((running.subscriber, running.id), None)
            running.access.ended(outcome)
            log.info("background.ended", response=running.id, outcome=outcome, **running.access.facts)

    async def _to_the_end(self, running: Running) -> str:
        running.reader = asyncio.create_task(self._read(running))
        finishing: asyncio.Task[str] | None = None
        try:
            finishing = asyncio.create_task(self._finish(running, await running.reader))
            return await asyncio.shield(finishing)
        except asyncio.CancelledError:
            if finishing is not None:  # the node stops while the charge is being written
                await finishing
                raise
            if running.cancelling:
                return await self._cancelled(running)
            await self._cancel_upstream(running)
            await self._fail(running)
            raise
        except (NodeError, StorageFailed) as error:
            known = as_node_error(error)
            if running.answered or running.accepted.is_set():
                await self._fail(running)
            else:
                running.refusal = known
                await self._objects.delete(running.subscriber, "response", running.id)
            return known.code

    async def _read(self, running: Running) -> Json:
        """The event that ends the response. Where the connection breaks off, the provider is asked for the rest."""
        for attempt in range(_RESUMES + 1):
            try:
                if not running.provider_id:
                    async with running.turn.ask() as answer:
                        running.accepted.set()
                        return await self._hear(running, answer.events())
                upstream = Upstream(self._calls.provider, running.access.definition)
                async with upstream.follow(running.provider_id, running.provider_number) as answer:
                    return await self._hear(running, answer.events())
            except (ProviderUnreachable, ProviderTimeout):
                if not running.provider_id or attempt == _RESUMES:
                    raise
                await asyncio.sleep(min(2**attempt * 0.25, 4))
        raise AssertionError("unreachable")

    async def _hear(self, running: Running, events: AsyncIterator[Iterable[sse.Event]]) -> Json:
        async for group in events:
            for event in group:
                if event.data == b"[DONE]":
                    continue
                try:
                    value = orjson.loads(event.data)
                    kind = value["type"]
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    raise ProviderGarbage("The assistant's provider sent a broken event.") from None
                self._note(running, value)
                if kind in TERMINAL or kind == "error":
                    return dict(value)
                self._tell(running, value)
        raise ProviderUnreachable("The assistant's provider broke off in the middle. Nothing was charged; try again.")

    def _note(self, running: Running, value: Json) -> None:
        number, response = value.get("sequence_number"), value.get("response")
        if type(number) is int:
            running.provider_number = number
        if (
            isinstance(response, dict)
            and isinstance(response.get("id"), str)
            and keeps_state(running.access.definition)
        ):
            running.provider_id = response["id"]

    def _tell(self, running: Running, value: Json) -> None:
        shown = running.face.event(value)
        if shown is None:
            return
        if "response" in shown:
            running.shown = shown["response"]
        else:
            running.spoke = True
        running.events.append((shown["sequence_number"], sse.event(shown["type"], shown)))
        running.wake()

    # ----------------------------------------------------------------------------------------------------------- end

    async def _finish(self, running: Running, last: Json) -> str:
        if last["type"] == "error":
            raise provider_error(last)
        response = last.get("response")
        if not isinstance(response, dict):
            raise ProviderGarbage("The assistant's provider sent a broken event.")
        if last["type"] != "response.failed":
            await running.access.charge(read_usage(response))
        await self._end(running, running.face.event(last), response)
        return str(last["type"]).removeprefix("response.")

    async def _fail(self, running: Running) -> None:
        """Nothing was charged: the provider failed, or the node stops."""
        response = {"status": "failed", "error": {"code": "server_error"}, "output": []}
        event = {"type": "response.failed", "response": response}
        await self._end(running, running.face.event(event), {"id": running.provider_id})

    async def _cancelled(self, running: Running) -> str:
        """Charged for what was used, if the provider says so; if not, an answer that had begun costs all held."""
        response = await self._cancel_upstream(running) or {}
        if response.get("status") in ("completed", "incomplete"):
            kind = f"response.{response['status']}"
            return await self._finish(running, {"type": kind, "response": response})
        usage, fixed = read_usage(response), running.access.definition.pricing.mode == "fixed"
        if usage is None and running.spoke and not fixed:
            await running.access.charge_most()
        else:
            await running.access.charge(usage)
        running.shown = running.face.response({"status": "cancelled", "usage": response.get("usage")})
        await self._keep(running, running.shown, {"id": running.provider_id})
        running.saved = len(running.events)
        return "cancelled"

    async def _cancel_upstream(self, running: Running) -> Json | None:
        """The response as the provider has it after being asked to stop; None where it can't be asked."""
        if not running.provider_id:
            return None
        upstream = Upstream(self._calls.provider, running.access.definition)
        with suppress(NodeError, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS / 3):
                try:
                    return await upstream.cancel(running.provider_id)
                except NodeError:
                    return await upstream.response(running.provider_id)
        return None

    async def _end(self, running: Running, shown: Json | None, response: Json) -> None:
        """Keeps the end together with the events before it; only then does anybody hear of it."""
        if shown is None:
            raise ProviderGarbage("The assistant's provider sent a broken event.")
        last = (shown["sequence_number"], sse.event(shown["type"], shown))
        await self._keep(running, shown["response"], response, last)
        running.shown = shown["response"]
        running.events.append(last)
        running.saved = len(running.events)

    async def _keep(self, running: Running, shown: Json, response: Json, *last: tuple[int, bytes]) -> None:
        """Tries for a while: without its end the response would count as lost, whatever was charged."""
        async with running.saving:
            for attempt in range(_KEEPS):
                if await running.turn.keep(shown, response, more=self._unsaved(running, *last)):
                    return
                await asyncio.sleep(2**attempt * KEEP_SECONDS)

    # -------------------------------------------------------------------------------------------------------- saving

    async def _save_for_ever(self, running: Running) -> None:
        status = "queued"
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            try:
                async with running.saving:
                    steps = self._unsaved(running)
                    if running.shown["status"] in PENDING and running.shown["status"] != status:
                        steps.append(running.turn.waiting(running.shown, self._objects.owner))
                    if steps:
                        count = len(running.events)
                        await self._objects.write(*steps)
                        status, running.saved = running.shown["status"], count
                if await self._objects.parts(running.subscriber, running.id, _CANCEL - 1, 1, upto=_CANCEL):
                    running.cancel()
            except StorageFailed as error:
                log.warning("background.not_saved", error=str(error))

    def _unsaved(self, running: Running, *more: tuple[int, bytes]) -> list[Step]:
        events = [*running.events[running.saved :], *more]
        if not events:
            return []
        data = orjson.dumps([(number, frame.decode()) for number, frame in events])
        first, last = events[0][0], events[-1][0]
        return [self._objects.adding_part(running.subscriber, running.id, first, data, last)]

    # --------------------------------------------------------------------------------------------------------- later

    async def now(self, stored: Stored) -> Stored:
        """The response as it is now: one that a dead process left behind has failed."""
        running = self._running.get((stored.subscriber, stored.id))
        if running is not None:
            return replace(stored, data={**stored.data, "response": running.shown})
        owner = stored.data.get("owner")
        if owner is None or not (owner == self._objects.owner or await self._objects.is_gone(owner)):
            return stored
        # One of our own that isn't running has just ended, or its end couldn't be kept.
        again = await self._objects.get(stored.subscriber, "response", stored.id)
        if again is None or "owner" not in again.data:
            return again or stored
        return await self._give_up(again)

    async def _give_up(self, stored: Stored) -> Stored:
        error = {
            "code": "server_error",
            "message": "The node was stopped at work on this response. Nothing was charged.",
        }
        response = {**stored.data["response"], "status": "failed", "error": error, "output": []}
        data = {name: value for name, value in stored.data.items() if name != "owner"} | {"response": response}
        changed = await self._objects.update(replace(stored, data=data))
        if changed is None:
            return await self._objects.get(stored.subscriber, "response", stored.id) or stored
        number = -1
        while parts := await self._objects.parts(stored.subscriber, stored.id, number):
            number = parts[-1][1]
        event = {"type": "response.failed", "response": response, "sequence_number": number + 1}
        kept = orjson.dumps([(number + 1, sse.event("response.failed", event).decode())])
        await self._objects.write(self._objects.adding_part(stored.subscriber, stored.id, number + 1, kept))
        return changed

    async def resume(self, exchange: Exchange, stored: Stored, after: int) -> None:
        """Streams the events after number `after`, those to come included."""
        running = self._running.get((stored.subscriber, stored.id))
        events = self._kept(stored, after) if running is None else self._live(running, after)
        await self._send(exchange, events, running)

    async def _send(
        self, exchange: Exchange, events: AsyncIterator[bytes], running: Running | None, *headers: tuple[bytes, bytes]
    ) -> None:
        await exchange.start_stream(sse.CONTENT_TYPE, headers=headers)
        if running is not None:
            exchange.on_gone(running.wake)
        with self._heartbeat.on(exchange):
            async for chunk in events:
                await exchange.write(chunk)
                if not exchange.heard:
                    return
        await exchange.finish()

    async def _live(self, running: Running, after: int) -> AsyncIterator[bytes]:
        position = 0
        while True:
            changed, ended, count = running.changed, running.ended, len(running.events)
            fresh = [frame for number, frame in running.events[position:count] if number > after]
            position = count
            yield b"".join(fresh)
            if ended:
                return
            await changed.wait()

    async def _kept(self, stored: Stored, after: int) -> AsyncIterator[bytes]:
        subscriber, id = stored.subscriber, stored.id
        while True:
            ended = "owner" not in stored.data
            while parts := await self._objects.parts(subscriber, id, after):
                for _, upto, data in parts:
                    yield b"".join(frame.encode() for number, frame in orjson.loads(data) if number > after)
                    after = upto
            if ended:
                return
            await asyncio.sleep(KEEP_SECONDS)
            yield b""
            found = await self._objects.get(subscriber, "response", id)
            if found is None:
                return
            stored = await self.now(found)

    async def cancel(self, stored: Stored) -> Stored:
        """Stops a response, and waits until it has. Raises CannotCancel."""
        if not stored.data["response"].get("background"):
            raise CannotCancel("Cannot cancel a synchronous response.")
        stored = await self.now(stored)
        if stored.data["response"]["status"] == "cancelled":
            return stored
        if stored.data["response"]["status"] not in PENDING:
            raise CannotCancel("Cannot cancel a completed response.")
        running = self._running.get((stored.subscriber, stored.id))
        if running is not None:
            running.cancel()
        else:
            with suppress(StorageFailed):  # somebody asked already
                step = self._objects.adding_part(stored.subscriber, stored.id, _CANCEL, b"cancel")
                await self._objects.write(step)
        deadline = time.monotonic() + _CANCEL_SECONDS
        while stored.data["response"]["status"] in PENDING and time.monotonic() < deadline:
            if running is not None and running.task is not None:
                await asyncio.wait({running.task}, timeout=_CANCEL_SECONDS)
            else:
                await asyncio.sleep(KEEP_SECONDS)
            found = await self._objects.get(stored.subscriber, "response", stored.id)
            if found is None:
                return stored
            stored = await self.now(found)
        return stored

    async def close(self) -> None:
        """Ends what still runs, as failed."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
