"""`make bench`: what the node adds to a call, in time, memory and growth. Writes build/bench.json.

Machines differ and are noisy: nothing here is asserted, rounds are interleaved, and what counts are the ratios within
one run. The node, or what it is compared with, has one core; the provider and the load generator have the other.

A machine shared with others is half as fast for some seconds and then again not. So the node and our own relays take
turns of a second, and a ratio to one of them is the median over the turns. Ratios to others are those of medians. How
steady the machine was is written down too (`machine.core_speed`, `machine.stolen`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench import crypto, growth
from bench.relay import targets
from bench.relay.proc import family, pin, resident_mb, stolen_seconds
from bench.relay.targets import Target
from nvm_chain.secret import Secret
from tests.postgres import postgres
from tests.world import ROOT, NodeProcess, World

OUT = ROOT / "build" / "bench.json"
CONNECTIONS = 32
PACE_MS = 20.0
CREDITS = 2**40
TURN_SECONDS = 1.0
TURN_WARMUP = ("--warmup", "0.5")


class Bench:
    """seconds: how long each is measured in a round, those that take turns in several. rounds: interleaved."""

    def __init__(self, seconds: float, rounds: int) -> None:
        self.seconds = seconds
        self.rounds = rounds
        self.figures: dict[str, Any] = {}
        self.speeds: list[float] = []

    async def load(self, target: Target, *options: str, seconds: float | None = None) -> dict[str, Any]:
        """One run of the load generator. `cpu_us`: the relay's processor time per call, microseconds."""
        command = [sys.executable, "-m", "bench.relay.load", target.base, "--key", target.key, "--model", target.model]
        command += ["--seconds", str(seconds or self.seconds), "--pids", ",".join(map(str, target.pids)), *options]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        pin(process.pid, targets.LOAD_CORE)
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the load generator failed against {target.name}")
        result: dict[str, Any] = json.loads(output)
        if result["errors"]:
            raise RuntimeError(f"{target.name} answered {result['errors']} calls wrongly: {result.get('first_error')}")
        return result

    async def throughput(self, node: Target, ours: list[Target], others: list[Target]) -> None:
        """Closed loop: answers and streams a second. ours: the relays that the node takes turns with."""
        runs: dict[str, list[dict[str, Any]]] = {}

        async def measure(target: Target, kind: str, *options: str, seconds: float | None = None) -> None:
            # LiteLLM needs longer for 32 streams at once than a measurement lasts.
            few = target.name == "litellm" and kind == "streams"
            options += ("--connections", "8" if few else str(CONNECTIONS), *(["--stream"] if kind == "streams" else []))
            result = await self.load(target, *options, seconds=seconds)
            runs.setdefault(f"{target.name}_{kind}", []).append(result)
            say(f"{target.name:15} {kind:8} {result['per_second']:>10,.1f}/s  {result['cpu_us']:>8} µs CPU")

        for number in range(self.rounds):
            for kind in ("rps", "streams"):
                for turn in range(max(1, round(self.seconds / TURN_SECONDS))):
                    self.speeds.append(core_speed())
                    warmup = TURN_WARMUP if turn else ()  # in full after a rest
                    for target in [*ours, node][:: 1 if (number + turn) % 2 else -1]:
                        await measure(target, kind, *warmup, seconds=TURN_SECONDS)
                for target in others:
                    await measure(target, kind)
        for name, results in runs.items():
            self.figures[name] = statistics.median(r["per_second"] for r in results)
            self.figures[f"{name}_cpu_us"] = statistics.median(r["cpu_us"] for r in results)
        for other in ours:
            for kind in ("rps", "streams"):
                self.pairs(kind, other.name, runs[f"{node.name}_{kind}"], runs[f"{other.name}_{kind}"])

    def pairs(self, kind: str, other: str, node: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
        """The node's share of what another one does, turn by turn."""
        both = [pair for pair in zip(node, theirs, strict=True) if all(one["requests"] for one in pair)]
        shares = [mine["per_second"] / its["per_second"] for mine, its in both]
        name = f"node_{kind}_x_{other}"
        self.figures[name] = round(statistics.median(shares), 3)
        if len(shares) > 1:
            lower, _, upper = (round(share, 3) for share in statistics.quantiles(shares, n=4, method="inclusive"))
            self.figures |= {f"{name}_lower_quartile": lower, f"{name}_upper_quartile": upper}
        cpu = [its["cpu_us"] / mine["cpu_us"] for mine, its in both]
        self.figures[f"{other}_{kind}_cpu_share"] = round(statistics.median(cpu), 3)

    async def latency(self, node: Target, direct: Target, folder: Path) -> None:
        """Open loop at 30 % of the node's own throughput: what it adds to an answer.

        And what the disk beside it takes to have 4 KiB for good, without which no charge is made.
        """
        rate = str(max(1, int(0.3 * self.figures[f"{node.name}_rps"])))
        p50, p99, disk = [], [], []
        for _ in range(self.rounds):
            alone = await self.load(direct, "--rate", rate)
            through = await self.load(node, "--rate", rate)
            p50.append(through["p50_ms"] - alone["p50_ms"])
            p99.append(through["p99_ms"] - alone["p99_ms"])
            disk += await asyncio.to_thread(disk_ms, folder / "disk", self.seconds)
            say(f"node at {rate}/s adds p50 {p50[-1]:.2f} ms, p99 {p99[-1]:.2f} ms")
        self.figures |= {
            "added_p50_ms": round(statistics.median(p50), 3),
            "added_p99_ms": round(statistics.median(p99), 3),
            "added_at_rps": int(rate),
            "disk_p50_ms": round(statistics.median(disk), 3),
            "disk_p99_ms": round(statistics.quantiles(disk, n=100)[98], 3),
        }

    async def events(self, node: Target, direct: Target) -> None:
        """Paced streams: what the node adds to each event."""
        options = ("--stream", "--paced", "--connections", "64", "--warmup", "2")
        alone = await self.load(direct, *options)
        through = await self.load(node, *options)
        self.figures |= {
            "added_per_event_p50_ms": round(through["event_p50_ms"] - alone["event_p50_ms"], 3),
            "added_per_event_p99_ms": round(through["event_p99_ms"] - alone["event_p99_ms"], 3),
        }


async def main(args: argparse.Namespace) -> None:
    """Measures, prints, writes."""
    bench, stolen = Bench(args.seconds, args.rounds), stolen_seconds()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nvm-bench-")))
        provider = await stack.enter_async_context(targets.upstream(folder))
        paced = await stack.enter_async_context(targets.upstream(folder, pace_ms=PACE_MS))
        settings = {
            "allow_local_providers": ",".join(url.removeprefix("http://") for url in (provider, paced)),
            "poll_interval": "2",
            "settle_interval": "3600",
            "settle_min_calls": "1000000",
        }
        say("starting a chain, a node and the relays to compare it with …")
        world = await stack.enter_async_context(World(node=settings, folder=folder / "world"))
        bench.figures["startup_seconds"] = await startup(world.node, args.rounds)
        beside = await stack.enter_async_context(AsyncExitStack())
        database = await asyncio.to_thread(beside.enter_context, postgres())
        shared = await world.add_node({**settings, "ledger": database.database()})
        beside.push_async_callback(shared.stop)
        assert world.node.process is not None
        assert shared.process is not None
        pid, shared_pid = world.node.process.pid, shared.process.pid
        # The chain, and what reads the processes' output, would else take turns with the relay on its core.
        for one in family(os.getpid()):
            pin(one, targets.RELAY_CORE if one in (pid, shared_pid) else targets.LOAD_CORE)

        plan = (await world.create_plan(credits=CREDITS, price=1)).plan_id
        subscriber = await world.wallet()
        await world.buy(plan, subscriber)
        fast, slow, far = [
            await world.register(
                plan,
                node=node_process,
                definition=world.definition(
                    base_url=f"{url}/v1", api_key=Secret("sk-bench"), model="bench-1", instructions="Answer."
                ),
            )
            for url, node_process in ((provider, world.node), (paced, world.node), (provider, shared))
        ]
        key = await world.login(subscriber)
        base = f"{world.node.url}/v1"
        node = Target("node", base, (pid,), key, str(fast.did))
        on_postgresql = Target(
            "node_postgresql",
            f"{shared.url}/v1",
            (shared_pid,),
            await world.login(subscriber, node=shared),
            str(far.did),
        )
        direct = Target("direct", f"{provider}/v1", ())
        bare = await beside.enter_async_context(targets.relay("bare", folder, provider))
        own = await beside.enter_async_context(targets.relay("own", folder, provider))
        others = [direct, on_postgresql]
        others += filter(None, [await beside.enter_async_context(targets.nginx(folder, provider))])
        if not args.quick:
            others += filter(None, [await beside.enter_async_context(targets.litellm(folder, provider))])

        await bench.throughput(node, [bare, own], others)
        await beside.aclose()  # idle relays work too, now and then: the 99th percentile would be theirs
        await bench.latency(node, direct, folder)
        kept = await bench.load(node, "--connections", str(CONNECTIONS), "--store")
        bench.figures |= {"node_stored_rps": kept["per_second"], "node_stored_rps_cpu_us": kept["cpu_us"]}
        await bench.events(Target("node", base, (pid,), key, str(slow.did)), Target("direct", f"{paced}/v1", ()))
        bench.figures["node_resident_mb"] = resident_mb((pid,))

    bench.figures["machine"] = machine(bench.speeds, stolen)

    say("what sealing, login and resolving cost …")
    bench.figures |= await crypto.figures()
    say("how the ledger's cost grows …")
    bench.figures |= await growth.figures(quick=args.quick)
    ratios(bench.figures)
    write(bench.figures)


def disk_ms(file: Path, seconds: float) -> list[float]:
    """Milliseconds that fdatasync takes, again and again, with pauses as between calls."""
    took, until = [], time.monotonic() + seconds
    with file.open("wb", buffering=0) as out:
        while time.monotonic() < until:
            out.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(out.fileno())
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.002)
    return took


