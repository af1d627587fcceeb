"""Blocks on an IPFS node, through its RPC: Kubo, or another that speaks `/api/v0`."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import DigestMismatch, InvalidInput, NotFound, StoreUnavailable
from nvm_chain.ipfs.store import Closing, check_size
from nvm_chain.secret import Secret
from nvm_chain.text import show

_CHUNK = 16 * 1024


class KuboStore(Closing):
    """An IPFS node. Blocks are put raw, with our CID, and pinned.

    address: multiaddr (`/ip4/127.0.0.1/tcp/5001`) or URL (`http://127.0.0.1:5001`) of the RPC, not of the gateway.
    timeout: seconds for one operation. username, password: for an RPC behind HTTP basic authentication.

    Any version of the daemon will do: ipfshttpclient's `connect()`, which refuses those of today, isn't used.
    """

    def __init__(
        self, address: str, *, timeout: float = 10.0, username: str | None = None, password: Secret | None = None
    ) -> None:
        """Opens no connection. Raises InvalidInput for an address that is neither form."""
        # Imported here and below: it takes longer to load than the rest of the package, and few have a daemon.
        import ipfshttpclient
        from ipfshttpclient import exceptions as rpc

        multiaddr, base = _multiaddr(address)
        auth = None if username is None else (username, password.reveal() if password else "")
        self.address, self.timeout = address, timeout
        self._open: Callable[[], Any] = lambda: ipfshttpclient.Client(multiaddr, base, auth=auth, timeout=timeout)
        try:
            self._open()
        except (rpc.Error, ValueError) as error:
            raise InvalidInput(f"{show(address)} is not the address of an IPFS node: {_FORM}") from error
        # Threads of its own: one that waits for a stuck daemon must not take a place in the loop's pool. And a client
        # for each, because the sessions below it are not made for several threads.
        self._local = threading.local()
        self._clients: list[Any] = []
        self._threads = ThreadPoolExecutor(4, "kubo", initializer=self._enter_thread)

    @property
    def name(self) -> str:
        return f"kubo:{self.address}" if self.address.startswith("/") else f"kubo+{self.address}"

    def __repr__(self) -> str:
        return f"KuboStore({self.address!r})"

    async def put(self, block: bytes) -> Cid:
        check_size(len(block), "the block")
        cid = Cid.of(block)
        # `format` for js-ipfs and Kubo before 0.10, `cid-codec` for those after; each ignores the other's.
        opts = {"format": "raw", "cid-codec": "raw", "mhtype": "sha2-256"}
        key = await self._run(lambda client: client.block.put(io.BytesIO(block), opts=opts).get("Key"), f"put {cid}")
        if key != str(cid):
            raise DigestMismatch(f"{self.name} stored the block as {show(key)}, not as {cid}: is it an IPFS node?")
        await self._run(lambda client: client.pin.add(str(cid), recursive=True), f"pin {cid}")
        return cid

    async def get(self, cid: Cid) -> bytes:
        """The block, from the node or from its peers. A block that nobody has looks like one that takes too long."""
        block = await self._run(lambda client: self._read(client, cid), f"get {cid}")
        check_size(len(block), f"what {self.name} served for {cid}")
        return cid.verify(block, self.name)

    async def has(self, cid: Cid) -> bool:
        """Whether the node has pinned the block, so that its garbage collection leaves it. Asks no peer."""
        opts = {"arg": str(cid), "type": "all", "cid-base": "base32"}

        def look(client: Any) -> bool:
            answer = client._client.request("/pin/ls", opts=opts, decoder="json")
            return any(str(cid) in (part.get("Keys") or {}) or part.get("Cid") == str(cid) for part in answer)

        try:
            return bool(await self._run(look, f"look for the pin of {cid}"))
        except NotFound:
            return False

    async def version(self) -> str:
        """The daemon's version, as it says. Raises StoreUnavailable if there is none."""
        return str(await self._run(lambda client: client.version()["Version"], "ask for the version"))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    def _enter_thread(self) -> None:
        client = self._open()
        client._client.open_session()
        for adapter in client._client._session.adapters.values():
            adapter.poolmanager.connection_pool_kw.pop(
                "strict", None
            )  # of urllib3 1; version 2 warns of it at each call
        self._local.client = client
        self._clients.append(client)

    def _read(self, client: Any, cid: Cid) -> bytes:
        # Client.block.get would take any number of bytes; one level below, the answer can be read in pieces.
        # The daemon gives up a little earlier than we do, so that it can say why.
        params = [("arg", str(cid)), ("timeout", f"{math.ceil(self.timeout * 900)}ms")]
        opened, pieces = client._client._request(
            "POST", "/block/get", params, auth=None, data=None, headers=None, timeout=self.timeout, chunk_size=_CHUNK
        )
        deadline = time.monotonic() + self.timeout
        block = bytearray()
        try:
            for piece in pieces:
                block += piece
                if len(block) > MAX_BLOCK or time.monotonic() > deadline:
                    break
        finally:
            for closable in opened:
                closable.close()
        return bytes(block)

    async def _run(self, call: Callable[[Any], Any], doing: str) -> Any:
        """What `call` gives, which reads the answer too. Raises NotFound, StoreUnavailable."""
        from ipfshttpclient import exceptions as rpc

        try:
            async with asyncio.timeout(self.timeout + 1):
                return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(self._local.client))
        except (TimeoutError, rpc.TimeoutError):
            reason = f"no answer within {self.timeout:g} s"
        except rpc.ErrorResponse as error:
            text = str(error)
            if any(words in text.lower() for words in ("not found", "could not find", "not pinned", "no such")):
                raise NotFound(f"{self.name} has no such block ({doing})") from None
            reason = f"it answers {show(text, 200)}"
        except rpc.StatusError as error:
            reason = f"it answers {show(str(error.original), 200)}; is it the RPC port (5001) and not the gateway's?"
        except rpc.ConnectionError:
            reason = "no connection; is the daemon running, and is this its RPC address?"
        except (AssertionError, AttributeError, LookupError, TypeError):  # the client's, or ours, at such an answer
            reason = "it answers in a form that no IPFS node has; is it the RPC of one?"
        except (rpc.Error, OSError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {show(str(error), 200)}"
        raise StoreUnavailable(f"{self.name} could not {doing}: {reason}")


_FORM = "expected a multiaddr such as /ip4/127.0.0.1/tcp/5001 or a URL such as http://127.0.0.1:5001"


def _multiaddr(address: str) -> tuple[str, str]:
    """The multiaddr and the API's base path for a multiaddr or a URL."""
    if isinstance(address, str) and address.startswith("/"):
        return address, "api/v0"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInput(f"{show(address)} is not the address of an IPFS node: {_FORM}")
    family = "ip6" if ":" in host else "ip4" if host.replace(".", "").isdigit() else "dns"
    path = parts.path.strip("/").removesuffix("api/v0").strip("/")
    port = port or (443 if parts.scheme == "https" else 80)
    return f"/{family}/{host}/tcp/{port}/{parts.scheme}", f"{path}/api/v0".lstrip("/")
