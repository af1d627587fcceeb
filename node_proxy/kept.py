"""Answers on disk, for whoever asks for the same again: claimed by insert, encrypted, gone after their time."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from node_proxy.storage import Database, Db, Rows

SWEPT_AT_ONCE, MOST_SWEPT = 200, 100_000
"""Answers that one transaction removes, and one sweep."""

GONE_SECONDS = 6.0
"""How long a process must be gone before its claims are: a short loss of its connection isn't its end."""

_NONCE = 12
_LEFT_OUT = frozenset(
    {b"x-request-id", b"content-length", b"x-content-type-options", b"cache-control", b"x-accel-buffering"}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was sent, or will be. headers: those that belong to the answer and not to the request that got it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of(cls, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Answer:
        """headers: all that were sent."""
        return cls(status, tuple(header for header in headers if header[0].lower() not in _LEFT_OUT), body)

    @property
    def content_type(self) -> bytes:
        return dict(self.headers).get(b"content-type", b"application/json")

    def dump(self) -> bytes:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        return orjson.dumps([self.status, headers]) + b"\n" + self.body

    @classmethod
    def load(cls, data: bytes) -> Answer:
        head, _, body = data.partition(b"\n")
        status, headers = orjson.loads(head)
        return cls(status, tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers), body)


@dataclass(frozen=True, slots=True)
class Claim:
    """One row. state: running, ready, done or lost. owner: the process that took the request. created_at: seconds."""

    id: bytes
    fingerprint: bytes
    state: str
    owner: int
    request_id: str
    created_at: int
    answer: Answer | None


class Kept:
    """The table. secret: the node's, which ids and encryption are keyed with. All raises StorageFailed."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._gone_since: dict[int, float] = {}
        self._ids = hashlib.blake2b(b"nvm-node answer ids", key=secret[:64], digest_size=32).digest()
        self._cipher = AESGCM(hashlib.blake2b(b"nvm-node answers", key=secret[:64], digest_size=32).digest())

    @property
    def owner(self) -> int:
        """The number of this process."""
        return self._database.owner

    async def gone(self, owner: int) -> bool:
        """Whether that process runs no more, and hasn't for some seconds where its lock could be lost for a moment."""
        if owner not in await self._database.gone({owner}):
            self._gone_since.pop(owner, None)
            return False
        if self._database.dialect == "sqlite":
            return True
        if len(self._gone_since) > 1_000:
            self._gone_since.clear()
        now = time.monotonic()
        return now - self._gone_since.setdefault(owner, now) >= GONE_SECONDS

    def hash(self, *parts: bytes) -> bytes:
        """A keyed hash of all parts, 32 bytes."""
        digest = hashlib.blake2b(key=self._ids, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8) + part)
        return digest.digest()

    async def claim(self, id: bytes, fingerprint: bytes, request_id: str, seconds: float) -> Claim | None:
        """Takes the id for this request: None. Or else who has it. Exactly one request gets it, across processes."""
        now = int(time.time())

        def work(db: Db) -> Claim | None:
            while True:
                db.execute("DELETE FROM answers WHERE id = ? AND expires_at <= ?", (id, now))
                made = db.execute(
                    "INSERT INTO answers (id, fingerprint, state, owner, request_id, created_at, expires_at)"
                    " VALUES (?, ?, 'running', ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    (id, fingerprint, self.owner, request_id, now, now + int(seconds)),
                ).rowcount
                if made == 1:
                    return None
                if (found := self._found(db, id, now)) is not None:  # else another process has just freed it
                    return found

        return await self._database.write(work)

    async def find(self, id: bytes) -> Claim | None:
        """Whoever has the id now."""
        now = int(time.time())
        return await self._database.read(lambda db: self._found(db, id, now))

    async def take_over(self, claim: Claim, request_id: str, seconds: float) -> bool:
        """Takes a claim from a process that is gone; true for exactly one request."""
        now = int(time.time())
        values = (self.owner, request_id, now, now + int(seconds))
        query = "UPDATE answers SET state = 'running', content = NULL, owner = ?, request_id = ?, created_at = ?,"
        return await self._change(f"{query} expires_at = ? WHERE", values, claim.id, claim.owner, claim.request_id)

    async def note(self, id: bytes, owner: int, request_id: str, state: str, answer: Answer | None) -> bool:
        """A claim's new state; false if it belongs to another request by now."""
        content = None if answer is None else self._seal(id, answer)
        query = "UPDATE answers SET state = ?, content = ? WHERE"
        return await self._change(query, (state, content), id, owner, request_id)

    async def free(self, id: bytes, request_id: str) -> None:
        """As if it had never been claimed."""
        await self._change("DELETE FROM answers WHERE", (), id, self.owner, request_id)

    async def put(self, id: bytes, fingerprint: bytes, request_id: str, answer: Answer, seconds: float) -> None:
        """Keeps an answer that nobody had claimed; the latest counts."""
        now, content = int(time.time()), self._seal(id, answer)
        values = (id, fingerprint, self.owner, request_id, now, now + int(seconds), content)

        def work(db: Db) -> None:
            db.execute("DELETE FROM answers WHERE id = ?", (id,))
            db.execute(
                "INSERT INTO answers (id, fingerprint, state, owner, request_id, created_at, expires_at, content)"
                " VALUES (?, ?, 'done', ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                values,
            )

        await self._database.write(work)

    async def sweep(self) -> int:
        """Removes the answers whose time is over; answers how many."""
        query = "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE expires_at <= ? LIMIT ?)"
        values, count = (int(time.time()), SWEPT_AT_ONCE), 0
        while count < MOST_SWEPT:
            gone = await self._database.write(lambda db: db.execute(query, values).rowcount)
            count += gone
            if gone < SWEPT_AT_ONCE:
                break
        return count

    async def _change(self, query: str, values: Sequence[object], id: bytes, owner: int, request_id: str) -> bool:
        def work(db: Db) -> bool:
            changed: Rows = db.execute(
                f"{query} id = ? AND owner = ? AND request_id = ?", (*values, id, owner, request_id)
            )
            return changed.rowcount == 1

        return await self._database.write(work)

    def _found(self, db: Db, id: bytes, now: int) -> Claim | None:
        row = db.execute(
            "SELECT fingerprint, state, owner, request_id, created_at, content FROM answers"
            " WHERE id = ? AND expires_at > ?",
            (id, now),
        ).fetchone()
        if row is None:
            return None
        fingerprint, state, owner, request_id, created_at, content = row
        answer = None if content is None else self._open(id, bytes(content))
        return Claim(id, bytes(fingerprint), state, owner, request_id, created_at, answer)

    def _seal(self, id: bytes, answer: Answer) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, answer.dump(), id)

    def _open(self, id: bytes, content: bytes) -> Answer | None:
        try:
            return Answer.load(self._cipher.decrypt(content[:_NONCE], content[_NONCE:], id))
        except InvalidTag:  # of another node secret, or altered
            return None
