"""The same answer and one charge for a request that comes again.

    router.wrap("POST", "/v1/", answers.once)

With `Idempotency-Key` the request is claimed on disk before it runs: one process gets it, others answer 409 meanwhile.
What will be sent is on disk before the charge (`Exchange.promise`), so that a node that fails anywhere loses neither.

Without it the default for SDKs applies, which number their tries (`x-stainless-retry-count`): a further try of a call
that runs in this process gets 409, and one of a call that was charged, or began what goes on by itself, when its client
had hung up gets that answer. Until then the first try costs an entry in a dictionary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any

import orjson

from node_proxy import logs
from node_proxy.access.keys import ApiKey, Keys
from node_proxy.asgi import JSON, Exchange, Handler, Headers
from node_proxy.config import Settings
from node_proxy.errors import Conflict, InvalidValue, Unprocessable
from node_proxy.kept import Answer, Claim, Kept
from node_proxy.ledger.base import ChargeRecord, Ledger
from node_proxy.relay import sse
from node_proxy.storage import StorageFailed

log = logs.get("answers")

NAME = b"idempotency-key"
COUNT = b"x-stainless-retry-count"
REPLAYED = (b"idempotent-replayed", b"true")

LONGEST_NAME = 255
RETRY_SECONDS = 600.0
"""How long an answer that its client didn't get is kept without an Idempotency-Key."""

_COSTLY = frozenset({"charge", "begun"})
"""Facts of a request that a further try mustn't repeat: it was charged, or it began what is charged later."""

_SKEW = 600
_PIECE = 64 * 1024


class StillRunning(Conflict):
    """The same request runs at this moment (HTTP 409)."""

    code = "request_in_progress"
    retry = True


class NameReused(Unprocessable):
    """The Idempotency-Key stands for another request (HTTP 422)."""

    code = "idempotency_key_reused"


class AnswerLost(Conflict):
    """The request was charged, and its answer isn't kept (HTTP 409)."""

    code = "answer_lost"
    retry = False


