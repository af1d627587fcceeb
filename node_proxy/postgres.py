"""Connections to PostgreSQL, for the ledger and all else; and whether a URL means what it seems to mean."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

Connection = psycopg.Connection[tuple[Any, ...]]

_USUAL: dict[str, int | str] = {
    "application_name": "nvm-node",
    "connect_timeout": 5,
    # A server that goes without a word, with its machine or its network, is noticed after some ten seconds. By the
    # system's own limits every call would wait for it for a quarter of an hour or more.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq's parameters, in seconds, the last in milliseconds. What the URL says of them counts."""


def connect(url: str, *, autocommit: bool = False) -> Connection:
    """Raises psycopg.Error."""
    wanted: dict[str, Any] = {**_USUAL, **conninfo_to_dict(url)}
    return psycopg.connect(autocommit=autocommit, **wanted)


def url_fault(url: str) -> str:
    """What is wrong with a URL that the driver would read in another way than it was meant, or not at all; else empty.

    Such a URL has mostly a password that isn't encoded; the driver and yoyo repeat parts of it in what they say.
    """
    rest = url.partition("://")[2]
    place = re.split("[/?#]", rest, maxsplit=1)[0]  # urlsplit refuses several hosts with brackets, in some versions
    try:
        read = conninfo_to_dict(url)
    except psycopg.Error:
        sound = False
    else:
        ports = str(read.get("port") or "").split(",")
        split_well = (
            "@" not in rest[len(place) :] and place.count("@") <= 1 and not {*"[]"} & {*place.rpartition("@")[0]}
        )
        sound = split_well and all(not port or port.isdecimal() for port in ports)
    if sound:
        return ""
    return (
        "the PostgreSQL database's URL is malformed: write postgresql://user:password@host:port/database, and "
        "percent-encode the password"
    )
