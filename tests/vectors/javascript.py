"""Runs ecies.mjs, so that tests and vectors see what eciesjs makes of the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("ecies.mjs")


def eciesjs(**jobs: list[dict[str, str]]) -> dict[str, list[Any]]:
    """The script's answer to `encrypt=[…]` and `decrypt=[…]`. Raises RuntimeError if Node or eciesjs is missing."""
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("there is no node on the PATH: run the tests with `make test`, or `make setup` first")
    done = subprocess.run(
        [node, SCRIPT], input=json.dumps(jobs), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"eciesjs did not run (is it installed? `make setup`): {done.stderr[-2000:]}")
    answer: dict[str, list[Any]] = json.loads(done.stdout)
    return answer
