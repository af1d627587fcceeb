"""One builder, one node, one asset: values that the unit tests start from."""

from __future__ import annotations

from typing import Any

from nvm_chain.cid import Cid
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.did_document import Service
from nvm_chain.keys import public_key_of
from nvm_chain.metadata import Metadata, OfferSummary
from nvm_chain.sealing import Binding, Sealed
from nvm_chain.secret import Secret

API_KEY = "sk-proj-4f9Q2vXcE7mTzL0aYh81"
INSTRUCTIONS = "You are a patient tutor of mathematics. The password is tangerine."
OWNER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
REGISTRY = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
NODE = "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"
OTHER = "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"
CHAIN_ID = 31337
NODE_KEY = Secret(bytes(range(1, 33)))
NODE_PUBLIC_KEY = public_key_of(NODE_KEY)
DID = Did.derive(CHAIN_ID, REGISTRY, OWNER, b"\x07" * 32)
NOW = 1_795_000_000


def definition(**changes: Any) -> Definition:
    """A definition with a bit of everything."""
    values: dict[str, Any] = {
        "base_url": "https://api.openai.com/v1",
        "api_key": Secret(API_KEY),
        "model": "gpt-5-mini",
        "instructions": INSTRUCTIONS,
        "tools": ({"type": "web_search"},),
        "settings": {"temperature": 0.7, "max_output_tokens": 800},
    }
    return Definition(**(values | changes))


def binding(**changes: Any) -> Binding:
    """What the definition is sealed for."""
    values: dict[str, Any] = {
        "did": DID,
        "owner": OWNER,
        "chain_id": CHAIN_ID,
        "registry": REGISTRY,
        "node": NODE,
        "key_version": 1,
        "expires": 0,
    }
    return Binding(**(values | changes))


def metadata(**changes: Any) -> Metadata:
    """The asset's metadata, with the definition sealed for the node."""
    values: dict[str, Any] = {
        "did": DID,
        "chain_id": CHAIN_ID,
        "registry": REGISTRY,
        "owner": OWNER,
        "title": "Math tutor",
        "description": "An assistant that helps you solve math problems.",
        "tags": ("math", "education"),
        "notes": "Ask in plain words.\n\n    client.responses.create(model=…)",
        "image": Cid.of(b"a picture"),
        "offers": (OfferSummary(b"\x01" * 32, 1, 5, "100 credits"),),
        "services": (Service(NODE, "https://node.example"),),
        "sealed": (Sealed.of(definition(), binding(), NODE_PUBLIC_KEY),),
        "created": NOW,
        "updated": NOW,
    }
    return Metadata(**(values | changes))
