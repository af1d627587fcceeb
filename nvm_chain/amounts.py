"""Amounts and durations as people write them, to and from exact integers. No floats anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nvm_chain.abi import ZERO_ADDRESS
from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

MAX_DIGITS = 78
"""Of 2**256 - 1, the largest number on the chain. Python itself refuses numbers of more than 4,300 digits."""

_NUMBER = re.compile(r"([0-9][0-9_]*)(?:\.([0-9]+))?")
_DURATION = re.compile(r"([0-9]+)\s*([a-z]*)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SECOND_NAMES = {
    "second": "s", "seconds": "s", "sec": "s", "m": "min", "minute": "min", "minutes": "min", "hour": "h", "hours": "h",
    "day": "d", "days": "d", "week": "w", "weeks": "w",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Currency:
    """What a plan is paid in. token: ERC-20 address, or ZERO_ADDRESS for the native currency. decimals: 0 to 77."""

    symbol: str
    decimals: int
    token: str = ZERO_ADDRESS

    @property
    def is_native(self) -> bool:
        return self.token == ZERO_ADDRESS

    def parse(self, text: str) -> int:
        """Base units of "0.1 ETH", "5 gwei", "100 wei" or "5 USDC"; "base" is the unit of a token's base units.

        A bare number is refused, because 5 could be either. Raises InvalidInput; never rounds.
        """
        return parse_amount(text, self)

    def format(self, amount: int) -> str:
        """The exact amount with its symbol: 100000000000000000 → "0.1 ETH"."""
        return f"{format_units(amount, self.decimals)} {self.symbol}"


def parse_amount(text: str, currency: Currency) -> int:
    """See `Currency.parse`."""
    units = {currency.symbol.lower(): currency.decimals, "base": 0}
    if currency.is_native:
        units |= {"wei": 0, "gwei": 9}
        if currency.symbol == "ETH":
            units["ether"] = 18
    number, _, unit = text.strip().partition(" ")
    if not unit and (split := re.fullmatch(r"([0-9_,.]+)([A-Za-z]\S*)", number)):
        number, unit = split[1], split[2]
    unit = unit.strip().lower()
    example = f"0.1 {currency.symbol} or 100 {'wei' if currency.is_native else 'base'}"
    if number == "0" and not unit:
        return 0
    if not unit:
        raise InvalidInput(f"amount {show(text)} has no unit: write {example}")
    if unit not in units:
        raise InvalidInput(f"{show(unit)} is not a unit of {currency.symbol}: write {example}")
    return parse_units(number, units[unit])


def parse_whole(digits: str) -> int:
    """A whole number in ASCII digits, without a sign. Raises InvalidInput, also for more than MAX_DIGITS."""
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidInput(f"{show(digits)} is not a whole number: write digits only, like 100")
    if len(digits) > MAX_DIGITS:
        raise InvalidInput(f"{show(digits)} has {len(digits)} digits: the contracts hold at most {MAX_DIGITS}")
    return int(digits)


def parse_units(number: str, decimals: int) -> int:
    """`number` x 10**decimals, exactly. Raises InvalidInput when a digit would be lost."""
    match = _NUMBER.fullmatch(number)
    if not match:
        # A comma divides thousands for some and decimals for others, so it is not taken for either.
        raise InvalidInput(f"{show(number)} is not a decimal number: write digits with a point and no commas, like 0.1")
    whole, fraction = match[1].replace("_", ""), (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise InvalidInput(
            f"{show(number)} has more than {decimals} decimal places: the smallest amount is 1 base unit"
        )
    return parse_whole(whole.lstrip("0") + fraction.ljust(decimals, "0") or "0")


def format_units(amount: int, decimals: int) -> str:
    """The exact decimal: format_units(10**17, 18) == "0.1"."""
    sign, digits = ("-" if amount < 0 else ""), str(abs(amount)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def parse_duration(text: str) -> int:
    """Seconds of "30d", "12 hours", "90 min" or "0". A bare number other than 0 is refused. Raises InvalidInput."""
    if text.strip() == "0":
        return 0
    match = _DURATION.fullmatch(text.strip().lower())
    unit = _SECOND_NAMES.get(match[2], match[2]) if match else ""
    if not match or unit not in _SECONDS:
        raise InvalidInput(f"{show(text)} is not a duration: write a number and s, min, h, d or w, like 30d")
    return parse_whole(match[1]) * _SECONDS[unit]


def format_duration(seconds: int) -> str:
    """In the largest unit that gives a whole number: 2592000 → "30 d"."""
    for unit in ("d", "h", "min"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]} {unit}"
    return f"{seconds} s"


def parse_share(text: str) -> int:
    """Basis points of "12.5%" or "1250 bp". Raises InvalidInput."""
    text = text.strip().lower()
    if text.endswith("%"):
        return parse_units(text[:-1].strip(), 2)
    if match := re.fullmatch(r"([0-9]+)\s*bps?", text):
        return parse_whole(match[1])
    raise InvalidInput(f"{show(text)} is not a share: write a percentage like 12.5%, or basis points like 1250bp")
