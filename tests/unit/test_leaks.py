"""The search for secrets finds them: otherwise a clean run would say nothing."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from nvm_chain.secret import Secret
from tests.leaks import Leaked, Watch

VALUE = "sk-walrus-2718281828"


@pytest.mark.parametrize(
    "form",
    [
        VALUE.encode(),
        VALUE.encode().hex().encode(),
        base64.b64encode(VALUE.encode()),
        b"nvm_" + b"aB3" * 15,
    ],
    ids=["plain", "hex", "base64", "any API key"],
)
def test_a_secret_on_disk_is_found_and_not_repeated(tmp_path: Path, form: bytes) -> None:
    watch = Watch()
    Secret(VALUE)
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "x.db").write_bytes(b"\x00before " + form + b" after")
    with pytest.raises(Leaked, match=r"node/x\.db") as caught:
        watch.check(tmp_path)
    assert VALUE not in str(caught.value)


def test_what_is_no_secret_of_this_world_is_left_alone(tmp_path: Path) -> None:
    Secret("made-before-the-world-0123")
    watch = Watch()
    Secret("aaaaaaaaaaaaaaaaaaaaaaaa")
    Secret("short")
    (tmp_path / "x").write_text("made-before-the-world-0123 aaaaaaaaaaaaaaaaaaaaaaaa short nvm_short")
    (tmp_path / "provider.log").write_text(VALUE)
    watch.note(VALUE)
    watch.check(tmp_path)
