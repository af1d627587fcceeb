"""API keys, Sign-In with Ethereum and the login, without a chain."""

from __future__ import annotations

import asyncio
import re
import string
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.access import base62, siwe
from node_proxy.access.keys import ApiKey, Keys, check_shape, generate
from node_proxy.access.login import Login
from node_proxy.access.store import AccessStore, open_access_store
from node_proxy.errors import (
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    LoginRefused,
    NotYours,
    ObjectNotFound,
    Unavailable,
)
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable, InvalidInput

SECRET = b"s" * 32
ORIGIN = "https://node.example.org"
WALLET = Account.from_key("0x" + "11" * 32)
STRANGER = Account.from_key("0x" + "22" * 32)
DID = Did(bytes(range(32)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AccessStore]:
    async with open_access_store(tmp_path / "access.db") as opened:
        yield opened


@pytest.fixture
def keys(store: AccessStore) -> Keys:
    return Keys(store, SECRET)


async def never(signer: str, digest: bytes, signature: bytes) -> bool:
    return False


@pytest.fixture
def login(store: AccessStore) -> Login:
    return Login(store, SECRET, origin=ORIGIN, chain_id=31337, window=300, validate=never)


def sign(message: str, wallet: Account = WALLET) -> str:
    return "0x" + bytes(wallet.sign_message(encode_defunct(text=message)).signature).hex()


# --------------------------------------------------------------------------------------------------------------- keys


@given(st.binary(min_size=1, max_size=40))
def test_base62_gives_back_what_it_was_given(data: bytes) -> None:
    assert base62.decode(base62.encode(data), len(data)) == data


def test_base62_refuses_numbers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="range"):
        base62.decode("z" * base62.width(32), 4)


def test_keys_are_256_bits_and_never_the_same() -> None:
    made = {generate() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"nvm_[0-9A-Za-z]{49}", key) for key in made)


@given(st.integers(4, 52), st.sampled_from(string.ascii_letters + string.digits))
def test_one_wrong_character_is_noticed_without_asking_the_store(position: int, character: str) -> None:
    key = generate()
    if key[position] != character:
        with pytest.raises(KeyInvalid, match="garbled"):
            check_shape(key[:position] + character + key[position + 1 :])


