from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvm_chain.canonical import MAX_DEPTH, MAX_SAFE, NotStrict, dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SAFE = st.integers(-MAX_SAFE, MAX_SAFE)
LEAVES = st.none() | st.booleans() | SAFE | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def read(data: bytes, **options: Any) -> Any:
    return loads(data, **({"max_bytes": 100_000} | options))


@given(VALUES)
def test_what_is_written_reads_back_and_writes_the_same(value: Any) -> None:
    data = dumps(value)
    assert read(data, max_depth=64) == value
    assert dumps(read(data, max_depth=64)) == data
    assert json.loads(data) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_read_back_to_the_same_number(value: float) -> None:
    try:
        written = dumps(value)
    except NotStrict:
        assert MAX_SAFE < abs(value) < 1e21
    else:
        assert read(written, floats=True) == value


# RFC 8785, appendix B; its integers from 2**53 to 1e21 are refused, see below.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_rfc_says(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert dumps(value).decode() == text


def test_keys_and_strings_are_written_as_the_rfc_says() -> None:  # RFC 8785, 3.2.2 and 3.2.3
    assert dumps('\u20ac$\u000f\nA\'B"\\\\"/').decode() == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    keys = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    assert list(json.loads(dumps(dict.fromkeys(keys)))) == ["\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"a":1,"a":2}', "duplicate key"),
        (b'{"a":{"b":1,"\\u0062":2}}', "duplicate key"),
        (b"[NaN]", "NaN or Infinity"),
        (b"[-Infinity]", "NaN or Infinity"),
        (b"[1.5]", "a number with a fraction or exponent"),
        (b"[1e3]", "a number with a fraction or exponent"),
        (b"9007199254740992", r"integer beyond 2\*\*53 - 1"),
        (b"-" + b"9" * 5000, r"integer beyond 2\*\*53 - 1"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udc00":1}', "lone surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xff"', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"[1,]", "not JSON"),
        (b'"\x01"', "not JSON"),
        (b"", "not JSON"),
        (b"[" * 17 + b"1" + b"]" * 17, "nested too deeply"),
        (b"[" * 40_000, "nested too deeply"),
        (b'{"a":' * 16_000, "nested too deeply"),
        (b" " * 100_001, "too large"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(data: bytes, kind: str) -> None:
    with pytest.raises(NotStrict, match=kind) as caught:
        read(data)
    assert caught.value.__context__ is None  # a decoder's error would carry the document


def test_depth_counts_levels() -> None:
    assert read(b"[[[1]]]", max_depth=4) == [[[1]]]
    with pytest.raises(NotStrict, match="nested"):
        read(b"[[[1]]]", max_depth=3)


def test_what_is_written_is_no_deeper_than_what_is_read() -> None:
    deepest: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deepest = [deepest]
    assert read(dumps(deepest), max_depth=MAX_DEPTH) == deepest
    for deep in ([deepest], (deepest,), {"a": deepest}):
        with pytest.raises(NotStrict, match="nested too deeply"):
            dumps(deep)


def test_numbers_out_of_range_are_refused_also_with_fractions() -> None:
    assert read(b"[0.5]", floats=True) == [0.5]
    with pytest.raises(NotStrict, match="out of range"):
        read(b"[1e999]", floats=True)


@pytest.mark.parametrize(
    "value",
    [
        *(float("nan"), float("inf"), MAX_SAFE + 1, 2.0**53, -(2.0**53), 1e18, 9.999999999999997e20),
        *("\ud800", {1: 2}, {"\udfff": 1}, b"bytes", {"a": {1, 2}}, object()),
    ],
)
def test_what_json_can_t_hold_is_not_written(value: object) -> None:
    with pytest.raises(NotStrict):
        dumps(value)


@given(
    st.binary(max_size=200)
    | TEXT.map(str.encode)
    | st.text('{}[]":,0123456789.eE-\\ud8antrflsNI ', max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = read(data, floats=True)
    except NotStrict:
        return
    assert json.loads(data) == value
