"""`nvm-node key`: the node's own keys, from their making to their end.

An encryption key is made, published (rotate), current, then the previous one for as long as the overlap lasts, then of
no use (retire). Whatever interrupts a command, the same command goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_proxy import identity as identities
from node_proxy.cli.acting import Operator
from node_proxy.cli.registration import Done
from node_proxy.config import PREFIX, ConfigInvalid, Settings
from node_proxy.services import load_deployment
from nvm_chain.chain import open_chain
from nvm_chain.cli.output import Moment
from nvm_chain.cli.transactions import transaction
from nvm_chain.deployments import check_deployed
from nvm_chain.errors import InvalidInput, NotFound
from nvm_chain.keys import PublicKey, public_key_of
from nvm_chain.nodes import Node
from nvm_chain.resolver import utc
from nvm_chain.secret import Secret

MAX_OVERLAP = 90 * 86_400
"""Seconds, as NodeRegistry.MAX_OVERLAP."""


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key of the keystore. version: its number in NodeRegistry, None = not there (any more)."""

    number: int
    public_key: PublicKey
    state: str
    version: int | None

    def shown(self) -> dict[str, Any]:
        """For a person, or as JSON."""
        return {
            "key": f"encryption-{self.number}",
            "version": self.version,
            "state": self.state,
            "public_key": "0x" + self.public_key.to_bytes().hex(),
        }


def states(keys: Mapping[int, PublicKey], node: Node | None, now: float) -> list[KeyState]:
    """What each key of the keystore (by number) is to the registry, newest first."""
    current = next((number for number, key in keys.items() if node is not None and key == node.key), None)
    found = []
    for number, key in sorted(keys.items(), reverse=True):
        state, version = "not published", None
        if node is not None and key == node.key:
            state, version = "current" if node.active else "current, node retired", node.version
        elif node is not None and key == node.previous_key:
            over = node.previous_until <= now
            state = "overlap is over" if over else f"previous, good until {utc(node.previous_until)}"
            version = node.version - 1
        elif current is not None and number < current:
            state = "of no use"
        found.append(KeyState(number, key, state, version))
    return found


async def show(settings: Settings) -> list[KeyState]:
    """The keystore's keys and what they are in NodeRegistry. Raises ConfigInvalid, NvmError."""
    folder, password = _keystore(settings)
    account = identities.settlement_wallet(folder, password).address
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        deployment = load_deployment(settings)
        try:
            node = await chain.call(deployment.nodes.node(account))
        except NotFound:
            node = None
        now = (await chain.header()).timestamp
    return states(_public(folder, password), node, now)


async def rotate(settings: Settings, overlap: int, operator: Operator) -> Done | None:
    """Publishes a new encryption key; secrets sealed to the present one open for `overlap` more seconds.

    Raises ConfigInvalid, InvalidInput, NvmError.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise InvalidInput(f"an overlap of {overlap} s is not from 0 to {MAX_OVERLAP} (90 days)")
    folder, password = _keystore(settings)
    wallet = identities.settlement_wallet(folder, password)
    async with open_chain(settings.rpc_url, settings.chain_id) as chain:
        deployment = load_deployment(settings)
        await check_deployed(chain, deployment)
        try:
            node = await chain.call(deployment.nodes.node(wallet.address))
        except NotFound:
            raise InvalidInput(f"{wallet.address} isn't in NodeRegistry: run `nvm-node register` first") from None
        now, keys = (await chain.header()).timestamp, _public(folder, password)
        if node.key not in keys.values():
            raise ConfigInvalid([f"{folder} has not the key that NodeRegistry names for {wallet.address}"])
        if overlap and node.previous_key is not None and node.previous_until > now:
            raise InvalidInput(
                f"key {node.version - 1} is good until {utc(node.previous_until)}, and the registry knows one previous "
                "key: rotating now would end it at once. Wait until then, or end both with --overlap 0s in an emergency"
            )
        made, newest = keys[max(keys)] != node.key, max(keys)  # made by a rotation that did not reach the chain
        until = now + overlap if overlap else None
        shown: dict[str, Any] = {
            "node": wallet.address,
            "key_version": node.version + 1,
            "previous_version": node.version,
            "previous_opens_until": Moment.of(until),
        }
        what = f"Publish encryption key version {node.version + 1} of {wallet.address}"
        if operator.dry_run:
            operator.output.record({"action": what, **shown}, title="Dry run: no key was made, and nothing was sent.")
            return None
        opens = f"until {utc(until)}" if until else "nothing any more"
        operator.confirm(f"{what}? Version {node.version} then opens {opens}.")
        if made:
            public_key = keys[newest]
            told = f"encryption-{newest} was made before and is published now"
        else:
            newest, public_key = identities.add_encryption_key(folder, password)
            told = f"made {folder / f'encryption-{newest}.json'}"
        async with operator.output.waiting(lambda: "the transaction waits for its block"):
            receipt = await chain.send(deployment.nodes.rotate_key(public_key, overlap), wallet)
    done = (
        f"{told}\nkey version {node.version + 1} is current\n"
        f"key version {node.version} opens {opens}; `nvm-node assets` lists what is sealed to it"
    )
    return done, {"key": f"encryption-{newest}", **shown, **transaction(operator.on(chain), receipt)}


async def retire(settings: Settings, number: int, operator: Operator) -> Done | None:
    """Removes the file of an encryption key that the registry does not name any more. It can't be brought back.

    Raises InvalidInput while the key is of use.
    """
    folder, _ = _keystore(settings)
    key = next((key for key in await show(settings) if key.number == number), None)
    if key is None:
        raise InvalidInput(f"{folder} has no encryption-{number}.json")
    if key.state not in ("overlap is over", "of no use"):
        raise InvalidInput(f"encryption-{number} is {key.state}: it can be retired when its overlap is over")
    file = folder / f"encryption-{number}.json"
    shown = {"file": str(file), **key.shown()}
    if operator.dry_run:
        operator.output.record(shown, title="Dry run: this file would be removed; nothing was.")
        return None
    operator.confirm(f"Remove {file}? It can't be brought back.")
    file.unlink()
    return f"removed {file} ({key.state})", {"removed": True, **shown}


def _keystore(settings: Settings) -> tuple[Path, Secret]:
    if settings.keystore is None or settings.keystore_password is None:
        raise ConfigInvalid(
            [f"keys are managed in a keystore: set {PREFIX}KEYSTORE and its password (`nvm-node key new` makes one)"]
        )
    return settings.keystore, settings.keystore_password


def _public(folder: Path, password: Secret) -> dict[int, PublicKey]:
    files = identities.encryption_files(folder)
    return {number: public_key_of(identities.decrypt(path, password)) for number, path in files.items()}
