"""What is measured: the upstream itself, two bare relays, the node, and peers. Each is a real process on one core."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.relay.proc import family, pin
from tests.processes import child
from tests.world import ROOT, free_port, until

RELAY_CORE, LOAD_CORE = 0, 1
LITELLM = "litellm[proxy]==1.108.7"
_READY = r"listening on (http://\S+)"


@dataclass(frozen=True, slots=True)
class Target:
    """base: URL with /v1. pids: the relay's processes. key, model: what a call carries."""

    name: str
    base: str
    pids: tuple[int, ...]
    key: str = "sk-bench"
    model: str = "bench-1"


@asynccontextmanager
async def upstream(folder: Path, *, pace_ms: float = 0.0) -> AsyncIterator[str]:
    """The provider; yields its URL without /v1."""
    command = (sys.executable, "-m", "bench.relay.upstream", "--pace-ms", str(pace_ms))
    log = folder / f"upstream-{pace_ms:g}.log"
    async with child("upstream", *command, ready=_READY, log=log, cwd=ROOT) as process:
        pin(process.pid, LOAD_CORE)
        yield process.found[1]


@asynccontextmanager
async def relay(name: str, folder: Path, provider: str) -> AsyncIterator[Target]:
    """One of ours: `bare`, the least that a relay does, or `own`, the node's without login, ledger and metering."""
    command = (sys.executable, "-m", f"bench.relay.{name}", provider)
    async with child(f"{name} relay", *command, ready=_READY, log=folder / f"{name}.log", cwd=ROOT) as process:
        pin(process.pid, RELAY_CORE)
        yield Target(name, process.found[1] + "/v1", (process.pid,))


@asynccontextmanager
async def nginx(folder: Path, provider: str) -> AsyncIterator[Target | None]:
    """nginx as a relay, where the machine has it."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        yield None
        return
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-f; uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
  upstream provider {{ server {provider.removeprefix("http://")}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000;
    location / {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_set_header Authorization "Bearer sk-bench"; }}
  }}
}}
""")
    script = f"echo ready; exec {binary} -p {folder} -c {config}"
    async with child("nginx", "sh", "-c", script, ready="ready", log=folder / "nginx.log") as process:
        pin(process.pid, RELAY_CORE)
        yield Target("nginx", f"http://127.0.0.1:{port}/v1", (process.pid,))


_LITELLM_HOME = ROOT / ".tools" / "litellm"


def _install_litellm() -> bool:
    ready = _LITELLM_HOME / "ready"
    if ready.exists() and ready.read_text() == LITELLM:
        return True
    print("installing LiteLLM's proxy for comparison (once, some minutes) …", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_LITELLM_HOME)], check=True)
        subprocess.run([str(_LITELLM_HOME / "bin/pip"), "install", "-q", LITELLM], check=True)
    except subprocess.CalledProcessError as error:
        print(f"LiteLLM could not be installed, its figures will be missing: {error}", file=sys.stderr)
        return False
    ready.write_text(LITELLM)
    return True


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def litellm(folder: Path, provider: str) -> AsyncIterator[Target | None]:
    """LiteLLM's proxy, one worker, no database, in an environment of its own (`.tools/litellm`, kept between runs).

    It doesn't start without a master key, which is what calls show.
    """
    if not await asyncio.to_thread(_install_litellm):
        yield None
        return
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: bench-1\n    litellm_params:\n      model: openai/bench-1\n"
        f"      api_base: {provider}/v1\n      api_key: sk-bench\n"
        "litellm_settings:\n  telemetry: false\n  num_retries: 0\n"
    )
    command = (str(_LITELLM_HOME / "bin/litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1")
    key, salt = (f"sk-{secrets.token_hex(32)}" for _ in range(2))
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DO_NOT_TRACK": "1"}
    # It encrypts response ids with the salt key. Buffered, the line that says it is ready would not come.
    own = {"LITELLM_MASTER_KEY": key, "LITELLM_SALT_KEY": salt, "PYTHONUNBUFFERED": "1"}
    environment = {**os.environ, **quiet, **own}
    async with child(
        "litellm", *command, ready="Set models", log=folder / "litellm.log", env=environment, seconds=120
    ) as process:
        await until(lambda: _listens(port), "LiteLLM to listen", 60)
        pids = family(process.pid)
        for pid in pids:
            pin(pid, RELAY_CORE)
        yield Target("litellm", f"http://127.0.0.1:{port}/v1", pids, key)
