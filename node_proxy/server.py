"""The process: a socket, the services, uvicorn, signals. Says in one line where it listens."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from node_proxy import logs
from node_proxy.app import build_app
from node_proxy.config import HostPort, Settings
from node_proxy.envelope import Asgi
from node_proxy.services import Services, open_services
from nvm_chain.errors import NvmError

log = logs.get("server")


class CannotListen(NvmError):
    """The address is taken, or isn't this machine's."""


def bind(address: HostPort) -> socket.socket:
    """A listening socket. Raises CannotListen that says what to do."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, target = infos[0][0], infos[0][4]
    except OSError as error:
        raise CannotListen(
            f"can't listen on {address}: {address.host} is no address of this machine ({error})"
        ) from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"can't listen on {address}: the port is taken by another process; set NVM_NODE_BIND to another one, "
                "or to port 0 for any that is free"
            ) from None
        raise CannotListen(f"can't listen on {address}: {error.strerror}; set NVM_NODE_BIND") from None
    return listener


def bound(listener: socket.socket) -> HostPort:
    """What a listening socket got."""
    host, port = listener.getsockname()[:2]
    return HostPort(host, port)


def origin_of(settings: Settings, listener: socket.socket) -> str:
    """Base URL that clients use: the public one if it is set, else where the socket listens."""
    if settings.public_url is not None:
        return settings.public_url
    at = bound(listener)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)
    return f"http://{HostPort(host, at.port)}"


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process before the services are closed."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; a second signal doesn't wait for running calls.

    announce: told the base URL once requests are answered. Raises CannotListen and what `open_services` raises.
    """
    listener = bind(settings.bind)
    try:
        async with open_services(settings, origin_of(settings, listener)) as services:
            server = _server(services, listener, announce)
            loop = asyncio.get_running_loop()

            def stop() -> None:
                if services.stopping:
                    server.force_exit = True
                services.stopping = server.should_exit = True

            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
            calm_collector()
            try:
                await server.serve(sockets=[listener])
            finally:
                services.stopping = True
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.remove_signal_handler(number)
        log.info("node.closed")
    finally:
        listener.close()


def calm_collector() -> None:
    """What is loaded by now stays: the collector needn't look at it again. Calls leave hardly any cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def http(app: Asgi, settings: Settings) -> uvicorn.Config:
    """How the node speaks HTTP."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace)),
    )


def _server(services: Services, listener: socket.socket, announce: Callable[[str], None]) -> _Server:
    config = http(build_app(services), services.settings)
    return _Server(config, lambda: announce(f"http://{bound(listener)}"))
