"""Writes key_check.json anew: `python -m tests.vectors.make_check`. Ciphertexts are random, plaintexts are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nvm_chain.canonical import JsonObject, dumps
from nvm_chain.key_check import LIFETIME, SIZE, KeyCheck, open_check, seal_check
from nvm_chain.secret import Secret
from tests.unit.sample import API_KEY, CHAIN_ID, NODE, NODE_KEY, NODE_PUBLIC_KEY, NOW, OTHER, OWNER, REGISTRY
from tests.vectors.javascript import eciesjs
from tests.vectors.make import encrypt

PATH = Path(__file__).with_name("key_check.json")

CHECK: dict[str, Any] = {
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

REFUSED: dict[str, JsonObject] = {
    "account": {"account": OTHER},
    "chain_id": {"chain_id": 1},
    "registry": {"registry": OTHER},
    "node": {"node": OTHER},
    "key_version": {"key_version": 2},
    "expires": {"expires": NOW},
    "purpose": {"purpose": "definition"},
    "v": {"v": 2},
}
"""By the field that a reader must name: what differs."""


def plaintext(changes: JsonObject) -> str:
    """The plaintext of version 1, padded, with some fields changed."""
    return dumps({"v": 1, "purpose": "check", **CHECK, **changes}).ljust(SIZE).decode()


def main() -> None:
    """Writes the file, after opening what is to be opened."""
    good = plaintext({})
    jobs = [{"key": NODE_PUBLIC_KEY.to_bytes().hex(), "plaintext": good}]
    from_javascript = eciesjs(encrypt=jobs)["encrypt"][0]
    from_python = seal_check(KeyCheck(**(CHECK | {"api_key": Secret(API_KEY)})), NODE_PUBLIC_KEY)
    expected = {name: CHECK[name] for name in ("account", "chain_id", "registry", "node", "key_version")}
    for ciphertext in (from_python, from_javascript):
        open_check(ciphertext, NODE_KEY, now=NOW, **expected)
    vectors = {
        "about": "Sealed checks of a provider's key, version 1. The keys are for tests only. Each `opens` gives "
        "`plaintext` and passes all checks at `now`; each `refused` decrypts, but must be refused for `field`.",
        "private_key": NODE_KEY.reveal_bytes().hex(),
        "public_key": {"x": f"0x{NODE_PUBLIC_KEY.x:064x}", "y": f"0x{NODE_PUBLIC_KEY.y:064x}"},
        "now": NOW,
        "check": CHECK,
        "plaintext": good,
        "opens": [
            {"by": "eciespy", "ciphertext": from_python},
            {"by": "eciesjs", "ciphertext": from_javascript},
        ],
        "refused": [
            {"field": field, "changes": changes, "ciphertext": encrypt(plaintext(changes))}
            for field, changes in REFUSED.items()
        ],
    }
    PATH.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
