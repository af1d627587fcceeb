"""Blocks behind an HTTP gateway. Read only, and never trusted."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import urljoin, urlsplit

import aiohttp

from nvm_chain.cid import Cid
from nvm_chain.errors import InvalidInput, NotFound, StoreUnavailable
from nvm_chain.ipfs.store import Closing, check_size
from nvm_chain.text import show
from nvm_chain.urls import base_url

_MAX_REDIRECTS = 3
_MAX_WAIT = 2.0
# identity: a compressed answer could unpack to more than we look at.
_HEADERS = {"Accept": "application/vnd.ipld.raw", "Accept-Encoding": "identity", "User-Agent": "nvm-chain"}


class Gateway(Closing):
    """An IPFS gateway, asked for raw blocks (https://specs.ipfs.tech/http-gateways/trustless-gateway/).

    url: the gateway's base, `https://…`; plain http also works, since the bytes are checked against the CID.
    timeout: seconds for one attempt. attempts: how often a busy or broken gateway is asked, 0.2, 0.4, … s apart.
    """

    def __init__(self, url: str, *, timeout: float = 10.0, attempts: int = 3) -> None:
        """Opens no connection. Raises InvalidInput for something that is no base URL."""
        try:
            self.url = base_url(url, allow_http=True).removesuffix("/ipfs")
        except InvalidInput as error:
            raise InvalidInput(f"not the address of an IPFS gateway: {error}") from None
        self.timeout, self.attempts = timeout, max(1, attempts)
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Gateway({self.url!r})"

    async def get(self, cid: Cid) -> bytes:
        for attempt in range(1, self.attempts + 1):
            try:
                async with asyncio.timeout(self.timeout):
                    block = await self._fetch(cid)
            except _Busy as busy:
                reason, wait = busy.reason, busy.wait
            except TimeoutError:
                # Gateways search the network for as long: what took too long once will do so again.
                raise StoreUnavailable(f"{self.name} gave no {cid} within {self.timeout:g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                reason, wait = f"{type(error).__name__}: {show(str(error), 200)}", 0.0
            else:
                return cid.verify(block, self.name)
            if attempt < self.attempts:
                pause = 0.2 * 2 ** (attempt - 1) * (0.5 + random.random())  # apart from others who failed with us
                await asyncio.sleep(min(max(wait, pause), _MAX_WAIT))
        raise StoreUnavailable(f"{self.name} could not serve {cid}, asked {self.attempts} times: {reason}")

    async def has(self, cid: Cid) -> bool:
        """Whether the gateway serves the block: it is fetched, since a gateway's word is not enough."""
        try:
            await self.get(cid)
        except NotFound:
            return False
        return True

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _fetch(self, cid: Cid) -> bytes:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                headers=_HEADERS, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        url = f"{self.url}/ipfs/{cid}?format=raw"
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = self._follow(url, response.headers.get("Location", ""))
                    continue
                if response.status in (404, 410):
                    raise NotFound(f"{self.name} has no block {cid}")
                if response.status == 429 or response.status >= 500:
                    raise _Busy(f"it answers {response.status}", response.headers.get("Retry-After", ""))
                if response.status != 200:
                    raise StoreUnavailable(f"{self.name} answers {response.status} for {cid}: is it an IPFS gateway?")
                return await self._body(response, cid)
        raise StoreUnavailable(f"{self.name} redirects more than {_MAX_REDIRECTS} times for {cid}")

    async def _body(self, response: aiohttp.ClientResponse, cid: Cid) -> bytes:
        what = f"what {self.name} serves for {cid}"
        check_size(response.content_length or 0, what)
        block = bytearray()
        async for piece in response.content.iter_any():
            block += piece
            check_size(len(block), what)
        return bytes(block)

    def _follow(self, url: str, location: str) -> str:
        """Where a redirect leads. Gateways send path addresses on to a subdomain of theirs; nowhere else is gone to."""
        target = urljoin(url, location)
        here, there = urlsplit(self.url), urlsplit(target)
        host, known = there.hostname or "", here.hostname or ""
        same_port = there.port == here.port or (there.scheme == "https" and there.port is None)
        if (
            there.scheme not in (here.scheme, "https")
            or not same_port
            or not (host == known or host.endswith("." + known))
        ):
            raise StoreUnavailable(f"{self.name} redirects to {show(target)}, which is not a part of it: not followed")
        return target


class _Busy(Exception):
    """The gateway asks to come again."""

    def __init__(self, reason: str, retry_after: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
