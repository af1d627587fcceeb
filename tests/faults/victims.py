"""What runs in the processes that get killed. Started by `multiprocessing` from a server that has the imports done."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import AccountId, NotEnoughCredits
from node_proxy.settlement import Settlement, Thresholds
from node_proxy.watcher import ChainView
from nvm_chain.chain import open_chain
from nvm_chain.deployments import Deployment
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet

_context = get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(target: Any, *arguments: Any) -> tuple[ForkServerProcess, Connection]:
    """Starts `target(connection, *arguments)`; answers the process and our end of the connection."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def kill(process: ForkServerProcess) -> int | None:
    """kill -9, whatever it is doing; answers the exit code."""
    process.kill()
    process.join(10)
    return process.exitcode


def received(connection: Connection, most: int = 1_000_000) -> list[Any]:
    """What was sent so far, also by a process that is dead."""
    messages: list[Any] = []
    with suppress(EOFError):
        while len(messages) < most and connection.poll(0):
            messages.append(connection.recv())
    return messages


def charge_for_ever(connection: Connection, url: str, accounts: list[AccountId], did: bytes) -> None:
    """Captures as fast as it can and tells of each charge once `capture` has returned."""
    asyncio.run(_charge_for_ever(connection, url, accounts, did))


async def _charge_for_ever(connection: Connection, url: str, accounts: list[AccountId], did: bytes) -> None:
    async with open_ledger(url, serving=True) as ledger:
        connection.send("ready")

        async def caller(number: int) -> None:
            who = accounts[number % len(accounts)]
            while True:
                try:
                    hold = await ledger.reserve(
                        who, did, 3, key_id=f"key_{number}", key_budget=None, request_id=f"req_{number}"
                    )
                except NotEnoughCredits:
                    return
                await asyncio.sleep(0)
                made = await ledger.capture(hold, 1 + number % 3, {"output_tokens": number})
                connection.send((made.id, made.credits))

        await asyncio.gather(*(caller(number) for number in range(30)))


def call_until_empty(
    connection: Connection, url: str, accounts: list[AccountId], did: bytes, vouchers: bool = False
) -> None:
    """Serves 125 calls at once and tells how many got in. vouchers: whether the plan asks for them."""
    asyncio.run(_call_until_empty(connection, url, accounts, did, vouchers))


async def _call_until_empty(
    connection: Connection, url: str, accounts: list[AccountId], did: bytes, vouchers: bool
) -> None:
    async with open_ledger(url, serving=True) as ledger:

        async def call(number: int) -> bool:
            who = accounts[number % len(accounts)]
            known = await ledger.voucher(who) if vouchers else None
            try:
                hold = await ledger.reserve(
                    who,
                    did,
                    1,
                    key_id="key",
                    key_budget=None,
                    request_id="req",
                    ceiling=None if known is None else known.ceiling,
                )
            except NotEnoughCredits:
                return False
            await asyncio.sleep(0.01)
            await ledger.capture(hold, 1, None)
            return True

        connection.send(sum(await asyncio.gather(*(call(number) for number in range(125)))))


def settle(connection: Connection, rpc: str, ledger: str, key: bytes, die_at: str) -> None:
    """Settles what waits; ends by kill -9 at the named step, or after everything is settled."""
    asyncio.run(_settle(connection, rpc, ledger, key, die_at))


async def _settle(connection: Connection, rpc: str, path: str, key: bytes, die_at: str) -> None:
    def step(name: str) -> None:
        connection.send(name)
        if name == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    wallet = LocalWallet(Secret(key))
    async with open_ledger(path, serving=False) as book, open_chain(rpc) as chain:
        view = ChainView(chain, Deployment.standard(), book, wallet.address, min_gap=0)
        await view.start()
        settlement = Settlement(book, view, wallet, Thresholds(confirmations=1, max_entries=3), on_step=step)
        try:
            await settlement.settle_now(20)
        finally:
            await view.stop()


def settle_in_steps(connection: Connection, rpc: str, ledger: str, key: bytes, stop_at: str) -> None:
    """One round of settlement as a leader. It waits at the named step, as a process does that was stopped or cut off,
    until it is told to go on; then it tells how the round ended, and goes on with rounds until nothing is open."""
    asyncio.run(_settle_in_steps(connection, rpc, ledger, key, stop_at))


async def _settle_in_steps(connection: Connection, rpc: str, url: str, key: bytes, stop_at: str) -> None:
    stopped = False

    def step(name: str) -> None:
        nonlocal stopped
        if name == stop_at and not stopped:
            stopped = True
            connection.send(("stopped", os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)

    wallet = LocalWallet(Secret(key))
    async with open_ledger(url, serving=False) as book, open_chain(rpc) as chain:
        view = ChainView(chain, Deployment.standard(), book, wallet.address, min_gap=0)
        await view.start()
        settlement = Settlement(book, view, wallet, Thresholds(confirmations=1, min_calls=1), on_step=step)
        try:
            await settlement.step()
            connection.send(("ended", stopped))
        finally:
            await view.stop()
