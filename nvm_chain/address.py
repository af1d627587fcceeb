"""Account addresses in one form: 0x and 40 hex digits with the EIP-55 checksum."""

from __future__ import annotations

import re

from eth_utils.address import to_checksum_address

from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

_HEX = re.compile(r"0x[0-9a-fA-F]{40}\Z")


def address(value: str, what: str = "address") -> str:
    """`value` with its EIP-55 checksum. Accepts lower case, upper case, or a right checksum.

    what: the noun for the message. Raises InvalidInput for anything else, also for mixed case with a wrong checksum,
    because that is what a typing mistake looks like.
    """
    if not isinstance(value, str) or not _HEX.match(value):
        raise InvalidInput(f"{what} {show(value)} is not 0x followed by 40 hex digits")
    checksummed = str(to_checksum_address(value))
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper(), checksummed[2:]):
        raise InvalidInput(
            f"{what} {value} has mixed case but a wrong checksum: check it for a typing mistake "
            f"(EIP-55 would give {checksummed})"
        )
    return checksummed
