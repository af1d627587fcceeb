"""The end of a run that no process holds any more: its process died, or it waited for its caller until it expired."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from node_proxy import logs
from node_proxy.access.keys import ApiKey
from node_proxy.errors import NodeError, ObjectNotFound
from node_proxy.openai.assistants_api import narration
from node_proxy.openai.assistants_api.progress import Progress, tokens
from node_proxy.openai.assistants_api.shelf import Shelf
from node_proxy.openai.calls import Calls
from node_proxy.openai.objects import Stored
from nvm_chain.did import Did

log = logs.get("runs")

STOPPED = "The node was stopped while it worked on this run."


async def end(calls: Calls, shelf: Shelf, stored: Stored, key: ApiKey, status: str, *, charged: bool) -> Stored:
    """Ends the run as `status`, unless somebody was faster; as it is kept now.

    charged: whether what its rounds used is charged; not where its process may have done so before it died.
    """
    now, progress = int(time.time()), Progress(**stored.data["progress"])
    run = {
        **stored.data["run"],
        "status": status,
        "required_action": None,
        "expires_at": None,
        "usage": tokens(progress.usage),
    }
    if f"{status}_at" in run:
        run[f"{status}_at"] = now
    if status == "failed":
        run["last_error"] = {"code": "server_error", "message": STOPPED}
    ended = await shelf.objects.update(replace(stored, data={**stored.data, "run": run}))
    if ended is None:
        return await shelf.run(stored.parent, stored.id)
    await _end_parts(shelf, stored, status, now)
    log.info("run.ended_unheld", run=stored.id, status=status)
    if charged and progress.rounds:
        await _charge(calls, shelf, ended, key, progress)
    return ended


async def _charge(calls: Calls, shelf: Shelf, stored: Stored, key: ApiKey, progress: Progress) -> None:
    """At most once: the run has ended, so nobody else comes here. Limits of the key that ends it are no way out."""
    key = replace(key, budget=None, dids=None)
    try:
        async with calls.access(key, Did.parse(stored.did), request_id=stored.id, facts={}) as access:
            made = await access.charge(progress.usage)
        await shelf.change(stored, lambda data: data.update(credits=made.credits))
    except NodeError as error:
        log.warning("run.not_charged", run=stored.id, error=error.code)


async def _end_parts(shelf: Shelf, stored: Stored, status: str, now: int) -> None:
    """Ends the steps and messages that were under way."""
    async for one in shelf.all("step", stored.id):
        step = one.data["step"]
        if step["status"] != "in_progress":
            continue
        list(narration.stop_step(step, status, now))
        await shelf.objects.put(one)
        details = step["step_details"]
        if details["type"] == "message_creation":
            with suppress(ObjectNotFound):
                message = await shelf.message(stored.parent, details["message_creation"]["message_id"])
                if message.data["message"]["status"] == "in_progress":
                    message.data["message"].update(
                        status="incomplete", incomplete_at=now, incomplete_details={"reason": f"run_{status}"}
                    )
                    await shelf.objects.put(message)
