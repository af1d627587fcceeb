"""Attacks through metadata blocks: swapped at the gateway, made to hurt the reader, made to deceive people.

Here each goes the reader's whole way: served over HTTP, CID recomputed, read. What the parts refuse by themselves is in
tests/unit/test_cid.py, test_canonical.py, test_text.py, test_metadata.py and test_sealing.py.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from node_proxy.errors import ObjectNotFound
from node_proxy.web.blocks import BlockPages
from nvm_chain.canonical import dumps
from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import BlockTooLarge, DigestMismatch, InvalidInput, MetadataInvalid, SealBroken
from nvm_chain.ipfs import LocalStore, Stores
from nvm_chain.metadata import Metadata
from tests.unit import sample
from tests.unit.gateways import gateway

HONEST = sample.metadata()
BLOCK = HONEST.to_block()


async def read(served: bytes, cid: Cid) -> Metadata:
    """What a reader gets who wants `cid` and is served `served`."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=served)

    async with gateway(handler, attempts=1) as source:
        block = await source.get(cid)
    return Metadata.from_block(block, did=sample.DID, chain_id=sample.CHAIN_ID, registry=sample.REGISTRY)


def forged(**changes: Any) -> bytes:
    return dumps(json.loads(BLOCK) | changes)


async def test_an_honest_block_is_read() -> None:
    assert await read(BLOCK, Cid.of(BLOCK)) == HONEST


async def test_metadata_swapped_at_the_gateway_is_noticed_even_if_it_was_valid_once() -> None:
    older = sample.metadata(title="An earlier version").to_block()
    for other in (older, BLOCK + b" ", BLOCK[:-1], b"", forged(title="Hacked")):
        with pytest.raises(DigestMismatch):
            await read(other, Cid.of(BLOCK))


async def test_no_flipped_byte_of_a_block_gets_past_the_cid() -> None:
    cid = Cid.of(BLOCK)
    for index in range(len(BLOCK)):
        changed = bytearray(BLOCK)
        changed[index] ^= 1 << (index % 8)
        with pytest.raises(DigestMismatch):
            cid.verify(bytes(changed), "a liar")


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(b"\x01\x70\x12\x20", id="dag-pb"),
        pytest.param(b"\x01\x71\x12\x20", id="dag-cbor"),
        pytest.param(b"\x01\x55\x13\x20", id="sha2-512-cut"),
        pytest.param(b"\x01\x55\x1b\x20", id="keccak-256"),
        pytest.param(b"\x01\x55\x11\x20", id="sha1"),
        pytest.param(b"\x01\x55\x00\x20", id="identity"),
        pytest.param(b"\x00\x55\x12\x20", id="version-0"),
        pytest.param(b"\x81\x00\x55\x12\x20", id="long-varint"),
    ],
)
def test_a_cid_of_another_codec_or_hash_names_nothing(prefix: bytes) -> None:
    text = "b" + base64.b32encode(prefix + Cid.of(BLOCK).digest).decode().lower().rstrip("=")
    with pytest.raises(InvalidInput):
        Cid.parse(text)


