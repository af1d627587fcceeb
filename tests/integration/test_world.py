"""The world starts, and leaves nothing behind, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import ProcessFailed, child
from tests.world import ROOT, World, until

HOLD = """
import asyncio, sys
from pathlib import Path
from tests.world import World

async def main():
    async with World(folder=Path(sys.argv[1])) as world:
        print("pids", *(p.pid for p in world.processes), flush=True)
        await asyncio.sleep(120)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _gone(*pids: int) -> None:
    async def none() -> bool:
        return not any(map(alive, pids))

    await until(none, f"the end of {pids}", seconds=20)


async def test_everything_ends_with_the_world(tmp_path: Path) -> None:
    async with World(folder=tmp_path) as world:
        pids = [process.pid for process in world.processes]
        assert len(pids) == 3
        assert all(map(alive, pids))
        assert await world.chain.block_number() > 0
    await _gone(*pids)


async def test_everything_ends_with_an_exception(tmp_path: Path) -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        await _fail_in(World(folder=tmp_path), pids)
    assert len(pids) == 3
    await _gone(*pids)


async def _fail_in(world: World, pids: list[int]) -> None:
    async with world:
        pids += [process.pid for process in world.processes]
        raise ZeroDivisionError


async def test_a_world_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    world = World(folder=tmp_path, node={"rpc_url": "http://127.0.0.1:1"})
    with pytest.raises(ProcessFailed, match="nvm-node ended at once"):
        await world.__aenter__()
    assert not world.processes


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_survives_a_signal_to_whoever_holds_the_world(tmp_path: Path, sig: signal.Signals) -> None:
    command = (sys.executable, "-c", HOLD, str(tmp_path / "world"))
    log = tmp_path / "holder.log"
    async with child("holder", *command, ready=r"^pids (.+)$", log=log, cwd=ROOT, seconds=100) as holder:
        pids = [int(pid) for pid in holder.found[1].split()]
        assert len(pids) == 3
        assert all(map(alive, pids))
        os.kill(holder.pid, sig)
        await asyncio.wait_for(holder.process.wait(), 60)  # a child that is slow to end is killed after ten
        await _gone(*pids)


async def test_a_process_that_says_nothing_useful_is_named_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"talker ended at once. It printed:\nhello") as caught:
        async with child("talker", sys.executable, "-c", "print('hello')", ready="ready", log=tmp_path / "log"):
            raise AssertionError("it was never ready")
    assert "hello" in str(caught.value)
