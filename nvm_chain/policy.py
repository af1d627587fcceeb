"""What a caller may add to a call of somebody else's assistant."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nvm_chain.canonical import MAX_SAFE, JsonObject
from nvm_chain.errors import DefinitionInvalid
from nvm_chain.text import show


@dataclass(frozen=True, slots=True)
class Policy:
    """Permissions for callers. Everything that could change what the assistant is or costs is off until allowed.

    function_tools: function tools of the caller's own, beside the assistant's.
    temperature, top_p: their own sampling. reasoning: their own reasoning effort and summary.
    max_output_tokens: the most output tokens that one call may have; None = what the settings say. Asking for fewer
        than the settings say is always allowed.
    extra_instructions: text appended to the assistant's instructions, never in their place.
    metadata: key-value pairs on their own objects; shown to nobody else.
    images, files: image and file content in the input, inline or by URL (ids only of files that are the caller's own).
    structured_output: their own output format (`text.format`, `response_format`).
    unknown_fields: fields of the request that the node does not know go to the provider instead of being refused. Only
        for a provider of which you know what they can do: one that routes between models may take another from them.
    """

    function_tools: bool = False
    temperature: bool = False
    top_p: bool = False
    reasoning: bool = False
    max_output_tokens: int | None = None
    extra_instructions: bool = False
    metadata: bool = True
    images: bool = False
    files: bool = False
    structured_output: bool = False
    unknown_fields: bool = False

    def __post_init__(self) -> None:
        for name in _NAMES:
            value = getattr(self, name)
            if name == "max_output_tokens":
                if value is not None and (type(value) is not int or not 1 <= value <= MAX_SAFE):
                    raise DefinitionInvalid(f"policy.{name}", f"{show(value)} is not a positive number of tokens")
            elif not isinstance(value, bool):
                raise DefinitionInvalid(f"policy.{name}", f"{show(value)} is not true or false")

    @classmethod
    def from_json(cls, data: object) -> Policy:
        """Reads a JSON object; names left out have their defaults. Raises DefinitionInvalid."""
        if not isinstance(data, dict):
            raise DefinitionInvalid("policy", f"must be a JSON object, not {type(data).__name__}")
        if unknown := sorted(k for k in data if k not in _NAMES):
            raise DefinitionInvalid("policy", f"unknown field {show(unknown[0])}; known: {', '.join(_NAMES)}")
        return cls(**data)

    def to_json(self) -> JsonObject:
        """All fields as a JSON object."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(f.name for f in fields(Policy))
