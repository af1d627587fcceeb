"""Contract ABIs from the package's artifacts: calls as values, decoding of results, events and errors.

A `Call` is a plain value: it can be shown (a dry run), simulated, sent, or put into somebody else's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from nvm_chain.errors import ChainUnavailable, InvalidInput

R = TypeVar("R")
S = TypeVar("S")
Json = dict[str, Any]

ZERO_ADDRESS = "0x" + "0" * 40
CONTRACTS = ("PlanRegistry", "AssetRegistry", "NodeRegistry", "SignatureValidator", "Lens")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One call of a contract function.

    value: wei to send. args: the arguments by name, for display. decode: turns the returned bytes into R.
    """

    to: str
    data: bytes
    contract: str
    function: str
    args: Mapping[str, Any]
    decode: Callable[[bytes], R]
    value: int = 0

    def sending(self, value: int) -> Call[R]:
        """The same call with `value` wei."""
        return Call(self.to, self.data, self.contract, self.function, self.args, self.decode, value)

    def returning(self, convert: Callable[[R], S]) -> Call[S]:
        """The same call with its result converted."""
        decode = self.decode
        return Call(
            self.to, self.data, self.contract, self.function, self.args, lambda raw: convert(decode(raw)), self.value
        )

    def __str__(self) -> str:
        return f"{self.contract}.{self.function}({', '.join(f'{k}={display(v)}' for k, v in self.args.items())})"


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log. args: by name; addresses checksummed, bytes as bytes. log_index: within the block."""

    name: str
    args: Mapping[str, Any]
    address: str
    block: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    selector: bytes
    inputs: tuple[Json, ...]
    outputs: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class _EventType:
    name: str
    indexed: tuple[Json, ...]
    data: tuple[Json, ...]
    order: tuple[str, ...]


class Abi:
    """One contract's ABI. `Abi.of("PlanRegistry")` reads the artifact that ships with the package."""

    def __init__(self, name: str, entries: Sequence[Json]) -> None:
        self.name = name
        self.entries = tuple(entries)
        self.functions = {e["name"]: _function(e) for e in entries if e["type"] == "function"}
        self.events = {keccak(text=_signature(e)): _event(e) for e in entries if e["type"] == "event"}
        self.topics = {event.name: topic for topic, event in self.events.items()}
        self.errors = tuple(_signature(e) for e in entries if e["type"] == "error")

    @staticmethod
    @cache
    def of(name: str) -> Abi:
        """The ABI of one of CONTRACTS. Raises InvalidInput for another name."""
        return Abi(name, artifact(name)["abi"])

    def call(self, to: str, function: str, *args: Any, value: int = 0) -> Call[Any]:
        """Encodes a call; its result decodes to one value, or a tuple when the function returns several.

        Structs decode to dicts by field name. Raises InvalidInput when an argument does not fit its type.
        """
        entry = self.functions[function]
        try:
            data = entry.selector + encode(entry.inputs, args)
        except (EncodingError, OverflowError) as error:
            raise InvalidInput(f"{self.name}.{function}: {error}") from error
        names = [c["name"] or str(i) for i, c in enumerate(entry.inputs)]
        return Call(
            to=to,
            data=data,
            contract=self.name,
            function=function,
            args=dict(zip(names, args, strict=True)),
            decode=lambda raw: _result(f"{self.name}.{function}", entry.outputs, raw),
            value=value,
        )

    def event(self, log: Mapping[str, Any]) -> Event | None:
        """Decodes a JSON-RPC log object; None when the log is not one of this contract's events."""
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        kind = self.events.get(topics[0]) if topics else None
        if kind is None or len(topics) != len(kind.indexed) + 1:
            return None
        try:
            values = {c["name"]: decode((c,), topic)[0] for c, topic in zip(kind.indexed, topics[1:], strict=True)}
            data = decode(kind.data, bytes.fromhex(log["data"][2:]))
        except DecodingError:
            return None  # another contract's event with the same name and types, indexed in another way
        values |= {c["name"]: value for c, value in zip(kind.data, data, strict=True)}
        return Event(
            name=kind.name,
            args={name: values[name] for name in kind.order},
            address=to_checksum_address(log["address"]),
            block=int(log["blockNumber"], 16),
            block_hash=log["blockHash"],
            tx_hash=log["transactionHash"],
            log_index=int(log["logIndex"], 16),
        )


@cache
def artifact(name: str) -> Json:
    """The compiled contract as JSON: abi, bytecode, deployedBytecode, compiler. Raises InvalidInput."""
    if name not in CONTRACTS:
        raise InvalidInput(f"no contract {name!r}: choose one of {', '.join(CONTRACTS)}")
    text = files("nvm_chain").joinpath("artifacts", f"{name}.json").read_text(encoding="utf-8")
    loaded: Json = json.loads(text)
    return loaded


def encode(components: Sequence[Json], values: Sequence[Any]) -> bytes:
    """ABI-encodes values by their ABI components."""
    return abi_encode([collapse_if_tuple(c) for c in components], values)


def decode(components: Sequence[Json], raw: bytes) -> tuple[Any, ...]:
    """ABI-decodes: addresses checksummed, structs as dicts by field name, arrays as tuples."""
    values = abi_decode([collapse_if_tuple(c) for c in components], raw)
    return tuple(_named(c["type"], c, value) for c, value in zip(components, values, strict=True))


def display(value: Any) -> str:
    """A value as a person reads it: bytes as 0x hex, structs in parentheses."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple | list):
        return "(" + ", ".join(display(item) for item in value) + ")"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key}={display(item)}" for key, item in value.items()) + ")"
    return str(value)


def _named(kind: str, component: Json, value: Any) -> Any:
    if kind.endswith("]"):
        return tuple(_named(kind[: kind.rindex("[")], component, item) for item in value)
    if kind == "tuple":
        fields = component["components"]
        return {f["name"]: _named(f["type"], f, item) for f, item in zip(fields, value, strict=True)}
    return to_checksum_address(value) if kind == "address" else value


def _result(name: str, outputs: Sequence[Json], raw: bytes) -> Any:
    try:
        values = decode(outputs, raw)
    except DecodingError as error:
        # An address without code answers every call with nothing.
        raise ChainUnavailable(
            f"{name} answered {len(raw)} bytes that are not its result: the contract is not deployed "
            f"at this address on this chain; look at `nvm-chain network`"
        ) from error
    return values[0] if len(values) == 1 else values


def _signature(entry: Json) -> str:
    return f"{entry['name']}({','.join(collapse_if_tuple(c) for c in entry['inputs'])})"


def _function(entry: Json) -> _Function:
    selector = keccak(text=_signature(entry))[:4]
    return _Function(entry["name"], selector, tuple(entry["inputs"]), tuple(entry["outputs"]))


def _event(entry: Json) -> _EventType:
    inputs = entry["inputs"]
    return _EventType(
        name=entry["name"],
        indexed=tuple(c for c in inputs if c["indexed"]),
        data=tuple(c for c in inputs if not c["indexed"]),
        order=tuple(c["name"] for c in inputs),
    )
