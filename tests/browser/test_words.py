"""What the console says and seals, asked of its own functions: durations, contracts' reasons, hidden fields, words."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from nvm_chain.definition import MAX_DEPTH
from tests.browser.test_same_bytes import WEB, javascript

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (WEB / "node_modules").is_dir(), reason="web/node_modules is missing: make setup"),
]

DAY = 86_400


def test_a_rough_duration_is_never_far_from_what_is_left() -> None:
    asked = {59: "59 days", 700: "700 days", 1500: "4 years", 30: "30 days", 2: "48 hours", 1: "24 hours"}
    answers = javascript(*[["amounts", "roughly", days * DAY] for days in asked], ["amounts", "roughly", 45])
    assert [one["result"] for one in answers] == [*asked.values(), "45 seconds"]


def test_a_contracts_reason_is_said() -> None:
    """An error with a text of its own: what is wrong with the terms, not only that they are."""
    reason = "a free plan has nothing to refund"
    data = "0x" + (keccak(text="InvalidTerms(string)")[:4] + encode(["string"], [reason])).hex()
    (found,) = javascript(["rpc", "explained", {"data": data}])
    assert found["error"] == f"The plan’s terms don’t go together: {reason}."


def given(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "model",
        "dialect": "responses",
        "baseUrl": "https://provider.example/v1",
        "assistantId": "asst_m3hDiBSEScF4vTyeGGJ8JI8T",
        "model": "",
        "instructions": "",
        "tools": "",
        "settings": "",
        "policy": {},
        "perToken": None,
    } | fields


def test_what_the_form_of_a_stored_assistant_hides_is_neither_checked_nor_sealed() -> None:
    hidden = given(kind="assistant", model="asst_typed into the wrong field", instructions="Typed before.")
    (found,) = javascript(["definition", "makeDefinition", hidden, "sk-0123456789"])
    sealed = found["result"]
    assert (sealed["dialect"], sealed["assistant_id"]) == ("assistants", "asst_m3hDiBSEScF4vTyeGGJ8JI8T")
    assert (sealed["model"], sealed["instructions"]) == ("", "")


def words(folder: Path) -> list[str]:
    """The English in a folder's sources, as web/scripts/words.mjs finds it."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run([node, "scripts/words.mjs", folder], cwd=WEB, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_every_word_that_is_shown_is_in_strings(tmp_path: Path) -> None:
    planted = """const a = 'Not here, please'
    const b = `It costs ${a}, no more`
    const page = <p class="card bad" title="Here">Hello {t.name}</p>
    """
    (tmp_path / "page.tsx").write_text(planted)
    found = [one.partition(": ")[2] for one in words(tmp_path)]
    assert found == ["Not here, please", "It costs ", ", no more", "Here", "Hello"]
    assert words(WEB / "src") == []


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_definition_is_as_deep_as_the_node_reads_it_at_most() -> None:
    """The same bound in both languages: what is deeper could be sealed and never opened."""
    assert MAX_DEPTH == 61
    for levels, problem in ((MAX_DEPTH, ""), (MAX_DEPTH + 1, "is nested too deeply: at most 61 levels")):
        tool = {"type": "mcp", "x": nested(levels - 1)}
        asked = given(kind="model", model="m", assistantId="", tools=json.dumps([tool]))
        settings = given(kind="model", model="m", assistantId="", settings=json.dumps({"x": nested(levels - 1)}))
        for form in (asked, settings):
            (found,) = javascript(["definition", "makeDefinition", form, "sk-0123456789"])
            assert problem in str(found.get("error", ""))
            assert ("result" in found) is not bool(problem)
