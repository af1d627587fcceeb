"""`nvm-node init`: a folder with keys and a commented configuration file, ready to be checked and served."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from node_proxy import identity as identities
from node_proxy.config import ConfigInvalid, Settings, load
from nvm_chain.ipfs import open_store
from nvm_chain.secret import Secret

CONFIG, KEYS, PASSWORD = "node.toml", "keys", "keystore-password"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator said. password_file: None = the password is kept in a file of the folder."""

    rpc_url: str
    chain_id: int | None
    public_url: str | None
    bind: str | None
    store: str | None
    allowed_hosts: tuple[str, ...]
    password_file: Path | None


def make(folder: Path, wishes: Wishes, password: Secret) -> tuple[str, Path]:
    """Makes the folder's keys and configuration. Returns the node's address and the configuration file.

    Raises InvalidInput where something is there already, or a wish can't be: nothing is left behind then.
    """
    folder = folder.expanduser().absolute()
    config = folder / CONFIG
    if config.exists():
        raise ConfigInvalid([f"{config} exists already and is not overwritten: change it, or name another folder"])
    given = {
        "rpc_url": wishes.rpc_url,
        "chain_id": wishes.chain_id,
        "public_url": wishes.public_url,
        "bind": wishes.bind,
        "store": wishes.store,
        "allowed_hosts": list(wishes.allowed_hosts) or None,
        "ledger": str(folder / "ledger.db"),
        "keystore": str(folder / KEYS),
        "keystore_password_file": str((wishes.password_file or folder / PASSWORD).expanduser().absolute()),
    }
    text = "\n".join(_lines({name: value for name, value in given.items() if value is not None})) + "\n"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".{CONFIG}.new"
    try:
        if wishes.store is not None:
            open_store(wishes.store)  # connects to nothing yet
        if wishes.password_file is None:
            _write(folder / PASSWORD, password.reveal() + "\n", 0o600)
        _write(fresh, text, 0o644)
        _check(fresh)  # a wish that can't be is said before keys are made
        address, _ = identities.create(folder / KEYS, password)
    except BaseException:
        fresh.unlink(missing_ok=True)
        if wishes.password_file is None and not (folder / KEYS).exists():
            (folder / PASSWORD).unlink(missing_ok=True)
        raise
    fresh.rename(config)
    return address, config


def _check(fresh: Path) -> None:
    """Loads the file. Raises ConfigInvalid without its name, which the operator doesn't know."""
    try:
        load({}, fresh)
    except ConfigInvalid as error:
        raise ConfigInvalid([problem.replace(f" in {fresh}", "") for problem in error.problems]) from None


def _lines(given: dict[str, object]) -> Iterator[str]:
    """The file: every setting with its meaning; those that weren't given are commented out at their defaults."""
    yield "# Settings of nvm-node. NVM_NODE_* variables go before them; `nvm-node settings` lists all of them."
    for setting in fields(Settings):
        name = setting.name
        if setting.metadata.get("secret"):
            if f"{name}_file" in given:
                yield ""
                yield f"# file with: {setting.metadata['doc']}"
                yield f"{name}_file = {_toml(given[f'{name}_file'])}"
            continue
        yield ""
        yield from textwrap.wrap(
            str(setting.metadata["doc"]), 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        if name in given:
            yield f"{name} = {_toml(given[name])}"
        else:
            default = "" if setting.default in (MISSING, None) else _toml(setting.default)
            yield f"# {name} = {default}".rstrip()


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        value = [str(item) for item in value]
    if not isinstance(value, bool | int | float | list):
        value = str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigInvalid([f"{path} exists already and is not overwritten: name another folder"]) from None
    except OSError as error:
        raise ConfigInvalid([f"{path} can't be written: {error.strerror}"]) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
