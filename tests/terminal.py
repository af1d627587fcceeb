"""A terminal as a person has it: a shell in tmux, typed into and read from the screen."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

PROMPT = "ready> "
TMUX = shutil.which("tmux")


class NotSeen(AssertionError):
    """What was waited for did not appear; the message has the screen."""


class Terminal:
    """Use `terminal`."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def type(self, text: str, *, enter: bool = True) -> None:
        """Types into the terminal, as it is."""
        await self._tmux("send-keys", "-t", "main", "-l", text)
        if enter:
            await self.press("Enter")

    async def press(self, key: str) -> None:
        """A key by tmux's name: Enter, C-c, C-d, Tab."""
        await self._tmux("send-keys", "-t", "main", key)

    async def screen(self) -> str:
        """Everything since the terminal was cleared, lines that were wrapped joined."""
        return (await self._tmux("capture-pane", "-p", "-J", "-S", "-2000", "-t", "main")).rstrip()

    async def see(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Waits until the pattern is on the screen. Raises NotSeen."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            shown = await self.screen()
            if found := re.search(pattern, shown, re.MULTILINE):
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise NotSeen(f"{pattern!r} did not appear in {seconds:g} s:\n{shown}")
            await asyncio.sleep(0.1)

    async def run(self, command: str, seconds: float = 60) -> str:
        """Types a command into the cleared terminal and waits for the next prompt: what it printed.

        Raises NotSeen; also where the command failed.
        """
        await self.start(command)
        found = await self.see(rf"(?s)\A(.*)^\[(\d+)\] {PROMPT.rstrip()}\Z", seconds)
        if found[2] != "0":
            raise NotSeen(f"{command} ended with exit code {found[2]}:\n{found[1]}")
        return found[1]

    async def start(self, command: str) -> None:
        """Types a command into the cleared terminal, without waiting for its end."""
        await self._tmux("send-keys", "-t", "main", "-R")
        await self._tmux("clear-history", "-t", "main")
        await self.type(f"clear; {command}")

    async def _tmux(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(TMUX or "tmux", "-L", self._socket, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"tmux {arguments[0]} failed: {errors.decode()}")
        return output.decode()


@asynccontextmanager
async def terminal(folder: Path, env: Mapping[str, str], size: tuple[int, int] = (110, 50)) -> AsyncIterator[Terminal]:
    """A shell in `folder` with nothing but `env` in its environment. The prompt shows the last exit code."""
    one = Terminal(f"nvm-test-{secrets.token_hex(6)}")
    given = {"TERM": "tmux-256color", "LANG": "C.UTF-8", "HOME": str(folder), "PS1": f"[$?] {PROMPT}", **env}
    shell = ("env", "-i", *(f"{name}={value}" for name, value in given.items()), "bash", "--noprofile", "--norc")
    width, height = size
    await one._tmux(
        *("-f", "/dev/null", "new-session", "-d", "-s", "main", "-x", str(width), "-y", str(height)),
        *("-c", str(folder), *shell),
    )
    try:
        await one.see(PROMPT.rstrip())
        yield one
    finally:
        await one._tmux("kill-server")
