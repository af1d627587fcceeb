"""Wallets: who signs. A local key (keystore file, environment) or an account that a development node has unlocked."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eth_utils.crypto import keccak

from nvm_chain.address import address
from nvm_chain.errors import InvalidInput, TransactionFailed
from nvm_chain.keys import generate_private_key, private_key_bytes, public_key_of
from nvm_chain.secret import Secret

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

Rpc = Callable[[str, Sequence[Any]], Awaitable[Any]]


class Wallet(Protocol):
    """An account that can sign. Signatures of messages are 65 bytes, r || s || v with v 27 or 28 and low s."""

    @property
    def address(self) -> str:
        """Checksummed."""

    async def sign_transaction(self, tx: Mapping[str, Any]) -> bytes:
        """Signs a complete transaction (chainId, nonce, gas, fees, to, data, value) and returns its raw bytes."""

    async def sign_message(self, message: str | bytes) -> bytes:
        """Signs as personal_sign does (EIP-191)."""

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        """Signs EIP-712 data: {types with EIP712Domain, primaryType, domain, message}."""


class LocalWallet:
    """A private key in this process. The key shows nowhere but in `to_keystore`'s encrypted file."""

    def __init__(self, key: Secret) -> None:
        """key: 32 bytes, or their hex with or without 0x. Raises InvalidInput without showing the key."""
        self._key = Secret(private_key_bytes(key))
        self.address = address("0x" + keccak(public_key_of(self._key).to_bytes()[1:])[12:].hex(), "account")

    @cached_property
    def _account(self) -> LocalAccount:
        # Imported where it is used: it takes longer to load than a node has to start.
        from eth_account import Account

        account: LocalAccount = Account.from_key(private_key_bytes(self._key))
        return account

    @classmethod
    def create(cls) -> LocalWallet:
        """A new random key from the system's generator."""
        return cls(generate_private_key())

    @classmethod
    def from_env(cls, variable: str = "NVM_PRIVATE_KEY") -> LocalWallet:
        """The key in an environment variable. Raises InvalidInput when it is not set or not a key."""
        value = os.environ.get(variable)
        if not value:
            raise InvalidInput(f"environment variable {variable} is not set: put the private key's 64 hex digits there")
        try:
            return cls(Secret(value.strip()))
        except InvalidInput as error:
            raise InvalidInput(f"environment variable {variable}: {error}") from None

    @classmethod
    def from_keystore(cls, path: Path, password: Secret) -> LocalWallet:
        """Opens a keystore file (Web3 Secret Storage v3, as geth and Ape write it). Takes about a second on purpose."""
        try:
            keystore = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InvalidInput(f"no keystore file {path}: make one with `nvm-chain wallet new`") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} can't be read as a keystore file: {error}") from error
        from eth_account import Account

        try:
            return cls(Secret(bytes(Account.decrypt(keystore, password.reveal()))))
        except (ValueError, KeyError, TypeError, NotImplementedError):
            # The cause stays out: it may carry parts of what was decrypted.
            reason = "the password is wrong, or the file is not a keystore (Web3 Secret Storage v3)"
        raise InvalidInput(f"{path} does not open: {reason}")

    def to_keystore(self, path: Path, password: Secret) -> None:
        """Writes an encrypted keystore file (scrypt), readable by its owner only. Refuses to overwrite a file."""
        if len(password.reveal()) < 8:
            raise InvalidInput("the password has fewer than 8 characters: choose a longer one")
        from eth_account import Account

        text = json.dumps(Account.encrypt(private_key_bytes(self._key), password.reveal(), kdf="scrypt"))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise InvalidInput(f"{path} exists already and is not overwritten: choose another name") from None
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)

    async def sign_transaction(self, tx: Mapping[str, Any]) -> bytes:
        return bytes(self._account.sign_transaction(dict(tx)).raw_transaction)

    async def sign_message(self, message: str | bytes) -> bytes:
        from eth_account.messages import encode_defunct

        signable = encode_defunct(text=message) if isinstance(message, str) else encode_defunct(message)
        return bytes(self._account.sign_message(signable).signature)

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        from eth_account.messages import encode_typed_data

        return bytes(self._account.sign_message(encode_typed_data(full_message=dict(typed))).signature)

    def __repr__(self) -> str:
        return f"LocalWallet({self.address})"


class UnlockedWallet:
    """An account whose key a development node (anvil) holds: it signs over RPC. rpc: `Chain.rpc`."""

    def __init__(self, rpc: Rpc, account: str) -> None:
        self._rpc = rpc
        self.address = address(account, "account")

    async def sign_transaction(self, tx: Mapping[str, Any]) -> bytes:
        request = {key: hex(value) if isinstance(value, int) else value for key, value in tx.items()}
        return await self._signed("eth_signTransaction", [{**request, "from": self.address}])

    async def sign_message(self, message: str | bytes) -> bytes:
        raw = message.encode() if isinstance(message, str) else message
        return await self._signed("personal_sign", ["0x" + raw.hex(), self.address])

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        return await self._signed("eth_signTypedData_v4", [self.address, _jsonable(typed)])

    async def _signed(self, method: str, params: Sequence[Any]) -> bytes:
        answer = await self._rpc(method, params)
        if isinstance(answer, dict):  # geth's form of eth_signTransaction
            answer = answer.get("raw")
        if not isinstance(answer, str) or not answer.startswith("0x"):
            raise TransactionFailed(
                f"the node can't sign for {self.address} ({method}): use a keystore file or a private key instead"
            )
        return bytes.fromhex(answer[2:])

    def __repr__(self) -> str:
        return f"UnlockedWallet({self.address})"


def transaction_hash(raw: bytes) -> str:
    """The hash of a signed transaction."""
    return "0x" + keccak(raw).hex()


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value >= 2**53 else value
    return value
