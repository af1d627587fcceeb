"""The storage, once in a SQLite file and once in a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from node_proxy.access.adopt import adopt
from node_proxy.access.keys import Keys
from node_proxy.access.store import open_access_store
from node_proxy.errors import KeyRevoked
from node_proxy.ledger import open_ledger
from node_proxy.ledger.base import LedgerFailed
from node_proxy.postgres import connect
from node_proxy.storage import Database, Db, StorageFailed, check_database, open_database
from node_proxy.storage.base import MIGRATIONS
from tests.postgres import Postgres, postgres
from tests.world import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "node" / "ledger-access.db")
    return request.getfixturevalue("server").database()  # type: ignore[no-any-return]


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as database:
        await database.write(
            lambda db: db.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL)") and None
        )
        yield database


def insert(name: str, text: str = "") -> Callable[[Db], None]:
    def work(db: Db) -> None:
        db.execute("INSERT INTO notes VALUES (?, ?)", (name, text))

    return work


def names(db: Db) -> list[str]:
    return [row[0] for row in db.execute("SELECT id FROM notes ORDER BY id").fetchall()]


async def test_what_was_written_is_there_for_everybody_and_after_opening_again(database: Database, url: str) -> None:
    await database.write(insert("a", "100% ? äöü"))
    async with open_database(url) as other:
        found = await other.read(lambda db: db.execute("SELECT text FROM notes WHERE id = ?", ("a",)).fetchone())
    assert tuple(found) == ("100% ? äöü",)


async def test_a_percent_sign_in_a_statement_is_one(database: Database) -> None:
    await database.write(insert("abc"))
    rows = await database.read(
        lambda db: db.execute("SELECT id FROM notes WHERE id LIKE 'a%' AND id <> ?", ("x",)).fetchall()
    )
    assert [tuple(row) for row in rows] == [("abc",)]


async def test_works_that_wait_share_a_transaction_and_one_that_fails_spoils_no_other(database: Database) -> None:
    class Refused(Exception):
        pass

    def refuse(db: Db) -> None:
        insert("never")(db)
        raise Refused

    works = [insert(f"{n:03}") for n in range(300)]
    works[7], works[100] = refuse, insert("006")  # the second breaks the primary key
    results = await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)
    failed = {n: type(result) for n, result in enumerate(results) if result is not None}
    assert failed == {7: Refused, 100: StorageFailed}
    assert await database.read(names) == [f"{n:03}" for n in range(300) if n not in (7, 100)]


async def test_a_work_that_fails_alone_leaves_nothing(database: Database) -> None:
    def work(db: Db) -> None:
        insert("a")(db)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(work)
    with pytest.raises(StorageFailed):
        await database.write(lambda db: db.execute("SELECT * FROM nowhere").fetchall())
    await database.write(insert("b"))
    assert await database.read(names) == ["b"]


async def test_a_read_sees_one_state_while_others_write(database: Database, url: str) -> None:
    await database.write(insert("a"))
    loop = asyncio.get_running_loop()

    def look(db: Db) -> tuple[list[str], list[str]]:
        before = names(db)
        asyncio.run_coroutine_threadsafe(database.write(insert("b")), loop).result(30)
        return before, names(db)

    assert await database.read(look) == (["a"], ["a"])
    assert await database.read(names) == ["a", "b"]


async def test_a_failed_read_does_not_disturb_the_next(database: Database) -> None:
    for _ in range(5):
        with pytest.raises(StorageFailed, match="nowhere"):
            await database.read(lambda db: db.execute("SELECT * FROM nowhere").fetchall())
    assert await database.read(names) == []


async def test_one_of_many_processes_wins_a_row(database: Database, url: str) -> None:
    def claim(db: Db) -> bool:
        return db.execute("INSERT INTO notes VALUES (?, ?) ON CONFLICT DO NOTHING", ("one", "")).rowcount == 1

    async with open_database(url) as second, open_database(url) as third:
        won = await asyncio.gather(*(where.write(claim) for where in (database, second, third) for _ in range(20)))
    assert sum(won) == 1


async def test_a_write_that_nobody_waits_for_any_more_disturbs_no_other(database: Database) -> None:
    first = asyncio.ensure_future(database.write(insert("a")))
    second = asyncio.ensure_future(database.write(insert("b")))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await second
    assert "b" in await database.read(names)


async def test_a_closed_database_says_so(url: str) -> None:
    async with open_database(url) as database:
        pass
    with pytest.raises(StorageFailed, match="closed"):
        await database.read(names)
    with pytest.raises(StorageFailed, match="closed"):
        await database.write(insert("a"))


async def test_whoever_runs_no_more_is_gone(url: str) -> None:
    async with open_database(url) as database:
        async with open_database(url) as other:
            there = await database.gone({database.owner, other.owner})
            assert there == (set() if database.dialect == "postgresql" else {other.owner})

        async def gone() -> bool:  # PostgreSQL ends a session a moment after its client has closed it
            return await database.gone({database.owner, other.owner}) == {other.owner}

        await until(gone, "the other to be gone")


async def test_a_database_server_that_comes_back_is_used_again(server: Postgres) -> None:
    async with open_database(server.database()) as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (id TEXT, text TEXT)") and None)
        server.crash()
        with pytest.raises(StorageFailed, match="PostgreSQL"):
            await database.write(insert("a"))
        with pytest.raises(StorageFailed):
            await database.read(names)
        await asyncio.to_thread(server.start)
        await database.write(insert("b"))
        assert await database.read(names) == ["b"]


async def test_a_connection_that_was_cut_is_replaced_without_anybody_noticing(server: Postgres) -> None:
    url = server.database()
    async with open_database(url) as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (id TEXT, text TEXT)") and None)
        assert await database.read(names) == []
        with psycopg.connect(url, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await database.write(insert("a"))
        assert await database.read(names) == ["a"]


async def test_a_full_disk_keeps_nothing_and_ends_nothing(tmp_path: Path) -> None:
    async with open_database(tmp_path / "small.db") as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (id TEXT, text TEXT)") and None)

        def fill(db: Db) -> None:
            db.execute("PRAGMA max_page_count = 60")
            for n in range(100):
                insert(f"big {n}", "x" * 5_000)(db)

        results = await asyncio.gather(
            database.write(insert("a")), database.write(fill), database.write(insert("b")), return_exceptions=True
        )
        assert isinstance(results[1], StorageFailed)
        assert [results[0], results[2]] == [None, None]
        assert await database.read(names) == ["a", "b"]


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.db").write_text("This is a letter and no database at all, however long you look at it." * 20)
    with pytest.raises(StorageFailed, match=r"wrong\.db"):
        async with open_database(tmp_path / "wrong.db"):
            pass
    with pytest.raises(StorageFailed, match="PostgreSQL"):
        async with open_database(f"postgresql:///nowhere?host={tmp_path}"):
            pass


@pytest.mark.parametrize(
    "password", ["pa%zzS3cret", "S3cret/x", "12/S3cret", "a?S3cret", "a#S3cret", "a@S3cret", "a S3cret", "[S3cret"]
)
async def test_a_password_that_is_not_encoded_is_said_and_not_shown(password: str) -> None:
    url = f"postgresql://nvm:{password}@127.0.0.1:1/db"
    ledger = open_ledger(url, serving=True)
    for opening in (open_database(url).__aenter__, lambda: check_database(url), ledger.__aenter__):
        with pytest.raises((StorageFailed, LedgerFailed), match=r"percent-encode the password$") as caught:
            await opening()
        assert "S3cret" not in "".join(traceback.format_exception(caught.value))


async def test_a_url_with_a_password_that_is_encoded_or_several_hosts_is_well(tmp_path: Path) -> None:
    for url in (
        f"postgresql://nvm:{quote('%/?#@ []', safe='')}@127.0.0.1:1/db?sslmode=prefer",
        "postgresql://nvm:plain@127.0.0.1:1,[::1]:1/db",
        f"postgresql:///nowhere?host={tmp_path}",
    ):
        with pytest.raises(StorageFailed, match="can't be used"):
            await check_database(url)


async def test_a_check_says_whether_the_database_answers_and_changes_nothing(tmp_path: Path, server: Postgres) -> None:
    url = server.database()
    await check_database(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('api_keys')").fetchone() == (None,)
    await check_database(tmp_path / "not-there-yet.db")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    with pytest.raises(StorageFailed, match="PostgreSQL"):
        await check_database(f"postgresql:///nowhere?host={tmp_path}")


async def test_processes_that_start_together_make_the_schema_once(url: str) -> None:
    async def open_and_look() -> int:
        async with open_database(url) as database:
            row = await database.read(lambda db: db.execute("SELECT version FROM key_revocations").fetchone())
            return int(row[0])

    assert await asyncio.gather(*(open_and_look() for _ in range(4))) == [0] * 4


async def test_the_access_file_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "access.db"
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE api_keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, subscriber TEXT NOT NULL,"
            " name TEXT NOT NULL, budget INTEGER, expires_at INTEGER, dids TEXT, manage INTEGER NOT NULL,"
            " created_at INTEGER NOT NULL, revoked_at INTEGER) STRICT;"
            "INSERT INTO api_keys VALUES ('key_1', x'01', '0xa', 'mine', NULL, NULL, NULL, 1, 5, NULL);"
            "CREATE TABLE assistants (did BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;"
            "INSERT INTO assistants VALUES (x'aa');"
        )
    old.close()
    async with open_database(path) as database:
        rows = await database.read(lambda db: db.execute("SELECT id, hash FROM api_keys").fetchall())
        dids = await database.read(lambda db: db.execute("SELECT did FROM assistants").fetchall())
    assert ([tuple(row) for row in rows], [tuple(row) for row in dids]) == ([("key_1", b"\x01")], [(b"\xaa",)])


def test_both_dialects_have_the_same_migrations_each_with_its_way_back() -> None:
    files = [{path.name for path in (MIGRATIONS / dialect).glob("*.sql")} for dialect in ("sqlite", "postgresql")]
    assert files[0] == files[1] != set()
    steps = {name.removesuffix(".sql") for name in files[0] if ".rollback" not in name}
    assert {f"{step}.rollback.sql" for step in steps} <= files[0]


async def test_keys_of_a_file_go_on_working_with_a_postgresql_ledger(tmp_path: Path, server: Postgres) -> None:
    file, secret = tmp_path / "ledger-access.db", b"s" * 32
    async with open_access_store(file) as before:
        used, _ = await Keys(before, secret).issue("0x" + "11" * 20, name="used")
        revoked, row = await Keys(before, secret).issue("0x" + "11" * 20, name="revoked")
    async with open_access_store(server.database()) as store:
        assert await adopt(store, tmp_path / "there-is-none.db") == 0
        assert await adopt(store, file) == 2
        keys = Keys(store, secret)
        assert (await keys.verify(used)).name == "used"
        await keys.revoke("0x" + "11" * 20, row.id)
        assert await adopt(store, file) == 2
        with pytest.raises(KeyRevoked):  # the file, which doesn't know of it, changes nothing any more
            await Keys(store, secret).verify(revoked)


def test_a_server_that_vanishes_is_noticed_in_seconds_unless_the_url_says_otherwise(server: Postgres) -> None:
    url = server.database()
    for more, milliseconds in (("", "10000"), ("&tcp_user_timeout=3000", "3000")):
        with connect(url + more) as connection:
            known = connection.info.get_parameters()
            assert known["tcp_user_timeout"] == milliseconds
            assert known["keepalives_idle"] == "5"
            assert connection.execute("SELECT 1").fetchone() == (1,)
