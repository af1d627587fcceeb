from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.canonical import dumps
from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.did import Did
from nvm_chain.did_document import Service
from nvm_chain.errors import InvalidInput, MetadataInvalid
from nvm_chain.metadata import Metadata, OfferSummary, metadata_schema
from nvm_chain.sealing import Sealed
from tests.unit.sample import (
    API_KEY,
    CHAIN_ID,
    DID,
    INSTRUCTIONS,
    NODE,
    NODE_KEY,
    NODE_PUBLIC_KEY,
    NOW,
    OTHER,
    OWNER,
    REGISTRY,
    binding,
    definition,
    metadata,
)

jsonschema: Any = importlib.import_module("jsonschema")
VALIDATOR: Any = jsonschema.Draft202012Validator(metadata_schema())
SAMPLE = metadata()
BLOCK = SAMPLE.to_block()
REVERSED = json.dumps(dict(reversed(json.loads(BLOCK).items())), separators=(",", ":")).encode()


def changed(**changes: Any) -> bytes:
    """The sample's block with other values, in canonical form."""
    return dumps(SAMPLE.to_json() | changes)


def refused(block: bytes, reason: str | None = None, **expected: Any) -> MetadataInvalid:
    with pytest.raises(MetadataInvalid, match=reason) as caught:
        Metadata.from_block(block, **expected)
    assert str(caught.value).isprintable()
    return caught.value


def test_metadata_reads_back_from_its_block() -> None:
    assert Metadata.from_block(BLOCK) == SAMPLE
    assert Metadata.from_block(BLOCK, did=DID, chain_id=CHAIN_ID, registry=REGISTRY.lower()) == SAMPLE
    assert Metadata.from_block(BLOCK).to_block() == BLOCK