class Answers:
    """Wraps handlers."""

    def __init__(self, kept: Kept, keys: Keys, ledger: Ledger, settings: Settings) -> None:
        self._kept = kept
        self._keys = keys
        self._ledger = ledger
        self._settings = settings
        self._claimed: set[bytes] = set()
        self._trying: dict[tuple[bytes, str], list[_Tape]] = {}

    def once(self, handler: Handler) -> Handler:
        """The handler, for requests that may come again."""

        @wraps(handler)
        def handle(exchange: Exchange) -> Awaitable[None]:
            headers = exchange.headers
            if headers.get(b"content-type", JSON)[:10] == b"multipart/":
                return handler(exchange)  # a file: its body isn't held in memory, and it costs no access
            if NAME in headers:
                return self._named(exchange, handler)
            if COUNT in headers:
                return self._counted(exchange, handler)
            return handler(exchange)

        return handle

    async def sweep(self) -> int:
        """Removes answers whose time is over; answers how many. Raises StorageFailed."""
        return await self._kept.sweep()

    # ---------------------------------------------------------------------------------------------- Idempotency-Key

    async def _named(self, exchange: Exchange, handler: Handler) -> None:
        name = exchange.headers[NAME]
        if not 1 <= len(name) <= LONGEST_NAME or not name.isascii() or not name.decode("ascii").isprintable():
            raise InvalidValue(
                f"Idempotency-Key must be 1 to {LONGEST_NAME} printable ASCII characters.", param="Idempotency-Key"
            )
        key, tape = await self._begin(exchange)
        claim_id = self._kept.hash(b"name", key.id.encode(), name)
        claim = await self._claim(exchange, key, claim_id, self._fingerprint(exchange, tape))
        if claim is not None:
            await _replay(exchange, claim)
            return
        tape.listens, tape.promise = True, self._promise(claim_id, exchange.id)
        try:
            await handler(exchange)
        finally:
            exchange.tape = None
            await asyncio.shield(self._finish(claim_id, exchange, tape))

    async def _begin(self, exchange: Exchange) -> tuple[ApiKey, _Tape]:
        """Who asks, and the whole request."""
        exchange.facts["charged"] = 0
        key = await self._keys.verify(exchange.bearer())
        exchange.facts["key"] = key.id
        tape = exchange.tape = _Tape(exchange, self._settings.answer_bytes)
        tape.raw = await exchange.body(self._settings.max_body_bytes, self._settings.body_timeout)
        return key, tape

    async def _claim(self, exchange: Exchange, key: ApiKey, claim_id: bytes, fingerprint: bytes) -> Claim | None:
        """None: this request is the one that runs. Or else the answer is there. Raises what to say instead."""
        keep = self._settings.answer_keep
        while True:
            found = await self._kept.claim(claim_id, fingerprint, exchange.id, keep)
            if found is None:
                self._claimed.add(claim_id)
                return None
            if found.fingerprint != fingerprint:
                raise NameReused(
                    "This Idempotency-Key was used for another request: another address or another body. "
                    "Make a new one for every request that isn't a repetition.",
                    param="Idempotency-Key",
                )
            if found.state == "done" and found.answer is not None:
                return found
            if found.state in ("done", "lost"):
                raise _lost(found)
            if await self._runs(found):
                raise StillRunning("The request with this Idempotency-Key is still running.", retry_after=2)
            if (answer := await self._settle(found, key)) is not None:
                return answer
            if await self._kept.take_over(found, exchange.id, keep):
                self._claimed.add(claim_id)
                return None

    async def _runs(self, claim: Claim) -> bool:
        """Whether the process that has the claim is still at it."""
        if claim.owner == self._kept.owner:
            return claim.id in self._claimed
        return not await self._kept.gone(claim.owner)

    async def _settle(self, claim: Claim, key: ApiKey) -> Claim | None:
        """What became of a request whose process is gone: the answer if it was charged, None if it wasn't."""
        charge = await self._charge_of(claim, key)
        if charge is None:
            return None
        answer = None if claim.state != "ready" or claim.answer is None else _completed(claim.answer, charge)
        await self._kept.note(claim.id, claim.owner, claim.request_id, "done" if answer else "lost", answer)
        settled = Claim(claim.id, claim.fingerprint, "done", claim.owner, claim.request_id, claim.created_at, answer)
        if answer is None:
            raise _lost(settled)
        return settled

    async def _charge_of(self, claim: Claim, key: ApiKey) -> ChargeRecord | None:
        # Ids of charges begin with the time of their reservation.
        after = f"chg_{max(0, claim.created_at - _SKEW) * 10**9:016x}"
        while True:
            charges = await self._ledger.charges(subscriber=bytes.fromhex(key.subscriber[2:]), after=after, limit=500)
            for charge in charges:
                if charge.request_id == claim.request_id:
                    return charge
            if len(charges) < 500:
                return None
            after = charges[-1].id

    def _promise(self, claim_id: bytes, request_id: str) -> Callable[[Answer | None], Coroutine[Any, Any, None]]:
        async def promise(answer: Answer | None) -> None:
            state = "running" if answer is None else "ready"
            if not await self._kept.note(claim_id, self._kept.owner, request_id, state, answer):
                raise StillRunning(
                    "Another process of the node has taken this request over. Nothing was charged here: ask again, "
                    "its answer will be given.",
                    retry_after=2,
                )

        return promise

    async def _finish(self, claim_id: bytes, exchange: Exchange, tape: _Tape) -> None:
        try:
            if (answer := tape.answer()) is not None:
                await self._kept.note(claim_id, self._kept.owner, exchange.id, "done", answer)
            elif "charge" in exchange.facts:
                await self._kept.note(claim_id, self._kept.owner, exchange.id, "lost", None)
            else:
                await self._kept.free(claim_id, exchange.id)
        except StorageFailed as error:  # then it counts as abandoned, and the next try finds out what became of it
            log.warning("answers.not_kept", request=exchange.id, error=str(error))
        finally:
            self._claimed.discard(claim_id)

    # ------------------------------------------------------------------------------------------------- SDKs' retries

    async def _counted(self, exchange: Exchange, handler: Handler) -> None:
        place = exchange.headers.get(b"authorization", b""), exchange.path
        if exchange.headers[COUNT] != b"0":
            key, tape = await self._begin(exchange)
            if any(one.raw == tape.raw for one in self._trying.get(place, ())):
                raise StillRunning(
                    "The first try of this request is still running; its answer will be given to a later one. "
                    "Give your client a longer timeout.",
                    retry_after=2,
                )
            found = await self._kept.find(self._retry_id(exchange, key.id, tape))
            if found is not None and found.answer is not None:
                await _replay(exchange, found)
                return
        else:
            tape = exchange.tape = _Tape(exchange, self._settings.answer_bytes)
        trying = self._trying.setdefault(place, [])
        trying.append(tape)
        try:
            await handler(exchange)
        finally:
            exchange.tape = None
            if tape.listens and exchange.facts.keys() & _COSTLY and (answer := tape.answer()) is not None:
                await asyncio.shield(self._keep(exchange, tape, answer))
            trying.remove(tape)
            if not trying:
                self._trying.pop(place, None)

    async def _keep(self, exchange: Exchange, tape: _Tape, answer: Answer) -> None:
        row_id = self._retry_id(exchange, str(exchange.facts["key"]), tape)
        try:
            await self._kept.put(row_id, row_id, exchange.id, answer, RETRY_SECONDS)
        except StorageFailed as error:
            log.warning("answers.not_kept", request=exchange.id, error=str(error))

    def _retry_id(self, exchange: Exchange, key_id: str, tape: _Tape) -> bytes:
        return self._kept.hash(b"retry", key_id.encode(), self._fingerprint(exchange, tape))

    def _fingerprint(self, exchange: Exchange, tape: _Tape) -> bytes:
        """What makes a request the same: address and JSON. Spaces and the order of members don't matter."""
        raw = tape.raw or b""
        with suppress(orjson.JSONDecodeError, orjson.JSONEncodeError):
            raw = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
        return self._kept.hash(exchange.method.encode(), exchange.path.encode(), exchange.scope["query_string"], raw)


