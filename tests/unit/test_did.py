from __future__ import annotations

import re

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from tests.unit.sample import OWNER, REGISTRY

DIGITS = "00112233445566778899aabbccddeeff" * 2
TEXT = "did:nv:" + DIGITS


@given(st.binary(min_size=32, max_size=32))
def test_a_did_reads_back_from_its_text(value: bytes) -> None:
    did = Did(value)
    assert Did.parse(str(did)) == did
    assert did.hex == "0x" + value.hex()


@given(
    st.one_of(
        st.text(), st.text("did:nv0123456789abcdefABCDEF", max_size=80), st.from_regex(r"did:nv:[0-9a-fA-F]{60,68}")
    )
)
def test_any_other_text_is_refused_and_never_crashes(text: str) -> None:
    try:
        did = Did.parse(text)
    except InvalidInput as error:
        message = str(error)
    else:
        message = "did:nv: and 64 lower-case hex digits" if str(did) == text else ""
    assert "did:nv: and 64 lower-case hex digits" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT[:-1], "63 hex digits"),
        (TEXT + "0", "65 hex digits"),
        (TEXT.replace("aa", "aA"), f"mixed case ({TEXT} would be valid)"),
        ("DID:NV:" + DIGITS, "mixed case"),
        (f" {TEXT}", "white space"),
        (f"{TEXT}\n", "white space"),
        (DIGITS, f"did:nv:{DIGITS}"),
        ("0x" + DIGITS, f"did:nv:{DIGITS}"),
        ("did:nv:0x" + DIGITS, "no 0x"),
        ("did:eth:" + DIGITS, '"eth"'),
        (TEXT[:-1] + "g", '"g" is not a hex digit'),
        (TEXT + "?versionId=2", f"the DID alone is {TEXT}"),
        (TEXT + "#owner", f"the DID alone is {TEXT}"),
        ("asst_m3hDiBSEScF4vTyeGGJ8JI8T", "assistant id"),
        ("", "does not start with did:nv:"),
        ("did:nv:" + "١" * 64, "is not a hex digit"),
    ],
)
def test_what_is_wrong_with_a_did_is_said(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        Did.parse(text)


def test_a_did_is_32_bytes() -> None:
    with pytest.raises(InvalidInput, match="31 bytes"):
        Did(b"x" * 31)
    with pytest.raises(InvalidInput, match=r"Did\.parse"):
        Did(TEXT)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not text"):
        Did.parse(b"did")  # type: ignore[arg-type]


@given(st.integers(1, 2**64), st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32))
def test_derive_is_the_registry_s_formula(chain_id: int, owner: bytes, salt: bytes) -> None:
    account = "0x" + owner.hex()
    expected = keccak(encode(["uint256", "address", "address", "bytes32"], [chain_id, REGISTRY, account, salt]))
    assert Did.derive(chain_id, REGISTRY, account, salt) == Did(expected)


def test_derive_refuses_what_is_no_address_chain_or_salt() -> None:
    with pytest.raises(InvalidInput, match="chain id 0"):
        Did.derive(0, REGISTRY, OWNER, bytes(32))
    with pytest.raises(InvalidInput, match="31"):
        Did.derive(1, REGISTRY, OWNER, bytes(31))
    with pytest.raises(InvalidInput, match="checksum"):
        Did.derive(1, REGISTRY, OWNER.replace("A", "a"), bytes(32))
    with pytest.raises(InvalidInput, match='registry "0x12"'):
        Did.derive(1, "0x12", OWNER, bytes(32))


def test_the_assistant_id_looks_like_openai_s_and_never_changes() -> None:
    assert Did(bytes(range(32))).assistant_id == "asst_45APZ1VwenWRhLpNTvxBl67g"


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=2, max_size=20))
def test_assistant_ids_are_24_base62_characters_and_differ(values: set[bytes]) -> None:
    ids = {Did(value).assistant_id for value in values}
    assert len(ids) == len(values)
    assert all(re.fullmatch(r"asst_[0-9A-Za-z]{24}", i) for i in ids)