@pytest.mark.parametrize("text", ["nvm_", "nvm_abc", "sk-abcdefghijklmnop", "Bearer x", "nvm_" + "é" * 49, "\x00"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyInvalid) as caught:
        check_shape(text)
    assert text.removeprefix("nvm_") == "" or text not in caught.value.message


def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    with pytest.raises(KeyMissing, match="No API key"):
        check_shape("")


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_an_issued_key_is_known_and_its_text_is_not_kept(keys: Keys, store: AccessStore, tmp_path: Path) -> None:
    text, issued = await keys.issue(WALLET.address, name="mine", budget=5, dids=frozenset({DID}))
    assert await keys.verify(text) == issued
    assert issued.subscriber == WALLET.address
    assert text[4:].encode() not in on_disk(tmp_path)


async def test_a_key_of_another_node_secret_is_unknown(store: AccessStore) -> None:
    text, _ = await Keys(store, SECRET).issue(WALLET.address, name="mine")
    with pytest.raises(KeyInvalid, match="doesn't know"):
        await Keys(store, b"t" * 32).verify(text)


async def test_a_revocation_works_at_once_here_and_soon_in_another_process(keys: Keys, tmp_path: Path) -> None:
    text, issued = await keys.issue(WALLET.address, name="mine")
    async with open_access_store(tmp_path / "access.db") as elsewhere:
        replica = Keys(elsewhere, SECRET)
        assert (await replica.verify(text)).id == issued.id
        await keys.revoke(WALLET.address, issued.id)
        with pytest.raises(KeyRevoked):
            await keys.verify(text)
        await asyncio.sleep(0.9)
        with pytest.raises(KeyRevoked):
            await replica.verify(text)


async def test_an_expired_key_is_refused_although_it_is_remembered(keys: Keys) -> None:
    text, _ = await keys.issue(WALLET.address, name="mine", expires_at=int(time.time()) + 2)
    await keys.verify(text)
    await asyncio.sleep(2.1)
    with pytest.raises(KeyExpired):
        await keys.verify(text)


async def test_a_key_opens_the_assistants_that_it_lists(keys: Keys) -> None:
    _, key = await keys.issue(WALLET.address, name="mine", dids=frozenset({DID}))
    key.check_opens(DID)
    with pytest.raises(NotYours) as caught:
        key.check_opens(Did(bytes(32)))
    assert caught.value.status == 403


async def test_nobody_revokes_or_sees_the_keys_of_another_wallet(keys: Keys) -> None:
    _, key = await keys.issue(WALLET.address, name="mine")
    with pytest.raises(ObjectNotFound):
        await keys.revoke(STRANGER.address, key.id)
    assert await keys.of(STRANGER.address) == []


def test_what_an_owner_sees_of_a_key_holds_no_hash(keys: Keys) -> None:
    shown = ApiKey("key_1", WALLET.address, "n", None, None, None, True, 0).public()
    assert "hash" not in shown
    assert "key" not in shown


# --------------------------------------------------------------------------------------------------------------- SIWE

# The message of EIP-4361's own example.
EXAMPLE = """\
example.com wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json"""


def test_the_specifications_example_is_read() -> None:
    message = siwe.SiweMessage.parse(EXAMPLE)
    assert message.domain == "example.com"
    assert message.address == "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
    assert message.statement == "I accept the ExampleOrg Terms of Service: https://example.com/tos"
    assert message.chain_id == 1
    assert message.issued_at == datetime(2021, 9, 30, 16, 25, 24, tzinfo=UTC)
    assert message.resources[1] == "https://example.com/my-web2-claim.json"


def test_optional_parts_are_read() -> None:
    text = EXAMPLE.replace("example.com wants", "https://example.com:8080 wants", 1).replace(
        "\nResources:",
        "\nExpiration Time: 2021-09-30T17:25:24.123Z\nNot Before: 2021-09-30T16:00:00+01:00\nRequest ID: a-1"
        "\nResources:",
    )
    message = siwe.SiweMessage.parse(text)
    assert message.scheme == "https"
    assert message.domain == "example.com:8080"
    assert message.request_id == "a-1"
    assert message.not_before == datetime(2021, 9, 30, 15, 0, tzinfo=UTC)
    without = EXAMPLE.replace("\n\nI accept the ExampleOrg Terms of Service: https://example.com/tos\n\n", "\n\n\n")
    assert siwe.SiweMessage.parse(without).statement is None


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\n", "\r\n", "CR LF"),
        ("Version: 1", "Version: 2", "Version"),
        ("Nonce: 32891756", "Nonce: 3289175", "malformed"),
        ("Nonce: 32891756\n", "", "Nonce"),
        ("Chain ID: 1", "Chain ID: x", "malformed"),
        ("Chain ID: 1\n", "Chain ID: 1\nChain ID: 5\n", "malformed"),
        ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756C", "address"),
        ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xc02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "checksum"),
        ("2021-09-30T16:25:24Z", "2021-13-30T16:25:24Z", "no such time"),
        ("2021-09-30T16:25:24Z", "yesterday", "malformed"),
        ("account:\n", "account: \n", "first line"),
        ("I accept", "I accept \u202e", "malformed"),
        ("- https", "* https", "malformed"),
        ("claim.json", "claim.json\n", "malformed"),
        ("example.com wants", "exam ple.com wants", "malformed"),
        ("example.com wants", "user/x wants", "malformed"),
    ],
)  # fmt: skip
def test_what_is_not_eip_4361_is_refused_with_the_reason(old: str, new: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        siwe.SiweMessage.parse(EXAMPLE.replace(old, new, 1) if old != "\n" else EXAMPLE.replace(old, new))


@given(st.text(max_size=300))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    with pytest.raises(InvalidInput):
        siwe.SiweMessage.parse(text)


@given(
    st.integers(0, 5000),
    st.characters(codec="utf-8"),
)
def test_a_changed_character_is_read_as_it_stands_or_refused(position: int, character: str) -> None:
    text = EXAMPLE[: position % len(EXAMPLE)] + character + EXAMPLE[position % len(EXAMPLE) + 1 :]
    try:
        message = siwe.SiweMessage.parse(text)
    except InvalidInput:
        return
    assert message.text == text
    for part in (message.domain, message.uri, message.nonce, str(message.chain_id)):
        assert part in text


def test_a_very_long_message_is_refused_quickly() -> None:
    began = time.perf_counter()
    for text in ("a" * 10**6, EXAMPLE + "\n- https://x" * 400, "a://" * 1000):
        with pytest.raises(InvalidInput):
            siwe.SiweMessage.parse(text)
    assert time.perf_counter() - began < 1


# -------------------------------------------------------------------------------------------------------------- login


async def test_a_signed_message_logs_the_wallet_in_once(login: Login) -> None:
    message = login.message(WALLET.address, login.nonce())
    assert await login.verify(message, sign(message)) == WALLET.address
    with pytest.raises(LoginRefused, match="used before"):
        await login.verify(message, sign(message))


async def test_of_many_at_once_one_login_with_a_nonce_succeeds(login: Login) -> None:
    message = login.message(WALLET.address, login.nonce())
    outcomes = await asyncio.gather(*(login.verify(message, sign(message)) for _ in range(20)), return_exceptions=True)
    assert outcomes.count(WALLET.address) == 1


async def test_somebody_elses_signature_is_refused_and_leaves_the_nonce_alone(login: Login) -> None:
    message = login.message(WALLET.address, login.nonce())
    with pytest.raises(LoginRefused, match="signature"):
        await login.verify(message, sign(message, STRANGER))
    assert await login.verify(message, sign(message)) == WALLET.address


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("node.example.org wants", "evil.example.org wants", "this node is node.example.org"),
        ("URI: https://node.example.org", "URI: https://evil.example.org", "URI"),
        ("URI: https://node.example.org", "URI: https://node.example.org.evil.com", "URI"),
        ("URI: https://node.example.org", "URI: http://[x", "URI"),
        ("Chain ID: 31337", "Chain ID: 1", "chain 1"),
        ("node.example.org wants", "http://node.example.org wants", "URI"),
    ],
)
async def test_a_message_for_another_place_is_refused(login: Login, old: str, new: str, reason: str) -> None:
    message = login.message(WALLET.address, login.nonce()).replace(old, new)
    with pytest.raises(LoginRefused, match=reason):
        await login.verify(message, sign(message))