def test_the_block_is_canonical_json_without_secrets() -> None:
    assert json.dumps(json.loads(BLOCK), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == BLOCK
    assert API_KEY.encode() not in BLOCK
    assert INSTRUCTIONS.encode() not in BLOCK


def test_the_secret_in_it_opens_for_its_node() -> None:
    sealed = Metadata.from_block(BLOCK).sealed_for(NODE.lower(), 1)
    assert sealed is not None
    assert sealed.open(NODE_KEY, binding()).definition == definition()
    assert SAMPLE.sealed_for(NODE, 2) is None
    assert SAMPLE.sealed_for(OTHER, 1) is None


def test_the_did_document_is_a_w3c_one() -> None:
    document = json.loads(BLOCK)["didDocument"]
    assert document == SAMPLE.did_document
    assert document["id"] == str(DID)
    assert document["controller"] == f"did:pkh:eip155:31337:{OWNER}"
    (method,) = document["verificationMethod"]
    assert method["blockchainAccountId"] == f"eip155:31337:{OWNER}"
    assert document["authentication"] == document["assertionMethod"] == [method["id"]] == [f"{DID}#owner"]
    assert document["service"] == [
        {
            "id": f"{DID}#access-{NODE.lower()}",
            "type": "AssistantAccess",
            "serviceEndpoint": "https://node.example",
            "node": f"eip155:31337:{NODE}",
        }
    ]


# ------------------------------------------------------------------------------------------------------------- schema


def test_the_published_schema_is_a_schema_and_fits_what_is_written() -> None:
    jsonschema.Draft202012Validator.check_schema(metadata_schema())
    VALIDATOR.validate(json.loads(BLOCK))
    small = metadata(description="", tags=(), notes="", image=None, offers=(), services=(), sealed=())
    VALIDATOR.validate(json.loads(small.to_block()))


def test_the_schema_fits_the_largest_of_everything() -> None:
    largest = metadata(
        chain_id=2**53 - 1,
        title="🙂" * 120,
        description="é" * 5000,
        notes="n" * 50_000,
        tags=tuple(f"{n:032}" for n in range(16)),
        offers=tuple(OfferSummary(bytes([n]) * 32, 0, 2**53 - 1, "t" * 120) for n in range(16)),
        services=tuple(Service("0x" + f"{n:040x}", "https://" + "a" * 192) for n in range(8)),
        sealed=(Sealed.of(definition(instructions="x" * 100_000), binding(key_version=2**32 - 1), NODE_PUBLIC_KEY),),
        created=2**40 - 1,
        updated=2**40 - 1,
    )
    VALIDATOR.validate(json.loads(largest.to_block()))
    assert Metadata.from_block(largest.to_block()) == largest


def test_schema_and_writer_name_the_same_fields() -> None:
    assert set(metadata_schema()["properties"]) == set(json.loads(BLOCK))
    assert set(metadata_schema()["required"]) == set(json.loads(BLOCK)) - {"image"}


@pytest.mark.parametrize("name", sorted(set(json.loads(BLOCK)) - {"image"}))
def test_schema_and_reader_both_miss_a_field(name: str) -> None:
    document = json.loads(BLOCK)
    del document[name]
    assert not VALIDATOR.is_valid(document)
    assert refused(dumps(document)).field == name


# ---------------------------------------------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "not JSON"),
        (b"null", "NoneType"),
        (b"[]", "list"),
        (b"{}", "version None"),
        (BLOCK + b"\n", "not canonical JSON"),
        (b" " + BLOCK, "not canonical JSON"),
        (BLOCK.replace(b'"chain":', b'"chain": '), "not canonical JSON"),
        (BLOCK.replace(b"Math tutor", b"M\\u0061th tutor"), "not canonical JSON"),
        (BLOCK.replace(b"https://node", b"https:\\/\\/node"), "not canonical JSON"),
        (REVERSED, "not canonical JSON"),
        (BLOCK[:-1] + b',"v":1}', "duplicate key"),
        (BLOCK[:-1] + b',"\\u0076":1}', "duplicate key"),
        (BLOCK.replace(b'"v":1}', b'"v":NaN}'), "NaN"),
        (BLOCK.replace(b'"created":', b'"created":1.0,"x":'), "fraction"),
        (BLOCK.replace(b"Math tutor", b"\\ud800"), "lone surrogate"),
        (BLOCK.replace(b"Math tutor", b"\xed\xa0\x80"), "not UTF-8"),
        (b"\xef\xbb\xbf" + BLOCK, "not JSON"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "nested too deeply"),
        (b"[" * 9 + b"]" * 9, "nested too deeply"),
        (BLOCK[:-1] + b" " * MAX_BLOCK + b"}", "too large"),
        (BLOCK[: len(BLOCK) // 2], "not JSON"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "not UTF-8"),
        (b"<html><body>404</body></html>", "not JSON"),
    ],
)
def test_a_block_that_is_not_canonical_json_is_refused_with_the_reason(block: bytes, reason: str) -> None:
    refused(block, reason)


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"v": 2}, "v", "newer"),
        ({"v": "1"}, "v", "version"),
        ({"v": True}, "v", "version"),
        ({"did": str(DID).upper()}, "did", "mixed case"),
        ({"chain": "eip155:031337"}, "chain", "CAIP-2"),
        ({"chain": "cosmos:hub"}, "chain", "CAIP-2"),
        ({"chain": 31337}, "chain", "CAIP-2"),
        ({"registry": REGISTRY.lower()}, "registry", "normal form"),
        ({"owner": OWNER.lower()}, "owner", "normal form"),
        ({"owner": OWNER.replace("A", "a")}, "owner", "checksum"),
        ({"title": ""}, "title", "0 characters"),
        ({"title": " Math tutor"}, "title", "normal form"),
        ({"title": "Cafe\u0301"}, "title", "normal form"),
        ({"title": "x" * 121}, "title", "121"),
        ({"title": "Math\u202e rotut"}, "title", "RIGHT-TO-LEFT OVERRIDE"),
        ({"title": "M\u0430th tutor"}, "title", "CYRILLIC and LATIN"),
        ({"title": "a\x00b"}, "title", "U\\+0000"),
        ({"title": ["Math"]}, "title", "list"),
        ({"tags": ["Math"]}, "tags", "normal form"),
        ({"tags": ["math", "math"]}, "tags", "normal form"),
        ({"tags": ["ma\u202eth"]}, "tags", "RIGHT-TO-LEFT"),
        ({"tags": [str(n) for n in range(17)]}, "tags", "at most 16"),
        ({"tags": "math"}, "tags", "list"),
        ({"tags": [5]}, "tags", "int"),
        ({"description": "a\r\nb"}, "description", "normal form"),
        ({"description": "\x1b[2J"}, "description", "normal form|U\\+001B"),
        ({"notes": "n" * 50_001}, "notes", "50001"),
        ({"image": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG"}, "image", "CIDv0"),
        ({"image": "https://evil.example/track.png"}, "image", "CID alone"),
        ({"offers": [{"plan": "0x" + "01" * 32, "title": "", "min": 5, "max": 1}]}, "offers", "above max"),
        ({"offers": [{"plan": "0x" + "AB" * 32, "title": "", "min": 1, "max": 1}]}, "offers", "lower-case"),
        ({"offers": [{"plan": "0x" + "01" * 32, "min": 1, "max": 1}]}, "offers", "exactly"),
        ({"offers": [{"plan": "0x" + "01" * 32, "title": "", "min": "1", "max": 1}]}, "offers", "whole number"),
        ({"offers": SAMPLE.to_json()["offers"] * 2}, "offers", "twice"),
        ({"offers": {}}, "offers", "list"),
        ({"services": [{"node": NODE, "endpoint": "http://node.example"}]}, "services", "use https"),
        ({"services": [{"node": NODE, "endpoint": "javascript:alert(1)"}]}, "services", "https://"),
        ({"services": [{"node": NODE, "endpoint": "https://node.example/"}]}, "services", "normal form"),
        ({"services": [{"node": NODE, "endpoint": "https://a.example", "x": 1}]}, "services", "exactly"),
        ({"sealed": [SAMPLE.sealed[0].to_json() | {"v": 0}]}, "sealed", "version 0"),
        ({"sealed": [SAMPLE.sealed[0].to_json() | {"ciphertext": "AAAA"}]}, "sealed", "cut or damaged"),
        ({"sealed": [SAMPLE.sealed[0].to_json()] * 2}, "sealed", "twice"),
        ({"created": NOW + 1}, "updated", "whole number from"),
        ({"created": -1}, "created", "-1"),
        ({"updated": NOW * 1000}, "updated", "whole number"),
        ({"didDocument": {}}, "didDocument", "does not follow"),
        ({"didDocument": SAMPLE.did_document | {"controller": "did:pkh:eip155:1:" + OTHER}}, "didDocument", "follow"),
        ({"price": "free"}, None, 'unknown field "price"'),
    ],
)
def test_a_field_of_the_wrong_form_is_named(changes: dict[str, Any], field: str | None, reason: str) -> None:
    assert refused(changed(**changes), reason).field == field


