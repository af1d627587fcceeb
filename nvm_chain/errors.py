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
    """A metadata block is not a canonical metadata document, or a value does not fit into one.

    field: the path of the field, or None if the block as a whole is refused.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class DefinitionInvalid(InvalidInput):
    """A field of an assistant's definition, policy or pricing has the wrong form.

    field: the path of the field, such as `settings.temperature`; free of content, for places where that is secret.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class AssistantsShutDown(DefinitionInvalid):
    """An `asst_…` id was given for a provider that ended the Assistants API (OpenAI and Azure, on 2026-08-26)."""


class SealBroken(NvmError):
    """A sealed secret does not open: wrong key, damaged, or made for another asset, chain, registry or node.

    field: the bound field that differs, or None if nothing could be read.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SealExpired(SealBroken):
    """A sealed secret was good until a time that has passed; its builder has to seal it again."""


class BlockTooLarge(NvmError):
    """A block is larger than one IPFS block may be."""


class StoreUnavailable(NvmError):
    """A block store (disk, IPFS node, gateway) failed or timed out."""