class _Tape:
    """See `asgi.Tape`. listens: set for good by an Idempotency-Key; else once the client is found to have hung up.

    promise: writes down what will be sent, None for something too long; raises where the claim is somebody else's.
    """

    __slots__ = (
        *("_chunks", "_ended", "_exchange", "_headers", "_limit", "_room", "_status"),
        *("listens", "promise", "raw"),
    )

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self.raw: bytes | None = None
        self.listens = False
        self.promise: Callable[[Answer | None], Coroutine[Any, Any, None]] | None = None
        self._exchange = exchange
        self._limit = self._room = limit
        self._status = 0
        self._headers: Headers = []
        self._chunks: list[bytes] = []
        self._ended = False

    async def promised(self, data: bytes) -> None:
        if self.promise is None:
            return
        if len(data) > self._room:
            await self.promise(None)
            return
        headers = self._headers or [(b"content-type", b"application/json")]
        await self.promise(Answer.of(self._status or 200, headers, b"".join([*self._chunks, data])))

    def began(self, status: int, headers: Headers) -> None:
        self.listens = self.listens or (status == 200 and self._exchange.hung_up())
        self._status, self._headers, self._chunks = status, headers, []

    def written(self, data: bytes) -> None:
        if self.listens:
            self._room -= len(data)
            if self._room >= 0:
                self._chunks.append(data)
            else:
                self._chunks.clear()

    async def ended(self) -> None:
        self._ended = True

    def answer(self) -> Answer | None:
        """What was sent, if it is complete, no error, and not too long."""
        if not self._ended or not 200 <= self._status < 300 or self._room < 0 or "error" in self._exchange.facts:
            return None
        return Answer.of(self._status, self._headers, b"".join(self._chunks))


def _completed(answer: Answer, charge: ChargeRecord) -> Answer:
    """A promised answer with what its charge came to; what was left then isn't known any more."""
    if answer.content_type == sse.CONTENT_TYPE:
        return answer
    return Answer(answer.status, (*answer.headers, (b"x-nvm-credits-charged", b"%d" % charge.credits)), answer.body)


def _lost(claim: Claim) -> AnswerLost:
    return AnswerLost(
        f"This request was charged ({claim.request_id}), and its answer isn't kept: it was too long, or its client "
        "hung up before its end. Use a new Idempotency-Key to ask again.",
        extras={"request_id": claim.request_id},
    )


async def _replay(exchange: Exchange, claim: Claim) -> None:
    """Sends the answer again. It costs nothing more: the credits that its headers name were charged the first time."""
    answer = claim.answer
    assert answer is not None
    exchange.tape = None
    exchange.facts["replayed"] = claim.request_id
    headers = [header for header in answer.headers if header[0] != b"content-type"]
    headers += [REPLAYED, (b"x-nvm-first-request-id", claim.request_id.encode())]
    if answer.content_type != sse.CONTENT_TYPE:
        await exchange.respond(answer.status, answer.body, content_type=answer.content_type, headers=headers)
        return
    await exchange.start_stream(answer.content_type, headers=headers)
    for at in range(0, len(answer.body), _PIECE):
        await exchange.write(answer.body[at : at + _PIECE])
    await exchange.finish()