@pytest.mark.parametrize(
    "expected", [{"did": Did(b"\x01" * 32)}, {"chain_id": 1}, {"registry": OTHER}], ids=["did", "chain_id", "registry"]
)
def test_metadata_of_another_asset_chain_or_registry_is_refused(expected: dict[str, Any]) -> None:
    (name,) = expected
    assert refused(BLOCK, "is asked for", **expected).field == name


@given(st.integers(0, len(BLOCK) - 1), st.integers(0, 7))
def test_no_flipped_bit_passes_as_the_same_metadata(index: int, bit: int) -> None:
    block = bytearray(BLOCK)
    block[index] ^= 1 << bit
    try:
        other = Metadata.from_block(bytes(block))
    except MetadataInvalid:
        return
    assert other != SAMPLE
    assert other.to_block() == bytes(block)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*json.loads(BLOCK), "x"]), JSON, max_size=4))
def test_any_json_is_metadata_or_refused(changes: dict[str, Any]) -> None:
    block = json.dumps(SAMPLE.to_json() | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    try:
        read = Metadata.from_block(block)
    except MetadataInvalid as error:
        message = str(error)
    else:
        message = ""
        assert read.to_block() == block
        VALIDATOR.validate(json.loads(block))
    assert message.isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(block: bytes) -> None:
    refused(block)


# --------------------------------------------------------------------------------------------------------------- writer

TITLES = st.text(st.characters(), min_size=1, max_size=130)


@given(title=TITLES, description=TITLES, tags=st.lists(TITLES, max_size=3), created=st.integers(0, NOW))
def test_whatever_the_writer_takes_the_reader_takes(
    title: str, description: str, tags: list[str], created: int
) -> None:
    try:
        made = metadata(title=title, description=description, tags=tags, created=created)
    except MetadataInvalid as error:
        assert error.field in ("title", "description", "tags")  # noqa: PT017
        return
    assert Metadata.from_block(made.to_block()) == made
    VALIDATOR.validate(json.loads(made.to_block()))


def test_texts_are_brought_to_their_normal_form() -> None:
    made = metadata(
        title="  Math \u00a0tutor", tags=["Math", " math", "Deep Learning"], notes="a\r\nb\n", owner=OWNER.lower()
    )
    assert (made.title, made.tags, made.notes, made.owner) == ("Math tutor", ("math", "deep-learning"), "a\nb", OWNER)
    assert Metadata.from_block(made.to_block()) == made


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"did": str(DID)}, "did"),
        ({"chain_id": 0}, "chain_id"),
        ({"chain_id": "31337"}, "chain_id"),
        ({"registry": "0x12"}, "registry"),
        ({"title": "a\nb"}, "title"),
        ({"tags": "math"}, "tags"),
        ({"image": "bafkrei"}, "image"),
        ({"offers": ({"plan": 1},)}, "offers"),
        ({"sealed": SAMPLE.sealed * 2}, "sealed"),
        ({"services": (Service(NODE, "https://a.example"), Service(NODE.lower(), "https://b.example"))}, "services"),
        ({"updated": NOW - 1}, "updated"),
        ({"created": 1.5}, "created"),
    ],
)
def test_the_writer_names_a_field_that_does_not_fit(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MetadataInvalid) as caught:
        metadata(**changes)
    assert caught.value.field == field


