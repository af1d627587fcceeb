"""Where forge is, for the tests that run it."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def forge() -> str:
    """The forge that `make setup` installs, else the one on PATH. Raises FileNotFoundError with the way out."""
    for binary in sorted((ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge*")):
        return str(binary)
    if found := shutil.which("forge"):
        return found
    raise FileNotFoundError("forge is not installed: run `make setup`")
