"""The public face of a provider's Response: what a subscriber may see, in a form that OpenAI's types accept.

Deny by default: an object is built anew from the members listed here, so that whatever a provider adds (instructions,
tools, model, prompt, account, settings, ids) stays on the other side. Items and events of kinds not listed are left out
and the numbering is closed up behind them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Set
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from node_proxy.openai.ids import IdMap
from node_proxy.relay import sse

Json = dict[str, Any]
Rule = Callable[["Face", Any], Any]

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""Events after which nothing follows. `error` ends a stream too, without a response."""

_ERROR_CODES = frozenset(
    {
        *(
            "server_error",
            "rate_limit_exceeded",
            "invalid_prompt",
            "vector_store_timeout",
            "unsupported_image_media_type",
        ),
        *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
        *("image_too_large", "image_too_small", "image_parse_error", "image_file_too_large", "image_file_not_found"),
        *("image_content_policy_violation", "empty_image_file", "failed_to_download_image"),
    }
)
_STATUS = frozenset({"completed", "failed", "in_progress", "cancelled", "queued", "incomplete"})
_INCOMPLETE = frozenset({"max_output_tokens", "content_filter"})
_PHASES = frozenset({"commentary", "final_answer"})


_RESPONSE: Json = {
    "id": "",
    "object": "response",
    "created_at": 0,
    "completed_at": None,
    "status": None,
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "model": "",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "usage": None,
}
"""A Response of which nothing is known: what is never shown is null, or what OpenAI's default is."""


class Face:
    """Shows one response to one subscriber.

    name: how the assistant is called in `model`. echo: members of the response that repeat what the caller asked for.
    """

    __slots__ = ("_echo", "_hidden", "_ids", "_last", "_name", "_number", "_own_ids", "_owners", "_response_id")

    def __init__(self, ids: IdMap, name: str, echo: Mapping[str, Any]) -> None:
        self._ids = ids
        self._name = name
        self._echo = dict(echo)
        self._hidden: set[int] = set()
        self._number = 0
        self._last: _Delta | None = None
        self._owners: dict[str, int] = {}
        self._own_ids: dict[int, str] = {}
        self._response_id: str | None = None

    def response(self, value: Mapping[str, Any]) -> Json:
        """A Response object."""
        get = value.get
        error, details, output, counted = get("error"), get("incomplete_details"), get("output"), get("usage")
        shown = _RESPONSE.copy()
        shown["id"] = self._ids.public(get("id"), "resp_")
        shown["created_at"] = _number(get("created_at"))
        shown["completed_at"] = _number(get("completed_at")) or None
        shown["status"] = _known(get("status"), _STATUS)
        if error is not None and isinstance(error, dict):
            shown["error"] = _error(error)
        if details is not None and isinstance(details, dict):
            shown["incomplete_details"] = _incomplete(details)
        # Made anew for each: nobody's metadata may ever be somebody else's.
        shown["metadata"], shown["tools"], shown["text"] = {}, [], {"format": {"type": "text"}}
        shown["model"] = self._name
        if self._response_id is None:
            self._response_id = str(get("id"))
        shown["output"] = []
        if output and isinstance(output, list):
            owners: dict[str, int] = {}
            shown["output"] = _items(self, [self._apart(item, index, owners) for index, item in enumerate(output)])
        shown["usage"] = None if counted is None else usage(counted)
        shown.update(self._echo)
        return shown

    def event(self, value: Mapping[str, Any]) -> Json | None:
        """A stream event, numbered; None for one that stays hidden."""
        kind = value.get("type")
        rules = _EVENTS.get(kind) if isinstance(kind, str) else None
        if rules is None:
            return None
        index = value.get("output_index")
        if type(index) is int and index in self._hidden:
            return None
        if rules is _EVENT_WITH_ITEM and _item_hidden(value.get("item")):
            if type(index) is int:
                self._hidden.add(index)
                self._last = None  # its index may be another one now
            return None
        if rules is _EVENT_WITH_ITEM:
            if type(index) is int and (item := self._apart(value["item"], index, self._owners)) is not value["item"]:
                value = {**value, "item": item}
        elif self._own_ids and type(index) is int and index in self._own_ids:
            value = {**value, "item_id": self._own_ids[index]}
        shown: Json = {"type": kind}
        for name, rule in rules:
            shown[name] = rule(self, value.get(name))
        if shown.get("part", value) is None:
            return None
        if "obfuscation" in value:
            shown["obfuscation"] = _scalar(self, value["obfuscation"])
        return self.numbered(shown)

    def _apart(self, item: Any, index: int, owners: dict[str, int]) -> Any:
        """An item with an id that no other one of its answer has: small servers leave it out, or repeat it."""
        if not isinstance(item, dict):
            return item
        id = item.get("id")
        if isinstance(id, str) and id and owners.setdefault(id, index) == index:
            return item
        self._last = None  # what was told of the item may have had its other id
        own = self._own_ids[index] = f"{id}#{index}" if id else f"#{index}#{self._response_id}"
        return {**item, "id": own}

    def wire(self, value: Mapping[str, Any], data: bytes) -> bytes | None:
        """`event` as it goes out: server-sent, with its number. data: what `value` was parsed from."""
        shown = self.event(value)
        if shown is None:
            return None
        if shown["type"] in _DELTAS:
            self._last = _delta(value, data, shown)
        return sse.event(shown["type"], shown)

    def again(self, buffer: bytes, at: int) -> tuple[bytes, int] | None:
        """What `wire` would give for the events that begin at `at`, and where they end; see `sse.Parser`.

        Those are deltas like the one before with other text, most of what a stream consists of. Only the text and the
        number are new, so they needn't be parsed and built.
        """
        last = self._last
        if last is None:
            return None
        (matches, item_at, text_at, mask_at), item_id, shape = last
        out, number, mask = [], self._number, b""
        while same := matches(buffer, at):
            found = same.groups()
            if found[item_at] != item_id:
                break
            text = found[text_at]
            if (b"\\" in text or not text.isascii()) and not (text := _plain(text)):
                break
            if mask_at is not None:
                if not (mask := _plain(found[mask_at])):
                    break
                mask = b',"obfuscation":' + mask
            out.append(shape % (text, mask, number))
            number += 1
            at = same.end()
        if not out:
            return None
        self._number = number
        return b"".join(out), at

    def numbered(self, shown: Json) -> Json:
        """Gives an event the next sequence number."""
        shown["sequence_number"] = self._number
        self._number += 1
        return shown


