"""What wallets sign, who judges it, and the contracts' constants."""

from __future__ import annotations

from eth_abi.abi import encode
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from nvm_chain.abi import ZERO_ADDRESS
from tests.contracts.spec.conftest import DAY, World

HASH = keccak(text="what is signed")
MAGIC_6492 = bytes.fromhex("6492") * 16


def test_the_domain_is_that_of_eip_712_for_this_chain_and_contract(world: World) -> None:
    kind = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    name, version = keccak(text="nvm-chain PlanRegistry"), keccak(text="1")
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    expected = keccak(encode(types, [kind, name, version, 31337, world.plans.address]))
    assert world.plans.DOMAIN_SEPARATOR() == expected


def test_a_key_signs_for_its_own_account_only(world: World) -> None:
    message = encode_defunct(text="what is signed")
    hash_ = keccak(b"\x19" + message.version + message.header + message.body)
    signed = bytes(world.subscriber.sign_message(message).encode_rsv())
    valid = world.validator.isValidSignature.call
    assert valid(world.subscriber, hash_, signed) is True
    assert valid(world.stranger, hash_, signed) is False
    assert valid(world.subscriber, HASH, signed) is False
    assert valid(world.subscriber, hash_, signed[:64] + bytes([signed[64] ^ 1])) is False
    assert valid(world.subscriber, hash_, signed[:64]) is False
    assert world.validator.isValidSignature.call(ZERO_ADDRESS, hash_, bytes(65)) is False


def test_a_wrapped_signature_brings_a_factory_a_call_and_the_wallets_own(world: World) -> None:
    wrapped = encode(["address", "bytes", "bytes"], [world.token.address, b"call", b"inner"])
    factory, prepare, signature = world.validator.unwrap(wrapped)
    assert (factory, HexBytes(prepare), HexBytes(signature)) == (world.token.address, b"call", b"inner")
    # Its factory deploys no wallet, and what is no such triple is a bad signature: neither is a failure.
    for noise in (wrapped, b"", b"\x01" * 96):
        assert world.validator.isValidSignature.call(world.subscriber, HASH, noise + MAGIC_6492) is False


def test_the_contracts_know_each_other_and_their_limits(world: World) -> None:
    assert world.plans.assetRegistry() == world.assets.address
    assert world.plans.signatureValidator() == world.validator.address
    assert world.assets.planRegistry() == world.lens.planRegistry() == world.plans.address
    assert world.assets.nodeRegistry() == world.nodes.address
    assert tuple(world.plans.protocolFee()) == (ZERO_ADDRESS, 0)
    assert (world.plans.MIN_REFUND_COOLDOWN(), world.plans.VOUCHER_GAS()) == (3_600, 1_000_000)
    assert (world.assets.NOTICE_PERIOD(), world.assets.SETTLEMENT_WINDOW()) == (DAY, DAY)
    assert (world.assets.MAX_OFFERS(), world.assets.MAX_NODES()) == (16, 8)
    assert (world.nodes.MAX_OVERLAP(), world.nodes.MAX_ENDPOINT()) == (90 * DAY, 200)
