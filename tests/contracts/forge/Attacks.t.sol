// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {GasBurningPayee, RevertingPayee} from "./actors/Payees.sol";
import {ReenteringReceiver} from "./actors/Receivers.sol";
import {BrokenWallet, ReenteringFactory} from "./actors/Wallets.sol";
import {DevToken} from "./tokens/DevToken.sol";
import {ReentrantToken} from "./tokens/Hostile.sol";

/// @notice One test for each attack that the contracts are built against; each tells what the attacker tries and what
/// it gets. The rules themselves are tested beside the functions.
contract AttacksTest is World {
    bytes32 internal constant MAGIC_6492 = 0x6492649264926492649264926492649264926492649264926492649264926492;

    bytes32 internal planId;
    bytes32 internal did;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
        did = registerAsset(planId, 1, 10);
        buy(planId, alice, 1);
    }

    function settle(address who, uint64 batch, bytes32 one) internal {
        vm.prank(who);
        plans.settle(did, planId, batch, 0, entries(one));
    }

    // -------------------------------------------------------------------------------------------------- re-entrancy

    /// @notice Everything that moves credits or money, as the attacker calls it from inside another call.
    function movers(bytes32 plan, address attacker) internal view returns (bytes[] memory list) {
        IPlanRegistry.Voucher[] memory none = new IPlanRegistry.Voucher[](1);
        list = new bytes[](13);
        list[0] = abi.encodeCall(plans.purchase, (plan, attacker, 1, NO_BOUND));
        list[1] = abi.encodeCall(plans.purchaseWithPermit, (plan, attacker, 1, NO_BOUND, START, 27, "r", "s"));
        list[2] = abi.encodeCall(
            plans.purchaseWithAuthorisation, (plan, attacker, 1, attacker, "salt", START - 1, START + 1, new bytes(65))
        );
        list[3] = abi.encodeCall(plans.grant, (plan, attacker, 1));
        list[4] = abi.encodeCall(plans.settle, (did, plan, 1, 0, entries(entry(alice, 1, 10))));
        list[5] = abi.encodeCall(plans.settleWithVouchers, (did, plan, 1, 0, entries(entry(alice, 1, 10)), none));
        list[6] = abi.encodeCall(plans.announceRefund, (plan));
        list[7] = abi.encodeCall(plans.cancelRefund, (plan));
        list[8] = abi.encodeCall(plans.takeRefund, (plan, attacker));
        list[9] = abi.encodeCall(plans.accrue, (plan, attacker));
        list[10] = abi.encodeCall(plans.withdraw, (plan, attacker));
        list[11] = abi.encodeCall(plans.withdrawTo, (plan, attacker));
        list[12] = abi.encodeCall(plans.acceptPlan, (plan));
    }

    function assertRefused(bool attempted, bool succeeded, bytes memory result) internal pure {
        yes(attempted, "it tried");
        no(succeeded, "and failed");
        eq(
            keccak256(result),
            keccak256(abi.encodeWithSelector(IPlanRegistry.Reentered.selector)),
            "because it was re-entering"
        );
    }

    function test_attack_reenteringFromThePayment() public {
        ReenteringReceiver payee = new ReenteringReceiver();
        bytes32 split_ = createPlan(creditTerms(), split(address(payee), 5_000, builder, 5_000));
        vm.deal(address(payee), 100 ether);
        bytes[] memory list = movers(split_, address(payee));
        for (uint256 i; i < list.length; i++) {
            buy(split_, alice, 2);
            payee.arm(address(plans), list[i], i == 0 ? 1 ether : 0);
            uint256 before = address(payee).balance;
            plans.withdraw(split_, address(payee));
            eq(address(payee).balance - before, 1 ether, "its share, once");
            assertRefused(payee.attempts() == 1, payee.succeeded(), payee.result());
        }
        eq(plans.earnings(split_, builder), list.length * 1 ether, "the other share is all there");
    }

    function test_attack_reenteringFromTheRefund() public {
        bytes32 refunds = createPlan(refundable(creditTerms()));
        ReenteringReceiver taker = new ReenteringReceiver();
        buy(refunds, alice, 5);
        bytes[] memory list = movers(refunds, address(taker));
        for (uint256 i; i < list.length; i++) {
            uint256 snapshot = vm.snapshotState();
            vm.deal(address(this), 1 ether);
            plans.purchase{value: 1 ether}(refunds, address(taker), 1, NO_BOUND);
            taker.act(address(plans), abi.encodeCall(plans.announceRefund, (refunds)), 0);
            vm.warp(START + 1 days);
            taker.arm(address(plans), list[i], 0);
            if (i == 0) {
                vm.deal(address(taker), 1 ether);
                taker.arm(address(plans), list[i], 1 ether);
            }
            uint256 before = address(plans).balance;
            taker.act(address(plans), abi.encodeCall(plans.takeRefund, (refunds, address(taker))), 0);
            eq(before - address(plans).balance, 1 ether, "one refund");
            assertRefused(taker.attempts() == 1, taker.succeeded(), taker.result());
            vm.revertToState(snapshot);
        }
    }

    function test_attack_reenteringFromTheReceiversHook() public {
        ReenteringReceiver subscriber = new ReenteringReceiver();
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.purchaseLimit = 100;
        bytes32 limited = createPlan(terms);
        bytes[] memory list = movers(limited, address(subscriber));
        vm.deal(address(subscriber), 100 ether);
        for (uint256 i; i < list.length; i++) {
            subscriber.arm(address(plans), list[i], i == 0 ? 1 ether : 0);
            vm.prank(alice);
            plans.purchase{value: 1 ether}(limited, address(subscriber), 1, NO_BOUND);
            assertRefused(subscriber.attempts() == 1, subscriber.succeeded(), subscriber.result());
            subscriber.arm(address(plans), list[i], i == 0 ? 1 ether : 0);
            give(limited, address(subscriber), 1);
            assertRefused(subscriber.attempts() == 1, subscriber.succeeded(), subscriber.result());
        }
        eq(standing(limited, address(subscriber)).unitsBought, list.length, "what was paid for");
        eq(balanceOf(limited, address(subscriber)), 200 * list.length, "and granted");
    }

    function test_attack_reenteringFromTheToken() public {
        ReentrantToken token = new ReentrantToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        bytes32 tokens = createPlan(terms);
        bytes[] memory list = movers(tokens, address(token));
        for (uint256 i; i < list.length; i++) {
            for (uint256 when; when < 2; when++) {
                token.arm(address(plans), list[i], when == 0);
                buyWithToken(tokens, alice, 1);
                assertRefused(token.attempts() == 1, token.succeeded(), token.result());
                token.arm(address(plans), list[i], when == 0);
                plans.withdraw(tokens, builder);
                assertRefused(token.attempts() == 1, token.succeeded(), token.result());
                token.arm(address(0), "", false);
            }
        }
        eq(balanceOf(tokens, alice), 200 * list.length, "what was paid for");
        eq(token.balanceOf(builder), 2_000 * list.length, "and paid out");
    }

    function test_attack_reenteringFromThePermitAndTheAuthorisation() public {
        ReentrantToken token = new ReentrantToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        bytes32 tokens = createPlan(terms);
        token.mint(alice, 1_000_000);
        bytes[] memory list = movers(tokens, address(token));
        for (uint256 i; i < list.length; i++) {
            token.arm(address(plans), list[i], true);
            vm.prank(alice);
            plans.purchaseWithPermit(tokens, alice, 1, NO_BOUND, START, 27, "r", "s");
            assertRefused(token.attempts() == 2, token.succeeded(), token.result());
            token.arm(address(plans), list[i], true);
            plans.purchaseWithAuthorisation(tokens, alice, 1, alice, "salt", 0, START + 1, new bytes(65));
            assertRefused(token.attempts() == 1, token.succeeded(), token.result());
        }
        eq(balanceOf(tokens, alice), 200 * list.length, "what was paid for");
        eq(token.balanceOf(address(plans)), 2_000 * list.length, "in full");
    }

    function test_attack_reenteringFromTheTokenOfARefund() public {
        ReentrantToken token = new ReentrantToken();
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.token, terms.price) = (address(token), 1_000);
        bytes32 tokens = createPlan(terms);
        buyWithToken(tokens, alice, 1);
        buyWithToken(tokens, bob, 1);
        vm.prank(alice);
        plans.announceRefund(tokens);
        vm.warp(START + 1 days);
        bytes[] memory list = movers(tokens, address(token));
        for (uint256 i; i < list.length; i++) {
            uint256 snapshot = vm.snapshotState();
            token.arm(address(plans), list[i], true);
            vm.prank(alice);
            eq(plans.takeRefund(tokens, alice), 1_000, "once");
            assertRefused(token.attempts() == 1, token.succeeded(), token.result());
            eq(token.balanceOf(address(plans)), 1_000, "bob's escrow stays");
            vm.revertToState(snapshot);
        }
    }

    function test_attack_reenteringFromASignatureCheck() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.voucherRequired = true;
        bytes32 vouched = createPlan(terms);
        bytes32 vouchedDid = registerAsset(vouched, 1, 10);
        buy(vouched, alice, 1);
        bytes[] memory list = movers(vouched, address(this));
        for (uint256 i; i < list.length; i++) {
            ReenteringFactory factory = new ReenteringFactory();
            factory.arm(address(plans), list[i]);
            bytes memory wrapped = abi.encodePacked(
                abi.encode(address(factory), abi.encodeCall(factory.deploy, ()), new bytes(65)), MAGIC_6492
            );
            uint64 batch = plans.nextBatch(vouchedDid, vouched, node);
            vm.prank(node);
            plans.settleWithVouchers(
                vouchedDid,
                vouched,
                batch,
                0,
                entries(entry(alice, 1, 10)),
                vouchers(IPlanRegistry.Voucher(100, wrapped))
            );
            assertRefused(factory.attempts() == 1, factory.succeeded(), factory.result());
            eq(standing(vouched, alice).consumed, 0, "nothing moved");
        }
    }

    function test_attack_reenteringFromASignatureCheckThatPasses() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.voucherRequired = true;
        bytes32 vouched = createPlan(terms);
        did = registerAsset(vouched, 1, 10);
        bytes[] memory list = movers(vouched, address(this));
        for (uint256 i; i < list.length; i++) {
            PreparedWallet wallet = new PreparedWallet();
            give(vouched, address(wallet), 1);
            wallet.arm(address(plans), list[i]);
            bytes memory wrapped = abi.encodePacked(
                abi.encode(address(wallet), abi.encodeCall(wallet.prepare, ()), new bytes(0)), MAGIC_6492
            );
            uint64 batch = plans.nextBatch(did, vouched, node);
            vm.prank(node);
            plans.settleWithVouchers(
                did,
                vouched,
                batch,
                0,
                entries(entry(address(wallet), 1, 10)),
                vouchers(IPlanRegistry.Voucher(100, wrapped))
            );
            assertRefused(wallet.attempts() == 1, wallet.succeeded(), wallet.result());
            eq(standing(vouched, address(wallet)).consumed, 10, "settled once");
        }
    }

    // ------------------------------------------------------------------------------------------------------ batches

    /// @notice The code that a signature check runs changes the asset under the batch. What the batch may do was looked up
    /// before any such code ran, and holds to its end; the next batch finds what has changed.
    function test_attack_changingTheAssetFromASignatureCheck() public {
        bytes32 vouched = createPlan(voucherTerms());
        ReenteringFactory factory = new ReenteringFactory();
        bytes32[3] memory dids;
        for (uint256 i; i < dids.length; i++) {
            dids[i] = registerAsset(vouched, 1, 10);
            vm.prank(builder);
            assets.offerAsset(dids[i], address(factory));
            if (i == 0) continue; // the check itself takes this one over
            factory.arm(address(assets), abi.encodeCall(assets.acceptAsset, (dids[i])));
            factory.deploy();
        }
        bytes[3] memory changes = [
            abi.encodeCall(assets.acceptAsset, (dids[0])),
            abi.encodeCall(assets.removeNode, (dids[1], node, 0)),
            abi.encodeCall(assets.setActive, (dids[2], false))
        ];
        buy(vouched, alice, 1);
        buy(vouched, bob, 1);
        for (uint256 i; i < changes.length; i++) {
            factory.arm(address(assets), changes[i]);
            settleThree(dids[i], vouched, 1, wrappedFor(factory));
            yes(factory.succeeded(), "the asset was changed in the middle of the batch");
            eq(standing(vouched, alice).consumed, 10 * (i + 1), "the entry before was taken");
            eq(standing(vouched, stranger).consumed, 0, "its own fell short");
            eq(standing(vouched, bob).consumed, 10 * (i + 1), "the one after was taken as the batch was admitted");
            eq(plans.nextBatch(dids[i], vouched, node), 2, "and the batch counts once");
        }
        eq(assets.asset(dids[0]).owner, address(factory), "handed over");
        no(assets.asset(dids[2]).active, "inactive");
        settleThree(dids[0], vouched, 2, wrappedFor(factory));
        refuseThree(dids[1], vouched, 2, wrappedFor(factory));
        settleThree(dids[2], vouched, 2, wrappedFor(factory));
        vm.warp(START + 1 days);
        refuseThree(dids[2], vouched, 3, wrappedFor(factory));
    }

    function voucherTerms() private pure returns (IPlanRegistry.Terms memory terms) {
        terms = creditTerms();
        terms.voucherRequired = true;
    }

    function wrappedFor(ReenteringFactory factory) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                abi.encode(address(factory), abi.encodeCall(factory.deploy, ()), new bytes(65)), MAGIC_6492
            );
    }

    /// @notice One batch of alice, of a wallet that isn't there and whose check does what `wrapped` says, and of bob.
    function settleThree(bytes32 owned, bytes32 vouched, uint64 batch, bytes memory wrapped) private {
        IPlanRegistry.Voucher[] memory three = threeVouchers(vouched, wrapped);
        vm.prank(node);
        plans.settleWithVouchers(owned, vouched, batch, 0, threeEntries(), three);
    }

    function refuseThree(bytes32 owned, bytes32 vouched, uint64 batch, bytes memory wrapped) private {
        IPlanRegistry.Voucher[] memory three = threeVouchers(vouched, wrapped);
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, owned, vouched, node));
        vm.prank(node);
        plans.settleWithVouchers(owned, vouched, batch, 0, threeEntries(), three);
    }

    function threeEntries() private view returns (bytes32[] memory) {
        return entries(entry(alice, 1, 10), entry(stranger, 1, 10), entry(bob, 1, 10));
    }

    function threeVouchers(bytes32 vouched, bytes memory wrapped)
        private
        view
        returns (IPlanRegistry.Voucher[] memory three)
    {
        three = new IPlanRegistry.Voucher[](3);
        three[0] = voucher(vouched, keyOf("alice"), alice, 1_000);
        three[1] = IPlanRegistry.Voucher(1_000, wrapped);
        three[2] = voucher(vouched, keyOf("bob"), bob, 1_000);
    }

    /// @notice From the hook of purchases that are paid by a signature: everything that moves value is refused.
    function test_attack_reenteringFromTheHookOfASignedPurchase() public {
        (ReenteringReceiver subscriber, DevToken dollar, bytes32 signed) = signedSale();
        bytes[] memory list = movers(signed, address(subscriber));
        for (uint256 i; i < list.length; i++) {
            for (uint256 way; way < 2; way++) {
                subscriber.arm(address(plans), list[i], 0);
                buySigned(dollar, signed, address(subscriber), way == 0);
                assertRefused(subscriber.attempts() == 1, subscriber.succeeded(), subscriber.result());
            }
        }
        eq(balanceOf(signed, address(subscriber)), 200 * list.length, "what was paid for");
        eq(dollar.balanceOf(address(plans)), 2_000 * list.length, "in full");
    }

    /// @notice What isn't locked may be called from the hook. It changes nothing of the purchase under way.
    function test_attack_callingWhatIsNotLockedFromTheHook() public {
        (ReenteringReceiver subscriber, DevToken dollar, bytes32 signed) = signedSale();
        bytes32 owned = ownedBy(subscriber, signed);
        (address[] memory targets, bytes[] memory list) = unlocked(signed, owned);
        for (uint256 i; i < list.length; i++) {
            for (uint256 way; way < 3; way++) {
                uint256 snapshot = vm.snapshotState();
                subscriber.arm(targets[i], list[i], 0);
                if (way == 2) {
                    dollar.mint(bob, 1_000);
                    vm.startPrank(bob);
                    dollar.approve(address(plans), 1_000);
                    plans.purchase(signed, address(subscriber), 1, 1_000);
                    vm.stopPrank();
                } else {
                    buySigned(dollar, signed, address(subscriber), way == 0);
                }
                yes(subscriber.attempts() == 1 && subscriber.succeeded(), "it is the owner: it may");
                eq(balanceOf(signed, address(subscriber)), 100, "what was paid for, once");
                eq(dollar.balanceOf(address(plans)), 1_000, "at its price");
                IPlanRegistry.Plan memory stored = plans.plan(signed);
                eq(stored.sold, 1, "and counted");
                eq(stored.revenue, 1_000, "and earned");
                eq(plans.earnings(signed, address(subscriber)), 1_000, "by the owner at the purchase");
                vm.revertToState(snapshot);
            }
        }
    }

    /// @notice A plan in a token with permits and authorisations, and a subscriber with a hook that is not its owner yet.
    function signedSale() private returns (ReenteringReceiver subscriber, DevToken dollar, bytes32 signed) {
        (subscriber, dollar) = (new ReenteringReceiver(), new DevToken());
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(dollar), 1_000);
        signed = createPlan(terms);
    }

    /// @notice Makes the subscriber the plan's owner, and of an asset that it opens.
    function ownedBy(ReenteringReceiver subscriber, bytes32 signed) private returns (bytes32) {
        bytes32 owned = registerAsset(signed, 1, 10);
        vm.startPrank(builder);
        plans.offerPlan(signed, address(subscriber));
        assets.offerAsset(owned, address(subscriber));
        vm.stopPrank();
        subscriber.act(address(plans), abi.encodeCall(plans.acceptPlan, (signed)), 0);
        subscriber.act(address(assets), abi.encodeCall(assets.acceptAsset, (owned)), 0);
        return owned;
    }

    /// @notice Every call without a lock that the owner of the plan and the asset may make.
    function unlocked(bytes32 signed, bytes32 owned) private returns (address[] memory targets, bytes[] memory list) {
        IAssetRegistry.OfferInput memory rule = IAssetRegistry.OfferInput(signed, 2, 3);
        (targets, list) = (new address[](12), new bytes[](12));
        list[0] = abi.encodeCall(plans.setPaused, (signed, true));
        list[1] = abi.encodeCall(plans.retire, (signed));
        list[2] = abi.encodeCall(plans.offerPlan, (signed, stranger));
        list[3] = abi.encodeCall(plans.createPlan, (newSalt(), creditTerms(), new IPlanRegistry.Payee[](0), bytes32(0)));
        list[4] = abi.encodeCall(assets.setMetadata, (owned, bytes32("new")));
        list[5] = abi.encodeCall(assets.changeOffer, (owned, rule));
        list[6] = abi.encodeCall(assets.closeOffer, (owned, signed));
        list[7] = abi.encodeCall(assets.addNode, (owned, otherNode));
        list[8] = abi.encodeCall(assets.removeNode, (owned, node, 0));
        list[9] = abi.encodeCall(assets.setActive, (owned, false));
        list[10] = abi.encodeCall(assets.offerAsset, (owned, stranger));
        list[11] =
            abi.encodeCall(assets.register, (newSalt(), keccak256("metadata"), offerOf(signed, 1, 2), listOf(node)));
        for (uint256 i; i < list.length; i++) {
            targets[i] = i < 4 ? address(plans) : address(assets);
        }
    }

    /// @notice Bob pays for `subscriber` by a permit, or by an authorisation that a relayer submits.
    function buySigned(DevToken dollar, bytes32 signed, address subscriber, bool byPermit) private {
        dollar.mint(bob, 1_000);
        if (byPermit) {
            bytes32 typehash =
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
            bytes32 permit = keccak256(abi.encode(typehash, bob, address(plans), 1_000, dollar.nonces(bob), NO_BOUND));
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("bob"), digestOf(dollar, permit));
            vm.prank(bob);
            plans.purchaseWithPermit(signed, subscriber, 1, 1_000, NO_BOUND, v, r, s);
            return;
        }
        bytes32 salt = newSalt();
        bytes32 nonce = plans.authorisationNonce(signed, subscriber, 1, salt);
        bytes32 authorised = keccak256(
            abi.encode(dollar.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), bob, address(plans), 1_000, 0, NO_BOUND, nonce)
        );
        bytes memory signature_ = signature(keyOf("bob"), digestOf(dollar, authorised));
        vm.prank(relayer);
        plans.purchaseWithAuthorisation(signed, subscriber, 1, bob, salt, 0, NO_BOUND, signature_);
    }

    function digestOf(DevToken dollar, bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", dollar.DOMAIN_SEPARATOR(), structHash));
    }

    function test_attack_replayedBatch() public {
        settle(node, 1, entry(alice, 1, 10));
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, 1, 2));
        settle(node, 1, entry(alice, 1, 10));
        eq(balanceOf(planId, alice), 90, "taken once");
    }

    function test_attack_skippedBatch() public {
        settle(node, 1, entry(alice, 1, 10));
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, 3, 2));
        settle(node, 3, entry(alice, 1, 10));
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, 0, 2));
        settle(node, 0, entry(alice, 1, 10));
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, type(uint64).max, 2));
        settle(node, type(uint64).max, entry(alice, 1, 10));
    }

    function test_attack_foreignNode() public {
        // registered, honest elsewhere, not this asset's
        bytes memory refusal = abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, otherNode);
        refuse(refusal);
        settle(otherNode, 1, entry(alice, 1, 10));
        // its own asset under its own plan does not open alice's plan
        vm.startPrank(otherNode);
        bytes32 own = plans.createPlan("own", creditTerms(), new IPlanRegistry.Payee[](0), 0);
        bytes32 ownDid = assets.register("own", "digest", offerOf(own, 1, 10), listOf(otherNode));
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, ownDid, planId, otherNode));
        plans.settle(ownDid, planId, 1, 0, entries(entry(alice, 1, 10)));
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, planId, builder, false));
        assets.addOffer(ownDid, IAssetRegistry.OfferInput(planId, 1, 10));
        vm.stopPrank();
    }

    function test_attack_overClaim() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 11, 1, 10));
        settle(node, 1, entry(alice, 1, 11));
        settle(node, 1, entry(alice, 20, 200)); // within the rule, above the balance
        eq(standing(planId, alice).consumed, 100, "never more than was held");
    }

    function test_attack_underClaim() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 2, 1, 2, 20));
        settle(node, 1, entry(alice, 2, 1));
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 0, 1, 10));
        settle(node, 1, entry(alice, 1, 0));
    }

    function test_attack_ownershipHandOverMidBatch() public {
        // the asset and the plan change hands between two batches: settlement goes on, the money follows the plan
        settle(node, 1, entry(alice, 1, 10));
        vm.startPrank(builder);
        assets.offerAsset(did, bob);
        plans.offerPlan(planId, bob);
        vm.stopPrank();
        uint256 before = plans.earnings(planId, builder);
        vm.startPrank(bob);
        assets.acceptAsset(did);
        plans.acceptPlan(planId);
        vm.stopPrank();
        settle(node, 2, entry(alice, 1, 10));
        eq(plans.earnings(planId, builder), before, "the old owner's earnings stay");
        eq(plans.earnings(planId, bob), 0, "the new owner gets none of them");
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, builder));
        vm.prank(builder);
        plans.grant(planId, builder, 1);
        refuse(abi.encodeWithSelector(IAssetRegistry.NotAssetOwner.selector, did, builder));
        vm.prank(builder);
        assets.addNode(did, otherNode);
        // the new owner cannot cut off what was served under notice
        vm.prank(bob);
        assets.changeOffer(did, IAssetRegistry.OfferInput(planId, 0, 0));
        settle(node, 3, entry(alice, 1, 10));
    }

    // ------------------------------------------------------------------------------------------------------- refunds

    function test_attack_refundDuringSettlement() public {
        // the subscriber announces, uses the assistant up to the end, and takes the refund before the node settles
        bytes32 refunds = createPlan(refundable(creditTerms()));
        bytes32 served = registerAsset(refunds, 1, 10);
        buy(refunds, bob, 1);
        vm.prank(bob);
        plans.announceRefund(refunds);
        // the announcement is public a cooldown ahead: a node that settles within it loses nothing
        settleOne(served, refunds, bob, 8, 80);
        vm.warp(START + 1 days);
        vm.prank(bob);
        eq(plans.takeRefund(refunds, bob), 0.2 ether, "only what was not used");
        eq(plans.earnings(refunds, builder), 0.8 ether, "what was used is earned");
    }

    function test_attack_settlementAfterRefund() public {
        bytes32 refunds = createPlan(refundable(creditTerms()));
        bytes32 served = registerAsset(refunds, 1, 10);
        buy(refunds, bob, 1);
        buy(refunds, alice, 1);
        vm.prank(bob);
        plans.announceRefund(refunds);
        vm.warp(START + 1 days);
        vm.prank(bob);
        plans.takeRefund(refunds, bob);
        settleOne(served, refunds, bob, 1, 10);
        eq(standing(refunds, bob).consumed, 0, "there is nothing left to take");
        eq(plans.earnings(refunds, builder), 0, "and nothing is earned from the escrow of others");
        eq(address(plans).balance, 2 ether, "alice's escrow, and the plan of setUp");
    }

    function test_attack_refundOfAGiftGoesToWhoHoldsIt() public {
        bytes32 refunds = createPlan(refundable(creditTerms()));
        vm.prank(alice);
        plans.purchase{value: 1 ether}(refunds, bob, 1, NO_BOUND);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, refunds, alice));
        vm.prank(alice); // the giver cannot take it back
        plans.announceRefund(refunds);
    }

    function test_attack_ownerGrantsItselfAndAsksForARefund() public {
        bytes32 refunds = createPlan(refundable(creditTerms()));
        buy(refunds, alice, 1);
        give(refunds, builder, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, refunds, builder));
        vm.prank(builder);
        plans.announceRefund(refunds);
    }

    function test_attack_expiryAtTheBoundarySecond() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.duration = 2 days;
        bytes32 expiring = createPlan(terms);
        buy(expiring, alice, 1);
        buy(expiring, bob, 1);
        vm.prank(alice);
        plans.announceRefund(expiring);
        vm.prank(bob);
        plans.announceRefund(expiring);
        vm.warp(START + 2 days - 1);
        eq(balanceOf(expiring, alice), 100, "the last second");
        vm.prank(alice);
        eq(plans.takeRefund(expiring, alice), 1 ether, "refundable in the last second");
        vm.warp(START + 2 days);
        eq(balanceOf(expiring, bob), 0, "expired");
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, expiring, bob));
        vm.prank(bob);
        plans.takeRefund(expiring, bob);
        plans.accrue(expiring, bob);
        eq(plans.earnings(expiring, builder), 1 ether, "earned, to the second");
    }

    // ----------------------------------------------------------------------------------------------------- signatures

    function vouchedPlan() internal returns (bytes32 vouched) {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.voucherRequired = true;
        vouched = createPlan(terms);
        did = registerAsset(vouched, 1, 10);
        buy(vouched, alice, 1);
    }

    function settleVouched(bytes32 vouched, IPlanRegistry.Voucher memory one) internal {
        uint64 batch = plans.nextBatch(did, vouched, node);
        refuse(abi.encodeWithSelector(IPlanRegistry.InvalidVoucher.selector, 0, alice, one.ceiling));
        vm.prank(node);
        plans.settleWithVouchers(did, vouched, batch, 0, entries(entry(alice, 1, 10)), vouchers(one));
    }

    function test_attack_signatureMalleability() public {
        bytes32 vouched = vouchedPlan();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), voucherDigest(vouched, alice, 50));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory twin = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? 28 : 27);
        settleVouched(vouched, IPlanRegistry.Voucher(50, twin));
    }

    function test_attack_wrongChain() public {
        bytes32 vouched = vouchedPlan();
        vm.chainId(5);
        IPlanRegistry.Voucher memory there = voucher(vouched, keyOf("alice"), alice, 50);
        vm.chainId(31_337);
        settleVouched(vouched, there);
    }

    function test_attack_voucherOfAnotherPlan() public {
        bytes32 vouched = vouchedPlan();
        settleVouched(vouched, voucher(planId, keyOf("alice"), alice, 50));
    }

    function test_attack_frontRunPermit() public {
        DevToken token = new DevToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        bytes32 tokens = createPlan(terms);
        token.mint(alice, 1_000);
        bytes32 structHash =
            keccak256(abi.encode(token.PERMIT_TYPEHASH(), alice, address(plans), 1_000, token.nonces(alice), START));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(keyOf("alice"), keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        vm.startPrank(stranger); // saw it in the mempool, submits it first, and tries to spend it
        token.permit(alice, address(plans), 1_000, START, v, r, s);
        refuse(IPlanRegistry.TransferFailed.selector);
        plans.purchase(tokens, stranger, 1, NO_BOUND);
        refuse(IPlanRegistry.TransferFailed.selector);
        plans.purchaseWithPermit(tokens, stranger, 1, NO_BOUND, START, v, r, s);
        vm.stopPrank();
        vm.prank(alice);
        plans.purchaseWithPermit(tokens, alice, 1, 1_000, START, v, r, s);
        eq(balanceOf(tokens, alice), 100, "alice has what she wanted");
    }

    // ---------------------------------------------------------------------------------------------------- griefing

    function test_attack_griefingPayee() public {
        address[2] memory bad = [address(new RevertingPayee()), address(new GasBurningPayee())];
        for (uint256 i; i < 2; i++) {
            bytes32 griefed = createPlan(creditTerms(), split(bad[i], 9_999, builder, 1));
            buy(griefed, alice, 1); // a sale never pays anybody, so no payee can stop it
            bytes32 served = registerAsset(griefed, 1, 10);
            settleOne(served, griefed, alice, 1, 10);
            eq(plans.withdraw(griefed, builder), 0.0001 ether, "the other payee gets its share");
        }
    }

    function test_attack_griefingWallet() public {
        // wallets that revert, burn their gas or lie when their vouchers are checked, before and after an honest entry
        bytes32 vouched = vouchedPlan();
        buy(vouched, bob, 1);
        for (uint256 i; i < 6; i++) {
            address wallet = address(new BrokenWallet(BrokenWallet.Way(i)));
            give(vouched, wallet, 1);
            IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](3);
            signed[0] = voucher(vouched, keyOf("alice"), alice, 100);
            signed[1] = IPlanRegistry.Voucher(100, "");
            signed[2] = voucher(vouched, keyOf("bob"), bob, 100);
            vm.prank(node);
            plans.settleWithVouchers{gas: 1_500_000}(
                did,
                vouched,
                uint64(i) + 1,
                0,
                entries(entry(alice, 1, 10), entry(wallet, 1, 10), entry(bob, 1, 10)),
                signed
            );
            eq(standing(vouched, alice).consumed, 10 * (i + 1), "those before it are settled");
            eq(standing(vouched, bob).consumed, 10 * (i + 1), "and those after it");
            eq(standing(vouched, wallet).consumed, 0, "it is not");
        }
    }

    function test_attack_moneySentWithoutAPurchaseIsRefused() public {
        vm.prank(alice);
        (bool ok,) = address(plans).call{value: 1}("");
        no(ok, "there is no way to pay in without buying");
        vm.prank(alice);
        (ok,) = address(plans).call{value: 1}(abi.encodeCall(plans.withdraw, (planId, builder)));
        no(ok, "nor with another function");
    }

    function test_attack_donatedTokensPayForNothing() public {
        // tokens that lie in the contract beforehand are nobody's payment
        DevToken token = new DevToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        bytes32 tokens = createPlan(terms);
        token.mint(address(plans), 1_000_000);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, plans, 1_000));
        vm.prank(stranger);
        plans.purchase(tokens, stranger, 1, NO_BOUND);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToWithdraw.selector, tokens, builder));
        plans.withdraw(tokens, builder);
    }

    // ------------------------------------------------------------------------------------------- dust and overflow

    function test_attack_dustAndOverflowAtTheTypeLimits() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.price, terms.creditsPerUnit) = (1, type(uint64).max);
        bytes32 dust = createPlan(terms);
        bytes32 served = registerAsset(dust, 0, type(uint64).max);
        buy(dust, alice, 1);
        // 2^64 - 2 credits used of 2^64 - 1 that cost one base unit: both sides round down
        settleOne(served, dust, alice, 1, type(uint64).max - 1);
        eq(plans.earnings(dust, builder), 0, "not earned yet");
        (, uint256 amount,) = plans.refundOf(dust, alice);
        eq(amount, 0, "not given back either");
        settleOne(served, dust, alice, 1, 1);
        eq(plans.earnings(dust, builder), 1, "the last credit earns it");

        terms.price = type(uint96).max;
        bytes32 dear = createPlan(terms);
        served = registerAsset(dear, 0, type(uint64).max);
        buy(dear, alice, 2 ** 16);
        (, amount,) = plans.refundOf(dear, alice);
        eq(amount, uint256(type(uint96).max) * 2 ** 16, "no product wraps");
        settleOne(served, dear, alice, type(uint32).max, type(uint64).max);
        eq(plans.earnings(dear, builder), type(uint96).max, "one unit is earned");
    }
}

/// @notice A deployed wallet that accepts everything once prepared, and calls back while it is being prepared.
contract PreparedWallet {
    address public target;
    bytes public data;
    bool public prepared;
    uint256 public attempts;
    bool public succeeded;
    bytes public result;

    function arm(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function prepare() external {
        prepared = true;
        attempts++;
        (succeeded, result) = target.call(data);
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return prepared ? this.isValidSignature.selector : bytes4(0);
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external pure returns (bytes4) {
        return this.onERC1155Received.selector;
    }
}