def test_a_document_above_one_block_is_not_written_and_the_message_says_why() -> None:
    big = definition(instructions="x" * 100_000)
    sealed = tuple(Sealed.of(big, binding(key_version=n), NODE_PUBLIC_KEY) for n in (1, 2))
    with pytest.raises(MetadataInvalid, match=r"of them sealed secrets.*name fewer nodes"):
        metadata(sealed=sealed).to_block()
    assert len(metadata(sealed=sealed[:1]).to_block()) < MAX_BLOCK


@pytest.mark.parametrize(
    "make",
    [
        lambda: OfferSummary(b"\x01" * 31, 1, 1),
        lambda: OfferSummary(b"\x01" * 32, -1, 1),
        lambda: OfferSummary(b"\x01" * 32, 1, 2**53),
        lambda: OfferSummary(b"\x01" * 32, True, 1),
        lambda: OfferSummary(b"\x01" * 32, 1, 1, "a\u202eb"),
        lambda: Service("0x1", "https://node.example"),
        lambda: Service(NODE, "https://user:pw@node.example"),
        lambda: Service(NODE, "https://" + "a" * 200 + ".example"),
    ],
)
def test_offers_and_services_are_checked_when_they_are_made(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert ":pw@" not in str(caught.value)


def test_an_image_is_named_by_its_cid() -> None:
    assert json.loads(BLOCK)["image"] == str(Cid.of(b"a picture"))
    assert Metadata.from_block(BLOCK).image == Cid.of(b"a picture")
