// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {IERC1155} from "../../../contracts/interfaces/IERC1155.sol";
import {Vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice settle and nextBatch: what an access node does.
contract SettleTest is World {
    bytes32 internal planId;
    bytes32 internal did;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
        did = registerAsset(planId, 2, 5);
        buy(planId, alice, 1);
        buy(planId, bob, 1);
    }

    function settle(uint64 batch, bytes32[] memory list) internal {
        vm.prank(node);
        plans.settle(did, planId, batch, 0, list);
    }

    // ---------------------------------------------------------------------------------------------- what it takes

    function test_settle_takesTheCreditsAndSaysSo() public {
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(node, alice, address(0), uint256(planId), 12);
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(node, bob, address(0), uint256(planId), 5);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Settled(did, planId, node, 1, 4, 17, 17, "root");
        vm.prank(node);
        plans.settle(did, planId, 1, "root", entries(entry(alice, 3, 12), entry(bob, 1, 5)));

        eq(balanceOf(planId, alice), 88, "alice's balance");
        eq(standing(planId, alice).consumed, 12, "alice's consumed");
        eq(balanceOf(planId, bob), 95, "bob's balance");
        eq(standing(planId, bob).consumed, 5, "bob's consumed");
        eq(plans.nextBatch(did, planId, node), 2, "next batch");
    }

    function testFuzz_settle_takesWhatIsAskedForUpToTheBalance(uint32 calls, uint64 amount) public {
        calls = uint32(within(calls, 1, 40));
        amount = uint64(within(amount, uint256(calls) * 2, uint256(calls) * 5));
        uint256 taken = amount < 100 ? amount : 100;
        if (taken < amount) {
            vm.expectEmit(address(plans));
            emit IPlanRegistry.Shortfall(planId, alice, node, 1, amount - taken);
        }
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Settled(did, planId, node, 1, calls, amount, taken, 0);
        settle(1, entries(entry(alice, calls, amount)));
        eq(balanceOf(planId, alice), 100 - taken, "balance");
        eq(standing(planId, alice).consumed, taken, "consumed");
    }

    function test_settle_clampsAndReportsInsteadOfFailingTheBatch() public {
        settle(1, entries(entry(alice, 20, 99)));
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Shortfall(planId, alice, node, 2, 4);
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(node, alice, address(0), uint256(planId), 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Settled(did, planId, node, 2, 2, 10, 6, 0);
        settle(2, entries(entry(alice, 1, 5), entry(bob, 1, 5)));
        eq(balanceOf(planId, alice), 0, "all that was left");
        eq(balanceOf(planId, bob), 95, "and the others are settled");
    }

    function test_settle_reportsAllOfItForSomebodyWhoNeverBought() public {
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Shortfall(planId, stranger, node, 1, 5);
        settle(1, entries(entry(stranger, 1, 5)));
        eq(standing(planId, stranger).consumed, 0, "nothing was consumed");
    }

    function test_settle_oneSubscriberMayHaveSeveralEntries() public {
        settle(1, entries(entry(alice, 20, 60), entry(bob, 1, 2), entry(alice, 20, 60)));
        eq(standing(planId, alice).consumed, 100, "clamped over both");
        eq(balanceOf(planId, alice), 0, "nothing left");
        eq(balanceOf(planId, bob), 98, "bob");
    }

    function test_settle_writesOneSlotPerEntryAndOneMore() public {
        bytes32[] memory list = new bytes32[](20);
        for (uint256 i; i < 20; i++) {
            address subscriber = address(uint160(0x10000 + i));
            give(planId, subscriber, 1);
            list[i] = entry(subscriber, 1, 3);
        }
        vm.record();
        settle(1, list);
        (, bytes32[] memory writes) = vm.accesses(address(plans));
        eq(writes.length, 21, "one write per entry and one for the batch");
    }

    function test_settle_expiredCreditsNotClearedAwayStillSettle() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.duration = 30 days;
        planId = createPlan(terms);
        did = registerAsset(planId, 1, 1);
        buy(planId, alice, 1);
        vm.warp(START + 30 days);
        eq(balanceOf(planId, alice), 0, "expired");
        settle(1, entries(entry(alice, 7, 7)));
        eq(standing(planId, alice).consumed, 7, "consumed");
        eq(standing(planId, alice).balance, 93, "held");
        buy(planId, alice, 1);
        settle(2, entries(entry(alice, 1, 1)));
        eq(balanceOf(planId, alice), 99, "what was cleared away is gone");
    }

    function test_settle_timePlanTakesNothing() public {
        bytes32 timePlan = createPlan(timeTerms());
        bytes32 timeDid = registerAsset(timePlan, 0, 0);
        buy(timePlan, alice, 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Settled(timeDid, timePlan, node, 1, 9, 0, 0, 0);
        settleOne(timeDid, timePlan, alice, 9, 0);
        eq(balanceOf(timePlan, alice), 1, "still active");
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 1, 0, 0));
        vm.prank(node);
        plans.settle(timeDid, timePlan, 2, 0, entries(entry(alice, 1, 1)));
    }

    function test_settle_goesOnAfterThePlanIsRetired() public {
        vm.prank(builder);
        plans.retire(planId);
        settle(1, entries(entry(alice, 1, 5)));
        eq(balanceOf(planId, alice), 95, "settled");
    }

    // --------------------------------------------------------------------------------------------------- the rule

    function testFuzz_settle_refusesCreditsOutsideTheRule(uint32 calls, uint64 amount) public {
        calls = uint32(within(calls, 1, type(uint32).max));
        uint256 low = uint256(calls) * 2;
        uint256 high = uint256(calls) * 5;
        vm.assume(amount < low || amount > high);
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 1, calls, amount, low, high));
        settle(1, entries(entry(bob, 1, 2), entry(alice, calls, amount)));
        eq(balanceOf(planId, bob), 100, "nothing of the batch was applied");
    }

    function test_settle_takesBothEndsOfTheRule() public {
        settle(1, entries(entry(alice, 3, 6), entry(bob, 3, 15)));
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 3, 5, 6, 15));
        settle(2, entries(entry(alice, 3, 5)));
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 3, 16, 6, 15));
        settle(2, entries(entry(alice, 3, 16)));
    }

    function test_settle_creditsWithoutCallsAreOutsideEveryRule() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 0, 1, 0, 0));
        settle(1, entries(entry(alice, 0, 1)));
    }

    function test_settle_callsTimesMaximumDoesNotWrap() public {
        bytes32 dear = registerAsset(planId, type(uint64).max, type(uint64).max);
        uint256 due = uint256(type(uint64).max) * 2;
        // 2 x (2^64 - 1) is 2^64 - 2 modulo 2^64
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 2, type(uint64).max - 1, due, due));
        vm.prank(node);
        plans.settle(dear, planId, 1, 0, entries(entry(alice, 2, type(uint64).max - 1)));
    }

    // --------------------------------------------------------------------------------------------------- who may

    function test_settle_isForTheAssetsNodes() public {
        address[3] memory callers = [otherNode, builder, alice];
        for (uint256 i; i < callers.length; i++) {
            refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, callers[i]));
            vm.prank(callers[i]);
            plans.settle(did, planId, 1, 0, entries(entry(alice, 1, 2)));
        }
    }

    function test_settle_isForPlansThatOpenTheAsset() public {
        bytes32 otherPlan = createPlan(creditTerms());
        buy(otherPlan, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, otherPlan, node));
        vm.prank(node);
        plans.settle(did, otherPlan, 1, 0, entries(entry(alice, 1, 2)));
        refuse(IPlanRegistry.NodeNotAuthorised.selector);
        vm.prank(node);
        plans.settle("unknown", planId, 1, 0, entries(entry(alice, 1, 2)));
        refuse(IPlanRegistry.NodeNotAuthorised.selector);
        vm.prank(node);
        plans.settle(did, "unknown", 1, 0, entries(entry(alice, 1, 2)));
    }

    // --------------------------------------------------------------------------------------------------- batches

    function testFuzz_settle_acceptsEachBatchOnceAndInOrder(uint64 batch) public {
        for (uint64 i = 1; i <= 3; i++) {
            eq(plans.nextBatch(did, planId, node), i, "next");
            settle(i, entries(entry(alice, 1, 2)));
        }
        vm.assume(batch != 4);
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongBatch.selector, batch, 4));
        settle(batch, entries(entry(alice, 1, 2)));
        eq(standing(planId, alice).consumed, 6, "three batches");
    }

    function test_settle_eachNodeAssetAndPlanCountsItsOwnBatches() public {
        vm.prank(builder);
        assets.addNode(did, otherNode);
        bytes32 otherDid = registerAsset(planId, 2, 5);
        settle(1, entries(entry(alice, 1, 2)));
        eq(plans.nextBatch(did, planId, otherNode), 1, "another node");
        eq(plans.nextBatch(otherDid, planId, node), 1, "another asset");
        vm.prank(otherNode);
        plans.settle(did, planId, 1, 0, entries(entry(alice, 1, 2)));
        vm.prank(node);
        plans.settle(otherDid, planId, 1, 0, entries(entry(alice, 1, 2)));
        eq(standing(planId, alice).consumed, 6, "all three");
        eq(plans.nextBatch(did, planId, node), 2, "one each");
    }

    function test_settle_refusesAnEmptyBatch() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.EmptyBatch.selector));
        settle(1, new bytes32[](0));
        refuse(abi.encodeWithSelector(IPlanRegistry.EmptyBatch.selector));
        vm.prank(node);
        plans.settleWithVouchers(did, planId, 1, 0, new bytes32[](0), new IPlanRegistry.Voucher[](0));
    }

    function test_settle_aRefusedBatchCanBeSentAgainCorrected() public {
        refuse(IPlanRegistry.OutsideRule.selector);
        settle(1, entries(entry(alice, 1, 6)));
        settle(1, entries(entry(alice, 1, 5)));
        eq(standing(planId, alice).consumed, 5, "once");
    }

    // ------------------------------------------------------------------------------- rules and nodes that change

    function test_settle_afterAChangeBothRulesHoldForTheWindow() public {
        uint256 notice = assets.NOTICE_PERIOD();
        uint256 window = assets.SETTLEMENT_WINDOW();
        vm.prank(builder);
        assets.changeOffer(did, IAssetRegistry.OfferInput(planId, 8, 10));

        vm.warp(START + notice - 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 8, 2, 5));
        settle(1, entries(entry(alice, 1, 8)));
        settle(1, entries(entry(alice, 1, 2)));

        vm.warp(START + notice);
        settle(2, entries(entry(alice, 1, 2))); // served before the change
        settle(3, entries(entry(alice, 1, 10))); // served after it
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 11, 2, 10));
        settle(4, entries(entry(alice, 1, 11)));

        vm.warp(START + notice + window - 1);
        settle(4, entries(entry(alice, 1, 2)));
        vm.warp(START + notice + window);
        refuse(abi.encodeWithSelector(IPlanRegistry.OutsideRule.selector, 0, 1, 5, 8, 10));
        settle(5, entries(entry(alice, 1, 5)));
        settle(5, entries(entry(alice, 1, 8)));
    }

    function test_settle_afterAnOfferClosesForTheWindowOnly() public {
        vm.prank(builder);
        assets.closeOffer(did, planId);
        vm.warp(START + assets.NOTICE_PERIOD() + assets.SETTLEMENT_WINDOW() - 1);
        settle(1, entries(entry(alice, 1, 2)));
        vm.warp(START + assets.NOTICE_PERIOD() + assets.SETTLEMENT_WINDOW());
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, node));
        settle(2, entries(entry(alice, 1, 2)));
    }

    function test_settle_afterANodeIsRemovedUntilTheGivenSecond() public {
        vm.prank(builder);
        assets.removeNode(did, node, START + 1 hours);
        vm.warp(START + 1 hours - 1);
        settle(1, entries(entry(alice, 1, 2)));
        vm.warp(START + 1 hours);
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, node));
        settle(2, entries(entry(alice, 1, 2)));
    }

    function test_settle_aNodeRemovedAtOnceSettlesNothing() public {
        vm.prank(builder);
        assets.removeNode(did, node, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, node));
        settle(1, entries(entry(alice, 1, 2)));
    }

    function test_settle_afterDeactivationForTheWindowOnly() public {
        vm.prank(builder);
        assets.setActive(did, false);
        vm.warp(START + assets.SETTLEMENT_WINDOW() - 1);
        settle(1, entries(entry(alice, 1, 2)));
        vm.warp(START + assets.SETTLEMENT_WINDOW());
        refuse(abi.encodeWithSelector(IPlanRegistry.NodeNotAuthorised.selector, did, planId, node));
        settle(2, entries(entry(alice, 1, 2)));
    }

    function test_settle_aRetiredNodeStillSettlesWhatItServed() public {
        vm.prank(node);
        nodes.retire();
        settle(1, entries(entry(alice, 1, 2)));
    }
}
