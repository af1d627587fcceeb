from __future__ import annotations

import base64
import json
import os
import traceback
from pathlib import Path
from typing import Any

import ecies
import pytest
from ecies.config import ECIES_CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st

from nvm_chain.definition import MAX_DEPTH
from nvm_chain.errors import DefinitionInvalid, InvalidInput, SealBroken, SealExpired
from nvm_chain.keys import PublicKey, generate_private_key, private_key_bytes, public_key_of
from nvm_chain.sealing import BUCKETS, OVERHEAD, Binding, Sealed, open_sealed, rebind, seal, unseal
from nvm_chain.secret import Secret
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
    binding,
    definition,
)
from tests.vectors.javascript import eciesjs
from tests.vectors.make import plaintext

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sealing.json").read_text("utf-8"))
PRIVATE = (API_KEY, INSTRUCTIONS, "tangerine", "gpt-5-mini")
SEALED = seal(definition(), binding(), NODE_PUBLIC_KEY)


def encrypt(text: str | bytes, key: PublicKey = NODE_PUBLIC_KEY) -> str:
    data = text.encode() if isinstance(text, str) else text
    return base64.b64encode(ecies.encrypt(key.to_bytes(), data)).decode()


def refused(ciphertext: Any, expected: Binding | None = None, *, now: int = NOW, key: Secret = NODE_KEY) -> SealBroken:
    """The error that opening gives, after a look that nothing private hangs on it."""
    with pytest.raises(SealBroken) as caught:
        open_sealed(ciphertext, key, expected or binding(), now=now)
    error = caught.value
    assert error.__context__ is None
    assert error.__cause__ is None
    text = "".join(traceback.format_exception(error)) + repr(error.args)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals["__name__"].startswith("nvm_chain."):
            text += repr(frame.f_locals)
    assert "open_sealed" in text
    assert not any(private in text for private in (*PRIVATE, repr(private_key_bytes(key))))
    return error


def test_what_is_sealed_opens_to_the_same_definition() -> None:
    assert unseal(SEALED, NODE_KEY, binding()) == definition()
    opened = open_sealed(
        seal(definition(), binding(expires=NOW + 1), NODE_PUBLIC_KEY, now=NOW), NODE_KEY, binding(), now=NOW
    )
    assert opened.binding.expires == NOW + 1


def nested(levels: int) -> Any:
    """A JSON object with so many levels."""
    value: Any = 1
    for _ in range(levels - 1):
        value = {"type": "function", "a": value}
    return value


def test_the_deepest_definition_that_is_taken_opens_again() -> None:
    made = definition(tools=(nested(MAX_DEPTH),), settings={"text": nested(MAX_DEPTH - 1)})
    assert unseal(seal(made, binding(), NODE_PUBLIC_KEY), NODE_KEY, binding()) == made
    for changes in ({"tools": (nested(MAX_DEPTH + 1),)}, {"settings": {"text": nested(MAX_DEPTH)}}):
        with pytest.raises(DefinitionInvalid, match=f"nested too deeply, at most {MAX_DEPTH} levels"):
            definition(**changes)


@pytest.mark.parametrize("number", [9e15, 2.0**53 - 1, 1e21, 1.5e300, -0.5, 1e-7])
def test_a_number_that_is_taken_opens_again(number: float) -> None:
    made = definition(tools=({"type": "function", "maximum": number},))
    assert unseal(seal(made, binding(), NODE_PUBLIC_KEY), NODE_KEY, binding()) == made


@pytest.mark.parametrize("number", [2.0**53, -1e18, 9e20])
def test_a_number_that_no_reader_takes_is_refused_before_it_is_sealed(number: float) -> None:
    with pytest.raises(DefinitionInvalid, match=r"integer beyond 2\*\*53 - 1"):
        definition(tools=({"type": "function", "maximum": number},))


def test_the_same_definition_never_seals_to_the_same_text() -> None:
    again = seal(definition(), binding(), NODE_PUBLIC_KEY)
    assert again != SEALED
    assert len(again) == len(SEALED)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.integers(1, 2**53 - 1),
    st.integers(1, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_every_definition_survives_sealing(instructions: str, chain_id: int, key_version: int) -> None:
    key = generate_private_key()
    made, bound = definition(instructions=instructions), binding(chain_id=chain_id, key_version=key_version)
    assert unseal(seal(made, bound, public_key_of(key)), key, bound) == made


# ------------------------------------------------------------------------------------------------------- other places


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("did", {"did": type(DID)(b"\x01" * 32)}),
        ("owner", {"owner": OTHER}),
        ("chain_id", {"chain_id": CHAIN_ID + 1}),
        ("registry", {"registry": OTHER}),
        ("node", {"node": OTHER}),
        ("key_version", {"key_version": 2}),
        ("expires", {"expires": NOW + 100}),
    ],
)
def test_a_ciphertext_opens_nothing_for_another(field: str, changes: dict[str, Any]) -> None:
    error = refused(SEALED, binding(**changes))
    assert error.field == field
    assert field in str(error)
    assert str(changes[field]) in str(error)


