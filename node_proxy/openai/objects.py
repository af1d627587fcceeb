"""What subscribers own at this node: responses, conversations, threads, files, … Encrypted at rest, one row each.

A row is found by subscriber, kind and id together, in one indexed look-up: somebody else's object gives the same answer
as one that doesn't exist. Content and the provider's ids are in the encrypted part; in the clear are only the columns
that a query needs (ids, kinds, who owns it, when, how long).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from node_proxy import logs
from node_proxy.errors import InvalidValue
from node_proxy.storage import Database, Db
from nvm_chain.text import show

log = logs.get("objects")

Json = dict[str, Any]
Step = Callable[[Db], None]
"""One change, to be made in a transaction together with others: see `Objects.write`."""

CHILDREN = {
    "response": ("item",),
    "conversation": ("item", "mirror"),
    "thread": ("message", "run"),
    "run": ("step",),
}
"""What goes when an object goes: kinds whose `parent` it is."""

SWEPT_AT_ONCE, MOST_SWEPT = 200, 20_000
"""Objects that one transaction removes, and one sweep: no transaction grows long, and no sweep falls behind."""

LONGEST_LINE = 1_000
"""Responses that follow each other, at most."""

_DAY = 86_400
_NONCE = 12
_CIPHERS_IN_MEMORY = 4096
_COLUMNS = "id, kind, subscriber, did, parent, created_at, position, version, expires_at, data"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object.

    did: of the assistant that it belongs to, empty for none. parent: what it is listed under (a conversation's items, a
    thread's messages), or the response before. provider_id: its id at the builder's provider. position: order within
    its parent; 0 lets the database give the next one. version: counts up with every write. expires_at: unix seconds,
    0 = when its parent goes. data: JSON. provider_id and data are kept encrypted.
    """

    id: str
    kind: str
    subscriber: str
    data: Json
    did: str = ""
    parent: str = ""
    provider_id: str = ""
    created_at: int = field(default_factory=lambda: int(time.time()))
    position: int = 0
    version: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. has_more: whether there are more in the direction of reading."""

    objects: list[Stored]
    has_more: bool


Line = list[Stored]
Parts = list[tuple[int, int, bytes]]


class CursorUnknown(InvalidValue):
    """`after` or `before` names nothing in the list (HTTP 400)."""


class Objects:
    """Everything that subscribers own. secret: the node's; the encryption keys are derived from it.

    Every method raises StorageFailed where the database fails, which is a 503 at the border.
    """

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._seals = _Seals(secret)
        self._forsaken: set[str] = set()

    # ---------------------------------------------------------------------------------------------------------- reads

    async def get(self, subscriber: str, kind: str, id: str) -> Stored | None:
        """None for somebody else's exactly as for one that doesn't exist, or whose time is over."""
        query = f"SELECT {_COLUMNS} FROM objects WHERE subscriber = ? AND kind = ? AND id = ?"

        def work(db: Db) -> Stored | None:
            return self._live(db.execute(query, (subscriber, kind, _plain(id))).fetchone())

        return await self._database.read(work)

    async def list(
        self,
        subscriber: str,
        kind: str,
        *,
        parent: str = "",
        after: str = "",
        before: str = "",
        limit: int = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> Page:
        """Objects under a parent, by position. after, before: ids in the list that bound the page and aren't in it.

        Raises CursorUnknown.
        """

        def work(db: Db) -> Page:
            where = "subscriber = ? AND kind = ? AND parent = ? AND (expires_at = 0 OR expires_at > ?)"
            values: list[Any] = [subscriber, kind, parent, int(time.time())]
            for name, cursor in (("after", after), ("before", before)):
                if cursor:
                    sign = ">" if (name == "after") == (order == "asc") else "<"
                    where += f" AND (position, id) {sign} (?, ?)"
                    values += self._position(db, name, cursor, subscriber, kind, parent)
            # With `before` alone the page that ends right there is wanted, so it is read from its end.
            backwards = bool(before) and not after
            way = "DESC" if (order == "desc") != backwards else "ASC"
            query = f"SELECT {_COLUMNS} FROM objects WHERE {where} ORDER BY position {way}, id {way} LIMIT ?"
            rows = db.execute(query, (*values, limit + 1)).fetchall()
            found = [one for row in rows[:limit] if (one := self._live(row)) is not None]
            return Page(found[::-1] if backwards else found, len(rows) > limit)

        return await self._database.read(work)

    def _position(self, db: Db, name: str, cursor: str, subscriber: str, kind: str, parent: str) -> Sequence[Any]:
        query = "SELECT position, id FROM objects WHERE subscriber = ? AND kind = ? AND id = ? AND parent = ?"
        row = db.execute(query, (subscriber, kind, _plain(cursor), parent)).fetchone()
        if row is None:
            raise CursorUnknown(f"`{name}` {show(cursor[:100])} is not in this list.", param=name)
        return tuple(row)

    async def lineage(self, subscriber: str, kind: str, id: str, limit: int = LONGEST_LINE) -> Line:
        """The object, its parent of the same kind, and so on: oldest first, at most `limit` of them."""
        query = (
            f"WITH RECURSIVE line (depth, {_COLUMNS}) AS ("
            f"SELECT 1, {_COLUMNS} FROM objects WHERE subscriber = ? AND kind = ? AND id = ? UNION ALL "
            f"SELECT line.depth + 1, {', '.join(f'o.{name}' for name in _COLUMNS.split(', '))} FROM line "
            "JOIN objects o ON o.subscriber = line.subscriber AND o.kind = line.kind AND o.id = line.parent "
            f"WHERE line.depth < ?) SELECT {_COLUMNS} FROM line ORDER BY depth DESC"
        )

        def work(db: Db) -> Line:
            rows = db.execute(query, (subscriber, kind, _plain(id), limit)).fetchall()
            return [one for row in rows if (one := self._live(row)) is not None]

        return await self._database.read(work)

    async def usage(self, subscriber: str) -> int:
        """Bytes that a subscriber's objects take."""

        def work(db: Db) -> int:
            total = 0
            for table in ("objects", "object_parts"):
                query = f"SELECT COALESCE(SUM(size), 0) FROM {table} WHERE subscriber = ?"
                total += int(db.execute(query, (subscriber,)).fetchone()[0])
            return total

        return await self._database.read(work)

    def _live(self, row: Sequence[Any] | None) -> Stored | None:
        if row is None:
            return None
        id, kind, subscriber, did, parent, created_at, position, version, expires_at, data = row
        if 0 < expires_at <= time.time():
            return None
        opened = self._seals.open(subscriber, f"{kind}|{id}", data)
        if opened is None:
            return None
        provider_id, value = orjson.loads(opened)
        return Stored(id, kind, subscriber, value, did, parent, provider_id, created_at, position, version, expires_at)

    # --------------------------------------------------------------------------------------------------------- writes

    async def put(self, *objects: Stored) -> None:
        """Inserts or replaces, all or nothing; durable when it returns. A replaced one keeps its position."""
        await self.write(*map(self.putting, objects))

    async def update(self, new: Stored) -> Stored | None:
        """Replaces the version that `new` was made from (`new.version`); None where it was changed or deleted since.

        Durable when it returns. The result has the new version.
        """
        sealed = self._seal(new)

        def work(db: Db) -> bool:
            query = (
                "UPDATE objects SET did = ?, expires_at = ?, size = ?, data = ?, version = version + 1 "
                "WHERE subscriber = ? AND kind = ? AND id = ? AND version = ?"
            )
            values = (new.did, new.expires_at, len(sealed), sealed, new.subscriber, new.kind, new.id, new.version)
            return db.execute(query, values).rowcount == 1

        return replace(new, version=new.version + 1) if await self._database.write(work) else None

    async def delete(self, subscriber: str, kind: str, id: str) -> bool:
        """Deletes an object with its children and parts; whether there was one. Durable when it returns."""

        def work(db: Db) -> bool:
            return _delete(db, subscriber, kind, _plain(id))

        return await self._database.write(work)

    async def write(self, *steps: Step) -> None:
        """Makes several changes, all or nothing; durable when it returns."""

        def work(db: Db) -> None:
            for step in steps:
                step(db)

        await self._database.write(work)

    def putting(self, new: Stored) -> Step:
        """The step that inserts or replaces an object."""
        sealed = self._seal(new)
        values = [new.subscriber, new.kind, new.id, new.did, new.parent, new.created_at]
        place = "?"
        if new.position:
            values.append(new.position)
        else:
            place = (
                "(SELECT COALESCE(MAX(position), 0) + 1 FROM objects WHERE subscriber = ? AND kind = ? AND parent = ?)"
            )
            values += [new.subscriber, new.kind, new.parent]
        query = (
            "INSERT INTO objects "
            "(subscriber, kind, id, did, parent, created_at, position, version, expires_at, size, data) "
            f"VALUES (?, ?, ?, ?, ?, ?, {place}, 1, ?, ?, ?) "
            "ON CONFLICT (subscriber, kind, id) DO UPDATE SET did = excluded.did, expires_at = excluded.expires_at, "
            "size = excluded.size, data = excluded.data, version = objects.version + 1"
        )
        values += [new.expires_at, len(sealed), sealed]
        return lambda db: _do(db, query, values)

    def deleting(self, subscriber: str, kind: str, id: str) -> Step:
        """The step that deletes an object with its children and parts."""

        def step(db: Db) -> None:
            _delete(db, subscriber, kind, id)

        return step

    def deleting_children(self, subscriber: str, kind: str, parent: str) -> Step:
        """The step that deletes all objects of a kind under a parent."""
        query = "DELETE FROM objects WHERE subscriber = ? AND kind = ? AND parent = ?"
        return lambda db: _do(db, query, (subscriber, kind, parent))

    def keeping(self, subscriber: str, kind: str, id: str, expires_at: int) -> Step:
        """The step that lets an object, its parent of the same kind, and so on, live until then at least.

        Differences of less than a day aren't worth writing.
        """
        query = (
            "UPDATE objects SET expires_at = ? WHERE subscriber = ? AND kind = ? AND expires_at > 0 AND expires_at < ? "
            "AND id IN (WITH RECURSIVE line (id, parent, depth) AS ("
            "SELECT id, parent, 1 FROM objects WHERE subscriber = ? AND kind = ? AND id = ? UNION ALL "
            "SELECT o.id, o.parent, line.depth + 1 FROM line JOIN objects o "
            "ON o.subscriber = ? AND o.kind = ? AND o.id = line.parent WHERE line.depth < ?) SELECT id FROM line)"
        )
        whose = (subscriber, kind)
        values = (expires_at, *whose, expires_at - _DAY, *whose, id, *whose, LONGEST_LINE)
        return lambda db: _do(db, query, values)

    def _seal(self, new: Stored) -> bytes:
        return self._seals.seal(new.subscriber, f"{new.kind}|{new.id}", orjson.dumps((new.provider_id, new.data)))

    # ---------------------------------------------------------------------------------------------------------- parts

    def adding_part(self, subscriber: str, id: str, number: int, data: bytes, upto: int | None = None) -> Step:
        """The step that adds a part of an object, which goes with it. number..upto: what it holds (events, a piece)."""
        sealed = self._seals.seal(subscriber, f"part|{id}|{number}", data)
        query = "INSERT INTO object_parts (subscriber, id, number, upto, size, data) VALUES (?, ?, ?, ?, ?, ?)"
        values = (subscriber, id, number, number if upto is None else upto, len(sealed), sealed)
        return lambda db: _do(db, query, values)

    async def parts(self, subscriber: str, id: str, after: int = -1, limit: int = 16, upto: int = 2**53) -> Parts:
        """(number, upto, data) of the first parts that hold something after number `after` up to `upto`, in order."""
        query = (
            "SELECT number, upto, data FROM object_parts WHERE subscriber = ? AND id = ? AND upto > ? AND number <= ? "
            "ORDER BY number LIMIT ?"
        )

        def work(db: Db) -> Parts:
            rows = db.execute(query, (subscriber, _plain(id), after, upto, limit)).fetchall()
            opened = [(row[0], row[1], self._seals.open(subscriber, f"part|{id}|{row[0]}", row[2])) for row in rows]
            return [(number, upto, data) for number, upto, data in opened if data is not None]

        return await self._database.read(work)

    # ---------------------------------------------------------------------------------------------------------- locks

    async def lock(self, name: str, *on_takeover: Step) -> bool:
        """Takes a lock for this process; False while somebody holds it.

        A dead process's lock is taken over, together with `on_takeover`, which tidies what it left half done.
        """
        me = self._database.owner

        def take(db: Db) -> int | None:
            query = "INSERT INTO object_locks (name, owner) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
            if db.execute(query, (name, me)).rowcount == 1:
                return None
            row = db.execute("SELECT owner FROM object_locks WHERE name = ?", (name,)).fetchone()
            return 0 if row is None else int(row[0])

        holder = await self._database.write(take)
        if holder is None:
            return True
        if holder == me and name in self._forsaken:
            self._forsaken.discard(name)
            await self.write(*on_takeover)
            return True
        if holder in (0, me) or not await self._database.gone([holder]):
            return False

        def take_over(db: Db) -> bool:
            query = "UPDATE object_locks SET owner = ? WHERE name = ? AND owner = ?"
            if db.execute(query, (me, name, holder)).rowcount != 1:
                return False
            for step in on_takeover:
                step(db)
            return True

        return await self._database.write(take_over)

    async def unlock(self, name: str, *steps: Step) -> None:
        """Gives this process's lock back, after further steps; where that fails, the next one here takes it over."""
        self._forsaken.add(name)
        await self.write(*steps, self.unlocking(name))
        self._forsaken.discard(name)

    def unlocking(self, name: str) -> Step:
        """The step that gives this process's lock back."""
        query, values = "DELETE FROM object_locks WHERE name = ? AND owner = ?", (name, self._database.owner)
        return lambda db: _do(db, query, values)

    @property
    def owner(self) -> int:
        """This process, as other processes can find out whether it still runs."""
        return self._database.owner

    async def is_gone(self, owner: int) -> bool:
        """Whether a process that kept something here runs no more."""
        return owner != self._database.owner and bool(await self._database.gone([owner]))

    # -------------------------------------------------------------------------------------------------------- expiry

    async def sweep(self) -> int:
        """Removes the objects whose time is over; how many. Raises StorageFailed."""
        query = "SELECT subscriber, kind, id FROM objects WHERE expires_at > 0 AND expires_at <= ? LIMIT ?"

        def look(db: Db) -> Sequence[Any]:
            return db.execute(query, (int(time.time()), SWEPT_AT_ONCE)).fetchall()

        def work(db: Db) -> int:
            return sum(_delete(db, *row) for row in look(db))

        count = 0
        while count < MOST_SWEPT:
            found = await self._database.read(look)
            if not found:
                break
            count += await self._database.write(work)
        return count


