"""A sealed question about a key: opened by the node it is for, for who asked it, and never taken for a definition."""

from __future__ import annotations

import base64
import json
import traceback
from pathlib import Path
from typing import Any

import ecies
import pytest

from nvm_chain.canonical import dumps
from nvm_chain.errors import InvalidInput, SealBroken, SealExpired
from nvm_chain.key_check import LIFETIME, SIZE, SKEW, KeyCheck, open_check, seal_check
from nvm_chain.keys import generate_private_key
from nvm_chain.sealing import BUCKETS, OVERHEAD, open_sealed, seal
from nvm_chain.secret import Secret
from tests.unit.sample import (
    API_KEY,
    CHAIN_ID,
    NODE,
    NODE_KEY,
    NODE_PUBLIC_KEY,
    NOW,
    OTHER,
    OWNER,
    REGISTRY,
    binding,
    definition,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "key_check.json").read_text("utf-8"))
EXPECTED: dict[str, Any] = {
    "account": OWNER,
    "chain_id": CHAIN_ID,
    "registry": REGISTRY,
    "node": NODE,
    "key_version": 1,
}
FIELDS: dict[str, Any] = {
    "v": 1,
    "purpose": "check",
    "base_url": "https://api.openai.com/v1",
    "api_key": API_KEY,
    "model": "gpt-5-mini",
    "account": OWNER,
    "chain_id": CHAIN_ID,
    "registry": REGISTRY,
    "node": NODE,
    "key_version": 1,
    "expires": NOW + LIFETIME,
}


def check(**changes: Any) -> KeyCheck:
    values = {name: value for name, value in FIELDS.items() if name not in ("v", "purpose")}
    return KeyCheck(**(values | {"api_key": Secret(API_KEY)} | changes))


def encrypted(fields: dict[str, Any], size: int = SIZE) -> str:
    """Any plaintext in the envelope, as somebody who doesn't use the library could make it."""
    plain: bytes = ecies.encrypt(NODE_PUBLIC_KEY.to_bytes(), dumps(fields).ljust(size))
    return base64.b64encode(plain).decode()


def refused(ciphertext: str, **changes: Any) -> SealBroken | SealExpired:
    """The error that opening gives, after a look that the key doesn't hang on it."""
    with pytest.raises((SealBroken, SealExpired)) as caught:
        open_check(ciphertext, changes.pop("key", NODE_KEY), **({"now": NOW} | EXPECTED | changes))
    error = caught.value
    assert error.__context__ is None
    text = "".join(traceback.format_exception(error)) + repr(error.args)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals["__name__"].startswith("nvm_chain."):
            text += repr(frame.f_locals)
    assert API_KEY not in text
    return error


def test_the_node_opens_what_was_asked() -> None:
    assert open_check(seal_check(check(), NODE_PUBLIC_KEY), NODE_KEY, now=NOW, **EXPECTED) == check()
    assert open_check(encrypted(FIELDS), NODE_KEY, now=NOW, **EXPECTED) == check()


def test_the_vectors_open_and_are_refused() -> None:
    for one in VECTORS["opens"]:
        assert open_check(one["ciphertext"], NODE_KEY, now=NOW, **EXPECTED) == check(), one["by"]
    assert [refused(one["ciphertext"]).field for one in VECTORS["refused"]] == [
        one["field"] for one in VECTORS["refused"]
    ]
    assert len(VECTORS["refused"]) > 5


def test_its_length_tells_nothing_and_is_no_definitions() -> None:
    longest = check(api_key=Secret("\\" * 4096), base_url="https://" + "x" * 492, model='"' * 200)
    lengths = {len(base64.b64decode(seal_check(one, NODE_PUBLIC_KEY))) for one in (check(model=""), longest)}
    assert lengths == {SIZE + OVERHEAD}
    assert SIZE not in BUCKETS


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_one_for_another_is_refused(name: str) -> None:
    other = {"chain_id": 1, "key_version": 2}.get(name, OTHER)
    assert refused(seal_check(check(**{name: other}), NODE_PUBLIC_KEY)).field == name
    assert refused(seal_check(check(), NODE_PUBLIC_KEY), **{name: other}).field == name


def test_another_key_opens_nothing() -> None:
    refused(seal_check(check(), NODE_PUBLIC_KEY), key=generate_private_key())


def test_it_is_good_for_minutes() -> None:
    sealed = seal_check(check(), NODE_PUBLIC_KEY)
    assert isinstance(refused(sealed, now=NOW + LIFETIME), SealExpired)
    assert refused(sealed, now=NOW - SKEW - 1).field == "expires"
    open_check(sealed, NODE_KEY, now=NOW + LIFETIME - 1, **EXPECTED)
    open_check(sealed, NODE_KEY, now=NOW - SKEW, **EXPECTED)


def test_a_definition_is_no_check_whatever_its_size() -> None:
    refused(seal(definition(), binding(), NODE_PUBLIC_KEY))
    plaintext = {"v": 1, **FIELDS_OF_A_DEFINITION}
    assert refused(encrypted(plaintext)).field == "purpose"
    assert refused(encrypted(plaintext | {"purpose": "check"})).field == "base_url"
    assert refused(encrypted(FIELDS | {"definition": plaintext["definition"]})).field is None


FIELDS_OF_A_DEFINITION: dict[str, Any] = {
    "did": str(binding().did),
    "owner": OWNER,
    "chain_id": CHAIN_ID,
    "registry": REGISTRY,
    "node": NODE,
    "key_version": 1,
    "expires": 0,
    "definition": definition().reveal_json(),
}


def test_a_check_is_no_definition_whatever_its_size() -> None:
    for ciphertext in (seal_check(check(), NODE_PUBLIC_KEY), encrypted(FIELDS, BUCKETS[0])):
        with pytest.raises(SealBroken):
            open_sealed(ciphertext, NODE_KEY, binding(), now=NOW)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_field_that_is_missing_or_of_another_form_is_named(name: str) -> None:
    assert refused(encrypted({key: value for key, value in FIELDS.items() if key != name})).field == name
    for value in (None, [API_KEY], {"a": 1}, True, "a b", 2**53 - 1):
        assert refused(encrypted(FIELDS | {name: value})).field == name


@pytest.mark.parametrize(
    "changes",
    [{"api_key": Secret("")}, {"api_key": Secret("a b")}, {"api_key": "plain"}, {"base_url": ""}, {"expires": 0}],
    ids=["empty key", "spaces", "no secret", "no url", "no expiry"],
)
def test_what_cant_be_asked_isnt_sealed(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check(**changes)


def test_neither_the_key_nor_the_provider_is_shown() -> None:
    assert not any(private in repr(check()) for private in (API_KEY, check().base_url, check().model))
    assert API_KEY not in json.dumps(str(check()))
