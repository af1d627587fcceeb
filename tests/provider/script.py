"""Directives: how a test or a person tells the stand-in to answer or to fail.

A directive is `[[name arguments]]` in the last user message, `fault:name+arguments` as the model (a model's name has no
spaces), or text queued at the control endpoint. Several may be combined.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from tests.provider.errors import ApiError, invalid, scripted

_DIRECTIVE = re.compile(r"\[\[\s*([a-z_]+)(?:\s+((?:(?!\]\]).|\](?=\]\]))*?))?\s*\]\]", re.DOTALL)

HELP = """\
Answers   [[say TEXT]]  [[tokens N]]  [[reason N]] (N reasoning tokens)  [[call NAME JSON]]  [[refuse TEXT]]
          [[history]] [[instructions]] [[tools]] (tell what the model was given)
Pace      [[wait S]] before the answer   [[delay S]] before each event   [[drip N]] N bytes at a time
          [[expire S]] until a legacy run that waits for tool outputs expires
Failures  [[fail STATUS [CODE]]]  [[fail_after N [CODE]]] (`response.failed` after N events)
          [[error_after N [CODE]]] (an `error` event, then the end)
          [[hang]] before the first byte  [[hang_after N]] events  [[cut N]] closes the connection within event N+1
          [[html]]  [[garbage]]  [[huge BYTES]] one event or body that large  [[no_usage]]  [[redirect URL]]
          [[same_ids]] a response with ids that others have had
"""


@dataclass(frozen=True, slots=True)
class Script:
    """What the directives ask for. Times in seconds; `math.inf` hangs until the client leaves."""

    say: str | None = None
    tokens: int | None = None
    reason: int = 0
    calls: tuple[tuple[str, str], ...] = ()
    refuse: str | None = None
    tell: tuple[str, ...] = ()
    wait: float = 0
    delay: float = 0
    drip: int = 0
    expire: float | None = None
    fail: tuple[int, str | None] | None = None
    fail_after: tuple[int, str] | None = None
    error_after: tuple[int, str] | None = None
    hang_after: int | None = None
    cut: int | None = None
    html: bool = False
    garbage: bool = False
    huge: int = 0
    no_usage: bool = False
    same_ids: bool = False
    redirect: str | None = None

    def with_text(self, text: str) -> Script:
        """Adds the directives in `text`, which wins where both say something."""
        script = self
        if "[[" not in text:
            return script
        for name, argument in _DIRECTIVE.findall(text):
            script = script.with_directive(name, argument)
        return script

    def with_directive(self, name: str, argument: str) -> Script:
        """Adds one directive. Raises ApiError (400) for one that isn't in HELP."""
        words = argument.split()
        try:
            return replace(self, **_change(self, name, argument, words))
        except (ValueError, IndexError) as error:
            raise invalid(f"Stand-in: bad directive '{name} {argument}': {error}.\n{HELP}", "input") from error

    def with_model(self, model: str) -> Script:
        """Adds the directive in a model's name, `fault:fail+500`."""
        name, _, argument = model.removeprefix("fault:").replace("+", " ").strip().partition(" ")
        return self.with_directive(name, argument) if model.startswith("fault:") else self

    def at_once(self) -> Script:
        """The same without waiting: for an answer whose pace somebody else keeps."""
        return replace(self, wait=0, delay=0)

    def failure(self) -> ApiError | None:
        """The error to answer with instead of an answer."""
        if self.redirect:
            return ApiError(307, "Temporary redirect", headers={"location": self.redirect})
        return scripted(*self.fail) if self.fail else None


def _change(script: Script, name: str, argument: str, words: list[str]) -> dict[str, Any]:
    match name:
        case "say" | "refuse" | "redirect":
            return {name: argument}
        case "tokens" | "reason" | "drip" | "hang_after" | "cut" | "huge":
            return {name: int(words[0])}
        case "wait" | "delay" | "expire":
            return {name: float(words[0])}
        case "html" | "garbage" | "no_usage" | "same_ids":
            return {name: True}
        case "history" | "instructions" | "tools":
            return {"tell": (*script.tell, name)}
        case "hang":
            return {"wait": math.inf}
        case "call":
            tool, _, arguments = argument.partition(" ")
            if not tool:
                raise ValueError("it needs a function's name")
            return {"calls": (*script.calls, (tool, arguments.strip() or "{}"))}
        case "fail":
            return {"fail": (int(words[0]), words[1] if len(words) > 1 else None)}
        case "fail_after" | "error_after":
            return {name: (int(words[0]), words[1] if len(words) > 1 else "server_error")}
    raise ValueError("there is no such directive")


def without_directives(text: str) -> str:
    """The text as the model reads it."""
    return _DIRECTIVE.sub("", text).strip() if "[[" in text else text
