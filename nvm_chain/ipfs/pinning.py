"""A pinning service: keeps blocks that it fetches from the network (https://ipfs.github.io/pinning-services-api-spec/).

It is asked to keep a CID and never given bytes, so that some place that IPFS nodes can reach must hold the block first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import aiohttp
import orjson

from nvm_chain.cid import Cid
from nvm_chain.errors import InvalidInput, NotFound, NvmError, StoreUnavailable
from nvm_chain.ipfs.store import Closing
from nvm_chain.secret import Secret
from nvm_chain.text import show
from nvm_chain.urls import base_url

Status = Literal["queued", "pinning", "pinned", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

MAX_ANSWER = 1 << 20
_POLL_SECONDS = 1.0


class PinRefused(NvmError):
    """The pinning service refused. status: HTTP; reason: the service's code, such as UNAUTHORIZED."""

    def __init__(self, message: str, status: int, reason: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin request. status: only `pinned` means that the service holds the block. delegates: multiaddrs to connect to.

    details: what the service says about it, or empty.
    """

    request_id: str
    cid: Cid
    status: Status
    name: str = ""
    delegates: tuple[str, ...] = ()
    details: str = ""


class PinningService(Closing):
    """One service. url: its API's base (`https://…/psa`). token: the access token. timeout: seconds for one request."""

    def __init__(self, url: str, token: Secret, *, timeout: float = 15.0) -> None:
        """Opens no connection. Raises InvalidInput."""
        try:
            self.url = base_url(url)
        except InvalidInput as error:
            raise InvalidInput(f"not the address of a pinning service: {error}") from None
        if not token:
            raise InvalidInput(f"the pinning service {self.url} needs an access token")
        self._token, self.timeout = token, timeout
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return f"pinning service {self.url}"

    def __repr__(self) -> str:
        return f"PinningService({self.url!r})"

    async def add(self, cid: Cid, *, name: str = "", origins: Sequence[str] = ()) -> Pin:
        """Asks the service to keep a block, unless it does or is about to. origins: multiaddrs that have it.

        Raises PinRefused, StoreUnavailable.
        """
        known = await self.find(cid)
        if known is not None and known.status != "failed":
            return known
        body: dict[str, Any] = {"cid": str(cid)}
        if name:
            body["name"] = name[:255]
        if origins:
            body["origins"] = list(dict.fromkeys(origins))[:20]
        path = "/pins" if known is None else f"/pins/{known.request_id}"
        return self._pin(await self._ask("POST", path, json=body), cid)

    async def find(self, cid: Cid) -> Pin | None:
        """The service's best request for a block: a pinned one before one under way before a failed one."""
        query = [("cid", str(cid)), *(("status", status) for status in STATUSES), ("limit", "100")]
        answer = await self._ask("GET", "/pins", params=query)
        results = answer.get("results")
        if not isinstance(results, list):
            raise self._garbage("a list of pins without results")
        pins = [self._pin(entry, cid) for entry in results[:100]]
        order = ("pinned", "pinning", "queued", "failed")
        return min(pins, key=lambda pin: order.index(pin.status), default=None)

    async def has(self, cid: Cid) -> bool:
        """Whether the service says that it keeps the block."""
        pin = await self.find(cid)
        return pin is not None and pin.status == "pinned"

    async def get(self, request_id: str, cid: Cid) -> Pin:
        """A request as it stands. Raises NotFound."""
        return self._pin(await self._ask("GET", f"/pins/{_segment(request_id)}"), cid)

    async def wait(self, pin: Pin, seconds: float) -> Pin:
        """The request once it is pinned or has failed, or as it stands after `seconds`."""
        deadline = time.monotonic() + seconds
        while pin.status in ("queued", "pinning") and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(_POLL_SECONDS, left))
            pin = await self.get(pin.request_id, pin.cid)
        return pin

    async def remove(self, pin: Pin) -> None:
        """Withdraws a request; one that is gone already is no error."""
        with contextlib.suppress(NotFound):
            await self._ask("DELETE", f"/pins/{_segment(pin.request_id)}")

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _ask(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), headers={"Accept-Encoding": "identity", "User-Agent": "nvm-chain"}
            )
        # In the request's headers and not the session's: the session may be shown.
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        try:
            async with (
                asyncio.timeout(self.timeout),
                self._session.request(
                    method, self.url + path, headers=headers, allow_redirects=False, **options
                ) as answer,
            ):
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise self._garbage(f"more than {MAX_ANSWER} bytes")
                return self._read(answer.status, bytes(body))
        except TimeoutError:
            raise StoreUnavailable(f"{self.name} did not answer within {self.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise StoreUnavailable(f"{self.name} can't be reached: {type(error).__name__}") from None

    def _read(self, status: int, body: bytes) -> Mapping[str, Any]:
        if status == 202 and not body:
            return {}
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if status in (200, 202) and isinstance(answer, dict):
            return answer
        failure = answer.get("error") if isinstance(answer, dict) else None
        failure = failure if isinstance(failure, dict) else {}
        reason, details = failure.get("reason"), failure.get("details")
        told = f"{show(reason)}: {show(details, 300)}" if details else show(reason)
        if status == 404:
            raise NotFound(f"{self.name} has no such pin")
        if status == 429 or status >= 500:
            raise StoreUnavailable(f"{self.name} answers HTTP {status}: {told}")
        if status >= 400:
            hint = "; check its access token" if status in (401, 403) else ""
            raise PinRefused(f"{self.name} refuses (HTTP {status}): {told}{hint}", status, str(reason)[:100])
        raise self._garbage(f"HTTP {status}")

    def _pin(self, entry: object, cid: Cid) -> Pin:
        if not isinstance(entry, Mapping):
            raise self._garbage("a pin that is no object")
        pin, status, request_id = entry.get("pin"), entry.get("status"), entry.get("requestid")
        info, delegates = entry.get("info"), entry.get("delegates")
        if not isinstance(pin, Mapping) or status not in STATUSES or not isinstance(request_id, str):
            raise self._garbage("a pin without requestid, status or pin")
        if pin.get("cid") != str(cid):
            raise self._garbage(f"a pin of {show(pin.get('cid'))} where {cid} was asked for")
        _segment(request_id)
        name = pin.get("name")
        details = info.get("status_details") if isinstance(info, Mapping) else None
        return Pin(
            request_id=request_id,
            cid=cid,
            status=status,
            name=name if isinstance(name, str) and name.isprintable() else "",
            delegates=tuple(d for d in delegates if isinstance(d, str))[:20] if isinstance(delegates, list) else (),
            details=show(details, 200) if details else "",
        )

    def _garbage(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self.name} answers with {what}: is it an IPFS pinning service?")


def _segment(request_id: str) -> str:
    """Opaque to us, but part of a path: one that could lead elsewhere is refused."""
    plain = request_id.replace("-", "").replace("_", "").replace(".", "").replace("~", "").replace(":", "")
    if not (plain.isascii() and plain.isalnum() and len(request_id) <= 256):
        raise StoreUnavailable(f"the pinning service gives a request id that is none: {show(request_id)}")
    return request_id