def _plain(id: str) -> str:
    """Whatever a caller gave as an id; none at all for what can't be one, or what PostgreSQL wouldn't take.

    Never another spelling: an object found under two names would have two locks and two lists.
    """
    return "" if len(id) > 200 or "\0" in id else id


def _do(db: Db, query: str, values: Sequence[Any]) -> None:
    db.execute(query, values)


def _delete(db: Db, subscriber: str, kind: str, id: str) -> bool:
    for child in CHILDREN.get(kind, ()):
        query = "SELECT id FROM objects WHERE subscriber = ? AND kind = ? AND parent = ?"
        for (below,) in db.execute(query, (subscriber, child, id)).fetchall():
            _delete(db, subscriber, child, below)
    _do(db, "DELETE FROM object_parts WHERE subscriber = ? AND id = ?", (subscriber, id))
    query = "DELETE FROM objects WHERE subscriber = ? AND kind = ? AND id = ?"
    return db.execute(query, (subscriber, kind, id)).rowcount == 1


class _Seals:
    """AES-256-GCM under a key for each subscriber; what is sealed opens for that subscriber and that place only."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.blake2b(b"objects at rest", key=secret[:64], person=b"nvm objects").digest()
        self._ciphers: OrderedDict[str, AESGCM] = OrderedDict()

    def seal(self, subscriber: str, place: str, value: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher(subscriber).encrypt(nonce, value, f"{subscriber}|{place}".encode())

    def open(self, subscriber: str, place: str, sealed: bytes) -> bytes | None:
        """None for what was sealed with another secret, or was tampered with."""
        try:
            nonce, rest = bytes(sealed[:_NONCE]), bytes(sealed[_NONCE:])
            return self._cipher(subscriber).decrypt(nonce, rest, f"{subscriber}|{place}".encode())
        except (InvalidTag, ValueError):
            log.warning("objects.sealed_otherwise", kind=place.split("|")[0])
            return None

    def _cipher(self, subscriber: str) -> AESGCM:
        cipher = self._ciphers.get(subscriber)
        if cipher is None:
            key = hashlib.blake2b(subscriber.lower().encode(), key=self._secret, digest_size=32).digest()
            cipher = self._ciphers[subscriber] = AESGCM(key)
            if len(self._ciphers) > _CIPHERS_IN_MEMORY:
                self._ciphers.popitem(last=False)
        return cipher
