"""Receipts and their trees: every leaf proves, and nothing that was altered does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from nvm_chain.canonical import dumps
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.merkle import Tree, leaf_hash, root_of
from nvm_chain.plans import PlanId
from nvm_chain.receipts import Proof, Receipt, ReceiptInvalid
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet

NODE = LocalWallet.create()
RECEIPT = Receipt(
    node=NODE.address,
    chain_id=31337,
    registry="0x" + "5FbDB2315678afecb367f032d93F642f64180aa3",
    did=Did(b"\1" * 32),
    plan_id=PlanId(b"\2" * 32),
    subscriber="0x" + "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    id="chg_18c0ffee18c0ffee0123456789ab",
    request_id="req_0123456789abcdef01234567",
    credits=3,
    usage={"input_tokens": 12, "output_tokens": 5},
    flags=frozenset({"hung_up"}),
    time=1_790_000_000,
)
documents = st.lists(st.binary(max_size=12), min_size=1, max_size=40, unique=True)


async def proof_of(receipts: list[Receipt], index: int) -> Proof:
    tree = Tree(one.leaf for one in receipts)
    receipt = receipts[index]
    return Proof(
        receipt=receipt,
        signature=await receipt.sign(NODE),
        index=index,
        size=tree.size,
        path=tree.path(index),
        root=tree.root,
        batch=7,
        block=100,
        transaction="0x" + 64 * "a",
    )


def several(count: int) -> list[Receipt]:
    return [replace(RECEIPT, id=f"chg_{n:028x}", credits=n) for n in range(count)]


# ------------------------------------------------------------------------------------------------------------- trees


@given(documents)
def test_every_leaf_proves(found: list[bytes]) -> None:
    leaves = [leaf_hash(one) for one in found]
    tree = Tree(leaves)
    for index, leaf in enumerate(leaves):
        assert tree.index(leaf) == index
        assert root_of(leaf, index, tree.size, tree.path(index)) == tree.root


@given(documents, st.data())
def test_an_altered_leaf_place_size_or_path_does_not_prove(found: list[bytes], data: st.DataObject) -> None:
    tree = Tree(map(leaf_hash, found))
    index = data.draw(st.integers(0, tree.size - 1))
    leaf, path = leaf_hash(found[index]), tree.path(index)
    foreign = data.draw(st.binary(min_size=32, max_size=32).filter(lambda one: one != leaf))
    assert root_of(foreign, index, tree.size, path) != tree.root
    for other in {data.draw(st.integers(0, tree.size + 2)), index - 1, index + 1} - {index}:
        assert root_of(leaf, other, tree.size, path) != tree.root
    at = data.draw(st.integers(0, len(path)))
    assert root_of(leaf, index, tree.size, (*path[:at], foreign, *path[at:])) != tree.root
    if path:
        at = min(at, len(path) - 1)
        assert root_of(leaf, index, tree.size, path[:at] + path[at + 1 :]) != tree.root
        broken = bytes([path[at][0] ^ 1]) + path[at][1:]
        assert root_of(leaf, index, tree.size, (*path[:at], broken, *path[at + 1 :])) != tree.root


@given(documents, st.data())
def test_a_root_changes_with_every_leaf_their_order_and_their_number(found: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf_hash(one) for one in found]
    root = Tree(leaves).root
    at = data.draw(st.integers(0, len(leaves) - 1))
    assert Tree([*leaves[:at], bytes(32), *leaves[at + 1 :]]).root != root
    assert Tree([*leaves, leaves[-1]]).root != root, "a last leaf written twice is another tree"
    if len(leaves) > 1:
        assert Tree(leaves[1:] + leaves[:1]).root != root
        assert Tree(leaves[:-1]).root != root


def test_a_node_can_not_be_passed_off_as_a_document() -> None:
    leaves = [leaf_hash(one) for one in (b"a", b"b", b"c", b"d")]
    tree = Tree(leaves)
    left, right = (keccak(b"\1" + leaves[n] + leaves[n + 1]) for n in (0, 2))
    assert tree.root == keccak(b"\1" + left + right)
    # The two halves as the leaves of a smaller tree lead to the same hash, but nothing is a document with that hash.
    assert leaf_hash(leaves[0] + leaves[1]) != left
    assert leaf_hash(b"\1" + leaves[0] + leaves[1]) != left


def test_a_lone_node_moves_up_as_it_is() -> None:
    a, b, c = (leaf_hash(one) for one in (b"a", b"b", b"c"))
    assert Tree([a, b, c]).root == keccak(b"\1" + keccak(b"\1" + a + b) + c)
    assert Tree([a]).root == a


@pytest.mark.parametrize("leaves", [[], [b"short"]])
def test_a_tree_of_nothing_or_of_something_else_is_refused(leaves: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tree(leaves)


# ---------------------------------------------------------------------------------------------------------- receipts


def test_the_hash_is_that_of_the_canonical_document() -> None:
    assert RECEIPT.leaf == keccak(b"\0" + dumps(RECEIPT.document()))
    assert Receipt.parse(json.loads(dumps(RECEIPT.document()))) == RECEIPT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("node", LocalWallet(Secret("01" * 32)).address),
        ("chain_id", 1),
        ("registry", LocalWallet(Secret("02" * 32)).address),
        ("did", str(Did(b"\3" * 32))),
        ("plan_id", str(PlanId(b"\3" * 32))),
        ("subscriber", LocalWallet(Secret("03" * 32)).address),
        ("id", "chg_18c0ffee18c0ffee0123456789ac"),
        ("request_id", "req_1123456789abcdef01234567"),
        ("credits", "2"),
        ("credits", "03"),
        ("credits", 3),
        ("credits", "-3"),
        ("usage", None),
        ("usage", {"input_tokens": 12, "output_tokens": 6}),
        ("usage", {"input_tokens": 12.0, "output_tokens": 5}),
        ("flags", []),
        ("flags", ["hung_up", "hung_up"]),
        ("time", 1_790_000_001),
        ("time", True),
        ("more", 1),
    ],
)
async def test_a_receipt_with_any_field_altered_does_not_hold(field: str, value: Any) -> None:
    document = (await proof_of([*several(2), RECEIPT], 2)).document()
    document["receipt"][field] = value
    del document["hash"]
    with pytest.raises((ReceiptInvalid, InvalidInput)):
        Proof.parse(json.dumps(document).encode()).check()


@pytest.mark.parametrize("field", sorted(RECEIPT.document()))
async def test_a_receipt_without_a_field_is_refused(field: str) -> None:
    document = RECEIPT.document()
    del document[field]
    with pytest.raises(ReceiptInvalid):
        Receipt.parse(document)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signature", "0x" + 130 * "0"),
        ("signature", "0x"),
        ("hash", "0x" + 64 * "0"),
        ("index", 1),
        ("size", 4),
        ("path", []),
        ("root", "0x" + 64 * "0"),
    ],
)
async def test_a_proof_with_any_part_altered_does_not_hold(field: str, value: Any) -> None:
    document = (await proof_of(several(3), 2)).document()
    with pytest.raises(ReceiptInvalid):
        Proof.parse(json.dumps({**document, field: value}).encode()).check()


async def test_a_proof_survives_its_way_through_a_file() -> None:
    for index in range(3):
        proof = await proof_of(several(3), index)
        read = Proof.parse(json.dumps(proof.document(), indent=2).encode())
        assert read == proof
        read.check()


async def test_a_signature_is_the_same_every_time_and_nobody_elses_counts() -> None:
    signature = await RECEIPT.sign(NODE)
    assert signature == await RECEIPT.sign(NODE)
    RECEIPT.check_signature(signature)
    with pytest.raises(ReceiptInvalid, match="is by 0x"):
        RECEIPT.check_signature(await RECEIPT.sign(LocalWallet.create()))


async def test_a_node_can_not_sign_a_receipt_without_knowing_it() -> None:
    """What a wallet shows and signs for something else (a voucher, a login) is no receipt."""
    for other in (await NODE.sign_message(RECEIPT.leaf), await NODE.sign_message(dumps(RECEIPT.document()))):
        with pytest.raises(ReceiptInvalid):
            RECEIPT.check_signature(other)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"[]", "no proof"),
        (b'{"receipt": {}, "hash": "0x"}', "without its proof"),
        (b'{"a": 1, "a": 2}', "duplicate"),
        (b" " * (1 << 20) + b"{}", "too large"),
    ],
)
def test_something_that_is_no_proof_is_told_from_a_wrong_one(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        Proof.parse(text)


@given(
    credits=st.integers(0, 2**63 - 1),
    usage=st.none() | st.dictionaries(st.text(max_size=8), st.integers(0, 2**63 - 1), max_size=4),
    flags=st.frozensets(st.text(max_size=5), max_size=3),
    time=st.integers(0, 2**40),
)
@settings(max_examples=50)
def test_whatever_the_ledger_holds_has_a_receipt(
    credits: int, usage: dict[str, int] | None, flags: frozenset[str], time: int
) -> None:
    receipt = replace(RECEIPT, credits=credits, usage=usage, flags=flags, time=time)
    assert receipt.canonical() == dumps(receipt.document())
    assert Receipt.parse(json.loads(dumps(receipt.document()))).leaf == receipt.leaf
