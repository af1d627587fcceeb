"""Prices in words, for pages that work without a script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from nvm_chain.amounts import format_units

_SPANS = ((31_536_000, "year"), (2_592_000, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def price_line(offers: Sequence[dict[str, Any]], currency: str) -> str:
    """`from 0.01 ETH for 100 credits`: the cheapest of the plans on sale that are paid in the chain's currency."""
    if not offers:
        return "not on sale"
    native = [offer for offer in offers if offer["token"] is None]
    offer = min(native or offers, key=lambda one: int(one["price"]))
    price = int(offer["price"])
    what = f"{offer['credits_per_unit']:,} credits" if offer["credits_per_unit"] else span(offer["duration"])
    if price == 0:
        return f"free: {what}"
    paid = f"{format_units(price, 18)} {currency}" if offer["token"] is None else "a token"
    return f"{'from ' if len(offers) > 1 else ''}{paid} for {what}"


def span(seconds: int) -> str:
    """`30 days`: in the largest unit that it is a whole number of."""
    for size, name in _SPANS:
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {name}" + ("" if count == 1 else "s")
    return "no time"


def badge(left: str, right: str) -> str:
    """An SVG badge of two fields."""
    widths = [round(7 * len(text) + 12) for text in (left, right)]
    total = sum(widths)
    at = [widths[0] / 2, widths[0] + widths[1] / 2]
    font = 'font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" '
        f'aria-label="{escape(left)}: {escape(right)}"><title>{escape(left)}: {escape(right)}</title>'
        f'<rect width="{total}" height="20" rx="3" fill="#3a4150"/>'
        f'<path d="M{widths[0]} 0h{widths[1] - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{widths[1] - 3}z" fill="#0f766e"/>'
        f'<g fill="#fff" {font}><text x="{at[0]}" y="14" textLength="{widths[0] - 12}">{escape(left)}</text>'
        f'<text x="{at[1]}" y="14" textLength="{widths[1] - 12}">{escape(right)}</text></g></svg>'
    )
