"""The W3C DID document of an asset (https://www.w3.org/TR/did-1.0/)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nvm_chain.address import address
from nvm_chain.canonical import JsonObject
from nvm_chain.did import Did
from nvm_chain.urls import base_url

MAX_ENDPOINT = 200
"""Characters; the same limit as NodeRegistry.MAX_ENDPOINT."""

_CONTEXT = ("https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/secp256k1recovery-2020/v2")


@dataclass(frozen=True, slots=True)
class Service:
    """Where an assistant is served.

    node: the access node's address. endpoint: its base URL without `/v1`; https, or http on this machine.
    """

    node: str
    endpoint: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "node", address(self.node, "node"))
        object.__setattr__(self, "endpoint", base_url(self.endpoint, max_length=MAX_ENDPOINT))


def account_id(chain_id: int, account: str) -> str:
    """The CAIP-10 account id: `eip155:1:0x…`."""
    return f"eip155:{chain_id}:{address(account)}"


def did_document(did: Did, chain_id: int, owner: str, services: Iterable[Service]) -> JsonObject:
    """The document: the owner's account controls and proves the DID; one AssistantAccess service for each node."""
    subject = str(did)
    return {
        "@context": list(_CONTEXT),
        "id": subject,
        "controller": f"did:pkh:{account_id(chain_id, owner)}",
        "verificationMethod": [
            {
                "id": f"{subject}#owner",
                "type": "EcdsaSecp256k1RecoveryMethod2020",
                "controller": subject,
                "blockchainAccountId": account_id(chain_id, owner),
            }
        ],
        "authentication": [f"{subject}#owner"],
        "assertionMethod": [f"{subject}#owner"],
        "service": [
            {
                "id": f"{subject}#access-{service.node.lower()}",
                "type": "AssistantAccess",
                "serviceEndpoint": service.endpoint,
                "node": account_id(chain_id, service.node),
            }
            for service in services
        ],
    }
