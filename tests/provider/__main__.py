"""`python -m tests.provider --port 0`: prints the base URL and serves until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.provider.script import HELP
from tests.provider.server import KEY, serve


async def _main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for signal_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_, stop.set)
    async with serve(host=arguments.host, port=arguments.port, keys=tuple(arguments.key or [KEY])) as provider:
        print(provider.url, flush=True)
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.provider",
        description="A strict stand-in for an OpenAI-compatible provider.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--key", action="append", help=f"accepted API key, may be repeated (default {KEY})")
    options = parser.parse_args()
    try:
        asyncio.run(_main(options))
    except OSError as error:
        sys.exit(
            f"Can't listen on {options.host}:{options.port}: {error.strerror}. "
            "Choose another --port, or 0 for a free one."
        )
