// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";

/// @notice Refunds and accrual on time plans: pro rata by whole seconds, rounding against the taker.
contract RefundTimeTest is World {
    uint96 internal constant PRICE = 30 ether; // an ether a day
    bytes32 internal planId;
    address internal sink;

    function setUp() public override {
        super.setUp();
        IPlanRegistry.Terms memory terms = refundable(timeTerms());
        terms.price = PRICE;
        planId = createPlan(terms);
        sink = account("sink");
    }

    function announce() internal {
        vm.prank(alice);
        plans.announceRefund(planId);
    }

    function take() internal returns (uint256) {
        vm.prank(alice);
        return plans.takeRefund(planId, sink);
    }

    function test_takeRefund_ofTimeIsProRata() public {
        buy(planId, alice, 1);
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 30 days && amount == PRICE, "nothing has elapsed");
        vm.warp(START + 2 days);
        announce();
        vm.warp(START + 3 days);
        (quantity, amount,) = plans.refundOf(planId, alice);
        yes(quantity == 27 days && amount == 27 ether, "27 of 30 days");
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Refunded(planId, alice, 0, 27 ether);
        eq(take(), 27 ether, "amount");
        eq(balanceOf(planId, alice), 0, "the time is gone");
        eq(plans.earnings(planId, builder), 3 ether, "three days are earned");
        eq(address(plans).balance, 3 ether, "held");
    }

    function testFuzz_takeRefund_ofTimeRoundsAgainstTheTaker(uint96 price, uint32 duration, uint32 units, uint64 used)
        public
    {
        IPlanRegistry.Terms memory terms = refundable(timeTerms());
        (terms.price, terms.duration) =
        (uint96(within(price, 1, 2 ** 90)), uint32(within(duration, 2 days, 2 ** 32 - 1)));
        units = uint32(within(units, 1, 100));
        planId = createPlan(terms);
        buy(planId, alice, units);
        uint256 bought = uint256(terms.duration) * units;
        used = uint64(within(used, 1 days, bought - 1));
        announce();
        vm.warp(START + used);
        uint256 expected = (bought - used) * terms.price / terms.duration;
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == bought - used && amount == expected, "quote");
        if (expected == 0) {
            refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
            take();
            plans.accrue(planId, alice);
        } else {
            eq(take(), expected, "floor(seconds x price / duration)");
        }
        eq(
            plans.earnings(planId, builder),
            used * uint256(terms.price) / terms.duration,
            "the builder's is floor(elapsed x price / duration)"
        );
    }

    function test_accrue_earnsElapsedTime() public {
        buy(planId, alice, 1);
        eq(plans.earnings(planId, builder), 0, "nothing has elapsed");
        vm.warp(START + 10 days);
        eq(plans.earnings(planId, builder), 0, "nobody has moved it yet");
        vm.prank(stranger);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), 10 ether, "ten days");
        vm.prank(stranger);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), 10 ether, "once");
        vm.warp(START + 100 days);
        plans.accrue(planId, alice);
        eq(plans.earnings(planId, builder), PRICE, "never more than was paid");
        eq(standing(planId, alice).expiry, START + 30 days, "accrual takes no time away");
    }

    function testFuzz_accrue_inAnyStepsEarnsTheSame(uint256 seed, uint96 price, uint32 duration) public {
        IPlanRegistry.Terms memory terms = refundable(timeTerms());
        (terms.price, terms.duration) = (uint96(within(price, 1, 2 ** 90)), uint32(within(duration, 1 hours, 2 ** 31)));
        planId = createPlan(terms);
        buy(planId, alice, 1);
        uint256 elapsed;
        for (uint256 i; i < 5; i++) {
            elapsed += within(uint256(keccak256(abi.encode(seed, i))), 0, (terms.duration - elapsed) / 2);
            vm.warp(START + elapsed);
            plans.accrue(planId, alice);
        }
        eq(plans.earnings(planId, builder), elapsed * terms.price / terms.duration, "rounded once");
    }

    function test_takeRefund_ofTimeAtTheExpiryGivesNothing() public {
        buy(planId, alice, 1);
        announce();
        vm.warp(START + 30 days - 1);
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 1 && amount == uint256(PRICE) / 30 days, "one second");
        vm.warp(START + 30 days);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        take();
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce();
    }

    function test_takeRefund_leavesGrantedTimeWhichRunsAfterPaidTime() public {
        give(planId, alice, 1);
        buy(planId, alice, 1);
        vm.warp(START + 3 days);
        announce();
        vm.warp(START + 4 days);
        eq(take(), 26 ether, "26 paid days are left: they run first");
        eq(standing(planId, alice).expiry, START + 34 days, "the granted 30 days follow at once");
        eq(balanceOf(planId, alice), 1, "active");
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce();
    }

    function test_takeRefund_ofTimeCoversWhatWasHeldWhenItWasAnnounced() public {
        buy(planId, alice, 1);
        announce();
        buy(planId, alice, 1);
        vm.warp(START + 1 days);
        eq(take(), 29 ether, "the rest of the first month");
        eq(standing(planId, alice).expiry, START + 31 days, "the second month starts now");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 30 days && amount == PRICE, "and is whole");
    }

    function test_purchase_renewalEarnsElapsedTimeAndKeepsTheRest() public {
        buy(planId, alice, 1);
        vm.warp(START + 10 days);
        buy(planId, alice, 1);
        eq(plans.earnings(planId, builder), 10 ether, "ten days");
        (uint256 quantity, uint256 amount,) = plans.refundOf(planId, alice);
        yes(quantity == 50 days && amount == 50 ether, "fifty days are left");
    }

    function test_grant_onceTimeHasRunOutIsNotRefundable() public {
        buy(planId, alice, 1);
        vm.warp(START + 40 days);
        give(planId, alice, 1);
        eq(plans.earnings(planId, builder), PRICE, "all of the paid time has elapsed");
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToRefund.selector, planId, alice));
        announce();
        buy(planId, alice, 1);
        vm.warp(START + 45 days);
        (uint256 quantity,,) = plans.refundOf(planId, alice);
        eq(quantity, 25 days, "paid time runs first also when it was bought later");
        eq(standing(planId, alice).expiry, START + 100 days, "after it the granted time");
    }
}
