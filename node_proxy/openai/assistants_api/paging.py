"""How lists are asked for and answered: `limit`, `order`, `after`, `before`, one form for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node_proxy.errors import InvalidValue
from node_proxy.openai.request import UnknownParameter
from nvm_chain.text import show

Json = dict[str, Any]

MOST = 100
_NAMES = frozenset({"limit", "order", "after", "before"})


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted. after, before: ids of objects that don't belong to it; empty: no bound."""

    limit: int = 20
    newest_first: bool = True
    after: str = ""
    before: str = ""

    @property
    def order(self) -> str:
        """`asc` or `desc`, as the query has it."""
        return "desc" if self.newest_first else "asc"


def window(query: Mapping[str, str], *also: str) -> Window:
    """Reads a query. also: names that it may hold besides. Raises InvalidValue, UnknownParameter."""
    for name in query:
        if name not in _NAMES and name not in also:
            raise UnknownParameter(f"Unknown query parameter: {show(name[:100])}.", param=name[:100])
    raw, order = query.get("limit", "20"), query.get("order", "desc")
    if not (raw.isascii() and raw.isdigit() and len(raw) < 10 and 1 <= int(raw) <= MOST):
        raise InvalidValue(f"`limit` {show(raw)} is not a whole number from 1 to {MOST}.", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidValue(f"`order` {show(order)} is neither asc nor desc.", param="order")
    return Window(int(raw), order == "desc", query.get("after", ""), query.get("before", ""))


def page(objects: Sequence[Json], has_more: bool) -> Json:
    """A list object."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }


def cut(objects: Sequence[Json], wanted: Window) -> Json:
    """One page of objects that are all at hand, oldest first; an id that isn't among them bounds nothing."""
    ordered = list(reversed(objects)) if wanted.newest_first else list(objects)
    ids = [one["id"] for one in ordered]
    start = ids.index(wanted.after) + 1 if wanted.after in ids else 0
    end = ids.index(wanted.before) if wanted.before in ids else len(ids)
    found = ordered[start:end]
    backwards = bool(wanted.before and not wanted.after)  # then the page right before
    kept = found[-wanted.limit :] if backwards else found[: wanted.limit]
    return page(kept, len(found) > len(kept))
