"""An answer in some other form, told as a Response that grows: the events of the Responses API, in OpenAI's order.

A dialect says what it hears (`text`, `refusal`, `call`, `arguments`) and how it ended (`finish`); each gives the events
that this makes. `response` is the whole at any time. An item is closed when the next one opens.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from node_proxy.dialects.base import Json

_PARTS: dict[str, tuple[str, str, Json]] = {
    "output_text": ("text", "response.output_text", {"logprobs": []}),
    "refusal": ("refusal", "response.refusal", {}),
}
"""Part type: its member that holds the text, the stem of its events, what these carry besides."""

_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments", "fc"),
    "custom_tool_call": ("input", "response.custom_tool_call_input", "ctc"),
}


class Narration:
    """One Response. model: as the provider names it."""

    def __init__(self, model: str) -> None:
        self._number = 0
        self._open: Json | None = None
        self._index = -1
        self.response: Json = {
            "id": _id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
        }

    @property
    def empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self.response["output"]

    def begin(self) -> Iterator[Json]:
        """The events before anything is said."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response={**self.response, "output": []})

    def text(self, delta: str) -> Iterator[Json]:
        """More of a message's text."""
        return self._say("output_text", delta)

    def refusal(self, delta: str) -> Iterator[Json]:
        """More of a refusal."""
        return self._say("refusal", delta)

    def annotate(self, annotation: Json) -> Iterator[Json]:
        """An annotation of the text that is being said; dropped where there is none."""
        part = self._part()
        if part is not None and part["type"] == "output_text":
            part["annotations"].append(annotation)
            number = len(part["annotations"]) - 1
            at = {**self._at(), "content_index": len(self._content()) - 1}
            yield self._event(
                "response.output_text.annotation.added", **at, annotation_index=number, annotation=annotation
            )

    def call(self, kind: str, name: str) -> Iterator[Json]:
        """Begins a call. kind: function_call or custom_tool_call. Call ids are ours: other providers' repeat."""
        member, _, prefix = _CALLS[kind]
        item = {"type": kind, "call_id": _id("call", 24), "name": name, member: ""}
        return self._add({"id": _id(prefix), **item, "status": "in_progress"})

    def arguments(self, delta: str) -> Iterator[Json]:
        """More of the open call's arguments."""
        item = self._open
        if item is not None and item["type"] in _CALLS and delta:
            member, stem, _ = _CALLS[item["type"]]
            item[member] += delta
            yield self._event(f"{stem}.delta", **self._at(), delta=delta)

    def item(self, item: Json) -> Iterator[Json]:
        """A finished item of another kind: a hosted tool's call."""
        yield from self._add({**item, "status": "in_progress"})
        yield from self._close("completed")

    def close(self) -> Iterator[Json]:
        """Ends the open item: what is said next is a new one."""
        return self._close("completed")

    def finish(self, status: str, *, reason: str | None = None, usage: Json | None = None) -> Iterator[Json]:
        """The end. status: completed, incomplete (with its reason) or failed (reason: the error's code)."""
        response = self.response
        if self.empty and status == "completed":
            yield from self.text("")
        yield from self._close("completed" if status == "completed" else "incomplete")
        response.update(status=status, usage=usage)
        if status == "completed":
            response["completed_at"] = int(time.time())
        elif status == "incomplete":
            response["incomplete_details"] = {"reason": reason}
        else:
            response["error"] = {"code": reason or "server_error", "message": ""}
        yield self._event(f"response.{status}", response=dict(response))

    # --------------------------------------------------------------------------------------------------------- pieces

    def _say(self, kind: str, delta: str) -> Iterator[Json]:
        member, stem, extra = _PARTS[kind]
        if self._open is None or self._open["type"] != "message":
            yield from self._add(
                {"id": _id("msg"), "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
            )
        part = self._part()
        if part is None or part["type"] != kind:
            yield from self._close_part()
            part = _part(kind, member)
            self._content().append(part)
            yield self._event("response.content_part.added", **self._at_part(), part=_part(kind, member))
        if delta:
            part[member] += delta
            yield self._event(f"{stem}.delta", **self._at_part(), delta=delta, **extra)

    def _add(self, item: Json) -> Iterator[Json]:
        yield from self._close("completed")
        self._open = item
        self._index += 1
        self.response["output"].append(item)
        shown = {**item, "content": []} if "content" in item else dict(item)
        yield self._event("response.output_item.added", output_index=self._index, item=shown)

    def _close(self, status: str) -> Iterator[Json]:
        item = self._open
        if item is None:
            return
        yield from self._close_part()
        if item["type"] in _CALLS:
            member, stem, _ = _CALLS[item["type"]]
            yield self._event(f"{stem}.done", **self._at(), **{member: item[member]})
        item["status"] = status
        yield self._event("response.output_item.done", output_index=self._index, item=dict(item))
        self._open = None

    def _close_part(self) -> Iterator[Json]:
        part = self._part()
        if part is not None:
            member, stem, extra = _PARTS[part["type"]]
            yield self._event(f"{stem}.done", **self._at_part(), **{member: part[member]}, **extra)
            yield self._event("response.content_part.done", **self._at_part(), part=dict(part))

    def _content(self) -> list[Json]:
        content: list[Json] = (self._open or {}).get("content", [])
        return content

    def _part(self) -> Json | None:
        content = self._content()
        return content[-1] if content else None

    def _at(self) -> Json:
        return {"item_id": (self._open or {}).get("id"), "output_index": self._index}

    def _at_part(self) -> Json:
        return {**self._at(), "content_index": len(self._content()) - 1}

    def _event(self, kind: str, **members: object) -> Json:
        event = {"type": kind, **members, "sequence_number": self._number}
        self._number += 1
        return event


def _part(kind: str, member: str) -> Json:
    return {"type": kind, member: ""} | ({"annotations": [], "logprobs": []} if kind == "output_text" else {})


def _id(prefix: str, length: int = 48) -> str:
    return f"{prefix}_{secrets.token_hex(length // 2)}"
