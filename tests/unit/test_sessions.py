"""Console sessions, guesses, and when keys were used."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.access import guesses as guessing
from node_proxy.access.guesses import TRIES, Guesses, client_of
from node_proxy.access.keys import Keys
from node_proxy.access.sessions import SESSION_SECONDS, CsrfRefused, Sessions
from node_proxy.access.store import AccessStore, open_access_store
from node_proxy.asgi import Exchange
from node_proxy.errors import KeyExpired, KeyInvalid, TooManyRequests
from node_proxy.web.limits import Bucket

SECRET = b"s" * 32
WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ORIGIN = "https://node.example"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[AccessStore]:
    async with open_access_store(tmp_path / "access.db") as store:
        yield store


@pytest.fixture
def sessions(store: AccessStore) -> Sessions:
    return Sessions(store, SECRET, origin=ORIGIN)


async def test_a_login_gives_a_session_that_any_process_knows_until_it_ends(sessions: Sessions, tmp_path: Path) -> None:
    token, session = await sessions.start(WALLET)
    async with open_access_store(tmp_path / "access.db") as elsewhere:
        replica = Sessions(elsewhere, SECRET, origin=ORIGIN)
        assert await replica.verify(token) == session == await sessions.verify(token)
        await sessions.end(token)
        for one in (sessions, replica):
            with pytest.raises(KeyInvalid):
                await one.verify(token)


async def test_a_session_is_never_one_that_the_browser_brought(sessions: Sessions) -> None:
    fixed = "A" * 43
    token, session = await sessions.start(WALLET, fixed)
    assert token != fixed
    with pytest.raises(KeyInvalid):
        await sessions.verify(fixed)
    again, _ = await sessions.start(WALLET, token)
    assert again != token
    with pytest.raises(KeyInvalid):
        await sessions.verify(token)
    assert (await sessions.verify(again)).id != session.id


async def test_a_session_runs_out(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = await sessions.start(WALLET)
    later = time.time() + SESSION_SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(KeyExpired):
        await sessions.verify(token)


async def test_a_stored_session_holds_neither_its_token_nor_what_protects_it(
    sessions: Sessions, store: AccessStore, tmp_path: Path
) -> None:
    token, session = await sessions.start(WALLET)
    data = b"".join(file.read_bytes() for file in tmp_path.glob("access.db*"))  # noqa: ASYNC240
    assert token.encode() not in data
    assert session.csrf.encode() not in data
    assert WALLET.encode() in data, "the search looks where sessions are"


async def test_a_cookie_can_t_be_read_by_scripts_nor_sent_by_other_sites(
    sessions: Sessions, store: AccessStore
) -> None:
    token, _ = await sessions.start(WALLET)
    name, value = sessions.set_cookie(token)
    assert name == b"set-cookie"
    attributes = value.decode().split("; ")
    assert attributes[0] == f"__Host-nvm_session={token}"
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(attributes)
    assert "Domain" not in value.decode()
    local = Sessions(store, SECRET, origin="http://127.0.0.1:8402")
    assert "Secure" not in local.set_cookie(token)[1].decode()
    assert "Max-Age=0" in sessions.set_cookie("")[1].decode()


def test_two_cookies_of_the_name_are_none(sessions: Sessions) -> None:
    assert sessions.token_of("a=b; __Host-nvm_session=x") == "x"
    assert sessions.token_of("__Host-nvm_session=x; __Host-nvm_session=y") == ""
    assert sessions.token_of("") == ""


@given(st.text(max_size=200))
async def test_any_cookie_header_is_read_and_no_guess_is_a_session(text: str) -> None:
    plain = Sessions(_Empty(), SECRET, origin=ORIGIN)  # type: ignore[arg-type]
    with pytest.raises(KeyInvalid):
        await plain.verify(plain.token_of(text))


class _Empty:
    async def session_by_hash(self, digest: bytes) -> None:
        assert len(digest) == 32


async def test_changes_need_the_session_s_own_token_and_origin(sessions: Sessions) -> None:
    _, session = await sessions.start(WALLET)
    _, other = await sessions.start(WALLET)
    sessions.check_request(session, "GET", "", None)
    sessions.check_request(session, "POST", session.csrf, None)
    sessions.check_request(session, "DELETE", session.csrf, ORIGIN)
    for csrf, origin in (
        ("", None),
        ("é", None),
        (other.csrf, None),
        (session.csrf, "https://evil.example"),
        (session.csrf, "null"),
    ):
        with pytest.raises(CsrfRefused):
            sessions.check_request(session, "POST", csrf, origin)


def test_who_guesses_waits_and_is_forgiven_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    guesses = Guesses()
    for _ in range(TRIES):
        assert guesses.wait("192.0.2.1") == 0
        guesses.failed("192.0.2.1")
    assert guesses.wait("192.0.2.1") > 0
    assert guesses.wait("192.0.2.2") == 0
    now[0] += guesses.wait("192.0.2.1") + 0.001
    assert guesses.wait("192.0.2.1") == 0
    guesses.failed("192.0.2.1")
    assert guesses.wait("192.0.2.1") > 0


def test_a_network_is_one_guesser() -> None:
    guesses = Guesses()
    for i in range(TRIES):
        guesses.failed(f"2001:db8::{i:x}")
    assert guesses.wait("2001:db8::ffff") > 0
    assert guesses.wait("2001:db8:0:1::1") == 0
    for _ in range(TRIES):
        guesses.failed("::ffff:192.0.2.9")
    assert guesses.wait("192.0.2.9") > 0


def test_a_network_is_one_visitor() -> None:
    bucket = Bucket(3, 0.001, "looks")
    for i in range(3):
        bucket.take(f"2001:db8::{i:x}")
    with pytest.raises(TooManyRequests):
        bucket.take("2001:db8::ffff")
    bucket.take("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.7", "", "198.51.100.7"),
        ("198.51.100.7", "192.0.2.1", "198.51.100.7"),
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "spoofed, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1, 172.17.0.9", "192.0.2.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "172.17.0.9", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1:4711, 172.17.0.9:80", "192.0.2.1"),
        ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", "[]:1", "[]:1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_a_client_behind_trusted_proxies_is_told_from_others(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, ("127.0.0.1/32", "172.17.0.0/16")) == client


async def test_a_line_of_the_clients_above_the_proxys_own_is_not_believed() -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError

    lines = [(b"x-forwarded-for", b"spoofed, 203.0.113.5"), (b"x-forwarded-for", b"192.0.2.1")]
    exchange = Exchange({"method": "GET", "path": "/", "headers": lines}, nothing, nothing)
    assert client_of("127.0.0.1", exchange.forwarded, ("127.0.0.1/32",)) == "192.0.2.1"


def test_guessers_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "_CLIENTS", 10)
    guesses = Guesses()
    for i in range(100):
        guesses.failed(f"192.0.2.{i}")
    assert len(guesses._spent) == 10


async def test_a_key_s_last_use_is_told_here_at_once_and_elsewhere_once_written(
    store: AccessStore, tmp_path: Path
) -> None:
    keys = Keys(store, SECRET)
    text, key = await keys.issue(WALLET, name="one")
    assert await keys.last_use(key.id) is None
    await keys.verify(text)
    assert abs((await keys.last_use(key.id) or 0) - time.time()) < 5
    async with open_access_store(tmp_path / "access.db") as elsewhere:
        replica = Keys(elsewhere, SECRET)
        assert await replica.last_use(key.id) is None
        await keys.note_uses()
        used = await replica.last_use(key.id)
        assert used is not None
        assert abs(used - time.time()) < 5
        await elsewhere.note_uses({key.id: 5})
        assert await replica.last_use(key.id) == used, "an earlier time changes nothing"
