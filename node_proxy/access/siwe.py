"""Sign-In with Ethereum messages, read strictly by the grammar of EIP-4361 and written in the same form.

Source: https://eips.ethereum.org/EIPS/eip-4361. The text is never rebuilt: what is verified is what was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from nvm_chain.address import address as checksummed
from nvm_chain.errors import InvalidInput

MAX_LENGTH = 4096

_UNRESERVED = r"A-Za-z0-9\-._~"
_RESERVED = r":/?#\[\]@!$&'()*+,;="
_PCHAR = rf"(?:[{_UNRESERVED}!$&'()*+,;=:@]|%[0-9A-Fa-f]{{2}})"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:[{_UNRESERVED}{_RESERVED}]|%[0-9A-Fa-f]{{2}})+"
_TIME = r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})"
_FIRST = " wants you to sign in with your Ethereum account:"
_MESSAGE = re.compile(
    rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<domain>[{_UNRESERVED}!$&'()*+,;=:%@\[\]]+){_FIRST}\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n"
    r"\n"
    rf"(?:(?P<statement>[{_UNRESERVED}{_RESERVED} ]+)\n)?"
    r"\n"
    rf"URI: (?P<uri>{_URI})\n"
    r"Version: (?P<version>1)\n"
    r"Chain ID: (?P<chain_id>[0-9]{1,20})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,128})\n"
    rf"Issued At: (?P<issued_at>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expiration_time>{_TIME}))?"
    rf"(?:\nNot Before: (?P<not_before>{_TIME}))?"
    rf"(?:\nRequest ID: (?P<request_id>{_PCHAR}*))?"
    rf"(?:\nResources:(?P<resources>(?:\n- {_URI})*))?",
)


@dataclass(frozen=True, slots=True)
class SiweMessage:
    """One message. address: checksummed. Times are aware; text is what was signed."""

    text: str
    domain: str
    address: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: datetime
    expiration_time: datetime | None = None
    not_before: datetime | None = None
    scheme: str | None = None
    statement: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SiweMessage:
        """Raises InvalidInput that says what is wrong."""
        if len(text) > MAX_LENGTH:
            raise InvalidInput(f"the sign-in message has {len(text)} characters, at most {MAX_LENGTH} are taken")
        match = _MESSAGE.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"the sign-in message doesn't follow EIP-4361: {_first_fault(text)}; GET /auth/nonce gives one to sign"
            )
        found = match.groupdict()
        resources = found["resources"] or ""
        return cls(
            text=text,
            domain=found["domain"],
            address=checksummed(found["address"], "sign-in address"),
            uri=found["uri"],
            chain_id=int(found["chain_id"]),
            nonce=found["nonce"],
            issued_at=_time("Issued At", found["issued_at"]),
            expiration_time=_optional_time("Expiration Time", found["expiration_time"]),
            not_before=_optional_time("Not Before", found["not_before"]),
            scheme=found["scheme"],
            statement=found["statement"],
            request_id=found["request_id"],
            resources=tuple(resources.split("\n- ")[1:]),
        )


def write(
    *,
    domain: str,
    address: str,
    statement: str,
    uri: str,
    chain_id: int,
    nonce: str,
    issued_at: datetime,
    expiration_time: datetime,
) -> str:
    """A message to be signed. The same that `SiweMessage.parse` reads."""
    return (
        f"{domain}{_FIRST}\n{address}\n\n{statement}\n\nURI: {uri}\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\n"
        f"Issued At: {_show(issued_at)}\nExpiration Time: {_show(expiration_time)}"
    )


def _show(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _optional_time(name: str, text: str | None) -> datetime | None:
    return None if text is None else _time(name, text)


def _time(name: str, text: str) -> datetime:
    try:
        # The grammar allows nanoseconds, datetime six digits.
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
    except ValueError:
        raise InvalidInput(f"the sign-in message's {name} {text!r} is no such time") from None


_LABELS = ("URI: ", "Version: 1", "Chain ID: ", "Nonce: ", "Issued At: ")


def _first_fault(text: str) -> str:
    """The first thing that is out of place, for whoever builds messages by hand."""
    lines = text.split("\n")
    if "\r" in text:
        return "its lines end with CR LF instead of LF"
    if not lines[0].endswith(_FIRST):
        return f'its first line must end with "{_FIRST.strip()}"'
    if len(lines) < 2 or not re.fullmatch(r"0x[0-9a-fA-F]{40}", lines[1]):
        return "its second line must be the wallet's address"
    if len(lines) < 4 or lines[2]:
        return "an empty line must follow the address"
    for label in _LABELS:
        if not any(line.startswith(label) for line in lines):
            return f'the line "{label.strip()}" is missing'
    return "a line is malformed, repeated or out of order"
