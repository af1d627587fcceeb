"""Wallets: they sign as everybody else verifies, and never show their key."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from nvm_chain.errors import InvalidInput, TransactionFailed
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet, UnlockedWallet

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PASSWORD = Secret("correct horse")


@pytest.fixture
def light_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real format with a cheap work factor: a keystore of a person takes seconds to open on purpose."""
    encrypt = Account.encrypt
    monkeypatch.setattr(Account, "encrypt", lambda key, password, kdf: encrypt(key, password, kdf=kdf, iterations=2))


@pytest.mark.parametrize("text", [KEY, "0x" + KEY])
def test_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NVM_PRIVATE_KEY", text + "\n")
    assert LocalWallet.from_env().address == ADDRESS


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InvalidInput, match="MY_KEY is not set"):
        LocalWallet.from_env("MY_KEY")


@pytest.mark.parametrize("text", ["hunter2", KEY[:-1], KEY + "00", "zz" * 32, "0" * 64, "f" * 64])
def test_what_is_no_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NVM_PRIVATE_KEY", text)
    with pytest.raises(InvalidInput) as caught:
        LocalWallet.from_env()
    shown = "".join(str(error) for error in (caught.value, caught.value.__cause__, caught.value.__context__))
    assert text not in shown
    assert "NVM_PRIVATE_KEY" in shown


@pytest.mark.usefixtures("light_scrypt")
def test_a_keystore_file_opens_with_its_password_only(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "key.json"
    made = LocalWallet.create()
    made.to_keystore(file, PASSWORD)
    assert LocalWallet.from_keystore(file, PASSWORD).address == made.address
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["crypto"]["kdf"] == "scrypt"
    with pytest.raises(InvalidInput, match="password is wrong"):
        LocalWallet.from_keystore(file, Secret("wrong horse"))


@pytest.mark.usefixtures("light_scrypt")
def test_a_keystore_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    LocalWallet.create().to_keystore(file, PASSWORD)
    before = file.read_bytes()
    with pytest.raises(InvalidInput, match="not overwritten"):
        LocalWallet.create().to_keystore(file, PASSWORD)
    assert file.read_bytes() == before


def test_a_short_password_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="8 characters"):
        LocalWallet.create().to_keystore(tmp_path / "key.json", Secret("short"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"crypto": {"kdf": "rot13"}, "version": 3}', "not json"])
def test_a_file_that_is_no_keystore_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"key\.json"):
        LocalWallet.from_keystore(file, PASSWORD)


def test_a_missing_keystore_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nvm-chain wallet new"):
        LocalWallet.from_keystore(tmp_path / "none.json", PASSWORD)


def test_a_wallet_shows_its_address_and_not_its_key(caplog: pytest.LogCaptureFixture) -> None:
    wallet = LocalWallet(Secret(KEY))
    logging.getLogger("test").warning("%s %r %s", wallet, wallet, [wallet])
    shown = f"{wallet!r} {wallet} {caplog.text}"
    assert ADDRESS in shown
    assert KEY not in shown


async def test_signatures_verify_elsewhere() -> None:
    wallet = LocalWallet(Secret(KEY))
    signature = await wallet.sign_message("hello")
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert Account.recover_message(encode_defunct(text="hello"), signature=signature) == ADDRESS
    raw = await wallet.sign_transaction(
        {"chainId": 1, "to": ADDRESS, "value": 1, "nonce": 0, "gas": 21_000, "type": 2, "maxFeePerGas": 2,
         "maxPriorityFeePerGas": 1, "data": "0x"}
    )  # fmt: skip
    assert Account.recover_transaction(raw) == ADDRESS


@pytest.mark.parametrize("answer", [None, "", 5, {"tx": {}}])
async def test_a_node_that_does_not_sign_is_told_apart_from_one_that_does(answer: Any) -> None:
    async def rpc(method: str, params: Any) -> Any:
        return answer

    with pytest.raises(TransactionFailed, match="keystore file or a private key"):
        await UnlockedWallet(rpc, ADDRESS).sign_message("hello")
