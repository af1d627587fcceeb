from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.cid import Cid
from nvm_chain.errors import DigestMismatch, InvalidInput

HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"  # ipfs block put of "hello", published widely
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
DIGEST = hashlib.sha256(b"hello").digest()


def b32(raw: bytes) -> str:
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


def test_the_cid_is_the_one_that_ipfs_gives() -> None:
    assert str(Cid.of(b"hello")) == HELLO
    assert str(Cid.of(b"")) == EMPTY
    assert Cid.of(b"hello").digest == DIGEST
    assert Cid.from_digest(DIGEST) == Cid.parse(HELLO)


@given(st.binary(max_size=100))
def test_a_cid_reads_back_from_its_text_and_verifies_its_block(block: bytes) -> None:
    cid = Cid.of(block)
    assert Cid.parse(str(cid)) == cid
    assert cid.verify(block) is block


@given(st.integers(0, 58), st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789ABCQz+/=\n"))
def test_no_other_text_gives_the_same_cid(index: int, char: str) -> None:
    changed = HELLO[:index] + char + HELLO[index + 1 :]
    try:
        other = Cid.parse(changed)
    except InvalidInput:
        return
    assert str(other) == changed
    assert (other == Cid.parse(HELLO)) == (changed == HELLO)


@given(st.one_of(st.text(), st.text("bafkrei234567z", max_size=70), st.binary(max_size=40).map(b32)))
def test_any_text_is_a_cid_or_refused(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except InvalidInput as error:
        message = str(error)
    else:
        message = "bafkrei" if str(cid) == text else ""
    assert "bafkrei" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG", "CIDv0"),
        (HELLO.upper(), "base32 in upper case"),
        ("zb2rhZfjRh2FHHB2RkHVEvL2vJnCTcu7kwRqgVsf9gpkLgteo", "base58btc"),
        ("f01551220" + DIGEST.hex(), "base16"),
        ("m" + base64.b64encode(bytes.fromhex("01551220") + DIGEST).decode(), "base64"),
        (b32(bytes.fromhex("01701220") + DIGEST), "codec is dag-pb"),
        (b32(bytes.fromhex("01711220") + DIGEST), "codec is dag-cbor"),
        (b32(bytes.fromhex("01a9021220") + DIGEST), "codec is dag-json"),
        (b32(bytes.fromhex("01551120") + DIGEST), "hash is sha1"),
        (b32(bytes.fromhex("01551b20") + DIGEST), "hash is keccak-256"),
        (b32(bytes.fromhex("0155001a") + b"identity is not addressed!"), "hash is identity"),
        (b32(bytes.fromhex("02551220") + DIGEST), "version is 2"),
        (b32(bytes.fromhex("01551220") + DIGEST[:31]), "31 bytes and says 32"),
        (b32(bytes.fromhex("01551220") + DIGEST + b"x"), "33 bytes and says 32"),
        (b32(b"\x81\x80"), "cut short"),
        (HELLO[:-1] + "r", "stray bits"),
        (f"ipfs://{HELLO}", "the CID alone"),
        (f"/ipfs/{HELLO}", "the CID alone"),
        (f"{HELLO} ", "white space"),
        ("bafkrei!", "not base32"),
        ("", "not base32"),
    ],
)
def test_every_other_kind_of_cid_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Cid.parse(text)


def test_other_bytes_are_refused_and_the_place_that_served_them_is_named() -> None:
    with pytest.raises(DigestMismatch, match=r"https://liar\.example served 5 bytes"):
        Cid.parse(HELLO).verify(b"hallo", "https://liar.example")


def test_a_digest_has_32_bytes() -> None:
    with pytest.raises(InvalidInput, match="20 bytes"):
        Cid.from_digest(b"x" * 20)
    with pytest.raises(InvalidInput, match=r"Cid\.parse"):
        Cid(HELLO)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not text"):
        Cid.parse(DIGEST)  # type: ignore[arg-type]