class _Pattern(NamedTuple):
    """Events that are like another but in what varies, and which groups hold item id, text and obfuscation."""

    matches: Callable[[bytes, int], re.Match[bytes] | None]
    item_at: int
    text_at: int
    mask_at: int | None


class _Delta(NamedTuple):
    """What the delta before was a part of. item_id: as it was written. shape: for its text, obfuscation and number."""

    pattern: _Pattern
    item_id: bytes
    shape: bytes


_TEXT = rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_VARIES = {b"delta": _TEXT, b"obfuscation": _TEXT, b"item_id": _TEXT, b"sequence_number": rb"(?:0|[1-9][0-9]{0,17})"}
_SLOT = re.compile(rb'"(' + b"|".join(_VARIES) + rb')":(?:' + _TEXT + rb"|[0-9]+)")

_LONGEST_SKELETON = 1_000
"""Bytes of a delta that don't vary: a pattern is made of them, which takes its time."""

_recent: deque[_Pattern] = deque(maxlen=8)
"""Those that were of use a moment ago. Providers have one each for a kind of delta."""


def _pattern(data: bytes) -> tuple[_Pattern, bytes] | None:
    """The pattern for a delta, and its item's id as it is written.

    None where it says anything in an unusual way: only one flat object, each name once and without escapes, is
    understood without being parsed.
    """
    event = b"data: %b\n\n" % data
    for known in _recent:
        if (same := known.matches(event, 0)) and same.end() == len(event):
            return known, same.groups()[known.item_at]
    skeleton = _SLOT.sub(rb'"\1":\0', data)
    usual = b"\\" not in skeleton and skeleton.count(b"{") == 1 and skeleton[:1] == b"{" and skeleton[-1:] == b"}"
    if not usual or len(skeleton) > _LONGEST_SKELETON or any(skeleton.count(b'"%b"' % name) > 1 for name in _VARIES):
        return None
    if b'"delta":\0' not in skeleton or b'"item_id":\0' not in skeleton:
        return None
    if b'"obfuscation"' in skeleton and b'"obfuscation":\0' not in skeleton:
        return None
    made = _compiled(skeleton)
    if (same := made.matches(event, 0)) is None:
        return None
    _recent.appendleft(made)
    return made, same.groups()[made.item_at]


