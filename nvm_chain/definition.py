"""What an assistant is to its provider: address, key, model, instructions, tools. It leaves the builder sealed."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from nvm_chain import canonical
from nvm_chain.canonical import JsonObject, NotStrict, dumps
from nvm_chain.errors import AssistantsShutDown, DefinitionInvalid, InvalidInput
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from nvm_chain.secret import Secret
from nvm_chain.settings import check_settings
from nvm_chain.text import show
from nvm_chain.urls import base_url

Dialect = Literal["responses", "responses-stateless", "chat", "assistants"]
"""How the provider is spoken to: Responses with state kept there (`store`, conversations), Responses without state,
Chat Completions, or Assistants v2 on a server that still speaks it."""

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
MAX_TOOLS = 128
MAX_DEPTH = canonical.MAX_DEPTH - 3
"""Levels of a tool or of the settings: sealed, they lie below the plaintext, the definition and the list of tools."""

_NAME = re.compile(r"[!-~]{1,200}")
_SHUTDOWN = (
    "OpenAI and Azure shut the Assistants API down on 2026-08-26; stored assistants can't be called or imported now. "
    "Register the assistant's model and instructions with dialect responses instead, or point base_url to a server "
    "that still speaks Assistants v2"
)


@dataclass(frozen=True, slots=True)
class Definition:
    """An assistant as its provider needs it: checked once, not changed afterwards (treat its dicts as read-only).

    dialect: how the provider is spoken to, see `Dialect`.
    base_url: the provider's base, with `/v1` where it has one; https, or http for this machine or with `allow_http`.
        Which hosts are reachable is the node operator's decision, not checked here.
    api_key: the builder's key at the provider.
    model: as the provider names it; may be empty with dialect assistants (the stored assistant has its own).
    instructions: system text, never shown to callers.
    tools: the provider's tool objects, in the provider's words.
    settings: request parameters in the words of the dialect, from the list in `nvm_chain.settings`.
    assistant_id: `asst_…` at the provider; with dialect assistants only, and needed there.
    allow_http: the builder accepts that key and calls cross the network unencrypted (a server in a private network).
    policy: what callers may add. pricing: how usage becomes credits.

    Raises DefinitionInvalid, which names the field.
    """

    base_url: str = field(repr=False)
    api_key: Secret
    model: str = field(repr=False)
    instructions: str = field(default="", repr=False)
    tools: tuple[JsonObject, ...] = field(default=(), repr=False)
    settings: JsonObject = field(default_factory=dict, repr=False)
    dialect: Dialect = "responses"
    assistant_id: str | None = field(default=None, repr=False)
    allow_http: bool = False
    policy: Policy = field(default_factory=Policy, repr=False)
    pricing: Pricing = field(default_factory=Pricing, repr=False)

    def __post_init__(self) -> None:
        if self.dialect not in DIALECTS:
            raise DefinitionInvalid("dialect", f"{show(self.dialect)} is not one of {', '.join(DIALECTS)}")
        if not isinstance(self.allow_http, bool):
            raise DefinitionInvalid("allow_http", f"{show(self.allow_http)} is not true or false")
        if not isinstance(self.policy, Policy):
            raise DefinitionInvalid("policy", "is not a Policy")
        if not isinstance(self.pricing, Pricing):
            raise DefinitionInvalid("pricing", "is not a Pricing")
        object.__setattr__(self, "base_url", _base_url(self.base_url, self.allow_http))
        _check_key(self.api_key)
        self._check_identity()
        if not isinstance(self.instructions, str):
            raise DefinitionInvalid("instructions", f"must be text, not {type(self.instructions).__name__}")
        _check_json("instructions", self.instructions)
        object.__setattr__(self, "tools", _tools(self.tools))
        check_settings(self.settings, self.dialect)
        _check_json("settings", self.settings)
        object.__setattr__(self, "settings", copy.deepcopy(self.settings))

    def _check_identity(self) -> None:
        """Model, assistant id and dialect belong together."""
        gone = _is_openai(self.base_url)
        if isinstance(self.model, str) and self.model.startswith("asst_"):
            hint = _SHUTDOWN if gone else "put it into assistant_id and set dialect assistants"
            kind = AssistantsShutDown if gone else DefinitionInvalid
            raise kind("model", f"{show(self.model)} is an assistant's id, not a model. {hint}")
        if self.dialect == "assistants":
            if gone:
                where = urlsplit(self.base_url).hostname
                if self.assistant_id:
                    raise AssistantsShutDown(
                        "assistant_id", f"{show(self.assistant_id)} is gone at {where}. {_SHUTDOWN}"
                    )
                raise AssistantsShutDown("dialect", f"assistants is gone at {where}. {_SHUTDOWN}")
            if not isinstance(self.assistant_id, str) or not _NAME.fullmatch(self.assistant_id):
                problem = f"{show(self.assistant_id)} is not an id; dialect assistants needs the asst_… to run"
                raise DefinitionInvalid("assistant_id", problem)
        elif self.assistant_id is not None:
            if gone:
                raise AssistantsShutDown("assistant_id", f"{show(self.assistant_id)} can't be served. {_SHUTDOWN}")
            raise DefinitionInvalid("assistant_id", f"belongs to dialect assistants, and the dialect is {self.dialect}")
        optional = self.dialect == "assistants" and self.model == ""
        if not optional and (not isinstance(self.model, str) or not _NAME.fullmatch(self.model)):
            raise DefinitionInvalid(
                "model", f"{show(self.model)} is not a model's name: 1 to 200 printable ASCII characters without spaces"
            )

    @classmethod
    def from_json(cls, data: object, api_key: Secret | None = None) -> Definition:
        """Reads what `reveal_json` writes, or a builder's file; fields left out have their defaults.

        api_key: the key, where the file does not hold it. Raises DefinitionInvalid; unknown fields are refused.
        """
        if not isinstance(data, dict):
            raise DefinitionInvalid("definition", f"must be a JSON object, not {type(data).__name__}")
        if unknown := sorted(k for k in data if k not in _FIELDS):
            known = ", ".join(sorted(_FIELDS))
            raise DefinitionInvalid("definition", f"unknown field {show(unknown[0])}; known: {known}")
        values: dict[str, Any] = {k: v for k, v in data.items() if v is not None}
        if api_key is not None:
            if "api_key" in values:
                raise DefinitionInvalid("api_key", "given twice, in the definition and beside it")
            values["api_key"] = api_key
        elif isinstance(values.get("api_key"), str):
            values["api_key"] = Secret(values["api_key"])
        if missing := [k for k in ("base_url", "api_key") if k not in values]:
            raise DefinitionInvalid(missing[0], "is missing")
        values.setdefault("model", "")
        if "tools" in values:
            if not isinstance(values["tools"], list):
                raise DefinitionInvalid("tools", "must be a list of JSON objects")
            values["tools"] = tuple(values["tools"])
        if "policy" in values:
            values["policy"] = Policy.from_json(values["policy"])
        if "pricing" in values:
            values["pricing"] = Pricing.from_json(values["pricing"])
        return cls(**values)

    def reveal_json(self) -> JsonObject:
        """The whole definition as a JSON object, the API key in the clear: for sealing, and for nothing else."""
        return {
            "dialect": self.dialect,
            "base_url": self.base_url,
            "api_key": self.api_key.reveal(),
            "model": self.model,
            "instructions": self.instructions,
            "tools": copy.deepcopy(list(self.tools)),
            "settings": copy.deepcopy(self.settings),
            "assistant_id": self.assistant_id,
            "allow_http": self.allow_http,
            "policy": self.policy.to_json(),
            "pricing": self.pricing.to_json(),
        }


_FIELDS = frozenset(f.name for f in fields(Definition))


def _base_url(url: object, allow_http: bool) -> str:
    try:
        normal = base_url(url, allow_http=allow_http)
    except InvalidInput as error:
        problem = str(error)
    else:
        parts = urlsplit(normal)
        if parts.hostname != "api.openai.com" or parts.path:
            return normal
        problem = f"{show(normal)} lacks the path: https://api.openai.com/v1"
    if problem.endswith("use https"):
        problem += ", or allow_http if the network is your own"
    raise DefinitionInvalid("base_url", problem)


def _is_openai(base_url: str) -> bool:
    """Whether the provider is one of those that ended the Assistants API."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    ended = ("openai.com", "openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
    return any(host == name or host.endswith("." + name) for name in ended)