def test_another_key_does_not_open_it() -> None:
    assert "another key" in str(refused(SEALED, key=generate_private_key()))


def test_an_expired_secret_is_refused_from_that_second_on() -> None:
    ciphertext = seal(definition(), binding(expires=NOW), NODE_PUBLIC_KEY, now=NOW - 1)
    assert unseal(ciphertext, NODE_KEY, binding(), now=NOW - 1) == definition()
    error = refused(ciphertext, now=NOW)
    assert isinstance(error, SealExpired)
    assert error.field == "expires"


def test_nothing_is_sealed_that_has_expired() -> None:
    with pytest.raises(InvalidInput, match=f"expires {NOW} has passed"):
        seal(definition(), binding(expires=NOW), NODE_PUBLIC_KEY, now=NOW)


# ----------------------------------------------------------------------------------------------------- damage, forgery


def test_every_flipped_byte_is_noticed() -> None:
    raw = base64.b64decode(SEALED)
    assert len(raw) == OVERHEAD + BUCKETS[0]
    for index in range(len(raw)):
        bits = range(8) if index < OVERHEAD else (index % 8,)
        for bit in bits:
            changed = bytearray(raw)
            changed[index] ^= 1 << bit
            with pytest.raises(SealBroken):
                unseal(base64.b64encode(changed).decode(), NODE_KEY, binding())


def test_one_secret_has_one_spelling() -> None:
    raw = base64.b64decode(SEALED)
    parity = 6 + (raw[64] & 1)  # libsecp256k1's "hybrid" form of the same public key
    assert "uncompressed" in str(refused(base64.b64encode(bytes([parity]) + raw[1:]).decode()))


@pytest.mark.parametrize("keep", [0, 1, 64, 65, 96, 97, 98, 1000, len(base64.b64decode(SEALED)) - 1])
def test_a_cut_ciphertext_is_refused(keep: int) -> None:
    assert "cut or damaged" in str(refused(base64.b64encode(base64.b64decode(SEALED)[:keep]).decode()))


@pytest.mark.parametrize(
    ("ciphertext", "problem"),
    [
        (SEALED + "\n", "strict base64"),
        (SEALED[:76] + "\n" + SEALED[76:], "strict base64"),
        (" " + SEALED, "strict base64"),
        (SEALED + "=", "strict base64"),
        (SEALED[:-1], "strict base64"),
        (SEALED.replace(SEALED[100], "-"), "strict base64"),
        ("", "cut or damaged"),
        ("A" * 200_000, "more than any"),
        ("é" + SEALED, "not base64 text"),
        (None, "not base64 text"),
        (SEALED.encode(), "not base64 text"),
    ],
)
def test_only_strict_base64_of_a_known_length_is_looked_at(ciphertext: Any, problem: str) -> None:
    assert problem in str(refused(ciphertext))


@given(
    st.one_of(
        st.text(max_size=100),
        st.binary(max_size=100),
        st.sampled_from(BUCKETS[:2]).map(lambda n: os.urandom(n + OVERHEAD)),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_text_or_bytes_are_refused_and_never_crash(data: str | bytes) -> None:
    refused(data if isinstance(data, str) else base64.b64encode(data).decode())


def test_a_low_order_or_foreign_public_key_is_refused() -> None:
    body = base64.b64decode(SEALED)[65:]
    for key in (b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b"\x04" + bytes(63) + b"\x01"):
        assert "does not open" in str(refused(base64.b64encode(key + body).decode()))


# ------------------------------------------------------------------------------------ plaintexts that others may write


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"v": 0}, "v"),
        ({"v": 2}, "v"),
        ({"v": "1"}, "v"),
        ({"v": True}, "v"),
        ({"did": "did:nv:" + "AB" * 32}, "did"),
        ({"did": API_KEY}, "did"),
        ({"owner": None}, "owner"),
        ({"chain_id": "31337"}, "chain_id"),
        ({"chain_id": 31337.5}, "chain_id"),
        ({"registry": INSTRUCTIONS}, "registry"),
        ({"key_version": 0}, "key_version"),
        ({"expires": -1}, "expires"),
        ({"expires": NOW * 1000}, "expires"),
        ({"definition": None}, "definition"),
        ({"definition": {}}, "definition"),
        ({"definition": definition().reveal_json() | {API_KEY: 1}}, "definition"),
        ({"definition": definition().reveal_json() | {"model": INSTRUCTIONS}}, "definition"),
        ({"definition": definition().reveal_json() | {"assistant_id": "asst_" + API_KEY}}, "definition"),
        ({"extra": API_KEY}, None),
    ],
)
def test_a_plaintext_of_another_form_is_refused_without_a_word_of_it(
    changes: dict[str, Any], field: str | None
) -> None:
    assert refused(encrypt(plaintext(changes))).field == field


