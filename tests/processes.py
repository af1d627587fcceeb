"""Real processes for tests and the demo, ended by their process ids whatever happens to whoever started them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(RuntimeError):
    """A process ended, or said nothing, before it was ready. The message carries the end of what it printed."""


@dataclass(slots=True)
class Child:
    """A running process. found: its first line that matched `ready`. log: the file with all that it prints."""

    name: str
    process: asyncio.subprocess.Process
    found: re.Match[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text("utf-8", errors="replace")

    async def stop(self, sig: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Asks it to end and waits; kills its process group after `seconds`. Returns the exit code."""
        return await _stop(self.process, sig, seconds)


@asynccontextmanager
async def child(
    name: str,
    *command: str,
    ready: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = START_SECONDS,
) -> AsyncIterator[Child]:
    """Starts a process in a session of its own and waits for a line that matches `ready`; ends it with the block.

    A session of its own: Ctrl-C reaches us alone, and we end the processes in order. Raises ProcessFailed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=None if env is None else dict(env),
        cwd=cwd,
        limit=2**20,
        start_new_session=True,
        preexec_fn=_die_with_parent if _libc else None,
    )
    assert process.stdout is not None
    found: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
    reader = asyncio.create_task(_read(process.stdout, re.compile(ready), found, log))
    try:
        try:
            match = await asyncio.wait_for(asyncio.shield(found), seconds)
        except (TimeoutError, EOFError) as error:
            why = f"was not ready in {seconds:g} s" if isinstance(error, TimeoutError) else "ended at once"
            raise ProcessFailed(f"{name} {why}. It printed:\n{_tail(log)}") from None
        yield Child(name, process, match, log)
    finally:
        # Even when we are being cancelled, nothing may be left running.
        await asyncio.shield(_stop(process, signal.SIGTERM, STOP_SECONDS))
        await reader
        if found.done() and not found.cancelled():
            found.exception()


async def _read(
    output: asyncio.StreamReader, ready: re.Pattern[str], found: asyncio.Future[re.Match[str]], log: Path
) -> None:
    with log.open("ab", buffering=0) as file:
        async for line in output:
            file.write(line)
            if not found.done() and (match := ready.search(line.decode("utf-8", errors="replace"))):
                found.set_result(match)
    if not found.done():
        found.set_exception(EOFError())


async def _stop(process: asyncio.subprocess.Process, sig: signal.Signals, seconds: float) -> int:
    with suppress(ProcessLookupError):
        process.send_signal(sig)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what it has left behind, or the process itself
    return await process.wait()


def _tail(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-3000:] if log.exists() else ""


def _die_with_parent() -> None:
    """Runs in the child: the kernel ends it when we are killed without a chance to do it (Linux)."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
