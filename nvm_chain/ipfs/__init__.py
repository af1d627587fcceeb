"""Raw IPFS blocks: on disk, on an IPFS node, behind gateways. Whoever serves a block, its CID is recomputed.

async with open_store("file:///var/lib/nvm/blocks") as store:
    cid = await store.put(block)
"""

from nvm_chain.cid import MAX_BLOCK
from nvm_chain.ipfs.gateway import Gateway
from nvm_chain.ipfs.kubo import KuboStore
from nvm_chain.ipfs.local import LocalStore
from nvm_chain.ipfs.open import open_store, open_stores
from nvm_chain.ipfs.store import BlockSource, BlockStore
from nvm_chain.ipfs.stores import Fault, Fetched, Holding, PutReport, Stores

__all__ = [
    "MAX_BLOCK",
    "BlockSource",
    "BlockStore",
    "Fault",
    "Fetched",
    "Gateway",
    "Holding",
    "KuboStore",
    "LocalStore",
    "PutReport",
    "Stores",
    "open_store",
    "open_stores",
]