@pytest.mark.parametrize(
    "field", ["v", "did", "owner", "chain_id", "registry", "node", "key_version", "expires", "definition"]
)
def test_a_plaintext_that_lacks_a_field_is_refused(field: str) -> None:
    data = json.loads(plaintext({}))
    del data[field]
    assert refused(encrypt(json.dumps(data).ljust(BUCKETS[0]))).field == field


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (plaintext({}).replace('"v":1', '"v":1,"v":1'), "duplicate key"),
        (plaintext({}).replace('"expires":0', '"expires":NaN'), "NaN"),
        (plaintext({}).replace("tutor", "\\ud800"), "lone surrogate"),
        ('"' + API_KEY + '"', "not a JSON object"),
        ("[" * 2000, "nested too deeply"),
        (API_KEY, "not JSON"),
    ],
)
def test_a_plaintext_that_is_no_strict_json_is_refused(text: str, problem: str) -> None:
    text = text.rstrip().ljust(BUCKETS[0])
    assert problem in str(refused(encrypt(text)))


def test_a_plaintext_that_is_not_padded_to_a_bucket_is_refused() -> None:
    assert "no length" in str(refused(encrypt(plaintext({}).rstrip())))


# -------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("length", [0, 1, 500, 1000])
def test_short_definitions_all_look_the_same(length: int) -> None:
    assert len(seal(definition(instructions="x" * length), binding(), NODE_PUBLIC_KEY)) == len(SEALED)


def test_a_ciphertext_s_length_is_one_of_seven() -> None:
    lengths = set()
    for length in range(0, 130_000, 3_001):
        raw = base64.b64decode(seal(definition(instructions="x" * length), binding(), NODE_PUBLIC_KEY))
        lengths.add(len(raw) - OVERHEAD)
    assert lengths == set(BUCKETS)


def test_the_largest_definition_fits_exactly_and_one_more_byte_does_not() -> None:
    room = BUCKETS[-1] - len(plaintext({"definition": definition(instructions="").reveal_json()}).rstrip())
    ciphertext = seal(definition(instructions="x" * room), binding(), NODE_PUBLIC_KEY)
    assert unseal(ciphertext, NODE_KEY, binding()).instructions == "x" * room
    with pytest.raises(InvalidInput, match="at most 131072 can be sealed"):
        seal(definition(instructions="x" * (room + 1)), binding(), NODE_PUBLIC_KEY)


# --------------------------------------------------------------------------------------------------------- JavaScript


def test_eciesjs_opens_what_we_seal_and_we_open_what_eciesjs_seals() -> None:
    key = {"key": private_key_bytes(NODE_KEY).hex(), "ciphertext": SEALED}
    text = plaintext({})
    done = eciesjs(decrypt=[key], encrypt=[{"key": NODE_PUBLIC_KEY.to_bytes().hex(), "plaintext": text}])
    assert done["decrypt"] == [text]
    assert unseal(done["encrypt"][0], NODE_KEY, binding()) == definition()


def test_eciesjs_refuses_what_we_refuse() -> None:
    raw = base64.b64decode(SEALED)
    changed = [
        bytes(b ^ (1 << 3) if i == at else b for i, b in enumerate(raw))
        for at in (1, 64, 65, 80, 81, 96, 97, -1 + len(raw))
    ]
    jobs = [{"key": private_key_bytes(NODE_KEY).hex(), "ciphertext": base64.b64encode(c).decode()} for c in changed]
    assert eciesjs(decrypt=jobs)["decrypt"] == [None] * len(changed)


@pytest.mark.parametrize("entry", VECTORS["opens"], ids=lambda e: e["by"])
def test_published_vectors_open(entry: dict[str, str]) -> None:
    bound = VECTORS["binding"]
    expected = Binding(**(bound | {"did": type(DID).parse(bound["did"])}))
    key = Secret(VECTORS["private_key"])
    assert public_key_of(key) == PublicKey.of(VECTORS["public_key"]["x"], VECTORS["public_key"]["y"])
    assert unseal(entry["ciphertext"], key, expected, now=NOW).reveal_json() == VECTORS["definition"]


