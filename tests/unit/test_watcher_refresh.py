"""Looks at the chain are shared by those who ask at the same time, and nobody who asks can hold up the event loop."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from node_proxy.ledger.base import Ledger
from node_proxy.watcher import ChainView
from nvm_chain.chain import Chain
from nvm_chain.deployments import Deployment


class Looks(ChainView):
    """Looks that take a given number of turns of the event loop and see nothing."""

    def __init__(self, turns: int) -> None:
        nothing = cast(Deployment, None)
        super().__init__(cast(Chain, None), nothing, cast(Ledger, None), "0x" + "00" * 20, min_gap=0.0)
        self.turns = turns
        self.count = 0

    async def _look(self) -> None:
        self.count += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("turns", range(6))
async def test_asking_at_any_turn_of_the_loop_ends_and_looks_after_the_question(turns: int) -> None:
    view = Looks(turns)
    seen: list[tuple[int, int]] = []

    async def ask(delay: int) -> None:
        for _ in range(delay):
            await asyncio.sleep(0)
        before = view.count
        await view.refresh()
        seen.append((before, view.count))

    await asyncio.gather(*(ask(delay) for delay in range(12)))
    assert len(seen) == 12
    # A look that was under way when somebody asked doesn't answer them: what they ask about may be newer.
    assert all(after > before for before, after in seen)
    assert view.count <= 12
