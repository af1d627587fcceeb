"""Ids of reservations and charges: unique without asking anybody, and in the order of their making."""

from __future__ import annotations

import itertools
import secrets
import time

# The start is random, so that two processes that share a clock reading don't share an id.
_COUNT = itertools.count(secrets.randbits(47))


END = "chg_g"
"""Comes after every id."""


def new_id() -> str:
    """`chg_` and 28 hex digits: nanoseconds since 1970, then a count."""
    return f"chg_{time.time_ns():016x}{next(_COUNT) & 0xFFFFFFFFFFFF:012x}"
