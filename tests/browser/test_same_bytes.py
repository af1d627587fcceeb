"""What the console writes in the browser is, byte for byte, what the Python library writes."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nvm_chain.canonical import dumps
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.key_check import KeyCheck, open_check
from nvm_chain.metadata import Metadata
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import PlanId
from nvm_chain.sealing import open_sealed, seal
from nvm_chain.secret import Secret
from nvm_chain.text import many_lines, one_line, tag
from tests.unit.sample import CHAIN_ID, NODE_KEY, NODE_PUBLIC_KEY, OWNER, REGISTRY, binding, definition, metadata

WEB = Path(__file__).resolve().parents[2] / "web"
CHECKS = json.loads((WEB.parent / "tests" / "vectors" / "key_check.json").read_text())
VECTORS = json.loads((WEB.parent / "tests" / "vectors" / "sealing.json").read_text())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (WEB / "node_modules").is_dir(), reason="web/node_modules is missing: make setup"),
]

TEXTS = [
    "plain",
    "  two   spaces\u00a0and one more  ",
    "e\u0301 and \u00e9",
    "emoji 👩\u200d🚀 and 漢字",
    "line\r\nbreaks\n\n\tand tabs ",
    "quotes \" ' \\ / \u2028",
    "control \x01",
    "\u202eoverride",
    "",
    "ＦＵＬＬ width",
    "Straße ΣΊΣΥΦΟΣ",
    "C++ #1",
    "a,b",
]


def javascript(*calls: list[Any]) -> list[dict[str, Any]]:
    """The results of [module, function, ...arguments] of web/src/lib, each {"result"} or {"error"}."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "scripts/lib.mjs"], cwd=WEB, input=json.dumps(calls), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_it_opens_the_vectors_and_seals_what_python_opens() -> None:
    key = VECTORS["private_key"]
    opened = javascript(*[["sealing", "open", one["ciphertext"], key] for one in VECTORS["opens"]])
    assert [one["result"] for one in opened] == [VECTORS["plaintext"]] * len(VECTORS["opens"])

    public = {"x": VECTORS["public_key"]["x"], "y": VECTORS["public_key"]["y"]}
    assert bytes.fromhex(public["x"][2:] + public["y"][2:]) == NODE_PUBLIC_KEY.to_bytes()[-64:]
    (sealed,) = javascript(["sealing", "seal", VECTORS["definition"], VECTORS["binding"], public])
    found = open_sealed(sealed["result"], NODE_KEY, binding())
    assert (found.definition.reveal_json(), found.binding) == (definition().reveal_json(), binding())


def test_it_asks_about_a_key_as_python_does() -> None:
    public = {"x": VECTORS["public_key"]["x"], "y": VECTORS["public_key"]["y"]}
    opened = javascript(*[["sealing", "open", one["ciphertext"], VECTORS["private_key"]] for one in CHECKS["opens"]])
    assert [one["result"] for one in opened] == [CHECKS["plaintext"]] * len(CHECKS["opens"])
    (sealed,) = javascript(["sealing", "sealCheck", CHECKS["check"], public])
    assert len(sealed["result"]) == len(CHECKS["opens"][0]["ciphertext"])
    expected = {name: CHECKS["check"][name] for name in ("account", "chain_id", "registry", "node", "key_version")}
    found = open_check(sealed["result"], NODE_KEY, now=CHECKS["check"]["expires"] - 1, **expected)
    assert found == KeyCheck(**(CHECKS["check"] | {"api_key": Secret(CHECKS["check"]["api_key"])}))


def test_it_pads_to_the_same_sizes() -> None:
    public = {"x": VECTORS["public_key"]["x"], "y": VECTORS["public_key"]["y"]}
    changed = [definition(instructions="x" * length) for length in (100, 1_300, 1_700, 3_600, 7_000, 120_000)]
    answers = javascript(*[["sealing", "seal", one.reveal_json(), VECTORS["binding"], public] for one in changed])
    lengths = [len(seal(one, binding(), NODE_PUBLIC_KEY)) for one in changed]
    assert [len(one["result"]) for one in answers] == lengths
    assert len(set(lengths)) > 3


def test_canonical_json_is_the_same() -> None:
    draw = random.Random(7)
    values: list[Any] = [
        definition().reveal_json(),
        [1, 0.1, 1e21, 1e-7, -0.5, 2**53 - 1],
        {"\ue000": 1, "😀": 2, "a": 3},
    ]
    values += [draw.uniform(-1, 1) * 10 ** draw.randint(-20, 14) for _ in range(50)] + TEXTS
    answers = javascript(*[["canonical", "canonical", value] for value in values])
    assert [one["result"].encode() for one in answers] == [dumps(value) for value in values]


def test_an_asset_and_a_plan_get_the_same_block_and_cid() -> None:
    one = metadata(title="Émile's tutor", notes="# Notes\n\n\u2028 none".replace("\u2028", ""))
    given = {
        "did": str(one.did),
        "chainId": one.chain_id,
        "registry": one.registry,
        "owner": one.owner,
        "title": " Émile's  tutor ",
        "description": one.description,
        "tags": ["Math", "education", "math"],
        "notes": one.notes,
        "image": str(one.image),
        "offers": [offer.to_json() for offer in one.offers],
        "services": [{"node": service.node, "endpoint": service.endpoint} for service in one.services],
        "sealed": [sealed.to_json() for sealed in one.sealed],
        "created": one.created,
        "updated": one.updated,
    }
    asset, plan = javascript(["metadata", "metadataBlock", given], ["metadata", "planBlock", "A plan", "Two\r\nlines "])
    block = base64.b64decode(asset["result"]["bytes"])
    assert block == one.to_block()
    assert Metadata.from_block(block) == one
    assert asset["result"]["cid"] == str(Cid.of(block))
    assert base64.b64decode(plan["result"]["bytes"]) == PlanMetadata("A plan", "Two\nlines").to_block()


def test_texts_get_the_same_form_or_are_refused_by_either() -> None:
    """What only Python refuses (look-alike letters, say), the node refuses when the block arrives."""
    asked: list[list[Any]] = []
    expected: list[str | None] = []
    for text in TEXTS:
        for name, normal in (("oneLine", one_line), ("manyLines", many_lines), ("tag", tag)):
            asked.append(["text", name, text, 80])
            try:
                expected.append(normal(text, 80))
            except InvalidInput:
                expected.append(None)
    answers = javascript(*asked)
    for call, answer, want in zip(asked, answers, expected, strict=True):
        if want is not None:
            assert answer.get("result") == want, call
    refused = [call for call, answer in zip(asked, answers, strict=True) if "error" in answer]
    assert refused, "it refuses nothing"


def test_ids_are_the_same() -> None:
    salt = bytes(range(32))
    (found,) = javascript(["did", "idOf", CHAIN_ID, REGISTRY, OWNER, "0x" + salt.hex()])
    assert found["result"] == str(PlanId.derive(CHAIN_ID, REGISTRY, OWNER, salt))
    assert "did:nv:" + found["result"][2:] == str(Did.derive(CHAIN_ID, REGISTRY, OWNER, salt))
