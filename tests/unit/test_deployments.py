"""Addresses: computed offline, and what they are computed from is the real thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from nvm_chain.chain import open_chain
from nvm_chain.deployments import (
    NETWORKS,
    PROXY,
    PROXY_DEPLOYER,
    PROXY_TRANSACTION,
    Deployment,
    create2_address,
    first_block,
    network_of,
)
from nvm_chain.errors import InvalidInput
from tests.unit.test_chain import rpc


def test_the_proxys_transaction_makes_the_proxy_and_nobody_holds_its_key() -> None:
    sender = Account.recover_transaction(PROXY_TRANSACTION)
    created = keccak(b"\xd6\x94" + bytes.fromhex(sender[2:]) + b"\x80")[12:]
    assert sender == PROXY_DEPLOYER
    assert to_checksum_address(created) == PROXY


def test_create2_is_computed_as_in_eip_1014() -> None:
    # keccak256(0xff ++ deployer ++ salt ++ keccak256(init code))[12:]
    packed = b"\xff" + bytes.fromhex(PROXY[2:]) + b"\x02" * 32 + keccak(b"\x00")
    assert create2_address(b"\x00", b"\x02" * 32) == to_checksum_address(keccak(packed)[12:])


def test_the_five_addresses_differ_and_a_fee_gives_other_registries() -> None:
    standard = Deployment.standard()
    with_fee = Deployment.standard("0x" + "12" * 20, 250)
    assert len(set(standard.to_dict().values())) == 5
    assert with_fee.node_registry == standard.node_registry
    for name in ("plan_registry", "asset_registry", "lens"):
        assert getattr(with_fee, name) != getattr(standard, name)


@pytest.mark.parametrize("fee", [-1, 10_001])
def test_a_fee_above_everything_is_refused(fee: int) -> None:
    with pytest.raises(InvalidInput, match="basis points"):
        Deployment.standard("0x" + "12" * 20, fee)


def test_a_deployment_file_gives_the_same_addresses(tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({**Deployment.standard().to_dict(), "note": "other fields are ignored"}))
    assert Deployment.load(file) == Deployment.standard()


def test_a_deployment_file_may_say_from_which_block_on_there_is_something(tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({**Deployment.standard().to_dict(), "block": 12_345_678}))
    assert Deployment.load(file).block == 12_345_678
    assert Deployment.standard().block == 0
    assert "block" not in Deployment.load(file).to_dict(), "it is no contract"


@pytest.mark.parametrize("block", ["12", -1, True, 1.5, None])
def test_a_block_that_is_none_is_named(tmp_path: Path, block: object) -> None:
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({**Deployment.standard().to_dict(), "block": block}))
    with pytest.raises(InvalidInput, match=f"block {block!r} is not"):
        Deployment.load(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"lens": "0x12"}', "[" * 100_000])
def test_a_deployment_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "deployment.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"deployment\.json"):
        Deployment.load(file)


def test_networks_are_found_by_their_id() -> None:
    assert len({network.chain_id for network in NETWORKS.values()}) == len(NETWORKS)
    assert network_of(8453).name == "base"
    assert network_of(999_999).chain_id == 999_999


HEAD, MADE, REMEMBERED = 1_000, 300, 900


def _pruned(forgotten: object) -> Callable[[str, str], object]:
    """An endpoint that remembers the last states only. forgotten: what it says of an account's code before."""

    def code(account: str, block: str) -> object:
        number = HEAD if block == "latest" else int(block, 16)
        if number < REMEMBERED:
            return forgotten
        return "0x6001" if account == PROXY or number >= MADE else "0x"

    return code


@pytest.mark.parametrize(
    "forgotten",
    ["0x", None, {"error": {"code": -32000, "message": "missing trie node"}}],
    ids=["no code", "null", "an error"],
)
async def test_an_endpoint_that_has_forgotten_old_states_hides_no_log(forgotten: object) -> None:
    async with rpc({"eth_getCode": _pruned(forgotten)}) as (url, _), open_chain(url) as chain:
        assert await first_block(chain, Deployment.standard(), HEAD) == 0


async def test_an_endpoint_that_remembers_names_the_block_with_few_questions() -> None:
    def code(account: str, block: str) -> str:
        return "0x6001" if account == PROXY or int(block, 16) >= MADE else "0x"

    async with rpc({"eth_getCode": code}) as (url, seen), open_chain(url) as chain:
        assert await first_block(chain, Deployment.standard(), HEAD) == MADE
    assert len(seen) < 16