@lru_cache(256)
def _compiled(skeleton: bytes) -> _Pattern:
    """For events with data like the skeleton, with other values."""
    parts = [re.escape(part) for part in skeleton.split(b"\0")]
    for number, before in enumerate(parts[:-1]):
        name = before.rpartition(b'"')[0].rpartition(b'"')[2]
        parts[number] = before + b"(?P<%b>%b)" % (name, _VARIES[name])
    pattern = re.compile(b"".join((rb"(?:event: [^\n]*+\n)?+data: ", *parts, rb"\n\n")))
    at = {name: number - 1 for name, number in pattern.groupindex.items()}
    return _Pattern(pattern.match, at["item_id"], at["delta"], at.get("obfuscation"))


def _plain(text: bytes) -> bytes:
    """A JSON text as orjson would write it; empty for one that is none."""
    try:
        return orjson.dumps(orjson.loads(text))
    except orjson.JSONDecodeError:
        return b""


def _delta(value: Mapping[str, Any], data: bytes, shown: Json) -> _Delta | None:
    """From a delta in the provider's words, as parsed and as written, and in ours. None where it isn't a usual one."""
    if type(value.get("delta")) is not str or type(value.get("item_id")) is not str:
        return None
    found = _pattern(data)
    if found is None:
        return None
    kind = shown["type"]
    whole = {**shown, "delta": "%b", "sequence_number": 0}
    whole.pop("obfuscation", None)
    before, text, after = sse.event(kind, whole).partition(b'"%b"')
    after, number, end = after.rpartition(b'"sequence_number":0')
    # Kind, ids and indexes are the only other members; none of them can have a % in it.
    if not text or not number or b"%" in before + after:
        return None
    shape = before + b"%b" + after.removesuffix(b",") + b'%b,"sequence_number":%d' + end
    return _Delta(*found, shape)


def usage(value: object) -> Json | None:
    """A usage object with all members that the types require; None where the provider sent none that adds up."""
    if not isinstance(value, dict):
        return None
    given, taken = value.get("input_tokens_details"), value.get("output_tokens_details")
    given, taken = given if isinstance(given, dict) else {}, taken if isinstance(taken, dict) else {}
    incoming, outgoing = _count(value.get("input_tokens")), _count(value.get("output_tokens"))
    return {
        "input_tokens": incoming,
        "input_tokens_details": {
            "cached_tokens": _count(given.get("cached_tokens")),
            "cache_write_tokens": _count(given.get("cache_write_tokens")),
        },
        "output_tokens": outgoing,
        "output_tokens_details": {"reasoning_tokens": _count(taken.get("reasoning_tokens"))},
        "total_tokens": incoming + outgoing,
    }


# -------------------------------------------------------------------------------------------------------------- rules


def _known(value: object, names: Set[str]) -> str | None:
    return value if isinstance(value, str) and value in names else None


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**53 else 0


def _number(value: object) -> int | float:
    """A time, within what JSON numbers can say exactly."""
    return value if (type(value) is int or type(value) is float) and 0 <= value < 2**53 else 0