@pytest.mark.parametrize("entry", VECTORS["refused"], ids=lambda e: e["field"])
def test_published_vectors_of_attacks_are_refused_by_name(entry: dict[str, str]) -> None:
    assert refused(entry["ciphertext"]).field == entry["field"]


def test_the_vectors_are_the_same_to_eciesjs() -> None:
    entries = VECTORS["opens"] + VECTORS["refused"]
    jobs = [{"key": VECTORS["private_key"], "ciphertext": entry["ciphertext"]} for entry in entries]
    expected = [plaintext(entry.get("changes", {})) for entry in entries]
    assert eciesjs(decrypt=jobs)["decrypt"] == expected
    assert VECTORS["plaintext"] == expected[0]


def test_somebody_who_changes_eciespy_s_defaults_does_not_change_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ECIES_CONFIG, "symmetric_nonce_length", 12)
    monkeypatch.setattr(ECIES_CONFIG, "is_ephemeral_key_compressed", True)
    assert unseal(SEALED, NODE_KEY, binding()) == definition()
    assert len(seal(definition(), binding(), NODE_PUBLIC_KEY)) == len(SEALED)


# ------------------------------------------------------------------------------------------------- envelopes and keys


def test_an_envelope_reads_back_and_opens_for_its_node_and_key() -> None:
    sealed = Sealed.of(definition(), binding(), NODE_PUBLIC_KEY)
    again = Sealed.from_json(json.loads(json.dumps(sealed.to_json())))
    assert again == sealed
    assert again.open(NODE_KEY, binding()).definition == definition()
    for name, value in {"node": OTHER, "key_version": 2}.items():
        with pytest.raises(SealBroken, match=name):
            again.open(NODE_KEY, binding(**{name: value}))


def test_a_relabelled_envelope_does_not_open() -> None:
    bound = rebind(binding(), OTHER, 3)
    with pytest.raises(SealBroken, match="another node"):
        Sealed(OTHER, 3, SEALED).open(NODE_KEY, bound)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 0},
        {"v": 2},
        {"v": 1.0},
        {"v": True},
        {"v": None},
        {"node": "x"},
        {"key_version": 0},
        {"ciphertext": "x"},
        {"w": 1},
    ],
)
def test_an_envelope_of_another_version_or_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SealBroken):
        Sealed.from_json(Sealed(NODE, 1, SEALED).to_json() | changes)
    with pytest.raises(SealBroken):
        Sealed.from_json([changes])


def test_a_binding_is_checked_when_it_is_made() -> None:
    assert binding(owner=OTHER.lower()).owner == OTHER
    bad: list[dict[str, Any]] = [{"did": str(DID)}, {"owner": "0x12"}, {"chain_id": 0}, {"key_version": 2**32}]
    for changes in bad:
        with pytest.raises(InvalidInput):
            binding(**changes)
    with pytest.raises(InvalidInput, match="not milliseconds"):
        binding(expires=NOW * 1000)


def test_a_public_key_is_a_point_on_the_curve() -> None:
    x, y = NODE_PUBLIC_KEY.x, NODE_PUBLIC_KEY.y
    as_bytes = PublicKey.of(x.to_bytes(32, "big"), y.to_bytes(32, "big"))
    assert as_bytes == PublicKey.of(f"0x{x:064x}", f"0x{y:064x}") == PublicKey.from_bytes(NODE_PUBLIC_KEY.to_bytes())
    bad: list[tuple[Any, Any]] = [
        (x, y + 1),
        (0, 0),
        (x + 2**256 - 2**32 - 977, y),
        (-x, y),
        (x, True),
        ("0x1", y),
        (b"x", y),
    ]
    for point in bad:
        with pytest.raises(InvalidInput):
            PublicKey.of(*point)
    for data in (b"", bytes(63), b"\x02" + bytes(64), bytes(64)):
        with pytest.raises(InvalidInput):
            PublicKey.from_bytes(data)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, b"x" * 31, "zz" * 32, "0x" + "ff" * 32, "ab" * 31])
def test_a_private_key_out_of_range_is_refused_and_not_echoed(key: str | bytes) -> None:
    with pytest.raises(InvalidInput, match="not a secp256k1 private key") as caught:
        private_key_bytes(Secret(key))
    if len(key) > 20:
        assert str(key) not in str(caught.value)


def test_a_private_key_may_be_hex() -> None:
    for text in (NODE_KEY.reveal_bytes().hex(), "0x" + NODE_KEY.reveal_bytes().hex().upper()):
        assert unseal(SEALED, Secret(text), binding()) == definition()
