"""A real IPFS daemon (js-ipfs, offline) for tests, on free ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
CLI = HERE / "node_modules" / "ipfs" / "src" / "cli.js"
START_SECONDS = 60


class IpfsPeer:
    """The daemon, as a context manager; ended by its process id.

    folder: where its repository is made. rpc: multiaddr of its RPC. rpc_url, gateway_url: the same as URLs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rpc = self.rpc_url = self.gateway_url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        node = shutil.which("node")
        if not CLI.is_file() or node is None:
            raise RuntimeError(
                "the IPFS daemon that these tests talk to isn't installed: run `python scripts/setup.py peers` (285 MB)"
            )
        config = self.folder / "config.json"
        config.write_text(json.dumps(_CONFIG))
        log = self.folder / "daemon.log"
        command = [node, "--require", str(HERE / "polyfill.cjs"), str(CLI), "daemon", "--offline"]
        command += ["--init-config", str(config), "--enable-preload=false"]
        env = {**os.environ, "IPFS_PATH": str(self.folder / "repo"), "NO_UPDATE_NOTIFIER": "1", "CI": "1"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait(log)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the daemon; does nothing if it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = log.read_text(errors="replace")
            if "Daemon is ready" in text:
                self.rpc = _found(r"HTTP API listening on (/ip4/127\.0\.0\.1/tcp/\d+)", text)
                self.rpc_url = "http://127.0.0.1:" + self.rpc.rsplit("/", 1)[1]
                gateway = _found(r"Gateway \(read only\) listening on (/ip4/127\.0\.0\.1/tcp/\d+)", text)
                self.gateway_url = "http://127.0.0.1:" + gateway.rsplit("/", 1)[1]
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"the IPFS daemon did not start; its output:\n{log.read_text(errors='replace')[-4000:]}")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"no {pattern} in the IPFS daemon's output:\n{text[-4000:]}")
    return match[1]


_CONFIG = {
    "Addresses": {
        "API": "/ip4/127.0.0.1/tcp/0",
        "Gateway": "/ip4/127.0.0.1/tcp/0",
        "RPC": "/ip4/127.0.0.1/tcp/0",
        "Swarm": [],
        "Delegates": [],
    },
    "Bootstrap": [],
    "Discovery": {"MDNS": {"Enabled": False}, "webRTCStar": {"Enabled": False}},
}