async def startup(node: NodeProcess, rounds: int) -> float:
    """Seconds from starting the process until it answers."""
    took = []
    for _ in range(rounds):
        await node.stop()
        began = time.perf_counter()
        await node.start()
        took.append(time.perf_counter() - began)
    return round(statistics.median(took), 3)


def ratios(figures: dict[str, Any]) -> None:
    """What can be compared from machine to machine, besides `Bench.pairs`."""
    for other in ("litellm", "nginx"):
        for kind in ("rps", "streams"):
            if figures.get(f"{other}_{kind}"):
                figures[f"node_{kind}_x_{other}"] = round(figures[f"node_{kind}"] / figures[f"{other}_{kind}"], 3)
            if figures.get(f"{other}_{kind}_cpu_us"):
                share = figures[f"{other}_{kind}_cpu_us"] / figures[f"node_{kind}_cpu_us"]
                figures[f"{other}_{kind}_cpu_share"] = round(share, 3)


def core_speed() -> float:
    """Millions of steps of a loop a second on the relay's core, over 20 ms. A neighbour on the same core halves it."""
    pin(os.getpid(), targets.RELAY_CORE)
    began, steps = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < 0.02:
        steps += 1
    pin(os.getpid(), targets.LOAD_CORE)
    return round(steps / took / 1e6, 2)


def machine(speeds: list[float], stolen_before: float) -> dict[str, Any]:
    """What was measured on, and how steady it was."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "commit": commit.stdout.strip(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d"),
        "core_speed": {"lowest": min(speeds), "median": statistics.median(speeds), "highest": max(speeds)},
        "stolen": round(stolen_seconds() - stolen_before, 2),
    }


def write(figures: dict[str, Any]) -> None:
    """build/bench.json, and a table on the terminal."""
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    for name, value in figures.items():
        if isinstance(value, int | float):
            print(f"{name:32} {value:>14,}")


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles its modules first
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is measured in a round")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, interleaved")
    parser.add_argument("--quick", action="store_true", help="without LiteLLM, and with smaller ledgers")
    asyncio.run(main(parser.parse_args()))
