from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import orjson
import pytest

from nvm_chain.errors import InvalidInput
from nvm_chain.secret import MASK, Secret

VALUE = "sk-proj-4f9Q2vXcE7mTzL0aYh81"


@dataclasses.dataclass(frozen=True)
class Holder:
    key: Secret


def test_a_secret_gives_its_value_only_when_revealed() -> None:
    assert Secret(VALUE).reveal() == VALUE
    assert Secret(VALUE).reveal_bytes() == VALUE.encode()
    assert Secret(b"\xff\x00").reveal_bytes() == b"\xff\x00"


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        "{0:>40}".format,
        "%s".__mod__,
        "%r".__mod__,
        ascii,
        lambda s: f"{s}",
    ],
    ids=range(9),
)
def test_no_way_of_printing_shows_it(shown) -> None:  # type: ignore[no-untyped-def]
    text = shown(Secret(VALUE))
    assert VALUE not in text
    assert "Secret(" in text


def test_it_does_not_show_in_dataclasses_containers_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    holder = Holder(Secret(VALUE))
    logging.getLogger("test").warning("%s %r %s", holder, [holder.key], {"k": holder.key})
    assert VALUE not in repr(holder) + repr([holder.key]) + caplog.text
    assert MASK in caplog.text


def test_it_does_not_show_in_a_traceback_with_its_locals() -> None:
    secret = Secret(b"\xff" + VALUE.encode())
    with pytest.raises(InvalidInput) as caught:
        secret.reveal()
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert caught.value.__context__ is None
    assert "reveal_bytes" in text
    assert VALUE not in text


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        json.dumps,
        orjson.dumps,
        lambda s: orjson.dumps({"key": s}),
        lambda s: json.dumps({"key": s}),
        lambda s: dataclasses.asdict(Holder(s)),
        bytes,
        iter,
        vars,
        *[lambda s, p=p: pickle.dumps(s, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)],
    ],
)
def test_it_refuses_to_be_copied_or_serialised(copied) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError) as caught:
        copied(Secret(VALUE))
    assert VALUE not in str(caught.value)


def test_it_does_not_change() -> None:
    secret = Secret(VALUE)
    with pytest.raises(AttributeError):
        secret._value = b""
    with pytest.raises(AttributeError):
        del secret._value
    with pytest.raises(AttributeError):
        secret.other = 1
    assert secret.reveal() == VALUE


def test_secrets_compare_with_secrets_only_and_do_not_hash() -> None:
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")
    with pytest.raises(TypeError):
        hash(Secret("a"))


def test_only_text_and_bytes_can_be_secret() -> None:
    with pytest.raises(InvalidInput, match="int"):
        Secret(42)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="surrogate") as caught:
        Secret(VALUE + "\ud800")
    assert VALUE not in "".join(traceback.format_exception(caught.value))
