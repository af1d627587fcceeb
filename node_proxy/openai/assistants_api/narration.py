"""One answer of the assistant as the old API told it: steps and messages, and their events in the old order.

Events of Responses come in, `(name, object)` pairs come out. Kinds of items that the old API doesn't have (reasoning,
web searches) are left out. Ids in it are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from node_proxy.openai.assistants_api import shapes
from node_proxy.openai.assistants_api.shapes import Json
from node_proxy.openai.ids import IdMap

Event = tuple[str, Json]

_TOOLS = frozenset({"function_call", "code_interpreter_call", "file_search_call"})
_UNABLE = frozenset({"custom_tool_call", "mcp_approval_request", "computer_call", "shell_call", "apply_patch_call"})
"""Calls that only the caller could answer, and the old API has no words for."""


class Unable(Exception):
    """The assistant asked for something that can't be told in the old API's words."""


@dataclass(slots=True)
class _Part:
    """A part of a message while it grows. said: the text as the model wrote it, without our citation marks."""

    kind: str
    block: Json
    pieces: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    length: int = 0
    begun: bool = False


@dataclass(slots=True)
class _Telling:
    """A message while it grows."""

    step: Json
    message: Json
    parts: dict[int, _Part] = field(default_factory=dict)
    done: bool = False


class Narration:
    """Tells one response of a run. run: the run object. new_id: makes an id with a prefix.

    steps, messages: what came of it so far. calls: function calls that wait for the caller, each with the provider's
    `call_id`. items: what the next round has to be given back. said: message id → text without citation marks.
    """

    def __init__(
        self, run: Json, ids: IdMap, new_id: Callable[[str], str], clock: Callable[[], float] = time.time
    ) -> None:
        self._run = run
        self._ids = ids
        self._new_id = new_id
        self._clock = clock
        self.steps: list[Json] = []
        self.messages: list[Json] = []
        self.calls: list[Json] = []
        self.items: list[Json] = []
        self.said: dict[str, str] = {}
        self._telling: dict[int, _Telling] = {}
        self._tools: dict[int, tuple[Json, int]] = {}
        self._asking: Json | None = None
        self._ended: list[Json] = []
        self._broken: list[_Telling] = []

    # --------------------------------------------------------------------------------------------------------- events

    def tell(self, value: Mapping[str, Any]) -> Iterator[Event]:
        """What one event that doesn't end the response becomes. Raises Unable."""
        rule = _RULES.get(str(value.get("type")))
        if rule is not None:
            yield from rule(self, value)

    def end(self, usage: Json | None, reason: str | None = None) -> Iterator[Event]:
        """The response is over. usage: its share of the run's, which its last step shows. reason: why it broke off."""
        for telling in [one for one in self._telling.values() if not one.done]:
            yield from self._finish(telling, "completed" if reason is None else "incomplete")
        for telling in self._broken:
            telling.message["incomplete_details"] = {"reason": reason or "max_tokens"}
            yield "thread.message.incomplete", dict(telling.message)
        self._broken.clear()
        for step in self._ended:
            last = step is self.steps[-1]
            yield from self._step_done(step, usage if last else dict(shapes.NO_USAGE))
        self._ended.clear()

    def stop(self, status: str) -> Iterator[Event]:
        """The run ended early, as `status` (failed, cancelled, expired): so does what is under way."""
        now = self._now()
        for telling in [*self._broken, *(one for one in self._telling.values() if not one.done)]:
            telling.done = True
            self._close_parts(telling)
            telling.message.update(
                status="incomplete", incomplete_at=now, incomplete_details={"reason": f"run_{status}"}
            )
            yield "thread.message.incomplete", dict(telling.message)
        for step in self.steps:
            if step["status"] == "in_progress":
                yield from stop_step(step, status, now)

    # -------------------------------------------------------------------------------------------------------- messages

    def _added(self, value: Mapping[str, Any]) -> Iterator[Event]:
        item, index = value.get("item"), _whole(value.get("output_index"))
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "message":
            known = self._telling.get(index)
            if known is None or known.done:  # else a server says it twice
                yield from self._begin(index)
        elif kind in _TOOLS:
            assert isinstance(item, dict)
            yield from self._call(index, item)
        elif kind in _UNABLE:
            raise Unable(kind)

    def _begin(self, index: int) -> Iterator[Event]:
        yield from self._flush()
        run, now = self._run, self._now()
        self._asking = None
        message = shapes.message(
            self._new_id("msg_"),
            run["thread_id"],
            now,
            "assistant",
            [],
            status="in_progress",
            run_id=run["id"],
            assistant_id=run["assistant_id"],
        )
        created = {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
        step = self._new_step(created, now)
        yield "thread.run.step.created", dict(step)
        yield "thread.run.step.in_progress", dict(step)
        self.messages.append(message)
        self._telling[index] = _Telling(step, message)
        yield "thread.message.created", dict(message)
        yield "thread.message.in_progress", dict(message)

    def _text(self, value: Mapping[str, Any]) -> Iterator[Event]:
        delta = value.get("delta")
        if isinstance(delta, str):
            yield from self._write(value, "text", delta)

    def _refusal(self, value: Mapping[str, Any]) -> Iterator[Event]:
        delta = value.get("delta")
        if isinstance(delta, str):
            yield from self._write(value, "refusal", delta)

    def _rest(self, kind: str, value: Mapping[str, Any], whole: object) -> Iterator[Event]:
        """What a part's end says beyond its deltas: all of it, where a server sends no deltas."""
        telling = self._telling.get(_whole(value.get("output_index")))
        part = telling and telling.parts.get(_whole(value.get("content_index")))
        said = "".join(part.said) if part else ""
        if isinstance(whole, str) and len(whole) > len(said) and whole.startswith(said):
            yield from self._write(value, kind, whole[len(said) :])

    def _text_done(self, value: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._rest("text", value, value.get("text"))

    def _refusal_done(self, value: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._rest("refusal", value, value.get("refusal"))

    def _write(self, value: Mapping[str, Any], kind: str, delta: str) -> Iterator[Event]:
        index, at = _whole(value.get("output_index")), _whole(value.get("content_index"))
        if index not in self._telling:
            yield from self._begin(index)
        telling = self._telling[index]
        part = telling.parts.get(at)
        if part is None:
            block: Json = {"type": "text", "text": {"value": "", "annotations": []}}
            part = telling.parts[at] = _Part(kind, block if kind == "text" else {"type": "refusal", "refusal": ""})
            telling.message["content"].append(part.block)
        part.said.append(delta)
        yield self._piece(telling, at, part, delta)

    def _piece(self, telling: _Telling, at: int, part: _Part, text: str, mark: Json | None = None) -> Event:
        """One `thread.message.delta`; the first of a text says that it has no annotations yet."""
        place = list(telling.parts).index(at)
        part.pieces.append(text)
        part.length += len(text)
        if part.kind == "refusal":
            block: Json = {"index": place, "type": "refusal", "refusal": text}
        else:
            inner: Json = {"value": text}
            if mark is not None:
                inner["annotations"] = [mark]
            elif not part.begun:
                inner["annotations"] = []
            block = {"index": place, "type": "text", "text": inner}
        part.begun = True
        delta = {"id": telling.message["id"], "object": "thread.message.delta", "delta": {"content": [block]}}
        return "thread.message.delta", delta

    def _annotated(self, value: Mapping[str, Any]) -> Iterator[Event]:
        """A citation. The old API marks it in the text, and callers replace the mark by what they want to show."""
        given = value.get("annotation")
        index, at = _whole(value.get("output_index")), _whole(value.get("content_index"))
        telling = self._telling.get(index)
        if not isinstance(given, dict) or telling is None or at not in telling.parts:
            return
        part = telling.parts[at]
        annotations = part.block["text"]["annotations"] if part.kind == "text" else None
        if annotations is None:
            return
        kind, number = given.get("type"), len(annotations)
        if kind == "file_citation":
            mark = f"【{len(self.messages) - 1}:{number}†{_name(given.get('filename'))}】"
            annotation = {
                "type": kind,
                "text": mark,
                "start_index": part.length,
                "end_index": part.length + len(mark),
                "file_citation": {"file_id": self._ids.public(given.get("file_id"), "file-")},
            }
            annotations.append(annotation)
            yield self._piece(telling, at, part, mark, {"index": number, **annotation})
        elif kind in ("container_file_citation", "file_path"):
            start, end = _whole(given.get("start_index")), _whole(given.get("end_index"))
            text = "".join(part.said)[start:end]
            if text and (found := "".join(part.pieces).find(text)) >= 0:
                annotation = {
                    "type": "file_path",
                    "text": text,
                    "start_index": found,
                    "end_index": found + len(text),
                    "file_path": {"file_id": self._ids.public(given.get("file_id"), "cfile_")},
                }
                annotations.append(annotation)
                yield self._piece(telling, at, part, "", {"index": number, **annotation})

    def _done(self, value: Mapping[str, Any]) -> Iterator[Event]:
        item, index = value.get("item"), _whole(value.get("output_index"))
        if not isinstance(item, dict):
            return
        kind = item.get("type")
        if kind == "message":
            if index not in self._telling:
                yield from self._begin(index)
            content = item.get("content")
            for at, part in enumerate(content if isinstance(content, list) else ()):
                if isinstance(part, dict):
                    where = {"output_index": index, "content_index": at}
                    refused = part.get("type") == "refusal"
                    whole = part.get("refusal") if refused else part.get("text")
                    yield from self._rest("refusal" if refused else "text", where, whole)
            if not self._telling[index].done:
                yield from self._finish(self._telling[index], item.get("status"))
        elif kind in _TOOLS:
            if index not in self._tools:
                yield from self._call(index, item)
            yield from self._called(index, item)
        elif kind in _UNABLE:
            raise Unable(kind)

    def _finish(self, telling: _Telling, status: object) -> Iterator[Event]:
        now, message = self._now(), telling.message
        telling.done = True
        self._close_parts(telling)
        self.items.append({"type": "message", "role": "assistant", "content": self._spoken(telling)})
        self._ended.append(telling.step)
        if status == "incomplete":  # why, only the end of the response tells
            message.update(status="incomplete", incomplete_at=now)
            self._broken.append(telling)
            return
        message.update(status="completed", completed_at=now)
        yield "thread.message.completed", dict(message)

    def _close_parts(self, telling: _Telling) -> None:
        for part in telling.parts.values():
            if part.kind == "refusal":
                part.block["refusal"] = "".join(part.pieces)
            else:
                part.block["text"]["value"] = "".join(part.pieces)
        if any(part.pieces != part.said for part in telling.parts.values()):
            self.said[telling.message["id"]] = self._spoken(telling)

    @staticmethod
    def _spoken(telling: _Telling) -> str:
        return "\n".join("".join(part.said) for part in telling.parts.values())

    # ----------------------------------------------------------------------------------------------------------- tools

    def _call(self, index: int, item: Json) -> Iterator[Event]:
        yield from self._flush()
        kind = item["type"]
        function = kind == "function_call"
        if not function or self._asking is None:
            step = self._new_step({"type": "tool_calls", "tool_calls": []}, self._now())
            self._asking = step if function else None
            yield "thread.run.step.created", dict(step)
            yield "thread.run.step.in_progress", dict(step)
        else:
            step = self._asking
        calls: list[Json] = step["step_details"]["tool_calls"]
        self._tools[index] = step, len(calls)
        if function:
            id = self._ids.public(item.get("call_id"), "call_")
            name = item.get("name") if isinstance(item.get("name"), str) else ""
            call: Json = {"id": id, "type": "function", "function": {"name": name, "arguments": "", "output": None}}
        elif kind == "code_interpreter_call":
            id = self._ids.public(item.get("id"), "ci_")
            call = {"id": id, "type": "code_interpreter", "code_interpreter": {"input": "", "outputs": []}}
        else:
            id = self._ids.public(item.get("id"), "fs_")
            call = {"id": id, "type": "file_search", "file_search": {}}
        calls.append(call)
        # A copy: the call itself grows, and what was told must not.
        inner = {"type": call["type"], call["type"]: dict(call[call["type"]])}
        yield _step_delta(step, {"index": len(calls) - 1, "id": call["id"], **inner})

    def _arguments(self, value: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._grow(value, "function", "arguments", value.get("delta"))

    def _code(self, value: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._grow(value, "code_interpreter", "input", value.get("delta"))

    def _grow(self, value: Mapping[str, Any], kind: str, name: str, delta: object) -> Iterator[Event]:
        found = self._tools.get(_whole(value.get("output_index")))
        if found is None or not isinstance(delta, str) or not delta:
            return
        step, number = found
        call = step["step_details"]["tool_calls"][number]
        if call["type"] == kind:
            call[kind][name] += delta
            yield _step_delta(step, {"index": number, "type": kind, kind: {name: delta}})

    def _called(self, index: int, item: Json) -> Iterator[Event]:
        step, number = self._tools[index]
        call = step["step_details"]["tool_calls"][number]
        name, whole = (
            ("arguments", item.get("arguments")) if call["type"] == "function" else ("input", item.get("code"))
        )
        said = call[call["type"]].get(name, "")
        if call["type"] != "file_search" and isinstance(whole, str) and whole.startswith(said):
            yield from self._grow({"output_index": index}, call["type"], name, whole[len(said) :])
        if call["type"] == "function":
            spoken = {
                "call_id": str(item.get("call_id")),
                **{key: call["function"][key] for key in ("name", "arguments")},
            }
            self.calls.append({"id": call["id"], **spoken})
            self.items.append({"type": "function_call", **spoken})
        elif step not in self._ended:
            self._ended.append(step)

    # ---------------------------------------------------------------------------------------------------------- pieces

    def _flush(self) -> Iterator[Event]:
        """Ends the steps that are over, since another one begins: the usage is told at the response's last."""
        for step in self._ended:
            if not any(telling.step is step for telling in self._broken):
                yield from self._step_done(step, dict(shapes.NO_USAGE))
        self._ended = [step for step in self._ended if step["status"] == "in_progress"]

    def _step_done(self, step: Json, usage: Json | None) -> Iterator[Event]:
        step.update(status="completed", completed_at=self._now(), usage=usage)
        yield "thread.run.step.completed", dict(step)

    def _new_step(self, details: Json, now: int) -> Json:
        step = shapes.step(self._new_id("step_"), self._run, now, details)
        self.steps.append(step)
        return step

    def _now(self) -> int:
        return int(self._clock())


def required_action(calls: list[Json]) -> Json:
    """What a run waits for. calls: of a Narration."""
    asked = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": asked}}


def stop_step(step: Json, status: str, now: int) -> Iterator[Event]:
    """Ends a step early, as `status` (failed, cancelled, expired)."""
    step.update({"status": status, f"{status}_at": now})
    if status == "failed":
        step["last_error"] = {"code": "server_error", "message": "The run failed."}
    yield f"thread.run.step.{status}", dict(step)


def _step_delta(step: Json, call: Json) -> Event:
    details = {"type": "tool_calls", "tool_calls": [call]}
    delta = {"id": step["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}}
    return "thread.run.step.delta", delta


def _whole(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**31 else 0


def _name(value: object) -> str:
    """A file's name in a citation mark, without what would end the mark."""
    name = value if isinstance(value, str) and value else "source"
    return "".join(char for char in name[:200] if char.isprintable() and char not in "【】")


_RULES: dict[str, Callable[[Narration, Mapping[str, Any]], Iterator[Event]]] = {
    "response.output_item.added": Narration._added,
    "response.output_item.done": Narration._done,
    "response.output_text.delta": Narration._text,
    "response.output_text.done": Narration._text_done,
    "response.output_text.annotation.added": Narration._annotated,
    "response.refusal.delta": Narration._refusal,
    "response.refusal.done": Narration._refusal_done,
    "response.function_call_arguments.delta": Narration._arguments,
    "response.code_interpreter_call_code.delta": Narration._code,
}
