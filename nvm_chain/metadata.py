"""What everybody may read about an asset: one canonical JSON document in one raw IPFS block."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from nvm_chain.address import address
from nvm_chain.canonical import MAX_SAFE, JsonObject, NotStrict, dumps, loads
from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.did import Did
from nvm_chain.did_document import Service, did_document
from nvm_chain.errors import InvalidInput, MetadataInvalid, SealBroken
from nvm_chain.sealing import Sealed
from nvm_chain.text import many_lines, one_line, show, tag

VERSION = 1
MAX_TITLE, MAX_DESCRIPTION, MAX_NOTES, MAX_TAGS, MAX_TAG = 120, 5_000, 50_000, 16, 32
MAX_OFFERS, MAX_SERVICES, MAX_SEALED = 16, 8, 16

T = TypeVar("T")


def metadata_schema() -> JsonObject:
    """The JSON schema of the document (draft 2020-12), as published in this package."""
    schema: JsonObject = json.loads((files("nvm_chain") / "schemas" / "metadata-v1.json").read_text("utf-8"))
    return schema


@dataclass(frozen=True, slots=True)
class OfferSummary:
    """What the metadata says of an offer, for display; the AssetRegistry decides.

    plan_id: 32 bytes. min_credits, max_credits: per access, 0 <= min <= max < 2**53. title: of the plan, may be empty.
    """

    plan_id: bytes
    min_credits: int
    max_credits: int
    title: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.plan_id, bytes) or len(self.plan_id) != 32:
            raise InvalidInput(f"plan {show(self.plan_id)} is not 32 bytes")
        for value in (self.min_credits, self.max_credits):
            if type(value) is not int or not 0 <= value <= MAX_SAFE:
                raise InvalidInput(f"{show(value)} is not a whole number of credits from 0 to 2**53 - 1")
        if self.min_credits > self.max_credits:
            raise InvalidInput(f"min {self.min_credits} is above max {self.max_credits}")
        object.__setattr__(self, "title", one_line(self.title, MAX_TITLE))

    def to_json(self) -> JsonObject:
        """The entry in the metadata's `offers` list."""
        plan = "0x" + self.plan_id.hex()
        return {"plan": plan, "title": self.title, "min": self.min_credits, "max": self.max_credits}

    @classmethod
    def from_json(cls, data: object) -> OfferSummary:
        """Reads an entry. Raises InvalidInput."""
        entry = _exactly(data, "plan", "title", "min", "max")
        if not isinstance(entry["plan"], str) or not re.fullmatch(r"0x[0-9a-f]{64}", entry["plan"]):
            raise InvalidInput(f"plan {show(entry['plan'])} is not 0x and 64 lower-case hex digits")
        return cls(bytes.fromhex(entry["plan"][2:]), entry["min"], entry["max"], entry["title"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """An asset's public description. Texts are put into their normal form; MetadataInvalid names a field that fails.

    did, chain_id, registry, owner: whose record this is. Source: AssetRegistry at the time of writing.
    title: 1 to 120 code points, one line. description: up to 5,000. notes: how to integrate, Markdown, up to 50,000.
    tags: up to 16, of up to 32 code points. image: CID of a raw block with a picture.
    offers: for display. services: where it is served. sealed: the definition, once for each node and key.
    created, updated: unix seconds, of the first and of this version.
    """

    did: Did
    chain_id: int
    registry: str
    owner: str
    title: str
    created: int
    updated: int
    description: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    image: Cid | None = None
    offers: tuple[OfferSummary, ...] = ()
    services: tuple[Service, ...] = ()
    sealed: tuple[Sealed, ...] = ()

    def __post_init__(self) -> None:
        _set(self, "did", lambda v: _is(v, Did))
        _set(self, "chain_id", lambda v: _whole(v, 1, MAX_SAFE))
        _set(self, "registry", address)
        _set(self, "owner", address)
        _set(self, "title", lambda v: one_line(v, MAX_TITLE, min_length=1))
        _set(self, "description", lambda v: many_lines(v, MAX_DESCRIPTION))
        _set(self, "notes", lambda v: many_lines(v, MAX_NOTES))
        _set(self, "tags", _tags)
        _set(self, "image", lambda v: v if v is None else _is(v, Cid))
        _set(self, "offers", lambda v: _unique(v, OfferSummary, MAX_OFFERS, lambda o: o.plan_id.hex()))
        _set(self, "services", lambda v: _unique(v, Service, MAX_SERVICES, lambda s: s.node))
        _set(self, "sealed", lambda v: _unique(v, Sealed, MAX_SEALED, lambda s: f"{s.node} key {s.key_version}"))
        _set(self, "created", lambda v: _whole(v, 0, 2**40 - 1))
        _set(self, "updated", lambda v: _whole(v, self.created, 2**40 - 1))

    @property
    def chain(self) -> str:
        """The chain's CAIP-2 id."""
        return f"eip155:{self.chain_id}"

    @property
    def did_document(self) -> JsonObject:
        """The W3C DID document, as it stands in the block."""
        return did_document(self.did, self.chain_id, self.owner, self.services)

    def sealed_for(self, node: str, key_version: int) -> Sealed | None:
        """The secret for one key of one node, if there is one."""
        wanted = address(node, "node")
        return next((s for s in self.sealed if s.node == wanted and s.key_version == key_version), None)

    def to_json(self) -> JsonObject:
        """The document as a JSON object; `to_block` writes it in canonical form."""
        document: JsonObject = {
            "v": VERSION,
            "did": str(self.did),
            "chain": self.chain,
            "registry": self.registry,
            "owner": self.owner,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "notes": self.notes,
            "offers": [offer.to_json() for offer in self.offers],
            "services": [{"node": s.node, "endpoint": s.endpoint} for s in self.services],
            "sealed": [sealed.to_json() for sealed in self.sealed],
            "created": self.created,
            "updated": self.updated,
            "didDocument": self.did_document,
        }
        return document if self.image is None else document | {"image": str(self.image)}

    def to_block(self) -> bytes:
        """The canonical bytes (RFC 8785), whose CID goes on the chain. Raises MetadataInvalid above 256 KiB."""
        block = dumps(self.to_json())
        if len(block) > MAX_BLOCK:
            secrets = sum(len(s.ciphertext) for s in self.sealed)
            raise MetadataInvalid(
                f"the document has {len(block)} bytes, {secrets} of them sealed secrets; an IPFS block has at most "
                f"{MAX_BLOCK}: shorten the notes or the definition, or name fewer nodes"
            )
        return block

    @classmethod
    def from_block(
        cls, block: bytes, *, did: Did | None = None, chain_id: int | None = None, registry: str | None = None
    ) -> Metadata:
        """Reads a block that `to_block` could have written, and no other.

        did, chain_id, registry: whose metadata is expected. Raises MetadataInvalid with the reason.
        """
        try:
            document = loads(block, max_bytes=MAX_BLOCK, max_depth=8)
        except NotStrict as error:
            raise MetadataInvalid(f"the block is refused: {error}") from None
        metadata = cls._read(document)
        if metadata.to_block() != block:
            raise _difference(metadata, document, block)
        expected = {"did": did, "chain_id": chain_id, "registry": registry and address(registry, "registry")}
        for name, value in expected.items():
            if value is not None and getattr(metadata, name) != value:
                raise MetadataInvalid(f"the metadata is of {getattr(metadata, name)}, and {value} is asked for", name)
        return metadata

    @classmethod
    def _read(cls, document: object) -> Metadata:
        if not isinstance(document, dict):
            raise MetadataInvalid(f"the block holds a {type(document).__name__}, not a JSON object")
        if type(document.get("v")) is not int or document["v"] != VERSION:
            raise MetadataInvalid(
                f"version {show(document.get('v'))} is not {VERSION}; a newer nvm-chain may read it", "v"
            )
        if missing := sorted(_REQUIRED - set(document)):
            raise MetadataInvalid("is missing", missing[0])
        if unknown := sorted(set(document) - _REQUIRED - {"image"}):
            raise MetadataInvalid(f"unknown field {show(unknown[0])}")
        values: dict[str, Any] = {name: _read(document, name, read) for name, read in _READ.items() if name in document}
        values["chain_id"] = values.pop("chain")
        return cls(**values)


_REQUIRED = frozenset(
    {"v", "did", "chain", "registry", "owner", "title", "description", "tags", "notes", "offers", "services", "sealed"}
    | {"created", "updated", "didDocument"}
)


def _chain(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"eip155:[1-9][0-9]{0,15}", value):
        raise InvalidInput(f"{show(value)} is not a CAIP-2 id such as eip155:1")
    return int(value.removeprefix("eip155:"))


def _service(value: object) -> Service:
    entry = _exactly(value, "node", "endpoint")
    return Service(entry["node"], entry["endpoint"])


def _list_of(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise InvalidInput(f"must be a list, not {type(value).__name__}")
        if len(value) > 64:
            raise InvalidInput(f"has {len(value)} entries")
        return tuple(map(read, value))

    return read_all


def _same(value: Any) -> Any:
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "did": Did.parse,
    "chain": _chain,
    "registry": _same,
    "owner": _same,
    "title": _same,
    "description": _same,
    "tags": _list_of(_same),
    "notes": _same,
    "image": Cid.parse,
    "offers": _list_of(OfferSummary.from_json),
    "services": _list_of(_service),
    "sealed": _list_of(Sealed.from_json),
    "created": _same,
    "updated": _same,
}


def _read(document: JsonObject, name: str, read: Callable[[Any], Any]) -> Any:
    try:
        return read(document[name])
    except (InvalidInput, SealBroken) as error:
        raise MetadataInvalid(str(error), name) from None


def _set(metadata: Metadata, name: str, normalise: Callable[[Any], object]) -> None:
    try:
        object.__setattr__(metadata, name, normalise(getattr(metadata, name)))
    except InvalidInput as error:
        raise MetadataInvalid(str(error), name) from None


def _is(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise InvalidInput(f"must be a {kind.__name__}, not {type(value).__name__}")
    return value


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(f"{show(value)} is not a whole number from {low} to {high}")
    return value


def _tags(values: Iterable[object]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise InvalidInput("must be a list of texts, not one text")
    tags = tuple(dict.fromkeys(tag(value, MAX_TAG) for value in values))
    if len(tags) > MAX_TAGS:
        raise InvalidInput(f"{len(tags)} tags, at most {MAX_TAGS}")
    return tags


def _unique(values: Iterable[object], kind: type[T], limit: int, key: Callable[[T], str]) -> tuple[T, ...]:
    items = tuple(_is(value, kind) for value in values)
    if len(items) > limit:
        raise InvalidInput(f"{len(items)} entries, at most {limit}")
    seen: set[str] = set()
    for item in items:
        if key(item) in seen:
            raise InvalidInput(f"{key(item)} is there twice")
        seen.add(key(item))
    return items


def _exactly(data: object, *names: str) -> JsonObject:
    if not isinstance(data, dict) or set(data) != set(names):
        raise InvalidInput(f"an entry must be an object with exactly {', '.join(names)}")
    return data


def _difference(metadata: Metadata, document: JsonObject, block: bytes) -> MetadataInvalid:
    """Why `block` is not what we would have written for what it says."""
    canonical = metadata.to_json()
    for name in sorted(canonical):
        if document.get(name) != canonical[name]:
            what = "does not follow from the other fields" if name == "didDocument" else "is not in its normal form"
            return MetadataInvalid(what, name)
    ours = metadata.to_block()
    at = next((i for i, (a, b) in enumerate(zip(ours, block, strict=False)) if a != b), min(len(ours), len(block)))
    return MetadataInvalid(
        f"the block is not canonical JSON (RFC 8785): key order, white space or escapes at byte {at}"
    )
