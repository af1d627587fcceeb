"""A legacy run as it proceeds: its steps, its message, what it asks for, and its events in the old order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.provider import tokens
from tests.provider.errors import scripted
from tests.provider.model import Answer, Json, Turn, answer, new_id, script_of
from tests.provider.script import Script
from tests.provider.state import StoredThread
from tests.provider.threads import new_message
from tests.provider.wire import pause

Event = tuple[str, Json]
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass
class Running:
    """A run. calls: function calls and outputs so far. events: what a stream still has to send; None is its end."""

    thread: StoredThread
    run: Json
    queued: Script
    steps: list[Json] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    usage: Json = field(default_factory=lambda: dict(_NO_USAGE))
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)
    script: Script = field(default_factory=Script)

    def plan(self) -> Script:
        """The directives that hold for the next round."""
        self.script = script_of(self._turn(), self.queued)
        return self.script

    def start(self, *, first: bool) -> None:
        """Runs until the run ends or needs tool outputs. first: it was just created."""
        self.events = asyncio.Queue()
        self.task = asyncio.create_task(self._work(first))

    async def _work(self, first: bool) -> None:
        try:
            await pause(self.script.wait)
            for event in self._events(first):
                self.events.put_nowait(event)
                await pause(self.script.delay)
        except asyncio.CancelledError:
            self.events.put_nowait(self._end("cancelled", "cancelled_at"))
        finally:
            self.events.put_nowait(None)

    def cancel(self) -> None:
        """Ends it early; a run that waits for tool outputs ends at once."""
        self.run["status"] = "cancelling"
        if self.task and not self.task.done():
            self.task.cancel()
        else:
            asyncio.get_running_loop().call_soon(self._end, "cancelled", "cancelled_at")

    def expire(self) -> None:
        """What the timer does."""
        if self.run["status"] == "requires_action":
            self._end("expired", None)

    # -------------------------------------------------------------------------------------------------------- events

    def _events(self, first: bool) -> Iterator[Event]:
        for number, event in enumerate(self._story(first)):
            if self.script.fail_after and number >= self.script.fail_after[0]:
                text = "The server had an error while processing your request. Sorry about that!"
                self.run["last_error"] = {"code": self.script.fail_after[1], "message": text}
                yield self._end("failed", "failed_at")
                return
            if self.script.error_after and number >= self.script.error_after[0]:
                self._end("failed", "failed_at")
                yield "error", scripted(500, self.script.error_after[1]).envelope()
                return
            yield event

    def _story(self, first: bool) -> Iterator[Event]:
        if first:
            yield self._at("created")
        else:
            yield self._step_done(self.steps[-1])
        self.run.update(status="queued", required_action=None)
        yield self._at("queued")
        self.run.update(status="in_progress", started_at=self.run["started_at"] or _now())
        yield self._at("in_progress")
        turn = self._turn()
        if turn.input_tokens > (self.run["max_prompt_tokens"] or 1 << 40):
            yield self._incomplete("max_prompt_tokens")
            return
        said = answer(turn, self.script)
        self._spend(said)
        calls = [item for item in said.items if item["type"] == "function_call"]
        if calls:
            yield from self._ask(calls, said)
            return
        for item in said.items:
            if item["type"] == "message":
                yield from self._tell(item, said)
        yield self._incomplete("max_completion_tokens") if said.truncated else self._end("completed", "completed_at")

    def _ask(self, calls: list[Json], said: Answer) -> Iterator[Event]:
        shown = [
            {
                "id": call["call_id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls
        ]
        self.calls += calls
        details: Json = {"type": "tool_calls", "tool_calls": []}
        step = self._new_step(details, said)
        yield "thread.run.step.created", dict(step)
        yield "thread.run.step.in_progress", dict(step)
        for index, call in enumerate(shown):
            function = {"name": call["function"]["name"], "arguments": "", "output": None}
            yield self._step_delta(step, {"index": index, "id": call["id"], "type": "function", "function": function})
            for token in tokens.split(call["function"]["arguments"]):
                yield self._step_delta(step, {"index": index, "type": "function", "function": {"arguments": token}})
        functions = [{**call, "function": {**call["function"], "output": None}} for call in shown]
        step["step_details"] = {"type": "tool_calls", "tool_calls": functions}
        self.run["status"] = "requires_action"
        self.run["required_action"] = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": shown}}
        yield self._at("requires_action")

    def _tell(self, item: Json, said: Answer) -> Iterator[Event]:
        part = item["content"][0]
        text = part.get("text", part.get("refusal"))
        ids = {"run_id": self.run["id"], "assistant_id": self.run["assistant_id"]}
        message = new_message(
            self.thread.thread["id"], {"role": "assistant", "content": []}, status="in_progress", **ids
        )
        step = self._new_step({"type": "message_creation", "message_creation": {"message_id": message["id"]}}, said)
        yield "thread.run.step.created", dict(step)
        yield "thread.run.step.in_progress", dict(step)
        self.thread.messages.append(message)
        yield "thread.message.created", dict(message)
        yield "thread.message.in_progress", dict(message)
        for number, token in enumerate(tokens.split(text)):
            value = {"value": token} if number else {"value": token, "annotations": []}
            delta = {"content": [{"index": 0, "type": "text", "text": value}]}
            yield "thread.message.delta", {"id": message["id"], "object": "thread.message.delta", "delta": delta}
        message["content"] = [{"type": "text", "text": {"value": text, "annotations": []}}]
        if said.truncated:
            message.update(status="incomplete", incomplete_at=_now(), incomplete_details={"reason": "max_tokens"})
        else:
            message.update(status="completed", completed_at=_now())
        yield f"thread.message.{message['status']}", dict(message)
        yield self._step_done(step)

    # --------------------------------------------------------------------------------------------------------- pieces

    def submit(self, outputs: dict[str, str]) -> None:
        """Puts tool outputs, by call id, into the step that asked for them."""
        details = self.steps[-1]["step_details"]
        for call in details["tool_calls"]:
            call["function"]["output"] = outputs[call["id"]]
            self.calls.append({"type": "function_call_output", "call_id": call["id"], "output": outputs[call["id"]]})

    def _turn(self) -> Turn:
        run = self.run
        strategy = run["truncation_strategy"] or {}
        shown = self.thread.messages
        if strategy.get("type") == "last_messages":
            shown = shown[-strategy["last_messages"] :]
        spent = run["max_completion_tokens"]
        choice: Any = run["tool_choice"]
        return Turn(
            model=run["model"],
            items=[*map(_item, shown), *self.calls],
            instructions=run["instructions"],
            tools=[{"type": t["type"], **t.get("function", {})} for t in run["tools"]],
            tool_choice=choice["function"] if isinstance(choice, dict) and "function" in choice else choice,
            text_format=_text_format(run["response_format"]),
            max_tokens=None if spent is None else max(spent - self.usage["completion_tokens"], 0),
        )

    def _spend(self, said: Answer) -> None:
        self.usage = {
            "prompt_tokens": self.usage["prompt_tokens"] + said.input_tokens,
            "completion_tokens": self.usage["completion_tokens"] + said.output_tokens,
            "total_tokens": self.usage["total_tokens"] + said.input_tokens + said.output_tokens,
        }

    def _new_step(self, details: Json, said: Answer) -> Json:
        step: Json = {
            "id": new_id("step", 24),
            "object": "thread.run.step",
            "created_at": _now(),
            "run_id": self.run["id"],
            "assistant_id": self.run["assistant_id"],
            "thread_id": self.run["thread_id"],
            "type": details["type"],
            "status": "in_progress",
            "cancelled_at": None,
            "completed_at": None,
            "expired_at": None,
            "failed_at": None,
            "last_error": None,
            "metadata": {},
            "step_details": details,
            "usage": None,
        }
        self.steps.append(step)
        self._step_usage = {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
        }
        return step

    def _step_done(self, step: Json) -> Event:
        step.update(status="completed", completed_at=_now(), usage=self._step_usage)
        return "thread.run.step.completed", dict(step)

    def _step_delta(self, step: Json, call: Json) -> Event:
        details = {"type": "tool_calls", "tool_calls": [call]}
        delta = {"id": step["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}}
        return "thread.run.step.delta", delta

    def _at(self, status: str) -> Event:
        return f"thread.run.{status}", dict(self.run)

    def _incomplete(self, reason: str) -> Event:
        self.run["incomplete_details"] = {"reason": reason}
        return self._end("incomplete", None)

    def _end(self, status: str, stamp: str | None) -> Event:
        """A terminal status, with usage; whatever was under way ends with it."""
        if self.timer:
            self.timer.cancel()
        self.run.update(status=status, required_action=None, expires_at=None)
        self.run["usage"] = None if self.script.no_usage else self.usage
        if stamp:
            self.run[stamp] = _now()
        for step in self.steps:
            if step["status"] == "in_progress":
                step["status"] = status if status in ("cancelled", "failed", "expired") else "cancelled"
        for message in self.thread.messages:
            if message["run_id"] == self.run["id"] and message["status"] == "in_progress":
                message.update(
                    status="incomplete", incomplete_at=_now(), incomplete_details={"reason": f"run_{status}"}
                )
        return f"thread.run.{status}", dict(self.run)


def _item(message: Json) -> Json:
    assistant = message["role"] == "assistant"
    content: list[Json] = []
    for part in message["content"]:
        if part["type"] == "text":
            content.append({"type": "output_text" if assistant else "input_text", "text": part["text"]["value"]})
        else:
            content.append({"type": "input_image"})
    content += [{"type": "input_file"} for _ in message["attachments"]]
    return {"type": "message", "role": message["role"], "content": content}


def _text_format(response_format: Any) -> Json | None:
    if isinstance(response_format, dict) and response_format["type"] == "json_schema":
        return {"type": "json_schema", **response_format["json_schema"]}
    return response_format if isinstance(response_format, dict) else None


def _now() -> int:
    return int(time.time())
