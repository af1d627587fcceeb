// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {BrokenWallet, FickleWallet, Wallet1271, WalletFactory, YesWallet} from "./actors/Wallets.sol";

/// @notice settleWithVouchers: `consumed` never rises above the ceiling that the subscriber signed (I9).
contract VoucherTest is World {
    bytes32 internal constant MAGIC_6492 = 0x6492649264926492649264926492649264926492649264926492649264926492;
    uint256 internal constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    bytes32 internal planId;
    bytes32 internal did;

    function setUp() public override {
        super.setUp();
        planId = voucherPlan();
        did = registerAsset(planId, 1, 10);
        buy(planId, alice, 1);
        buy(planId, bob, 1);
    }

    function voucherPlan() internal returns (bytes32) {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.voucherRequired = true;
        return createPlan(terms);
    }

    function settle(uint64 batch, bytes32[] memory list, IPlanRegistry.Voucher[] memory signed) internal {
        vm.prank(node);
        plans.settleWithVouchers(did, planId, batch, 0, list, signed);
    }

    function refuseVoucher(uint256 index, address subscriber, uint256 ceiling) internal {
        refuse(abi.encodeWithSelector(IPlanRegistry.InvalidVoucher.selector, index, subscriber, ceiling));
    }

    // ------------------------------------------------------------------------------------------------- the ceiling

    function test_settleWithVouchers_takesUpToTheCeiling() public {
        settle(1, entries(entry(alice, 5, 30)), vouchers(voucher(planId, keyOf("alice"), alice, 30)));
        eq(standing(planId, alice).consumed, 30, "consumed");
        eq(balanceOf(planId, alice), 70, "balance");
    }

    function test_settleWithVouchers_reportsWhatTheCeilingDoesNotCover() public {
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Shortfall(planId, alice, node, 1, 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Settled(did, planId, node, 1, 5, 31, 30, 0);
        settle(1, entries(entry(alice, 5, 31)), vouchers(voucher(planId, keyOf("alice"), alice, 30)));
        eq(standing(planId, alice).consumed, 30, "at the ceiling, not above");
    }

    function test_settleWithVouchers_oneSignatureCoversAnyNumberOfBatches() public {
        IPlanRegistry.Voucher[] memory signed = vouchers(voucher(planId, keyOf("alice"), alice, 25));
        settle(1, entries(entry(alice, 1, 10)), signed);
        settle(2, entries(entry(alice, 1, 10)), signed);
        settle(3, entries(entry(alice, 1, 10)), signed);
        eq(standing(planId, alice).consumed, 25, "the ceiling is cumulative");
        settle(4, entries(entry(alice, 1, 10)), signed);
        eq(standing(planId, alice).consumed, 25, "and stays");
    }

    function test_settleWithVouchers_anOlderVoucherIsOnlyWeaker() public {
        settle(1, entries(entry(alice, 5, 50)), vouchers(voucher(planId, keyOf("alice"), alice, 50)));
        settle(2, entries(entry(alice, 1, 10)), vouchers(voucher(planId, keyOf("alice"), alice, 20)));
        eq(standing(planId, alice).consumed, 50, "nothing taken, nothing given back");
    }

    function testFuzz_settleWithVouchers_neverPassesTheCeilingNorTheBalance(
        uint256 ceiling,
        uint64 first,
        uint64 second
    ) public {
        first = uint64(within(first, 20, 200));
        second = uint64(within(second, 20, 200));
        IPlanRegistry.Voucher[] memory signed = vouchers(voucher(planId, keyOf("alice"), alice, ceiling));
        settle(1, entries(entry(alice, 20, first)), signed);
        settle(2, entries(entry(alice, 20, second)), signed);
        uint256 asked = uint256(first) + second;
        uint256 cover = ceiling < 100 ? ceiling : 100;
        eq(standing(planId, alice).consumed, asked < cover ? asked : cover, "consumed");
        eq(balanceOf(planId, alice), 100 - standing(planId, alice).consumed, "balance");
    }

    function test_settleWithVouchers_oneVoucherPerEntryInTheirOrder() public {
        IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](2);
        signed[0] = voucher(planId, keyOf("alice"), alice, 10);
        signed[1] = voucher(planId, keyOf("bob"), bob, 5);
        settle(1, entries(entry(alice, 1, 10), entry(bob, 1, 10)), signed);
        eq(standing(planId, alice).consumed, 10, "alice");
        eq(standing(planId, bob).consumed, 5, "bob");
        refuseVoucher(0, bob, 10);
        settle(2, entries(entry(bob, 1, 10), entry(alice, 1, 10)), signed);
    }

    function test_settle_isRefusedWhereVouchersAreRequired() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.VouchersRequired.selector, planId, 0, 1));
        vm.prank(node);
        plans.settle(did, planId, 1, 0, entries(entry(alice, 1, 10)));
    }

    function test_settleWithVouchers_holdsTheCeilingAlsoWhereNoneIsRequired() public {
        bytes32 free = createPlan(creditTerms());
        bytes32 freeDid = registerAsset(free, 1, 10);
        buy(free, alice, 1);
        IPlanRegistry.Voucher[] memory signed = vouchers(voucher(free, keyOf("alice"), alice, 4));
        vm.prank(node);
        plans.settleWithVouchers(freeDid, free, 1, 0, entries(entry(alice, 1, 10)), signed);
        eq(standing(free, alice).consumed, 4, "what was signed");
    }

    function test_settleWithVouchers_refusesAnotherNumberOfVouchers() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.VouchersRequired.selector, planId, 0, 1));
        settle(1, entries(entry(alice, 1, 10)), new IPlanRegistry.Voucher[](0));
        IPlanRegistry.Voucher[] memory one = vouchers(voucher(planId, keyOf("alice"), alice, 9));
        refuse(abi.encodeWithSelector(IPlanRegistry.VouchersRequired.selector, planId, 1, 2));
        settle(1, entries(entry(alice, 1, 1), entry(bob, 1, 1)), one);
    }

    function test_settleWithVouchers_obeysEverythingElse() public {
        IPlanRegistry.Voucher[] memory signed = vouchers(voucher(planId, keyOf("alice"), alice, 100));
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 11, 1, 10));
        settle(1, entries(entry(alice, 1, 11)), signed);
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, 2, 1));
        settle(2, entries(entry(alice, 1, 10)), signed);
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, stranger));
        vm.prank(stranger);
        plans.settleWithVouchers(did, planId, 1, 0, entries(entry(alice, 1, 10)), signed);
    }

    // ------------------------------------------------------------------------------------------ what was not signed

    function testFuzz_settleWithVouchers_refusesAnotherCeiling(uint256 signedCeiling, uint256 claimed) public {
        vm.assume(signedCeiling != claimed);
        IPlanRegistry.Voucher memory forged = voucher(planId, keyOf("alice"), alice, signedCeiling);
        forged.ceiling = claimed;
        refuseVoucher(0, alice, claimed);
        settle(1, entries(entry(alice, 1, 10)), vouchers(forged));
    }

    function test_settleWithVouchers_refusesAnotherSigner() public {
        IPlanRegistry.Voucher memory forged = voucher(planId, keyOf("other node"), alice, 100);
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(forged));
    }

    function test_settleWithVouchers_refusesAVoucherOfAnotherSubscriber() public {
        IPlanRegistry.Voucher memory bobs = voucher(planId, keyOf("bob"), bob, 100);
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(bobs));
    }

    function test_settleWithVouchers_refusesAVoucherOfAnotherPlan() public {
        IPlanRegistry.Voucher memory other = voucher(voucherPlan(), keyOf("alice"), alice, 100);
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(other));
    }

    function test_settleWithVouchers_refusesAVoucherOfAnotherChain() public {
        IPlanRegistry.Voucher memory here = voucher(planId, keyOf("alice"), alice, 100);
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        yes(
            keccak256(abi.encode(voucher(planId, keyOf("alice"), alice, 100).signature))
                != keccak256(abi.encode(here.signature)),
            "the domain follows the chain"
        );
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(here));
        vm.chainId(home);
        settle(1, entries(entry(alice, 1, 10)), vouchers(here));
    }

    function test_settleWithVouchers_refusesAVoucherOfAnotherDeployment() public {
        bytes32 other = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("nvm-chain PlanRegistry"),
                keccak256("1"),
                block.chainid,
                address(0xbeef)
            )
        );
        bytes memory signed = signature(keyOf("alice"), voucherDigest(other, planId, alice, 100));
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(IPlanRegistry.Voucher(100, signed)));
    }

    function test_DOMAIN_SEPARATOR_isTheOneThatWalletsCompute() public {
        bytes32 typehash =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        bytes32 name = keccak256("nvm-chain PlanRegistry");
        bytes32 version = keccak256("1");
        eq(
            plans.DOMAIN_SEPARATOR(),
            keccak256(abi.encode(typehash, name, version, block.chainid, address(plans))),
            "here"
        );
        vm.chainId(8453);
        eq(plans.DOMAIN_SEPARATOR(), keccak256(abi.encode(typehash, name, version, 8453, address(plans))), "elsewhere");
    }

    function test_settleWithVouchers_refusesTheMalleatedSignature() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), voucherDigest(planId, alice, 100));
        bytes memory twin = abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? 28 : 27);
        eq(twin.length, 65, "a signature");
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(IPlanRegistry.Voucher(100, twin)));
    }

    function test_settleWithVouchers_refusesGarbage() public {
        bytes memory good = voucher(planId, keyOf("alice"), alice, 100).signature;
        bytes[6] memory bad;
        bad[0] = "";
        bad[1] = new bytes(64);
        bad[2] = new bytes(65);
        bad[3] = abi.encodePacked(good, uint8(0));
        bad[4] = abi.encodePacked(MAGIC_6492, uint8(0));
        bad[5] = abi.encodePacked(abi.encode(address(0), "", good), MAGIC_6492, uint8(0));
        for (uint256 i; i < bad.length; i++) {
            refuseVoucher(0, alice, 100);
            settle(1, entries(entry(alice, 1, 10)), vouchers(IPlanRegistry.Voucher(100, bad[i])));
        }
    }

    function testFuzz_settleWithVouchers_refusesRandomBytes(bytes memory noise) public {
        refuseVoucher(0, alice, 100);
        settle(1, entries(entry(alice, 1, 10)), vouchers(IPlanRegistry.Voucher(100, noise)));
    }

    function test_settleWithVouchers_noSignatureSpeaksForTheZeroAddress() public {
        // ecrecover answers zero for garbage: zero must not be a signer
        refuseVoucher(0, address(0), 100);
        settle(1, entries(entry(address(0), 1, 10)), vouchers(IPlanRegistry.Voucher(100, new bytes(65))));
    }

    // -------------------------------------------------------------------------------------------- contract wallets

    function test_settleWithVouchers_takesErc1271Wallets() public {
        address wallet = address(new Wallet1271(alice));
        give(planId, wallet, 1);
        settle(1, entries(entry(wallet, 1, 10)), vouchers(voucher(planId, keyOf("alice"), wallet, 8)));
        eq(standing(planId, wallet).consumed, 8, "consumed");
        IPlanRegistry.Voucher memory forged = voucher(planId, keyOf("bob"), wallet, 100);
        expectNothingTaken(2, wallet, forged);
    }

    /// @notice The batch is applied; all that the wallet's entry asks for falls short.
    function expectNothingTaken(uint64 batch, address wallet, IPlanRegistry.Voucher memory refused) internal {
        uint88 before = standing(planId, wallet).consumed;
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Shortfall(planId, wallet, node, batch, 10);
        settle(batch, entries(entry(wallet, 1, 10)), vouchers(refused));
        eq(standing(planId, wallet).consumed, before, "nothing is taken");
        eq(plans.nextBatch(did, planId, node), batch + 1, "the batch is applied");
    }

    function test_settleWithVouchers_takesNothingFromWalletsWhoseAnswerIsNoYes() public {
        for (uint256 i; i < 6; i++) {
            address wallet = address(new BrokenWallet(BrokenWallet.Way(i)));
            give(planId, wallet, 1);
            expectNothingTaken(uint64(i) + 1, wallet, IPlanRegistry.Voucher(100, new bytes(65)));
        }
    }

    function test_settleWithVouchers_aWalletThatChangesItsMindFailsItsOwnEntryOnly() public {
        // an eth_call has no gas price: the wallet says yes to the node that asks, and no to the transaction
        FickleWallet wallet = new FickleWallet();
        give(planId, address(wallet), 1);
        IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](3);
        signed[0] = voucher(planId, keyOf("alice"), alice, 10);
        signed[1] = IPlanRegistry.Voucher(100, "");
        signed[2] = voucher(planId, keyOf("bob"), bob, 10);
        bytes32[] memory list = entries(entry(alice, 1, 10), entry(address(wallet), 1, 10), entry(bob, 1, 10));
        uint256 snapshot = vm.snapshotState();
        vm.txGasPrice(0);
        settle(1, list, signed);
        eq(standing(planId, address(wallet)).consumed, 10, "asked beforehand");
        vm.revertToState(snapshot);

        vm.txGasPrice(1 gwei);
        settle(1, list, signed);
        eq(standing(planId, address(wallet)).consumed, 0, "not accepted");
        eq(standing(planId, alice).consumed, 10, "alice is settled");
        eq(standing(planId, bob).consumed, 10, "bob is settled");
        // what fell short can be claimed again
        vm.txGasPrice(0);
        settle(2, entries(entry(address(wallet), 1, 10)), vouchers(signed[1]));
        eq(standing(planId, address(wallet)).consumed, 10, "settled later");
    }

    function test_settleWithVouchers_aWalletThatBurnsGasBurnsABoundedAmount() public {
        address wallet = address(new BrokenWallet(BrokenWallet.Way.BurnsGas));
        give(planId, wallet, 1);
        IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](2);
        signed[0] = IPlanRegistry.Voucher(100, "");
        signed[1] = voucher(planId, keyOf("alice"), alice, 10);
        bytes32[] memory list = entries(entry(wallet, 1, 10), entry(alice, 1, 10));
        uint256 before = gasleft();
        settle(1, list, signed);
        vm.assertLe(before - gasleft(), plans.VOUCHER_GAS() + 300_000, "all the gas that there was");
        eq(standing(planId, alice).consumed, 10, "alice is settled");
    }

    function testFuzz_settleWithVouchers_noAmountOfGasMakesAGoodVoucherFallShort(uint256 sent) public {
        address wallet = address(new Wallet1271(alice));
        give(planId, wallet, 1);
        bytes memory call = abi.encodeCall(
            plans.settleWithVouchers,
            (did, planId, 1, 0, entries(entry(wallet, 1, 10)), vouchers(voucher(planId, keyOf("alice"), wallet, 10)))
        );
        vm.prank(node);
        (bool ok,) = address(plans).call{gas: within(sent, 100_000, 1_300_000)}(call);
        eq(standing(planId, wallet).consumed, ok ? 10 : 0, "all or nothing");
    }

    function test_settleWithVouchers_saysWhenTheGasDoesNotReachForAWallet() public {
        address wallet = address(new Wallet1271(alice));
        give(planId, wallet, 1);
        IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](2);
        signed[0] = voucher(planId, keyOf("bob"), bob, 10);
        signed[1] = voucher(planId, keyOf("alice"), wallet, 10);
        bytes32[] memory list = entries(entry(bob, 1, 10), entry(wallet, 1, 10));
        uint256 needed = plans.VOUCHER_GAS() * 64 / 63 + 5_000;
        refuse(abi.encodeWithSelector(IPlanRegistry.GasTooLow.selector, 1, needed));
        vm.prank(node);
        plans.settleWithVouchers{gas: 1_000_000}(did, planId, 1, 0, list, signed);
    }

    function test_settleWithVouchers_takesWalletsThatAreNotDeployedYet() public {
        WalletFactory factory = new WalletFactory();
        address wallet = factory.walletOf(alice, "salt");
        give(planId, wallet, 1);
        IPlanRegistry.Voucher memory signed = counterfactual(factory, "alice", "salt", 30);
        settle(1, entries(entry(wallet, 1, 10)), vouchers(signed));
        eq(standing(planId, wallet).consumed, 10, "consumed");
        // the same signature once the wallet is there
        factory.deploy(alice, "salt");
        settle(2, entries(entry(wallet, 1, 10)), vouchers(signed));
        eq(standing(planId, wallet).consumed, 20, "consumed");
        settle(3, entries(entry(wallet, 1, 10)), vouchers(voucher(planId, keyOf("alice"), wallet, 30)));
        eq(standing(planId, wallet).consumed, 30, "consumed");
    }

    function test_settleWithVouchers_refusesCounterfactualWalletsOfOthers() public {
        WalletFactory factory = new WalletFactory();
        address wallet = factory.walletOf(bob, "salt");
        give(planId, wallet, 1);
        bytes memory inner = signature(keyOf("alice"), voucherDigest(planId, wallet, 30));
        bytes memory wrapped = abi.encodePacked(
            abi.encode(address(factory), abi.encodeCall(factory.deploy, (bob, "salt")), inner), MAGIC_6492
        );
        expectNothingTaken(1, wallet, IPlanRegistry.Voucher(30, wrapped));
        // a factory that deploys something else than the subscriber
        wrapped = abi.encodePacked(
            abi.encode(address(factory), abi.encodeCall(factory.deploy, (alice, "salt")), inner), MAGIC_6492
        );
        expectNothingTaken(2, wallet, IPlanRegistry.Voucher(30, wrapped));
        // nothing to unwrap
        expectNothingTaken(3, wallet, IPlanRegistry.Voucher(30, abi.encodePacked(MAGIC_6492)));
    }

    function test_settleWithVouchers_aWalletThatSignsEverythingBindsOnlyItself() public {
        address wallet = address(new YesWallet());
        give(planId, wallet, 1);
        settle(1, entries(entry(wallet, 1, 10)), vouchers(IPlanRegistry.Voucher(100, "")));
        eq(standing(planId, wallet).consumed, 10, "its own credits");
        refuseVoucher(0, alice, 100);
        settle(2, entries(entry(alice, 1, 10)), vouchers(IPlanRegistry.Voucher(100, "")));
    }

    function counterfactual(WalletFactory factory, string memory owner, bytes32 salt, uint256 ceiling)
        internal
        returns (IPlanRegistry.Voucher memory)
    {
        address owner_ = account(owner);
        address wallet = factory.walletOf(owner_, salt);
        bytes memory inner = signature(keyOf(owner), voucherDigest(planId, wallet, ceiling));
        bytes memory deployment = abi.encodeCall(factory.deploy, (owner_, salt));
        return
            IPlanRegistry.Voucher(
                ceiling, abi.encodePacked(abi.encode(address(factory), deployment, inner), MAGIC_6492)
            );
    }
}
