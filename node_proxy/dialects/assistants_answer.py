"""The events of a run of Assistants v2 as a Response's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from node_proxy.dialects import chat_answer
from node_proxy.dialects.base import Json
from node_proxy.dialects.narration import Narration

_HOSTED: dict[str, Json] = {
    "code_interpreter": {"type": "code_interpreter_call", "code": None, "container_id": "", "outputs": None},
    "file_search": {"type": "file_search_call", "queries": [], "results": None},
}
_ENDS = {"completed": "completed", "incomplete": "incomplete"}


class RunTeller:
    """From a run's events to a narration.

    thread, run: the provider's ids, once it has said them. waits_for: ids of the tool calls that the run waits for.
    ended: whether it came to an end, or to tool calls.
    """

    def __init__(self, model: str, thread: str = "", run: str = "") -> None:
        self.narration = Narration(model)
        self.thread = thread
        self.run = run
        self.waits_for: tuple[str, ...] = ()
        self.ended = False
        self._told: dict[object, str] = {}

    def begin_again(self) -> None:
        """The same run goes on: what it says next is another Response."""
        self.narration = Narration(self.narration.response["model"])
        self.waits_for, self.ended = (), False
        self._told.clear()

    def heard(self, name: str, value: Json) -> Iterator[Json]:
        """One event of the provider's."""
        if name == "thread.created":
            self.thread = _text(value.get("id"))
        elif name.startswith("thread.run.step."):
            yield from self._step(name.removeprefix("thread.run.step."), value)
        elif name.startswith("thread.run."):
            self.thread = self.thread or _text(value.get("thread_id"))
            self.run = self.run or _text(value.get("id"))
            yield from self._run(name.removeprefix("thread.run."), value)
        elif name == "thread.message.delta":
            yield from self._message(value)
        elif name in ("thread.message.completed", "thread.message.incomplete"):
            yield from self._message_done(value)

    # ------------------------------------------------------------------------------------------------------- the run

    def _run(self, status: str, run: Json) -> Iterator[Json]:
        if status == "requires_action":
            yield from self._asks(run)
            yield from self._finish("completed", None)
        elif status in _ENDS:
            reason = "max_output_tokens" if status == "incomplete" else None
            yield from self._finish(status, chat_answer.usage(run.get("usage")), reason)
        elif status in ("failed", "expired", "cancelled"):
            error = run.get("last_error")
            code = _text(error.get("code")) if isinstance(error, dict) else ""
            yield from self._finish("failed", chat_answer.usage(run.get("usage")), code or "server_error")

    def _finish(self, status: str, usage: Json | None, reason: str | None = None) -> Iterator[Json]:
        if not self.ended:
            self.ended = True
            yield from self.narration.finish(status, reason=reason, usage=usage)

    def _asks(self, run: Json) -> Iterator[Json]:
        """The run waits for outputs: calls that no delta told are told now."""
        action = run.get("required_action")
        wanted = action.get("submit_tool_outputs") if isinstance(action, dict) else None
        calls = wanted.get("tool_calls") if isinstance(wanted, dict) else None
        found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        for number, call in enumerate(found):
            if _text(call.get("id")) not in self._told.values():
                yield from self._called({**call, "index": ("untold", number)})
        self.waits_for = tuple(_text(call.get("id")) for call in found)

    # --------------------------------------------------------------------------------------------------------- steps

    def _step(self, what: str, value: Json) -> Iterator[Json]:
        calls = _member(_member(value, "delta") if what == "delta" else value, "step_details").get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                continue
            if what == "delta" and call.get("type", "function") == "function":
                yield from self._called(call)
            elif what == "completed" and (hosted := _HOSTED.get(_text(call.get("type")))):
                yield from self.narration.item({**hosted, "id": call.get("id")})

    def _called(self, call: Json) -> Iterator[Json]:
        index, function = call.get("index"), _member(call, "function")
        if index not in self._told:
            self._told[index] = _text(call.get("id"))
            yield from self.narration.call("function_call", _text(function.get("name")))
        yield from self.narration.arguments(_text(function.get("arguments")))

    # ------------------------------------------------------------------------------------------------------- messages

    def _message(self, value: Json) -> Iterator[Json]:
        content = _member(value, "delta").get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            if part.get("type") == "text":
                if said := _text(_member(part, "text").get("value")):
                    yield from self.narration.text(said)
            elif part.get("type") == "refusal" and (said := _text(part.get("refusal"))):
                yield from self.narration.refusal(said)

    def _message_done(self, value: Json) -> Iterator[Json]:
        """What the deltas can't say: which files are cited."""
        content = value.get("content")
        for part in content if isinstance(content, list) else ():
            annotations = _member(part, "text").get("annotations") if isinstance(part, dict) else None
            for one in annotations if isinstance(annotations, list) else ():
                cited = _member(one, "file_citation") if isinstance(one, dict) else {}
                if cited.get("file_id"):
                    place = {"filename": "", "index": one.get("start_index")}
                    yield from self.narration.annotate({"type": "file_citation", "file_id": cited["file_id"], **place})
        if value.get("status") != "incomplete":
            yield from self.narration.close()


def _member(value: Json, name: str) -> Json:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
