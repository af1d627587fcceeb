"""Writes sealing.json anew: `python -m tests.vectors.make`. Ciphertexts are random; what they open to is not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import ecies

from nvm_chain.canonical import JsonObject, dumps
from nvm_chain.sealing import BUCKETS, open_sealed, seal
from tests.unit.sample import DID, NODE_KEY, NODE_PUBLIC_KEY, OTHER, binding, definition
from tests.vectors.javascript import eciesjs

PATH = Path(__file__).with_name("sealing.json")


def plaintext(changes: JsonObject) -> str:
    """The plaintext of version 1, padded, with some fields changed."""
    bound = binding()
    fields: JsonObject = {
        "v": 1,
        "did": str(bound.did),
        "owner": bound.owner,
        "chain_id": bound.chain_id,
        "registry": bound.registry,
        "node": bound.node,
        "key_version": bound.key_version,
        "expires": bound.expires,
        "definition": definition().reveal_json(),
    }
    text = dumps(fields | changes).decode()
    return text + " " * (next(b for b in BUCKETS if b >= len(text.encode())) - len(text.encode()))


REFUSED: dict[str, JsonObject] = {
    "did": {"did": str(type(DID)(b"\xff" * 32))},
    "owner": {"owner": OTHER},
    "chain_id": {"chain_id": 1},
    "registry": {"registry": OTHER},
    "node": {"node": OTHER},
    "key_version": {"key_version": 2},
    "expires": {"expires": 1},
    "v": {"v": 0},
}
"""By the field that a reader must name: what differs."""


def encrypt(text: str) -> str:
    """`text` encrypted to the node's key, by eciespy."""
    encrypted: bytes = ecies.encrypt(NODE_PUBLIC_KEY.to_bytes(), text.encode())
    return base64.b64encode(encrypted).decode()


def main() -> None:
    """Writes the file, after opening what is to be opened."""
    public = NODE_PUBLIC_KEY.to_bytes().hex()
    good = plaintext({})
    from_javascript = eciesjs(encrypt=[{"key": public, "plaintext": good}])["encrypt"][0]
    from_python = seal(definition(), binding(), NODE_PUBLIC_KEY)
    for ciphertext in (from_python, from_javascript):
        open_sealed(ciphertext, NODE_KEY, binding())
    vectors = {
        "about": "Sealed definitions, version 1. The key is for tests only. Each `opens` gives `plaintext` and passes "
        "all checks for `binding`; each `refused` decrypts, but a reader must refuse it and name `field`.",
        "private_key": NODE_KEY.reveal_bytes().hex(),
        "public_key": {"x": f"0x{NODE_PUBLIC_KEY.x:064x}", "y": f"0x{NODE_PUBLIC_KEY.y:064x}"},
        "binding": {k: v for k, v in json.loads(good).items() if k not in ("v", "definition")},
        "definition": definition().reveal_json(),
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
