"""Whether a PostgreSQL URL means what it seems to mean, without repeating any of it: it holds a password."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict


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
