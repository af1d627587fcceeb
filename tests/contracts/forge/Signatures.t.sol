// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISignatureValidator} from "../../../contracts/interfaces/ISignatureValidator.sol";
import {World} from "./World.sol";
import {BrokenWallet, Wallet1271, WalletFactory, YesWallet} from "./actors/Wallets.sol";

/// @notice A wallet that says yes only after it has been prepared (ERC-6492 for wallets that are deployed already).
contract UnpreparedWallet is Wallet1271 {
    bool public prepared;

    constructor(address owner) Wallet1271(owner) {}

    function prepare() external {
        prepared = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view override returns (bytes4) {
        if (!prepared) return 0xffffffff;
        address signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer == OWNER ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @notice SignatureValidator: EOA, ERC-1271 and ERC-6492, never a revert for a bad signature.
contract SignaturesTest is World {
    bytes32 internal constant MAGIC_6492 = 0x6492649264926492649264926492649264926492649264926492649264926492;
    uint256 internal constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    bytes32 internal constant HASH = keccak256("what is signed");
    ISignatureValidator internal check;

    function setUp() public override {
        super.setUp();
        check = ISignatureValidator(validator);
    }

    function wrap(address factory, bytes memory call, bytes memory inner) internal pure returns (bytes memory) {
        return abi.encodePacked(abi.encode(factory, call, inner), MAGIC_6492);
    }

    function test_isValidSignature_knowsTheOwnersOfKeys() public {
        bytes memory signed = signature(keyOf("alice"), HASH);
        yes(check.isValidSignature(alice, HASH, signed), "alice's");
        no(check.isValidSignature(bob, HASH, signed), "not bob's");
        no(check.isValidSignature(alice, keccak256("something else"), signed), "of something else");
        no(check.isValidSignature(address(0), HASH, new bytes(65)), "zero signs nothing");
    }

    function testFuzz_isValidSignature_takesOneFormOfEachSignature(uint256 key, bytes32 hash) public {
        key = within(key, 1, CURVE_ORDER - 1);
        address signer = vm.addr(key);
        vm.assume(signer.code.length == 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, hash);
        yes(check.isValidSignature(signer, hash, abi.encodePacked(r, s, v)), "as signed");
        bytes32 twin = bytes32(CURVE_ORDER - uint256(s));
        no(check.isValidSignature(signer, hash, abi.encodePacked(r, twin, v == 27 ? 28 : 27)), "high s");
        no(check.isValidSignature(signer, hash, abi.encodePacked(r, s, v - 27)), "v of 0 or 1");
        no(check.isValidSignature(signer, hash, abi.encodePacked(r, s, v, uint8(0))), "a byte more");
        no(check.isValidSignature(signer, hash, abi.encodePacked(r, s)), "a byte less");
    }

    function testFuzz_isValidSignature_neverRevertsForNoise(bytes memory noise, bool wrapped) public {
        if (wrapped) noise = abi.encodePacked(noise, MAGIC_6492);
        no(check.isValidSignature(alice, HASH, noise), "noise");
        no(check.isValidSignature(address(new Wallet1271(alice)), HASH, noise), "noise for a wallet");
    }

    function test_isValidSignature_asksContractWallets() public {
        address wallet = address(new Wallet1271(alice));
        yes(check.isValidSignature(wallet, HASH, signature(keyOf("alice"), HASH)), "the owner's");
        no(check.isValidSignature(wallet, HASH, signature(keyOf("bob"), HASH)), "somebody else's");
        yes(check.isValidSignature(address(new YesWallet()), HASH, ""), "whatever the wallet accepts");
        for (uint256 i; i < 6; i++) {
            BrokenWallet broken = new BrokenWallet(BrokenWallet.Way(i));
            no(check.isValidSignature(address(broken), HASH, new bytes(65)), "no clear yes");
        }
        no(check.isValidSignature(address(plans), HASH, new bytes(65)), "a contract that is no wallet");
    }

    function test_isValidSignature_deploysWalletsThatAreNotThereYet() public {
        WalletFactory factory = new WalletFactory();
        address wallet = factory.walletOf(alice, "salt");
        bytes memory deploy = abi.encodeCall(factory.deploy, (alice, "salt"));
        no(check.isValidSignature(wallet, HASH, signature(keyOf("alice"), HASH)), "not there, not wrapped");
        no(
            check.isValidSignature(wallet, HASH, wrap(address(factory), deploy, signature(keyOf("bob"), HASH))),
            "somebody else's"
        );
        yes(
            check.isValidSignature(wallet, HASH, wrap(address(factory), deploy, signature(keyOf("alice"), HASH))),
            "the owner's"
        );
        eq(factory.deployments(), 1, "deployed once");
        yes(
            check.isValidSignature(wallet, HASH, wrap(address(factory), deploy, signature(keyOf("alice"), HASH))),
            "wrapped, although it is there"
        );
    }

    function test_isValidSignature_preparesWalletsThatAreThere() public {
        UnpreparedWallet wallet = new UnpreparedWallet(alice);
        bytes memory signed = signature(keyOf("alice"), HASH);
        no(check.isValidSignature(address(wallet), HASH, signed), "not prepared");
        yes(
            check.isValidSignature(
                address(wallet), HASH, wrap(address(wallet), abi.encodeCall(wallet.prepare, ()), signed)
            ),
            "prepared"
        );
    }

    function test_isValidSignature_aFactoryThatFailsMakesABadSignature() public {
        WalletFactory factory = new WalletFactory();
        address wallet = factory.walletOf(alice, "salt");
        bytes memory signed = signature(keyOf("alice"), HASH);
        no(check.isValidSignature(wallet, HASH, wrap(address(factory), hex"deadbeef", signed)), "it reverts");
        no(check.isValidSignature(wallet, HASH, wrap(address(0xdead), "", signed)), "it is not there");
        // an externally owned account cannot be wrapped: there is no wallet to ask
        no(check.isValidSignature(alice, HASH, wrap(address(0xdead), "", signed)), "no wallet");
    }

    function test_isValidSignature_aFailedPreparationIsNoYes() public {
        // the wallet would say yes to anything, but the wrapped call reverts and it never gets asked again
        UnpreparedWallet wallet = new UnpreparedWallet(alice);
        bytes memory signed = signature(keyOf("alice"), HASH);
        no(check.isValidSignature(address(wallet), HASH, wrap(address(wallet), hex"deadbeef", signed)), "not prepared");
    }
}