@pytest.mark.parametrize(
    ("issued", "expires", "reason"),
    [(-10, -1, "expired"), (3600, 7200, "future"), (-3600, 3600, "too old")],
)
async def test_a_message_outside_of_its_time_is_refused(login: Login, issued: int, expires: int, reason: str) -> None:
    now = datetime.now(UTC)
    message = siwe.write(
        domain="node.example.org",
        address=WALLET.address,
        statement="x",
        uri=ORIGIN,
        chain_id=31337,
        nonce=login.nonce().nonce,
        issued_at=now + timedelta(seconds=issued),
        expiration_time=now + timedelta(seconds=expires),
    )
    with pytest.raises(LoginRefused, match=reason):
        await login.verify(message, sign(message))


async def test_a_message_before_its_time_is_refused(login: Login) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = login.message(WALLET.address, login.nonce()) + f"\nNot Before: {later}"
    with pytest.raises(LoginRefused, match="isn't valid yet"):
        await login.verify(message, sign(message))


async def test_a_nonce_that_this_node_did_not_give_is_refused(login: Login) -> None:
    nonce = login.nonce()
    message = login.message(WALLET.address, nonce)
    for other in (
        "A" * len(nonce.nonce),
        "12345678",
        "0" + nonce.nonce[1:-1] + ("1" if nonce.nonce[-1] != "1" else "2"),
    ):
        changed = message.replace(nonce.nonce, other)
        with pytest.raises(LoginRefused, match="nonce"):
            await login.verify(changed, sign(changed))


async def test_a_nonce_runs_out(store: AccessStore) -> None:
    login = Login(store, SECRET, origin=ORIGIN, chain_id=31337, window=1, validate=never)
    message = login.message(WALLET.address, login.nonce())
    await asyncio.sleep(1.1)
    with pytest.raises(LoginRefused, match="expired"):
        await login.verify(message, sign(message))


@pytest.mark.parametrize("signature", ["", "0x", "zz", "0xzz", "0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "00" * 9000])
async def test_what_is_no_signature_is_refused(login: Login, signature: str) -> None:
    message = login.message(WALLET.address, login.nonce())
    with pytest.raises(LoginRefused):
        await login.verify(message, signature)


async def test_a_contract_wallet_is_asked_with_the_signed_hash(store: AccessStore) -> None:
    asked = []

    async def validate(signer: str, digest: bytes, signature: bytes) -> bool:
        asked.append((signer, digest, signature))
        return True

    login = Login(store, SECRET, origin=ORIGIN, chain_id=31337, window=300, validate=validate)
    message = login.message(STRANGER.address, login.nonce())
    assert await login.verify(message, "0xdeadbeef") == STRANGER.address
    signer, digest, signature = asked[0]
    assert signer == STRANGER.address
    assert signature == b"\xde\xad\xbe\xef"
    signed = WALLET.unsafe_sign_hash(digest).signature
    assert Account.recover_message(encode_defunct(text=message), signature=signed) == WALLET.address


async def test_a_plain_wallet_logs_in_while_the_chain_is_away_and_a_contract_wallet_is_told_to_wait(
    store: AccessStore,
) -> None:
    async def away(signer: str, digest: bytes, signature: bytes) -> bool:
        raise ChainUnavailable("nothing answers")

    login = Login(store, SECRET, origin=ORIGIN, chain_id=31337, window=300, validate=away)
    message = login.message(WALLET.address, login.nonce())
    assert await login.verify(message, sign(message)) == WALLET.address
    other = login.message(STRANGER.address, login.nonce())
    with pytest.raises(Unavailable) as caught:
        await login.verify(other, "0x1234")
    assert caught.value.status == 503


async def test_on_a_loopback_address_both_spellings_are_this_node(store: AccessStore) -> None:
    login = Login(store, SECRET, origin="http://127.0.0.1:8402", chain_id=1, window=300, validate=never)
    message = login.message(WALLET.address, login.nonce()).replace("127.0.0.1", "localhost")
    assert await login.verify(message, sign(message)) == WALLET.address
