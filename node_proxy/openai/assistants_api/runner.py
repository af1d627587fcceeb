"""All runs of this process: begins them, goes on with those that wait, ends those that nobody holds any more.

A run is held by one process at a time, which its record names. A record that is active and whose process is gone was
interrupted: it has failed, or expired, unless it waits for its caller; then whoever gets the outputs goes on with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from node_proxy import logs
from node_proxy.access.keys import ApiKey
from node_proxy.errors import (
    AssetNotFound,
    BadRequest,
    InvalidValue,
    NotYours,
    ObjectNotFound,
    StorageUnavailable,
)
from node_proxy.openai.assistants_api import asking, content, shapes, unheld
from node_proxy.openai.assistants_api.progress import Progress
from node_proxy.openai.assistants_api.questions import Questions
from node_proxy.openai.assistants_api.record import NotWaiting
from node_proxy.openai.assistants_api.running import Running
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.assistants_api.shelf import Shelf, new_id
from node_proxy.openai.calls import Access, Calls
from node_proxy.openai.objects import Objects, Stored
from node_proxy.openai.request import prepare
from nvm_chain.did import Did

log = logs.get("runs")

MAX_HISTORY = 2_000
"""Messages of a thread that a run looks at, at most: the newest."""

Attach = Callable[[Access, list[Json]], Awaitable[list[Json]]]

_LOOK_SECONDS = 2.0
_STREAM = {"stream": True}


class Runner:
    """attach: puts a provider's file ids, or the files' content, in place of the caller's file ids in input items.

    The settings say after how many seconds a run expires, and how long a stop of the node waits for runs under way.
    """

    def __init__(self, calls: Calls, objects: Objects, attach: Attach) -> None:
        settings = calls.settings
        self._calls = calls
        self._objects = objects
        self._attach = attach
        self._lifetime = settings.run_lifetime
        self._grace = settings.shutdown_grace
        self._held: dict[str, Running] = {}
        self._looking: asyncio.Task[None] | None = None

    def held(self, run: str) -> Running | None:
        """The run, where this process holds it."""
        return self._held.get(run)

    # ---------------------------------------------------------------------------------------------------------- begin

    async def begin(self, key: ApiKey, shelf: Shelf, thread: Stored, asked: Json, request_id: str) -> Running:
        """A new run, kept and queued; `start` it. asked: its checked request.

        Raises BadRequest (another run is active, something isn't allowed), AssetNotFound (404), PaymentRequired in its
        kinds (402), and what `Calls.access` raises.
        """
        did = await self._resolve(asked, key)
        await self.check_idle(shelf, thread, key, "start")
        async with AsyncExitStack() as stack:
            access = await stack.enter_async_context(
                self._calls.access(key, did, request_id=request_id, facts={"request": request_id})
            )
            asking.check_model(asked.get("model"), str(did), did.assistant_id)
            now = int(time.time())
            expires = now + max(1, round(self._lifetime))
            run = shapes.run(new_id("run_"), thread.id, now, expires, did.assistant_id, str(did), asking.echo(asked))
            added = [new_message(shelf, thread.id, one) for one in asked.get("additional_messages", ())]
            history = [*await self._history(shelf, thread.id, run["id"]), *map(as_item, added)]
            progress = Progress({name: value for name, value in asked.items() if name != "additional_messages"})
            stored = replace(
                shelf.new("run", run, thread.id, owner=self._objects.owner, ending=None, progress=progress.json()),
                did=str(did),
            )
            running = await self._running(shelf, access, stored, progress, history)
            running.ready()
            self._hold(running)  # before anybody can see it: what is active and held by nobody counts as interrupted
            try:
                await self._claim(shelf, thread, key, stored, added)
                running.kept(replace(stored, version=1))
            except BaseException:
                self._ended(running)
                raise
            running.owns(stack.pop_all())
            return running

    async def _resolve(self, asked: Json, key: ApiKey) -> Did:
        try:
            return await self._calls.resolve(asked.get("assistant_id"), key)
        except (InvalidValue, AssetNotFound, NotYours) as error:
            raise type(error)(error.message.replace("`model`", "`assistant_id`"), param="assistant_id") from None

    async def _history(self, shelf: Shelf, thread: str, run: str) -> list[Json]:
        """The messages of a thread as input items, without those that the run itself made."""
        messages = await shelf.newest("message", thread, MAX_HISTORY)
        return [as_item(one) for one in messages if one.data["message"]["run_id"] != run]

    async def _running(
        self,
        shelf: Shelf,
        access: Access,
        stored: Stored,
        progress: Progress,
        history: Sequence[Json],
    ) -> Running:
        """Raises BadRequest for what the builder's policy doesn't allow, in the old API's words."""
        definition, asked = access.definition, progress.asked
        seen = list(history)[-asking.last_messages(asked, MAX_HISTORY) :]
        if not seen:
            raise InvalidValue("The thread has no messages yet: add one before you run it.", param="thread")
        try:
            prepared = prepare(
                {**asking.responses_request(asked, definition), "input": seen, **_STREAM},
                definition,
                name=str(access.did),
                safety_identifier=access.safety_identifier,
            )
        except BadRequest as error:
            raise asking.in_old_words(error, asked.get("tools", ())) from None
        items = await self._attach(access, prepared.body.pop("input"))
        prepared.body["store"] = False
        questions = Questions(access, progress, prepared.body, frozenset(prepared.caller_params), items)
        return Running(
            shelf,
            access,
            stored,
            progress,
            questions,
            drain_timeout=self._calls.settings.drain_timeout,
            ended=self._ended,
        )

    async def _claim(self, shelf: Shelf, thread: Stored, key: ApiKey, run: Stored, added: Sequence[Stored]) -> None:
        """Keeps the run and makes it the thread's: of two that try at once, one finds the other. Raises BadRequest."""
        await shelf.add(thread.id, run)
        try:
            while True:
                data = {**thread.data, "active": run.id}
                if await self._objects.update(replace(thread, did=run.did, data=data)) is not None:
                    break
                thread = await shelf.thread(thread.id)
                await self.check_idle(shelf, thread, key, "start")
        except BaseException:
            await self._objects.delete(shelf.subscriber, "run", run.id)
            raise
        if added:
            await shelf.add(thread.id, *added)

    def _hold(self, running: Running) -> None:
        self._held[running.run["id"]] = running
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    def _ended(self, running: Running) -> None:
        if self._held.get(running.run["id"]) is running:
            del self._held[running.run["id"]]

    # ------------------------------------------------------------------------------------------------- one at a time

    async def check_idle(self, shelf: Shelf, thread: Stored, key: ApiKey, doing: str) -> None:
        """Raises BadRequest while a run of the thread is active. doing: what was asked for, `add messages to`."""
        active = thread.data["active"]
        if not active:
            return
        try:
            stored = await self.settle(shelf, await shelf.run(thread.id, active), key)
        except ObjectNotFound:
            return
        if stored.data["run"]["status"] not in shapes.ACTIVE:
            return
        if doing == "start":
            raise ActiveRun(f"Thread {thread.id} already has an active run {active}.")
        raise ActiveRun(f"Can't {doing} {thread.id} while a run {active} is active.")

    async def settle_if_there(self, shelf: Shelf, thread: str, run: str, key: ApiKey) -> None:
        """`settle` for a run that may be deleted."""
        with suppress(ObjectNotFound):
            await self.settle(shelf, await shelf.run(thread, run), key)

    async def settle(self, shelf: Shelf, stored: Stored, key: ApiKey) -> Stored:
        """The run as it is kept, or as it ended meanwhile because nobody holds it any more."""
        run = stored.data["run"]
        if run["status"] not in shapes.ACTIVE or stored.id in self._held:
            return stored
        owner = stored.data["owner"]
        if owner != self._objects.owner and not await self._objects.is_gone(owner):
            return stored
        if run["status"] == "requires_action" and not stored.data["ending"]:
            if run["expires_at"] > time.time():
                return stored
            return await unheld.end(self._calls, shelf, stored, key, "expired", charged=True)
        status = stored.data["ending"] or ("cancelled" if run["status"] == "cancelling" else "failed")
        return await unheld.end(self._calls, shelf, stored, key, status, charged=False)

    # -------------------------------------------------------------------------------------------------------- go on

    async def waiting(
        self, key: ApiKey, shelf: Shelf, stored: Stored, outputs: dict[str, str], request_id: str
    ) -> Running:
        """The run that waits for these outputs, to be given them by `submit`.

        Raises BadRequest, and as `begin` where the process that held the run is gone.
        """
        run = stored.data["run"]
        running = self._held.get(stored.id)
        if run["status"] != "requires_action" or stored.data["ending"] or (running is not None and not running.waits):
            raise NotWaiting(f'Runs in status "{run["status"]}" do not accept tool outputs.')
        wanted = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
        if sorted(wanted) != sorted(outputs):
            raise InvalidValue(
                f"Expected tool outputs for call_ids {wanted}, got {sorted(outputs)}", param="tool_outputs"
            )
        return await self._take_up(key, shelf, stored, request_id) if running is None else running

    async def _take_up(self, key: ApiKey, shelf: Shelf, stored: Stored, request_id: str) -> Running:
        """Goes on with a run that waits and that another process held. Raises as `begin`."""
        progress = Progress(**stored.data["progress"])
        async with AsyncExitStack() as stack:
            access = await stack.enter_async_context(
                self._calls.access(key, Did.parse(stored.did), request_id=request_id, facts={"request": request_id})
            )
            history = await self._history(shelf, stored.parent, stored.id)
            running = await self._running(shelf, access, stored, progress, history)
            running.take_up([(await shelf.step(stored.id, id)).data["step"] for id in progress.steps])
            if stored.id in self._held:
                raise NotWaiting("Somebody else goes on with the run just now.")
            self._hold(running)
            taken = None
            try:
                taken = await self._objects.update(replace(stored, data={**stored.data, "owner": self._objects.owner}))
                if taken is None:
                    raise NotWaiting("Somebody else goes on with the run just now.")
            finally:
                if taken is None:
                    self._ended(running)
            running.kept(taken)
            running.owns(stack.pop_all())
            running.start()
            return running

    async def cancel(self, key: ApiKey, shelf: Shelf, stored: Stored) -> Stored:
        """The run, cancelling, or cancelled where nobody held it. Raises BadRequest for one that has ended."""
        while True:
            run, owner = stored.data["run"], stored.data["owner"]
            if run["status"] not in ("queued", "in_progress", "requires_action"):
                raise NotWaiting(f"Cannot cancel run with status '{run['status']}'.")
            running = self._held.get(stored.id)
            if running is None and (owner == self._objects.owner or await self._objects.is_gone(owner)):
                return await unheld.end(self._calls, shelf, stored, key, "cancelled", charged=True)
            cancelling = {**stored.data, "run": {**run, "status": "cancelling"}}
            saved = await self._objects.update(replace(stored, data=cancelling))
            if saved is not None:
                if running is not None:
                    running.stop("cancelled")
                return saved
            stored = await shelf.run(stored.parent, stored.id)

    # ------------------------------------------------------------------------------------------------------ all of them

    async def _look(self) -> None:
        """Looks from time to time whether other processes cancelled, deleted or took up what this one holds."""
        while self._held:
            await asyncio.sleep(_LOOK_SECONDS)
            for running in list(self._held.values()):
                with suppress(StorageUnavailable):
                    await running.look()

    async def stop(self) -> None:
        """Waits a while for the runs under way, then ends what there is."""
        under_way = [running.done() for running in self._held.values() if not running.waits]
        if under_way:
            await asyncio.wait(under_way, timeout=self._grace)
        await asyncio.gather(*(running.close() for running in list(self._held.values())), return_exceptions=True)
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking


class ActiveRun(BadRequest):
    """A run has the thread to itself (HTTP 400)."""

    code = "run_active"


def new_message(shelf: Shelf, thread: str, asked: Json) -> Stored:
    """A message from a checked request, not kept yet."""
    message = shapes.message(
        new_id("msg_"),
        thread,
        int(time.time()),
        asked["role"],
        content.shown(asked["content"]),
        attachments=asked.get("attachments", []),
        metadata=asked.get("metadata", {}),
    )
    return shelf.new("message", message, thread)


def as_item(stored: Stored) -> Json:
    """A kept message as an input item."""
    return content.item(stored.data["message"], stored.data.get("said"))
