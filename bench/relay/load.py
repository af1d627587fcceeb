"""The load generator: closed loop (as fast as answers come) or open loop (a fixed rate), whole answers or streams.

`python -m bench.relay.load URL --key KEY --model M` prints one JSON object: requests, errors, per_second, latency in
milliseconds (p50, p99), the relay's processor time per answer, and for paced streams what was added to each event. In
open loop a latency counts from the moment at which the request was due, so that a slow answer can't hide the ones
behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import sys
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

from bench.relay.http1 import Framer
from bench.relay.proc import cpu_seconds

_STAMP = re.compile(rb"@([0-9]{6,20})@")


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at most."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.framer = Framer()
        self.transport: asyncio.Transport | None = None
        self.due = 0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.transport = None
        if self.busy:
            self.load.errors += 1

    def send(self, due: int) -> None:
        """Sends the next request; `due` is when it should have gone out, monotonic nanoseconds."""
        assert self.transport is not None
        self.due, self.busy = due, True
        self.transport.write(next(self.load.requests))

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self.load.paced:
            now = time.monotonic_ns()
            self.load.event_delays += [now - int(stamp) for stamp in _STAMP.findall(data)]
        message = self.framer.feed(data)
        if message is None:
            return
        self.busy = False
        self.load.done(self, self.framer.status, message)


class Load:
    """One run against one URL."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        url = urlsplit(args.url)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        keys = Path(args.keys_file).read_text().split() if args.keys_file else [args.key]
        body = {"model": args.model, "input": "What is 6 times 7? " + "x" * 800, "store": args.store}
        if args.stream:
            body["stream"] = True
        raw = orjson.dumps(body)
        head = (
            f"POST {url.path.rstrip('/')}/responses HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            "authorization: Bearer %s\r\ncontent-type: application/json\r\n"
            "x-stainless-retry-count: 0\r\n"  # OpenAI's packages say which try it is
            f"accept: */*\r\ncontent-length: {len(raw)}\r\n\r\n"
        )
        random.Random(7).shuffle(keys)
        self.requests = itertools.cycle([(head % key).encode() + raw for key in keys])
        self.paced = args.paced
        self.latencies: list[int] = []
        self.event_delays: list[int] = []
        self.errors = 0
        self.first_error = b""
        self.pids = [int(pid) for pid in args.pids.split(",") if pid]
        self.used = 0.0
        self.idle: list[Connection] = []
        self.waiting: list[int] = []
        self.goes_on = True

    def done(self, connection: Connection, status: int, message: bytes) -> None:
        """An answer is complete."""
        now = time.monotonic_ns()
        if status == 200:
            self.latencies.append(now - connection.due)
        else:
            self.errors += 1
            self.first_error = self.first_error or message[:400]
        if connection.transport is None or connection.transport.is_closing():
            return
        if self.args.rate:
            if self.waiting:
                connection.send(self.waiting.pop(0))
            else:
                self.idle.append(connection)
        elif self.goes_on:
            connection.send(now)

    async def run(self) -> dict[str, object]:
        """Runs for the given time, warm-up excluded.

        In closed loop the warm-up goes on into what is counted: begun anew, all calls would come at the same time and
        leave what is under way at the end uncounted.
        """
        loop = asyncio.get_running_loop()
        connections: list[Connection] = []
        for _ in range(self.args.connections):
            _, protocol = await loop.create_connection(lambda: Connection(self), self.host, self.port)
            connections.append(protocol)
        if self.args.rate:
            await self.open_loop(connections, self.args.warmup)
            await self.come_home(connections)
        else:
            for connection in connections:
                connection.send(time.monotonic_ns())
            await asyncio.sleep(self.args.warmup)
        self.latencies, self.event_delays, self.errors = [], [], 0
        begin, used = time.monotonic_ns(), cpu_seconds(self.pids)
        if self.args.rate:
            await self.open_loop(connections, self.args.seconds)
        else:
            await asyncio.sleep(self.args.seconds)
        elapsed, self.used = (time.monotonic_ns() - begin) / 1e9, cpu_seconds(self.pids) - used
        counted, delays, errors = list(self.latencies), list(self.event_delays), self.errors
        self.goes_on = False
        await self.come_home(connections)
        return self.report(counted, delays, errors, elapsed)

    async def come_home(self, connections: list[Connection]) -> None:
        """Waits for what is under way."""
        for _ in range(600):
            if not any(connection.busy for connection in connections):
                return
            await asyncio.sleep(0.05)

    async def open_loop(self, connections: list[Connection], seconds: float) -> None:
        """Sends at a fixed rate whatever the answers do."""
        gap, begin = 1e9 / self.args.rate, time.monotonic_ns()
        ends = begin + int(seconds * 1e9)
        self.idle, self.waiting = list(connections), []
        number = 0
        while (now := time.monotonic_ns()) < ends:
            while begin + number * gap <= now:
                due = int(begin + number * gap)
                number += 1
                if self.idle:
                    self.idle.pop().send(due)
                else:
                    self.waiting.append(due)
            await asyncio.sleep(max(0.0, (begin + number * gap - time.monotonic_ns()) / 1e9))

    def report(self, latencies: list[int], delays: list[int], errors: int, elapsed: float) -> dict[str, object]:
        """The figures of one run."""
        result: dict[str, object] = {
            "requests": len(latencies),
            "errors": errors,
            "per_second": round(len(latencies) / elapsed, 1),
            "p50_ms": _quantile(latencies, 0.50),
            "p99_ms": _quantile(latencies, 0.99),
            "cpu_us": round(self.used * 1e6 / max(1, len(latencies)), 1),
        }
        if self.paced:
            result["event_p50_ms"] = _quantile(delays, 0.50)
            result["event_p99_ms"] = _quantile(delays, 0.99)
        if self.first_error:
            result["first_error"] = self.first_error.decode(errors="replace")
        return result


def _quantile(nanoseconds: list[int], q: float) -> float | None:
    if not nanoseconds:
        return None
    ordered = sorted(nanoseconds)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1e6, 3)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="base URL with /v1")
    parser.add_argument("--key", default="sk-bench")
    parser.add_argument("--keys-file", help="many keys, one a line, used in turn")
    parser.add_argument("--model", default="bench-1")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds: a relay that has rested is slower at first")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second (open loop)")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--store", action="store_true", help="let the node keep the responses")
    parser.add_argument("--pids", default="", help="of the relay, with commas: whose processor time is counted")
    parser.add_argument("--paced", action="store_true", help="read the time stamps of a paced upstream")
    args = parser.parse_args()
    result = uvloop.run(Load(args).run())
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")


if __name__ == "__main__":
    main()
