"""One tree of errors; every message names the value that was wrong and the way out."""

from __future__ import annotations

from collections.abc import Mapping


class NvmError(Exception):
    """Anything this package raises on purpose."""


class InvalidInput(NvmError, ValueError):
    """A value that a person or a program handed in has the wrong form."""


class ChainUnavailable(NvmError):
    """The RPC endpoint can't be reached, or answers with something that isn't the chain we expect."""


class TransactionFailed(NvmError):
    """A transaction was refused before it was sent, was dropped, or reverted without a reason that we know."""


class ContractRefused(TransactionFailed):
    """A contract reverted with one of its custom errors.

    name: the Solidity error's name; values: its arguments by name (int, str, bool; bytes as 0x hex).
    """

    def __init__(self, name: str, values: Mapping[str, object], message: str) -> None:
        super().__init__(message)
        self.name = name
        self.values = dict(values)


class NotFound(NvmError):
    """A DID, plan, node or block that should exist does not."""


class DigestMismatch(NvmError):
    """The bytes that somebody served are not the bytes that the CID promises."""


class MetadataInvalid(NvmError):
    """A metadata block is not a canonical metadata document."""


class SealBroken(NvmError):
    """A sealed secret does not open: wrong key, damaged, or made for another asset, chain, registry or node."""


class StoreUnavailable(NvmError):
    """A block store (disk, IPFS node, gateway) failed or timed out."""