BOMBS = {
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "unclosed": b"[" * 250_000,
    "many keys": b"{" + b",".join(b'"%06d":0' % i for i in range(20_000)) + b"}",
    "many entries": BLOCK[:-1] + b',"x":[' + b",".join([b"0"] * 100_000) + b"]}",
    "duplicate key": BLOCK[:-1] + b',"title":"Another"}',
    "lone surrogate": BLOCK.replace(b"Math tutor", b"\\ud800"),
    "surrogate bytes": BLOCK.replace(b"Math tutor", b"\xed\xa0\x80"),
    "NaN": BLOCK[:-1] + b',"x":NaN}',
    "Infinity": BLOCK[:-1] + b',"x":-Infinity}',
    "huge number": BLOCK[:-1] + b',"x":' + b"9" * 200_000 + b"}",
    "huge exponent": BLOCK[:-1] + b',"x":1e999999999}',
    "many escapes": BLOCK.replace(b"Math tutor", b"\\u0041" * 30_000),
    "combining marks": BLOCK.replace(b"Math tutor", b"a" + "\u0301".encode() * 100_000),
    "marks in the wrong order": forged(title="a" + "\u0315" * 30_000 + "\u0300" * 30_000),
    "byte order mark": b"\xef\xbb\xbf" + BLOCK,
    "nul": BLOCK.replace(b"Math tutor", b"a\x00b"),
    "not canonical": json.dumps(json.loads(BLOCK), indent=1).encode(),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_quickly_although_its_cid_is_right(name: str) -> None:
    bomb = BOMBS[name]
    assert len(bomb) <= MAX_BLOCK
    began = time.process_time()
    with pytest.raises(MetadataInvalid) as refusal:
        await read(bomb, Cid.of(bomb))
    assert time.process_time() - began < 2
    assert len(str(refusal.value)) < 500


async def test_more_than_a_block_is_not_read() -> None:
    huge = b"x" * (MAX_BLOCK + 1)
    with pytest.raises(BlockTooLarge):
        await read(huge, Cid.of(BLOCK))


@pytest.mark.parametrize("block", [b"\x00" * 200_000, BLOCK], ids=["a stranger's", "metadata"])
async def test_asking_for_blocks_fills_no_disk(block: bytes, tmp_path: Path) -> None:
    elsewhere, here = LocalStore(tmp_path / "gateway"), LocalStore(tmp_path / "node")
    cid = await elsewhere.put(block)
    services = SimpleNamespace(store=Stores(here, gateways=[elsewhere]), settings=SimpleNamespace(trusted_proxies=()))
    answers: list[bytes] = []

    async def respond(status: int, body: bytes, **_: Any) -> None:
        answers.append(body)

    exchange: Any = SimpleNamespace(client="192.0.2.1", forwarded="", params=(str(cid),), respond=respond)
    with nullcontext() if block == BLOCK else pytest.raises(ObjectNotFound):
        await BlockPages(services).get(exchange)  # type: ignore[arg-type]
    assert answers == ([BLOCK] if block == BLOCK else [])
    assert not await here.has(cid)


@pytest.mark.parametrize(
    "title",
    [
        pytest.param("Mаth tutor", id="cyrillic-a"),
        pytest.param("Ρaypal", id="greek-rho"),
        pytest.param("Math \u202erotut", id="right-to-left-override"),
        pytest.param("Math\u200btutor", id="zero-width"),
        pytest.param("\u2066Math tutor", id="isolate"),
        pytest.param("Math\u3164tutor", id="blank-letter"),
        pytest.param("Math\ntutor", id="two-lines"),
        pytest.param("Math \U000e0041tutor", id="tag-character"),
        pytest.param("Ma\u0301\u0301\u0301\u0301\u0301\u0301th", id="stacked-marks"),
    ],
)
async def test_a_title_that_deceives_is_refused(title: str) -> None:
    block = forged(title=title)
    with pytest.raises(MetadataInvalid) as refusal:
        await read(block, Cid.of(block))
    assert refusal.value.field == "title"
    assert str(refusal.value).isascii(), "the reason can be shown anywhere"


@pytest.mark.parametrize("version", [0, 2, -1, "1", None, True])
async def test_an_envelope_of_another_version_is_refused(version: object) -> None:
    (entry,) = json.loads(BLOCK)["sealed"]
    block = dumps(json.loads(BLOCK) | {"sealed": [entry | {"v": version}]})
    with pytest.raises(MetadataInvalid, match="envelope version") as refusal:
        await read(block, Cid.of(block))
    assert refusal.value.field == "sealed"


@pytest.mark.parametrize(
    "changes",
    [
        {"did": type(sample.DID)(b"\x01" * 32)},
        {"owner": sample.OTHER},
        {"chain_id": 1},
        {"registry": sample.OTHER},
        {"node": sample.OTHER},
        {"key_version": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_ciphertext_copied_to_another_place_opens_nothing(changes: dict[str, Any]) -> None:
    (sealed,) = HONEST.sealed
    assert sealed.open(sample.NODE_KEY, sample.binding()).definition == sample.definition()
    with pytest.raises(SealBroken) as refusal:
        sealed.open(sample.NODE_KEY, sample.binding(**changes))
    assert refusal.value.field == next(iter(changes))
    assert sample.API_KEY not in f"{refusal.value} {refusal.value.__context__}"
