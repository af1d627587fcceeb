"""A real chain for a test: anvil on a free port, ended by its process id."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import child

ROOT = Path(__file__).resolve().parent.parent
CHAIN_ID = 31337
# anvil's default mnemonic: `test test … junk`. The keys are public, and worth nothing.
KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
)


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running anvil."""

    url: str
    pid: int


@asynccontextmanager
async def anvil(*options: str) -> AsyncIterator[Anvil]:
    """Starts anvil, by default with one block per transaction; ends it on leaving, whatever happened inside."""
    command = (str(binary("anvil")), "--port", "0", "--chain-id", str(CHAIN_ID), *options)
    with tempfile.TemporaryDirectory(prefix="nvm-anvil-") as folder:
        log = Path(folder) / "anvil.log"
        async with child("anvil", *command, ready=r"Listening on (127\.0\.0\.1:\d+)", log=log) as process:
            yield Anvil(f"http://{process.found[1]}", process.pid)


def binary(name: str) -> Path:
    """A Foundry program: on PATH, or where npm has put it. `make setup` installs it."""
    if found := shutil.which(name):
        return Path(found)
    for path in sorted((ROOT / "node_modules" / "@foundry-rs").glob(f"*/bin/{name}")):
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no {name}: run `make setup`")
