// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {IERC1155} from "../../../contracts/interfaces/IERC1155.sol";
import {World} from "./World.sol";
import {RevertingPayee} from "./actors/Payees.sol";
import {Erc20} from "./tokens/Erc20.sol";
import {RevertingToken} from "./tokens/Hostile.sol";

/// @notice announceRefund, cancelRefund, takeRefund, refundOf, accrue on plans with credits.
contract RefundTest is World {
    bytes32 internal planId;
    bytes32 internal did;
    address internal sink;

    function setUp() public override {
        super.setUp();
        planId = createPlan(refundable(creditTerms()));
        did = registerAsset(planId, 1, 100);
        sink = account("sink");
    }

    function announce(address subscriber) internal {
        vm.prank(subscriber);
        plans.announceRefund(planId);
    }

    function take(address subscriber) internal returns (uint256) {
        vm.prank(subscriber);
        return plans.takeRefund(planId, sink);
    }

    // ------------------------------------------------------------------------------------------------------ escrow

    function test_purchase_ofARefundablePlanEarnsNothingYet() public {
        buy(planId, alice, 2);
        eq(plans.earnings(planId, builder), 0, "in escrow");
        eq(plans.plan(planId).revenue, 0, "in escrow");
        (uint256 quantity, uint256 amount, uint256 availableAt) = plans.refundOf(planId, alice);
        eq(quantity, 200, "all of it could be given back");
        eq(amount, 2 ether, "for the price");
        eq(availableAt, 0, "if it were announced");
    }

    function test_settle_ofARefundablePlanEarnsWhatWasUsed() public {
        buy(planId, alice, 2);
        settleOne(did, planId, alice, 1, 50);
        eq(plans.earnings(planId, builder), 0.5 ether, "50 of 100 credits for an ether");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        eq(quantity, 150, "the rest");
        eq(amount, 1.5 ether, "is in escrow");
    }

    function test_settle_usesPaidCreditsBeforeGrantedOnes() public {
        give(planId, alice, 1);
        buy(planId, alice, 1);
        settleOne(did, planId, alice, 1, 100);
        eq(plans.earnings(planId, builder), 1 ether, "the paid ones");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 0 && amount == 0, "granted credits are worth nothing");
        eq(balanceOf(planId, alice), 100, "and still there");
        settleOne(did, planId, alice, 1, 100);
        eq(plans.earnings(planId, builder), 1 ether, "they earn nothing");
    }

    // --------------------------------------------------------------------------------------------- announceRefund

    function test_takeRefund_afterTheCooldownGivesTheRestBack() public {
        buy(planId, alice, 1);
        settleOne(did, planId, alice, 1, 40);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.RefundAnnounced(planId, alice, START + 1 days);
        announce(alice);
        eq(plans.refundAvailableAt(planId, alice), START + 1 days, "available");
        vm.warp(START + 1 days);
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(alice, alice, address(0), uint256(planId), 60);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Refunded(planId, alice, 60, 0.6 ether);
        eq(take(alice), 0.6 ether, "amount");

        eq(sink.balance, 0.6 ether, "paid to whom the subscriber named");
        eq(balanceOf(planId, alice), 0, "the credits are gone");
        eq(standing(planId, alice).consumed, 40, "consumed stays");
        eq(plans.refundAvailableAt(planId, alice), 0, "the announcement is used up");
        eq(plans.earnings(planId, builder), 0.4 ether, "the builder keeps what was used");
        eq(address(plans).balance, 0.4 ether, "and no more is held");
    }

    function test_takeRefund_notBeforeTheLastSecondOfTheCooldown() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days - 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, START + 1 days));
        take(alice);
        vm.warp(START + 1 days);
        take(alice);
    }

    function test_takeRefund_needsAnAnnouncement() public {
        buy(planId, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        take(alice);
    }

    function test_takeRefund_worksOncePerAnnouncement() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        take(alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        take(alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce(alice);
    }

    function test_takeRefund_givesEachSubscriberItsOwn() public {
        buy(planId, alice, 1);
        buy(planId, bob, 3);
        announce(alice);
        vm.warp(START + 1 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        take(bob);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        take(stranger);
        eq(take(alice), 1 ether, "alice's");
        eq(balanceOf(planId, bob), 300, "bob's are untouched");
    }

    function test_settle_goesOnWhileARefundIsAnnounced() public {
        buy(planId, alice, 1);
        announce(alice);
        settleOne(did, planId, alice, 1, 30);
        eq(balanceOf(planId, alice), 70, "still spendable");
        vm.warp(START + 1 days);
        settleOne(did, planId, alice, 1, 30);
        eq(take(alice), 0.4 ether, "less what was used meanwhile");
        eq(plans.earnings(planId, builder), 0.6 ether, "which the builder earned");
    }

    function test_settle_afterARefundIsAShortfall() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        take(alice);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Shortfall(planId, alice, node, 1, 10);
        settleOne(did, planId, alice, 1, 10);
        eq(plans.earnings(planId, builder), 0, "nothing is earned twice");
    }

    function test_takeRefund_whenAllWasUsedMeanwhileGivesNothing() public {
        buy(planId, alice, 1);
        announce(alice);
        settleOne(did, planId, alice, 1, 100);
        vm.warp(START + 1 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        take(alice);
    }

    function test_takeRefund_coversWhatWasHeldWhenItWasAnnounced() public {
        buy(planId, alice, 1);
        announce(alice);
        buy(planId, alice, 2);
        eq(plans.refundAvailableAt(planId, alice), START + 1 days, "a purchase delays nothing");
        vm.warp(START + 1 days);
        eq(take(alice), 1 ether, "the first unit");
        eq(balanceOf(planId, alice), 200, "the later ones stay");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 200 && amount == 2 ether, "and can be announced on their own");
        announce(alice);
        vm.warp(START + 2 days);
        eq(take(alice), 2 ether, "the rest");
    }

    function test_settle_usesWhatWasAnnouncedBeforeWhatWasBoughtLater() public {
        buy(planId, alice, 1);
        announce(alice);
        buy(planId, alice, 1);
        settleOne(did, planId, alice, 1, 70);
        vm.warp(START + 1 days);
        eq(take(alice), 0.3 ether, "what is left of the announced ones");
        eq(balanceOf(planId, alice), 100, "the later ones");
    }

    function test_announceRefund_againCoversEverythingAndStartsANewCooldown() public {
        buy(planId, alice, 1);
        announce(alice);
        buy(planId, alice, 1);
        vm.warp(START + 1 days);
        announce(alice);
        eq(plans.refundAvailableAt(planId, alice), START + 2 days, "a new cooldown");
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, START + 2 days));
        take(alice);
        vm.warp(START + 2 days);
        eq(take(alice), 2 ether, "both");
    }

    function test_cancelRefund_callsItOff() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.RefundAnnounced(planId, alice, 0);
        vm.prank(alice);
        plans.cancelRefund(planId);
        vm.warp(START + 1 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        take(alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.RefundNotAvailable.selector, 0));
        vm.prank(alice);
        plans.cancelRefund(planId);
    }

    function test_announceRefund_refusesPlansAndAccountsWithoutOne() public {
        bytes32 final_ = createPlan(creditTerms());
        buy(final_, alice, 1);
        vm.startPrank(alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.NotRefundable.selector, final_));
        plans.announceRefund(final_);
        refuse(abi.encodeWithSelector(IPlanRegistry.NotRefundable.selector, final_));
        plans.takeRefund(final_, alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.NotRefundable.selector, final_));
        plans.accrue(final_, alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        plans.announceRefund(planId);
        vm.stopPrank();
        give(planId, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce(alice);
    }

    function test_takeRefund_putsWholeUnitsBackOnSale() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.supply = 3;
        planId = createPlan(terms);
        did = registerAsset(planId, 1, 100);
        buy(planId, alice, 3);
        settleOne(did, planId, alice, 1, 1);
        announce(alice);
        vm.warp(START + 1 days);
        take(alice);
        eq(plans.plan(planId).sold, 1, "two of three units were given back whole");
        buy(planId, bob, 2);
        eq(plans.plan(planId).sold, 3, "sold again");
    }

    function test_takeRefund_ofPartsOfAUnitPutsNothingBackOnSale() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.supply = 2;
        planId = createPlan(terms);
        did = registerAsset(planId, 1, 100);
        buy(planId, alice, 1);
        buy(planId, bob, 1);
        settleOne(did, planId, alice, 1, 1);
        settleOne(did, planId, bob, 1, 1);
        announce(alice);
        announce(bob);
        vm.warp(START + 1 days);
        take(alice);
        take(bob);
        eq(plans.plan(planId).sold, 2, "twice 99 credits of 100 are no whole unit");
        refuse(abi.encodeWithSelector(IPlanRegistry.SoldOut.selector, planId, 1, 0));
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, alice, 1, NO_BOUND);
    }

    function test_takeRefund_doesNotGiveThePurchaseLimitBack() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.purchaseLimit = 1;
        planId = createPlan(terms);
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        take(alice);
        eq(plans.plan(planId).sold, 0, "sold again to others");
        refuse(abi.encodeWithSelector(IPlanRegistry.PurchaseLimitReached.selector, planId, alice, 1, 0));
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, alice, 1, NO_BOUND);
    }

    function test_takeRefund_worksAfterTheCountOfUnitsHasStopped() public {
        // for a few base units somebody buys so many units that the count stops, and takes them all back
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.price, terms.creditsPerUnit) = (1, 1);
        planId = createPlan(terms);
        buy(planId, bob, 5);
        uint48 most = type(uint48).max;
        vm.deal(alice, most);
        vm.prank(alice);
        plans.purchase{value: most}(planId, alice, most, NO_BOUND);
        eq(plans.plan(planId).sold, most, "the count has stopped");
        announce(bob);
        announce(alice);
        vm.warp(START + 1 days);
        eq(take(alice), most, "alice's money");
        eq(plans.plan(planId).sold, 0, "more was given back than was counted");
        eq(take(bob), 5, "and bob's");
        eq(plans.plan(planId).sold, 0, "nothing below zero");
    }

    function test_takeRefund_leavesGrantedCredits() public {
        buy(planId, alice, 1);
        give(planId, alice, 2);
        announce(alice);
        vm.warp(START + 1 days);
        eq(take(alice), 1 ether, "the paid ones");
        eq(balanceOf(planId, alice), 200, "the granted ones");
    }

    function test_takeRefund_frontRunByAGiftOrAGrantStillWorks() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        vm.prank(bob);
        plans.purchase{value: 1 ether}(planId, alice, 1, NO_BOUND);
        give(planId, alice, 1);
        eq(take(alice), 1 ether, "what was announced");
    }

    // -------------------------------------------------------------------------------------------------- arithmetic

    function testFuzz_takeRefund_roundsDownAndNothingIsLostOrMade(
        uint96 price,
        uint64 perUnit,
        uint32 units,
        uint64 used
    ) public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.price, terms.creditsPerUnit) = (uint96(within(price, 1, 2 ** 90)), uint64(within(perUnit, 1, 2 ** 60)));
        units = uint32(within(units, 1, 1_000));
        planId = createPlan(terms);
        did = registerAsset(planId, 0, type(uint64).max);
        buy(planId, alice, units);
        uint256 bought = uint256(terms.creditsPerUnit) * units;
        used = uint64(within(used, 0, bought < type(uint64).max ? bought : type(uint64).max));
        settleOne(did, planId, alice, 1, used);

        uint256 expected = (bought - used) * terms.price / terms.creditsPerUnit;
        if (expected == 0) {
            refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
            announce(alice);
        } else {
            announce(alice);
            vm.warp(START + 1 days);
            eq(take(alice), expected, "floor(credits x price / creditsPerUnit)");
            eq(sink.balance, expected, "paid");
        }
        uint256 paid = uint256(terms.price) * units;
        uint256 earned = used * uint256(terms.price) / terms.creditsPerUnit;
        eq(plans.earnings(planId, builder), earned, "the builder's is floor(used x price / creditsPerUnit)");
        eq(address(plans).balance, paid - expected, "held");
        vm.assertLe(paid - expected - earned, 1, "the two roundings leave at most one base unit");
    }

    function testFuzz_settle_inAnyPiecesEarnsTheSame(uint256 seed, uint96 price, uint64 perUnit) public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.price, terms.creditsPerUnit) = (uint96(within(price, 1, 2 ** 90)), uint64(within(perUnit, 8, 2 ** 60)));
        planId = createPlan(terms);
        did = registerAsset(planId, 0, type(uint64).max);
        buy(planId, alice, 1);
        uint256 used;
        for (uint256 i; i < 5; i++) {
            uint256 piece = within(uint256(keccak256(abi.encode(seed, i))), 0, (terms.creditsPerUnit - used) / 2);
            used += piece;
            settleOne(did, planId, alice, 1, piece);
        }
        eq(
            plans.earnings(planId, builder),
            used * terms.price / terms.creditsPerUnit,
            "rounded once, however many batches"
        );
    }

    // ------------------------------------------------------------------------------------------- expiry and accrue

    function expiringPlan() internal returns (bytes32) {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.duration = 30 days;
        return createPlan(terms);
    }

    function test_accrue_earnsWhatExpired() public {
        planId = expiringPlan();
        buy(planId, alice, 1);
        vm.warp(START + 30 days - 1);
        vm.prank(stranger);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), 0, "not yet");
        eq(balanceOf(planId, alice), 100, "not yet");
        vm.warp(START + 30 days);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.CreditsExpired(planId, alice, 100);
        vm.prank(stranger);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), 1 ether, "earned by expiry");
        vm.prank(stranger);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), 1 ether, "once");
    }

    function test_takeRefund_ofExpiredCreditsGivesNothing() public {
        planId = expiringPlan();
        buy(planId, alice, 1);
        vm.warp(START + 29 days);
        announce(alice);
        (uint256 quantity,,) = plans.refundOf(planId, alice);
        eq(quantity, 100, "before the expiry");
        vm.warp(START + 30 days);
        (quantity,,) = plans.refundOf(planId, alice);
        eq(quantity, 0, "at the expiry");
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        take(alice);
    }

    function test_announceRefund_ofExpiredCreditsIsRefused() public {
        planId = expiringPlan();
        buy(planId, alice, 1);
        vm.warp(START + 30 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce(alice);
    }

    function test_purchase_afterExpiryEarnsTheExpiredCredits() public {
        planId = expiringPlan();
        buy(planId, alice, 1);
        vm.warp(START + 30 days);
        buy(planId, alice, 1);
        eq(plans.earnings(planId, builder), 1 ether, "the expired unit");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 100 && amount == 1 ether, "the new unit is in escrow");
    }

    function test_takeRefund_afterAnAnnouncementThatExpiredCoversNothingBoughtLater() public {
        planId = expiringPlan();
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 30 days);
        buy(planId, alice, 1);
        // the announced credits are gone; the new ones were never announced
        vm.expectRevert();
        take(alice);
        eq(balanceOf(planId, alice), 100, "kept");
    }

    // ------------------------------------------------------------------------------------------------------- payment

    function test_takeRefund_paysInThePlansToken() public {
        Erc20 token = new Erc20();
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.token, terms.price) = (address(token), 1_000);
        planId = createPlan(terms);
        buyWithToken(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        eq(take(alice), 1_000, "amount");
        eq(token.balanceOf(sink), 1_000, "paid");
        eq(token.balanceOf(address(plans)), 0, "nothing left");
    }

    function test_takeRefund_thatCannotBePaidChangesNothing() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        address grumpy = address(new RevertingPayee());
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, address(0), grumpy, 1 ether));
        vm.prank(alice);
        plans.takeRefund(planId, grumpy);
        eq(balanceOf(planId, alice), 100, "the credits are there");
        eq(take(alice), 1 ether, "and can be given back to somebody who takes it");
    }

    function test_takeRefund_toNobodyIsRefused() public {
        buy(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, address(0), address(0), 1 ether));
        vm.prank(alice);
        plans.takeRefund(planId, address(0));
    }

    function test_takeRefund_withABrokenTokenChangesNothing() public {
        RevertingToken token = new RevertingToken();
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        (terms.token, terms.price) = (address(token), 1_000);
        planId = createPlan(terms);
        buyWithToken(planId, alice, 1);
        announce(alice);
        vm.warp(START + 1 days);
        token.setBroken(true, false);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, sink, 1_000));
        take(alice);
        token.setBroken(false, false);
        eq(take(alice), 1_000, "amount");
    }
}
