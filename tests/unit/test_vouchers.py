"""Vouchers: one digest, however it is computed and whoever signs."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from nvm_chain.errors import InvalidInput
from nvm_chain.plans import PlanId
from nvm_chain.secret import Secret
from nvm_chain.vouchers import Voucher, is_signed_by, sign_voucher, voucher_digest, voucher_typed_data
from nvm_chain.wallet import LocalWallet

REGISTRY = "0x1111111111111111111111111111111111111111"
PLAN = PlanId(b"\x07" * 32)
WALLET = LocalWallet(Secret(b"\x01" * 32))


def test_the_digest_is_that_of_the_typed_data() -> None:
    signable = encode_typed_data(full_message=voucher_typed_data(8453, REGISTRY, PLAN, WALLET.address, 12_345))
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert voucher_digest(8453, REGISTRY, PLAN, WALLET.address, 12_345) == expected


async def test_a_signed_voucher_recovers_to_its_subscriber() -> None:
    voucher = await sign_voucher(WALLET, 8453, REGISTRY, PLAN, 500)
    digest = voucher_digest(8453, REGISTRY, PLAN, WALLET.address, 500)
    assert voucher.ceiling == 500
    assert Account._recover_hash(digest, signature=voucher.signature) == WALLET.address


async def test_chain_contract_plan_and_ceiling_each_change_the_signature() -> None:
    same = await sign_voucher(WALLET, 8453, REGISTRY, PLAN, 500)
    others = [
        await sign_voucher(WALLET, 10, REGISTRY, PLAN, 500),
        await sign_voucher(WALLET, 8453, "0x2222222222222222222222222222222222222222", PLAN, 500),
        await sign_voucher(WALLET, 8453, REGISTRY, PlanId(b"\x08" * 32), 500),
        await sign_voucher(WALLET, 8453, REGISTRY, PLAN, 501),
    ]
    assert len({same.signature, *(other.signature for other in others)}) == 5


@pytest.mark.parametrize("ceiling", [-1, 2**256])
def test_a_ceiling_that_is_no_256_bit_number_is_refused(ceiling: int) -> None:
    with pytest.raises(InvalidInput, match="256-bit"):
        Voucher(ceiling, b"")


async def test_a_signature_is_the_accounts_own_only_in_the_form_that_the_contract_takes_without_asking() -> None:
    where = 8453, REGISTRY, PLAN, WALLET.address
    good = await sign_voucher(WALLET, 8453, REGISTRY, PLAN, 500)
    r, s, v = good.signature[:32], int.from_bytes(good.signature[32:64], "big"), good.signature[64]
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    mirrored = r + (order - s).to_bytes(32, "big") + bytes([55 - v])
    assert is_signed_by(*where, good)
    assert not is_signed_by(*where, Voucher(501, good.signature))
    assert not is_signed_by(8453, REGISTRY, PLAN, "0x" + "22" * 20, good)
    for other in (b"", bytes(65), good.signature + b"\0", good.signature[:64] + bytes([v - 27]), mirrored):
        assert not is_signed_by(*where, Voucher(500, other))