def _check_key(key: object) -> None:
    """What a key can't be, whoever issued it. The key is never echoed."""
    if not isinstance(key, Secret):
        raise DefinitionInvalid("api_key", f"must be a Secret, not {type(key).__name__}")
    if problem := _key_problem(key):
        raise DefinitionInvalid("api_key", problem)


def _key_problem(key: Secret) -> str | None:
    """A function of its own, so that no frame of the error's traceback has the key in a local."""
    try:
        text = key.reveal()
    except ValueError:
        text = "\ufffd"
    if not text:
        return "is empty; a server that asks for no key takes any word"
    if text != text.strip():
        return "has white space or a newline at an end: copy it again without"
    if text[0] in "\"'`“‘«" or text[-1] in "\"'`”’»":
        return "has quotes around it: leave them out"
    if text.lower().startswith(("bearer ", "authorization:", "basic ")):
        return "is a whole header: give the key alone, without Bearer"
    if re.match(r"[A-Z][A-Z0-9_]*(KEY|TOKEN)=", text):
        return "is an assignment (NAME=key): give what stands after ="
    if text[0] in "$<{":
        return "is a placeholder, not a key"
    if not re.fullmatch(r"[!-~]+", text):
        return "has spaces or characters outside of printable ASCII: copy it again"
    if len(text) > 4096:
        return f"has {len(text)} characters, at most 4096"
    return None


def _tools(tools: object) -> tuple[JsonObject, ...]:
    if not isinstance(tools, tuple | list):
        raise DefinitionInvalid("tools", "must be a list of JSON objects")
    if len(tools) > MAX_TOOLS:
        raise DefinitionInvalid("tools", f"{len(tools)} tools, at most {MAX_TOOLS}")
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise DefinitionInvalid(f"tools[{number}]", f"must be a JSON object, not {type(tool).__name__}")
        if not isinstance(tool.get("type"), str) or not tool["type"]:
            raise DefinitionInvalid(f"tools[{number}].type", 'is missing; a tool looks like {"type": "web_search"}')
        _check_json(f"tools[{number}]", tool)
    return tuple(copy.deepcopy(list(tools)))


def _check_json(name: str, value: object) -> None:
    try:
        dumps(value, max_depth=MAX_DEPTH)
        return
    except NotStrict as error:
        kind = error.kind
    if kind == "nested too deeply":
        kind += f", at most {MAX_DEPTH} levels"
    raise DefinitionInvalid(name, f"can't be written as JSON: {kind}")
