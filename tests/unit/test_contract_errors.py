"""Contracts' errors: each one in the ABIs has a class, and a message that names its values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from nvm_chain import contract_errors
from nvm_chain.abi import CONTRACTS, Abi, Call
from nvm_chain.contract_errors import KnownRefusal, refusal
from nvm_chain.errors import ContractRefused, NotFound, TransactionFailed

CALL: Call[bytes] = Call("0x" + "11" * 20, b"", "PlanRegistry", "purchase", {}, bytes)
ENTRIES = {
    (contract, entry["name"], tuple(c["type"] for c in entry["inputs"])): entry
    for contract in CONTRACTS
    for entry in Abi.of(contract).entries
    if entry["type"] == "error"
}
SAMPLES: dict[str, Any] = {"string": "a reason", "bool": True, "address": "0x" + "ab" * 20, "bytes32": b"\xcd" * 32}


def revert_data(entry: dict[str, Any]) -> bytes:
    types = [c["type"] for c in entry["inputs"]]
    values = [SAMPLES.get(kind, 7000 + i) for i, kind in enumerate(types)]
    return keccak(text=f"{entry['name']}({','.join(types)})")[:4] + encode(types, values)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=[f"{c}.{n}({','.join(t)})" for c, n, t in ENTRIES])
def test_every_error_of_the_contracts_has_a_class_and_a_message(entry: dict[str, Any]) -> None:
    error = refusal(revert_data(entry), CALL)
    assert isinstance(error, KnownRefusal)
    assert error.name == entry["name"]
    assert [c["type"] for c in error.inputs] == [c["type"] for c in entry["inputs"]]
    assert "{" not in str(error)
    assert len(str(error)) > 20


@pytest.mark.parametrize(
    "cls", [cls for cls in vars(contract_errors).values() if isinstance(cls, type) and "solidity" in vars(cls)]
)
def test_every_class_is_an_error_that_some_contract_has(cls: type[KnownRefusal]) -> None:
    declared = re.fullmatch(r"(\w+)\((.*)\)", cls.solidity)
    assert declared
    types = tuple(part.split()[0] for part in declared[2].split(",") if part)
    assert any((contract, declared[1], types) in ENTRIES for contract in CONTRACTS)


def test_a_message_names_the_values_and_the_way_out() -> None:
    data = keccak(text="WrongPayment(uint256,uint256)")[:4] + encode(["uint256", "uint256"], [5, 10])
    error = refusal(data, CALL)
    assert isinstance(error, contract_errors.WrongPayment)
    assert str(error) == "5 base units were sent, the plan costs 10: send exactly 10"
    assert error.values == {"paid": 5, "due": 10}
    assert isinstance(error, TransactionFailed)


def test_what_does_not_exist_is_not_found_as_well() -> None:
    data = keccak(text="AssetUnknown(bytes32)")[:4] + b"\x01" * 32
    error = refusal(data, CALL)
    assert isinstance(error, NotFound)
    assert isinstance(error, ContractRefused)
    assert "0x" + "01" * 32 in str(error)


def test_the_same_name_in_two_contracts_is_told_apart_by_its_types() -> None:
    of_asset = keccak(text="NodeUnknown(bytes32,address)")[:4] + encode(
        ["bytes32", "address"], [b"\1" * 32, "0x" + "22" * 20]
    )
    of_registry = keccak(text="NodeUnknown(address)")[:4] + encode(["address"], ["0x" + "22" * 20])
    assert isinstance(refusal(of_asset, CALL), contract_errors.AssetNodeUnknown)
    assert isinstance(refusal(of_registry, CALL), contract_errors.NodeUnknown)


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (keccak(text="Error(string)")[:4] + encode(["string"], ["no luck"]), "Error", "no luck"),
        (keccak(text="Panic(uint256)")[:4] + encode(["uint256"], [0x11]), "Panic", "arithmetic overflow"),
        (keccak(text="Panic(uint256)")[:4] + encode(["uint256"], [0x77]), "Panic", "0x77"),
        (bytes.fromhex("deadbeef"), "unknown", "0xdeadbeef"),
        (keccak(text="WrongPayment(uint256,uint256)")[:4] + b"\1", "unknown", "purchase"),
        (b"", "unknown", "PlanRegistry.purchase"),
    ],
)
def test_other_reverts_say_what_is_known(data: bytes, name: str, says: str) -> None:
    error = refusal(data, CALL)
    assert (type(error), error.name) == (ContractRefused, name)
    assert says in str(error)


@pytest.mark.parametrize(
    ("retired", "owner", "says"),
    [
        (True, "0x" + "ab" * 20, "is retired"),
        (False, "0x" + "00" * 20, "no such plan"),
        (False, "0x" + "ab" * 20, "belongs to"),
    ],
)
def test_an_unusable_plan_says_which_of_three_reasons_it_is(retired: bool, owner: str, says: str) -> None:
    error = contract_errors.PlanNotUsable({"planId": b"\1" * 32, "owner": owner, "retired": retired})
    assert says in str(error)