def _scalar(_: Face, value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else None


def _text(_: Face, value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(_: Face, value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _phase(_: Face, value: Any) -> str | None:
    return _known(value, _PHASES)


def _nothing(_: Face, __: Any) -> None:
    return None


def _empty(_: Face, __: Any) -> list[Any]:
    return []


def _id(kind: str) -> Rule:
    return lambda face, value: face._ids.public(value, kind)


def _index(face: Face, value: Any) -> int:
    position = _count(value)
    return position - sum(1 for hidden in face._hidden if hidden < position) if face._hidden else position


def _position(_: Face, value: Any) -> int:
    return _count(value)


def _one_of(*allowed: str) -> Rule:
    return lambda face, value: value if value in allowed else allowed[0]


class _Optional:
    """A member that is shown where the provider has it; null stays null."""

    __slots__ = ("rule",)

    def __init__(self, rule: Rule) -> None:
        self.rule = rule


def _object(**rules: Rule | _Optional) -> Rule:
    def show(face: Face, value: Any) -> Json:
        given, shown = value if isinstance(value, dict) else {}, {}
        for name, rule in rules.items():
            if not isinstance(rule, _Optional):
                shown[name] = rule(face, given.get(name))
            elif name in given:
                shown[name] = None if given[name] is None else rule.rule(face, given[name])
        return shown

    return show


def _list(rule: Rule) -> Rule:
    def show(face: Face, value: Any) -> list[Any]:
        shown = [rule(face, one) for one in value] if isinstance(value, list) else []
        return [one for one in shown if one is not None]

    return show


def _by_type(**kinds: Rule) -> Rule:
    """An object of one of several types; None for any other."""

    def show(face: Face, value: Any) -> Json | None:
        kind = value.get("type") if isinstance(value, dict) else None
        rule = kinds.get(kind) if isinstance(kind, str) else None
        return None if rule is None else {"type": kind} | rule(face, value)

    return show


def _error(value: Json) -> Json:
    return {
        "code": _known(value.get("code"), _ERROR_CODES) or "server_error",
        "message": "The assistant's provider failed on this response. Nothing was charged.",
    }


def _incomplete(value: Json) -> Json:
    reason = _known(value.get("reason"), _INCOMPLETE)
    return {} if reason is None else {"reason": reason}


# ------------------------------------------------------------------------------------------------------------- shapes

_annotation = _by_type(
    file_citation=_object(file_id=_id("file-"), filename=_text, index=_position),
    url_citation=_object(end_index=_position, start_index=_position, title=_text, url=_text),
    container_file_citation=_object(
        container_id=_id("cntr_"), end_index=_position, file_id=_id("cfile_"), filename=_text, start_index=_position
    ),
    file_path=_object(file_id=_id("file-"), index=_position),
)
_annotations = _list(_annotation)


def _output_text(face: Face, value: Json) -> Json:
    annotations = value.get("annotations")
    return {
        "annotations": _annotations(face, annotations) if annotations else [],
        "text": _text(face, value.get("text")),
        "logprobs": [],
    }


# No reasoning_text, which small servers show in full: it tends to quote the instructions.
def _message(face: Face, value: Json) -> Json:
    """Most of what there is to show, so it is written out."""
    content, status = value.get("content"), value.get("status")
    shown: Json = {
        "id": face._ids.public(value.get("id"), "msg_"),
        "content": _parts(face, content) if content else [],
        "role": "assistant",
        "status": status if status in _STEPS else "completed",
    }
    if "phase" in value:
        shown["phase"] = _phase(face, value["phase"])
    return shown


_STEPS = ("completed", "in_progress", "incomplete")
_part = _by_type(output_text=_output_text, refusal=_object(refusal=_text))
_summary = _by_type(summary_text=_object(text=_text))
_parts = _list(_part)
_status = _one_of(*_STEPS)
_search_status = _one_of("completed", "in_progress", "searching", "failed", "incomplete")
_search_action = _by_type(
    search=_object(query=_text, queries=_texts, sources=_Optional(_list(_by_type(url=_object(url=_text))))),
    open_page=_object(url=_text),
    find_in_page=_object(pattern=_text, url=_text),
)


def _web_search(face: Face, value: Json) -> Json:
    action = _search_action(face, value.get("action")) or {"type": "search", "query": "", "queries": []}
    return {
        "id": face._ids.public(value.get("id"), "ws_"),
        "action": action,
        "status": _search_status(face, value.get("status")),
    }


_ITEMS: dict[str, Rule] = {
    "message": _message,
    "reasoning": _object(id=_id("rs_"), summary=_list(_summary), status=_Optional(_status)),
    "function_call": _object(id=_id("fc_"), call_id=_id("call_"), name=_text, arguments=_text, status=_status),
    "custom_tool_call": _object(id=_id("ctc_"), call_id=_id("call_"), name=_text, input=_text),
    "web_search_call": _web_search,
    "file_search_call": _object(id=_id("fs_"), queries=_texts, status=_search_status, results=_Optional(_nothing)),
    "code_interpreter_call": _object(
        id=_id("ci_"),
        code=_Optional(_text),
        container_id=_id("cntr_"),
        outputs=_nothing,
        status=_one_of("completed", "in_progress", "interpreting", "failed", "incomplete"),
    ),
    "image_generation_call": _object(
        id=_id("ig_"), result=_Optional(_text), status=_one_of("completed", "in_progress", "generating", "failed")
    ),
}
_item = _by_type(**_ITEMS)
_items = _list(_item)


def _item_hidden(value: object) -> bool:
    return not isinstance(value, dict) or _known(value.get("type"), _ITEMS.keys()) is None


def _response(face: Face, value: Any) -> Json:
    return face.response(value if isinstance(value, dict) else {})


def _event(*names: str, **rules: Rule) -> tuple[tuple[str, Rule], ...]:
    common: dict[str, Rule] = {
        "item": _item,
        "part": _part,
        "response": _response,
        "item_id": _id("msg_"),
        "output_index": _index,
        "content_index": _position,
        "summary_index": _position,
        "annotation_index": _position,
        "partial_image_index": _position,
        "logprobs": _empty,
    }
    return tuple((name, common.get(name, _text)) for name in names) + tuple(rules.items())


_AT = ("item_id", "output_index")
_IN = (*_AT, "content_index")
_IN_SUMMARY = (*_AT, "summary_index")
_EVENT_WITH_ITEM = _event("item", "output_index")
_EVENTS: dict[str, tuple[tuple[str, Rule], ...]] = {
    **{f"response.{status}": _event("response") for status in ("created", "queued", "in_progress")},
    **{kind: _event("response") for kind in TERMINAL},
    "response.output_item.added": _EVENT_WITH_ITEM,
    "response.output_item.done": _EVENT_WITH_ITEM,
    "response.content_part.added": _event("part", *_IN),
    "response.content_part.done": _event("part", *_IN),
    "response.output_text.delta": _event("delta", "logprobs", *_IN),
    "response.output_text.done": _event("text", "logprobs", *_IN),
    "response.output_text.annotation.added": _event("annotation_index", *_IN, annotation=_annotation),
    "response.refusal.delta": _event("delta", *_IN),
    "response.refusal.done": _event("refusal", *_IN),
    "response.reasoning_summary_part.added": _event(*_IN_SUMMARY, part=_summary),
    "response.reasoning_summary_part.done": _event(*_IN_SUMMARY, part=_summary),
    "response.reasoning_summary_text.delta": _event("delta", *_IN_SUMMARY),
    "response.reasoning_summary_text.done": _event("text", *_IN_SUMMARY),
    "response.function_call_arguments.delta": _event("delta", *_AT),
    "response.function_call_arguments.done": _event("arguments", *_AT),
    "response.custom_tool_call_input.delta": _event("delta", *_AT),
    "response.custom_tool_call_input.done": _event("input", *_AT),
    "response.code_interpreter_call_code.delta": _event("delta", *_AT),
    "response.code_interpreter_call_code.done": _event("code", *_AT),
    "response.image_generation_call.partial_image": _event("partial_image_index", "partial_image_b64", *_AT),
    **{f"response.web_search_call.{step}": _event(*_AT) for step in ("in_progress", "searching", "completed")},
    **{f"response.file_search_call.{step}": _event(*_AT) for step in ("in_progress", "searching", "completed")},
    **{f"response.code_interpreter_call.{step}": _event(*_AT) for step in ("in_progress", "interpreting", "completed")},
    **{f"response.image_generation_call.{step}": _event(*_AT) for step in ("in_progress", "generating", "completed")},
}

_DELTAS = frozenset(kind for kind in _EVENTS if kind.endswith(".delta"))
