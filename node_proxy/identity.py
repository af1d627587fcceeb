"""Who the node is: the account that settles, the keys that open builders' secrets, the secret behind its hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from node_proxy.config import PREFIX, ConfigInvalid, Settings
from nvm_chain.errors import InvalidInput
from nvm_chain.keys import PublicKey, generate_private_key, private_key_bytes, public_key_of
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet

SETTLEMENT_FILE = "settlement.json"
MAX_KEYS = 3
_ENCRYPTION_FILE = re.compile(r"encryption-([1-9][0-9]{0,5})\.json")


@dataclass(slots=True)
class Identity:
    """wallet: settles and is the node's address. encryption_keys: newest first; replaced when a key is rotated.

    secret: at least 32 bytes.
    """

    wallet: LocalWallet
    encryption_keys: tuple[Secret, ...]
    secret: bytes

    @property
    def address(self) -> str:
        """The node's address, checksummed."""
        return self.wallet.address

    @property
    def public_key(self) -> PublicKey:
        """The newest encryption key's public half: what is published and what builders seal to."""
        return public_key_of(self.encryption_keys[0])

    def __repr__(self) -> str:
        return f"Identity({self.address})"


def load(settings: Settings) -> Identity:
    """From the keystore, or from the keys in the settings. Raises ConfigInvalid."""
    try:
        if settings.keystore is not None:
            settlement, encryption = _from_keystore(settings.keystore, settings.keystore_password or Secret(""))
        else:
            settlement, encryption = _from_settings(settings)
        wallet = LocalWallet(settlement)
    except InvalidInput as error:
        if isinstance(error, ConfigInvalid):
            raise
        raise ConfigInvalid([str(error)]) from None
    if settings.secret is not None:
        secret = hashlib.blake2b(settings.secret.reveal_bytes(), person=b"nvm node secret").digest()
    else:
        key = private_key_bytes(settlement)
        secret = hashlib.blake2b(b"derived from the settlement key", key=key, person=b"nvm node secret").digest()
    return Identity(wallet, encryption, secret)


def _from_settings(settings: Settings) -> tuple[Secret, tuple[Secret, ...]]:
    problems = [
        f"{PREFIX}{name.upper()} is not set; give it, or {PREFIX}KEYSTORE (`nvm-node key new` makes one)"
        for name in ("settlement_key", "encryption_key")
        if getattr(settings, name) is None
    ]
    if problems or settings.settlement_key is None or settings.encryption_key is None:
        raise ConfigInvalid(problems)
    older = settings.previous_encryption_key
    keys = (settings.encryption_key,) if older is None else (settings.encryption_key, older)
    # Compared by their bytes, since a key may be written with or without 0x, in either case.
    if private_key_bytes(settings.settlement_key) in {private_key_bytes(key) for key in keys}:
        raise ConfigInvalid([f"{PREFIX}SETTLEMENT_KEY is an encryption key too: use separate keys"])
    return settings.settlement_key, keys


def _from_keystore(folder: Path, password: Secret) -> tuple[Secret, tuple[Secret, ...]]:
    if not (folder / SETTLEMENT_FILE).is_file() or not encryption_files(folder):
        raise ConfigInvalid(
            [f"{folder} is no keystore ({SETTLEMENT_FILE}, encryption-1.json): `nvm-node key new` makes one"]
        )
    return decrypt(folder / SETTLEMENT_FILE, password), encryption_keys(folder, password)


def settlement_wallet(folder: Path, password: Secret) -> LocalWallet:
    """The keystore's account. Raises ConfigInvalid."""
    return LocalWallet(decrypt(folder / SETTLEMENT_FILE, password))


def encryption_keys(folder: Path, password: Secret) -> tuple[Secret, ...]:
    """The keystore's newest encryption keys, newest first: the next, the current and the one before. Takes seconds."""
    files = encryption_files(folder)
    return tuple(decrypt(files[number], password) for number in sorted(files, reverse=True)[:MAX_KEYS])


def encryption_files(folder: Path) -> dict[int, Path]:
    """The keystore's encryption keys by number; higher is newer."""
    if not folder.is_dir():
        return {}
    found = ((_ENCRYPTION_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match is not None}


def decrypt(path: Path, password: Secret) -> Secret:
    """The private key in a keystore file. Raises ConfigInvalid; takes about a second on purpose."""
    from eth_account import Account  # here, because a node with its keys in the settings doesn't need it to start

    try:
        return Secret(bytes(Account.decrypt(json.loads(path.read_text("utf-8")), password.reveal())))
    except OSError as error:
        reason = error.strerror or "it can't be read"
    except (ValueError, KeyError, TypeError, NotImplementedError, RecursionError):
        # The cause stays out: it may carry parts of what was decrypted.
        reason = "the password is wrong, or the file isn't a keystore (Web3 Secret Storage v3)"
    raise ConfigInvalid([f"{path} doesn't open: {reason}"])


def create(folder: Path, password: Secret) -> tuple[str, PublicKey]:
    """A new keystore: a settlement key and a first encryption key. Returns address and public key.

    Raises ConfigInvalid where one exists already: keys are never overwritten.
    """
    if (folder / SETTLEMENT_FILE).exists() or encryption_files(folder):
        raise ConfigInvalid([f"{folder} holds keys already; they aren't overwritten: name another folder"])
    if len(password.reveal()) < 8:
        raise ConfigInvalid(["the keystore's password has fewer than 8 characters"])
    settlement, encryption = generate_private_key(), generate_private_key()
    _write(folder / SETTLEMENT_FILE, settlement, password)
    _write(folder / "encryption-1.json", encryption, password)
    return LocalWallet(settlement).address, public_key_of(encryption)


def add_encryption_key(folder: Path, password: Secret) -> tuple[int, PublicKey]:
    """Adds the next encryption key to a keystore whose password this is. Returns its number and public key."""
    newest = encryption_files(folder)
    decrypt(newest[max(newest)] if newest else folder / SETTLEMENT_FILE, password)  # one password opens the keystore
    number, key = max(encryption_files(folder), default=0) + 1, generate_private_key()
    _write(folder / f"encryption-{number}.json", key, password)
    return number, public_key_of(key)


def _write(path: Path, key: Secret, password: Secret) -> None:
    from eth_account import Account

    text = json.dumps(Account.encrypt(private_key_bytes(key), password.reveal(), kdf="scrypt"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigInvalid([f"{path} can't be written: {error.strerror}"]) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
