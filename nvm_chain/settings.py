"""Which request parameters a builder may fix for an assistant, in the words of each dialect."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from nvm_chain.errors import DefinitionInvalid
from nvm_chain.text import show

Check = Callable[[object], bool]


def _number(low: float, high: float) -> tuple[Check, str]:
    return lambda v: type(v) in (int, float) and low <= v <= high, f"a number from {low} to {high}"


def _whole(low: int, high: int = 2**53 - 1) -> tuple[Check, str]:
    return lambda v: type(v) is int and low <= v <= high, f"a whole number of at least {low}"


_TEXT = (lambda v: isinstance(v, str) and 0 < len(v) <= 512, "a short text")
_FLAG = (lambda v: isinstance(v, bool), "true or false")
_OBJECT = (lambda v: isinstance(v, dict), "a JSON object")
_TEXTS = (lambda v: isinstance(v, list) and all(isinstance(i, str) for i in v), "a list of texts")
_CHOICE = (lambda v: isinstance(v, str | dict), "a text or a JSON object")
_STOP = (lambda v: isinstance(v, str) or _TEXTS[0](v), "a text or a list of texts")

_ANY_DIALECT: dict[str, tuple[Check, str]] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "tool_choice": _CHOICE,
    "parallel_tool_calls": _FLAG,
}
# Parameters that other servers (vLLM, llama.cpp, Ollama) know besides OpenAI's.
_OPEN_SERVERS = {"top_k": _whole(-1), "min_p": _number(0, 1), "repetition_penalty": _number(0, 10), "seed": _whole(0)}
_RESPONSES: dict[str, tuple[Check, str]] = {
    **_ANY_DIALECT,
    **_OPEN_SERVERS,
    "max_output_tokens": _whole(1),
    "max_tool_calls": _whole(1),
    "reasoning": _OBJECT,
    "text": _OBJECT,
    "truncation": _TEXT,
    "service_tier": _TEXT,
    "include": _TEXTS,
    "top_logprobs": _whole(0, 20),
    "prompt_cache_key": _TEXT,
    "prompt_cache_retention": _TEXT,
}
_CHAT: dict[str, tuple[Check, str]] = {
    **_ANY_DIALECT,
    **_OPEN_SERVERS,
    "max_completion_tokens": _whole(1),
    "max_tokens": _whole(1),
    "reasoning_effort": _TEXT,
    "verbosity": _TEXT,
    "response_format": _OBJECT,
    "service_tier": _TEXT,
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "stop": _STOP,
    "logit_bias": _OBJECT,
    "logprobs": _FLAG,
    "top_logprobs": _whole(0, 20),
    "modalities": _TEXTS,
    "web_search_options": _OBJECT,
    "prompt_cache_key": _TEXT,
    "prompt_cache_retention": _TEXT,
}
_ASSISTANTS: dict[str, tuple[Check, str]] = {
    **_ANY_DIALECT,
    "max_prompt_tokens": _whole(256),
    "max_completion_tokens": _whole(256),
    "truncation_strategy": _OBJECT,
    "response_format": _CHOICE,
    "reasoning_effort": _TEXT,
}
KNOWN: Mapping[str, Mapping[str, tuple[Check, str]]] = MappingProxyType(
    {"responses": _RESPONSES, "responses-stateless": _RESPONSES, "chat": _CHAT, "assistants": _ASSISTANTS}
)
"""By dialect: the settings' names, each with its check and the words for what it must be."""


def check_settings(settings: object, dialect: str) -> None:
    """Raises DefinitionInvalid for a setting that the dialect doesn't have, or with a value of the wrong form."""
    if not isinstance(settings, dict):
        raise DefinitionInvalid("settings", f"must be a JSON object, not {type(settings).__name__}")
    known = KNOWN[dialect]
    for name, value in settings.items():
        if name not in known:
            raise DefinitionInvalid("settings", f"{show(name)} {_instead(name, dialect)}")
        check, expected = known[name]
        if not check(value):
            raise DefinitionInvalid(f"settings.{name}", f"{show(value)} is not {expected}")


def _instead(name: object, dialect: str) -> str:
    if not isinstance(name, str):
        return "is not a name"
    close = difflib.get_close_matches(name, KNOWN[dialect], n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(KNOWN[dialect]))}"
    others = [d for d in ("responses", "chat", "assistants") if name in KNOWN[d]]
    where = f" (dialect {others[0]} has it)" if others else ""
    return f"can't be fixed for an assistant with dialect {dialect}{where}{hint}"
