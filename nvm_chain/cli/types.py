"""Click parameter types for our values: what is mistyped is said before anything is connected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nvm_chain.address import address
from nvm_chain.amounts import parse_duration, parse_share, parse_whole
from nvm_chain.assets import OfferInput
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.plans import Payee, PlanId
from nvm_chain.text import show


class Parsed(click.ParamType):
    """A type made from a function that raises InvalidInput."""

    def __init__(self, name: str, parse: Callable[[str], Any], kind: type) -> None:
        self.name, self._parse, self._kind = name, parse, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, self._kind) and not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


def read_text(path: Path) -> str:
    """The file's text; of standard input for `-`. Raises InvalidInput."""
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} can't be read: byte {error.start} is not UTF-8; save it as UTF-8 text") from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror or error}") from error


def _payee(text: str) -> Payee:
    account, separator, share = text.rpartition("=")
    if not separator:
        raise InvalidInput(f"{show(text)} is not a payee: write ADDRESS=SHARE, like 0x…=30%")
    return Payee(account, parse_share(share))


def _offer(text: str) -> OfferInput:
    plan, _, rule = text.partition("=")
    low, dash, high = (rule or "1").partition("-")
    if not (text.isascii() and low.isdecimal() and (high if dash else low).isdecimal()):
        raise InvalidInput(f"{show(text)} is not an offer: write PLAN, PLAN=CREDITS or PLAN=MIN-MAX, like 0x…=1-5")
    return OfferInput(PlanId.parse(plan), parse_whole(low), parse_whole(high if dash else low))


ADDRESS = Parsed("address", address, str)
DID = Parsed("did", Did.parse, Did)
PLAN = Parsed("plan", PlanId.parse, PlanId)
DURATION = Parsed("duration", parse_duration, int)
PAYEE = Parsed("payee", _payee, Payee)
OFFER = Parsed("offer", _offer, OfferInput)
TEXT_FILE = Parsed("file", lambda name: read_text(Path(name)), str)
