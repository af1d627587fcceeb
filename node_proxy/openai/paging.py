"""How lists are asked for: `limit`, `order`, `after`, `before`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from node_proxy.errors import InvalidValue
from nvm_chain.text import show

Json = dict[str, Any]


def window(query: Mapping[str, str], *, most: int = 100, default: int = 20) -> dict[str, Any]:
    """The arguments of `Objects.list` that a query asks for. Raises InvalidValue, naming the parameter."""
    raw, order = query.get("limit", str(default)), query.get("order", "desc")
    if not (raw.isascii() and raw.isdigit() and len(raw) < 10 and 1 <= int(raw) <= most):
        raise InvalidValue(f"`limit` {show(raw[:20])} is not a whole number from 1 to {most:,}.", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidValue(f"`order` {show(order[:20])} is neither asc nor desc.", param="order")
    way: Literal["asc", "desc"] = "asc" if order == "asc" else "desc"
    return {"limit": int(raw), "order": way, "after": query.get("after", ""), "before": query.get("before", "")}


def page(objects: list[Json], has_more: bool) -> Json:
    """A list object."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else ("", "")
    return {"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": has_more}


def cut(objects: list[Json], query: Mapping[str, str]) -> Json:
    """The page of a list that is in memory, oldest first. Raises InvalidValue."""
    wanted = window(query)
    found = objects if wanted["order"] == "asc" else objects[::-1]
    ids = [one["id"] for one in found]
    for name in ("after", "before"):
        if wanted[name] and wanted[name] not in ids:
            raise InvalidValue(f"`{name}` {show(wanted[name][:100])} is not in this list.", param=name)
    start = ids.index(wanted["after"]) + 1 if wanted["after"] else 0
    end = ids.index(wanted["before"]) if wanted["before"] else len(found)
    found = found[start : max(start, end)]
    limit = wanted["limit"]
    kept = found[-limit:] if wanted["before"] and not wanted["after"] else found[:limit]
    return page(kept, len(found) > len(kept))
