// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {Erc20} from "./tokens/Erc20.sol";

/// @notice createPlan, planIdOf, setPaused, retire, offerPlan, acceptPlan, grant: what a plan's owner does.
contract PlansTest is World {
    bytes32 internal constant UNKNOWN = keccak256("no such plan");
    bytes32 internal planId;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
    }

    // ------------------------------------------------------------------------------------------------- createPlan

    function test_createPlan_storesWhatWasAskedForAndAnnouncesIt() public {
        IPlanRegistry.Terms memory terms = IPlanRegistry.Terms({
            token: address(new Erc20()),
            price: 7,
            creditsPerUnit: 11,
            duration: 13,
            purchaseLimit: 17,
            supply: 19,
            refundCooldown: uint24(plans.MIN_REFUND_COOLDOWN()),
            voucherRequired: true
        });
        bytes32 salt = newSalt();
        bytes32 expected = plans.planIdOf(alice, salt);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.PlanCreated(expected, alice, keccak256("metadata"));
        vm.prank(alice);
        bytes32 created = plans.createPlan(salt, terms, new IPlanRegistry.Payee[](0), keccak256("metadata"));

        eq(created, expected, "the id is known beforehand");
        IPlanRegistry.Plan memory plan = plans.plan(created);
        eq(keccak256(abi.encode(plan.terms)), keccak256(abi.encode(terms)), "terms");
        eq(plan.owner, alice, "owner");
        eq(plan.pendingOwner, address(0), "nobody is offered the plan");
        no(plan.paused, "not paused");
        no(plan.retired, "not retired");
        eq(plan.sold, 0, "nothing sold");
        eq(plan.revenue, 0, "nothing earned");
        eq(plan.metadata, keccak256("metadata"), "metadata");
        (address owner, bool onSale, bool retired, bool timePlan) = plans.planStatus(created);
        yes(owner == alice && onSale && !retired && !timePlan, "status");
    }

    function testFuzz_createPlan_termsComeBackUnchanged(IPlanRegistry.Terms memory terms) public {
        if (terms.creditsPerUnit == 0 && terms.duration == 0) terms.duration = 1;
        if (terms.creditsPerUnit == 0) terms.voucherRequired = false;
        terms.token = uint160(terms.token) % 2 == 0 ? address(0) : address(plans);
        if (terms.price == 0) (terms.refundCooldown, terms.token) = (0, address(0));
        if (terms.refundCooldown != 0) {
            terms.refundCooldown = uint24(within(terms.refundCooldown, plans.MIN_REFUND_COOLDOWN(), type(uint24).max));
        }
        bytes32 created = createPlan(terms);
        eq(keccak256(abi.encode(plans.plan(created).terms)), keccak256(abi.encode(terms)), "terms");
        (,,, bool timePlan) = plans.planStatus(created);
        eq(timePlan ? 1 : 0, terms.creditsPerUnit == 0 ? 1 : 0, "a plan without credits is a time plan");
    }

    function testFuzz_planIdOf_isTheHashOfChainContractOwnerAndSalt(uint64 chain, address owner, bytes32 salt) public {
        chain = uint64(within(chain, 1, type(uint64).max));
        vm.chainId(chain);
        eq(plans.planIdOf(owner, salt), keccak256(abi.encode(uint256(chain), address(plans), owner, salt)), "id");
    }

    function test_createPlan_refusesASaltUsedBefore() public {
        IPlanRegistry.Payee[] memory none = new IPlanRegistry.Payee[](0);
        vm.startPrank(alice);
        bytes32 first = plans.createPlan("salt", creditTerms(), none, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanExists.selector, first));
        plans.createPlan("salt", timeTerms(), none, 0);
        vm.stopPrank();
        vm.prank(bob);
        bytes32 second = plans.createPlan("salt", creditTerms(), none, 0);
        no(first == second, "the same salt of another owner is another plan");
    }

    function test_createPlan_refusesATimePlanWithoutDuration() public {
        IPlanRegistry.Terms memory terms = timeTerms();
        terms.duration = 0;
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
    }

    function test_createPlan_refusesAFreePlanWithRefunds() public {
        IPlanRegistry.Terms memory terms = refundable(creditTerms());
        terms.price = 0;
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
    }

    function test_createPlan_refusesAFreePlanWithAToken() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.price, terms.token) = (0, address(new Erc20()));
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
    }

    function test_createPlan_refusesATokenWithoutCode() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.token = address(0xbeef);
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
    }

    function test_createPlan_refusesATimePlanWithVouchers() public {
        IPlanRegistry.Terms memory terms = timeTerms();
        terms.voucherRequired = true;
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
    }

    function test_createPlan_refusesACooldownBelowTheMinimum() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.refundCooldown = uint24(plans.MIN_REFUND_COOLDOWN() - 1);
        refuse(IPlanRegistry.InvalidTerms.selector);
        createPlan(terms);
        terms.refundCooldown = uint24(plans.MIN_REFUND_COOLDOWN());
        createPlan(terms);
    }

    function test_createPlan_takesUpToEightPayees() public {
        bytes32 created = createPlan(creditTerms(), evenSplit(8));
        IPlanRegistry.Payee[] memory stored = plans.payees(created);
        eq(keccak256(abi.encode(stored)), keccak256(abi.encode(evenSplit(8))), "payees come back in order");
        eq(plans.payees(planId).length, 0, "no split: the owner");
    }

    function test_createPlan_refusesNinePayees() public {
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), evenSplit(9));
    }

    function test_createPlan_refusesAPayeeWithoutAddress() public {
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 5_000, address(0), 5_000));
    }

    function test_createPlan_refusesAPayeeTwice() public {
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 5_000, alice, 5_000));
        IPlanRegistry.Payee[] memory three = evenSplit(3);
        three[2].account = three[0].account;
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), three);
    }

    function test_createPlan_refusesAnEmptyShare() public {
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 10_000, bob, 0));
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 0, bob, 10_000));
    }

    function test_createPlan_refusesSharesThatAreNotTheWhole() public {
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 5_000, bob, 4_999));
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), split(alice, 5_000, bob, 5_001));
        // 65,536 + 10,000 = 10,000 modulo 2^16
        IPlanRegistry.Payee[] memory wrapping = evenSplit(3);
        (wrapping[0].basisPoints, wrapping[1].basisPoints, wrapping[2].basisPoints) = (65_535, 1, 10_000);
        refuse(IPlanRegistry.InvalidSplit.selector);
        createPlan(creditTerms(), wrapping);
    }

    function test_plan_isUnknownBeforeItIsCreated() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        plans.plan(UNKNOWN);
        (address owner, bool onSale,,) = plans.planStatus(UNKNOWN);
        yes(owner == address(0) && !onSale, "nobody owns it and nobody can buy it");
    }

    // -------------------------------------------------------------------------------------------------- setPaused

    function test_setPaused_stopsSalesAndNothingElse() public {
        bytes32 did = registerAsset(planId, 1, 1);
        buy(planId, alice, 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.SalesPaused(planId, true);
        vm.prank(builder);
        plans.setPaused(planId, true);
        (, bool onSale, bool retired,) = plans.planStatus(planId);
        no(onSale || retired, "not on sale, not retired");
        yes(plans.plan(planId).paused, "paused");

        refuse(abi.encodeWithSelector(IPlanRegistry.PlanNotOnSale.selector, planId, false));
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, alice, 1, NO_BOUND);
        settleOne(did, planId, alice, 1, 1);
        give(planId, bob, 1);
        eq(balanceOf(planId, alice), 99, "settlement goes on");
        eq(balanceOf(planId, bob), 100, "grants go on");

        vm.expectEmit(address(plans));
        emit IPlanRegistry.SalesPaused(planId, false);
        vm.prank(builder);
        plans.setPaused(planId, false);
        buy(planId, alice, 1);
        eq(balanceOf(planId, alice), 199, "sales resume");
    }

    function test_setPaused_isForTheOwner() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.setPaused(planId, true);
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        vm.prank(stranger);
        plans.setPaused(UNKNOWN, true);
    }

    // ----------------------------------------------------------------------------------------------------- retire

    function test_retire_endsSalesAndGrantsForGood() public {
        bytes32 did = registerAsset(planId, 1, 1);
        buy(planId, alice, 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.PlanRetired(planId);
        vm.prank(builder);
        plans.retire(planId);
        yes(plans.plan(planId).retired, "retired");
        (address owner, bool onSale, bool retired,) = plans.planStatus(planId);
        yes(owner == builder && !onSale && retired, "owned, not on sale");

        bytes memory ended = abi.encodeWithSelector(IPlanRegistry.PlanNotOnSale.selector, planId, true);
        refuse(ended);
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, alice, 1, NO_BOUND);
        refuse(ended);
        vm.prank(builder);
        plans.grant(planId, alice, 1);
        refuse(ended);
        vm.prank(builder);
        plans.setPaused(planId, false);
        settleOne(did, planId, alice, 1, 1);
        eq(balanceOf(planId, alice), 99, "credits sold stay valid");
    }

    function test_retire_isForTheOwner() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.retire(planId);
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        vm.prank(stranger);
        plans.retire(UNKNOWN);
    }

    // -------------------------------------------------------------------------------------- offerPlan, acceptPlan

    function test_acceptPlan_handsThePlanOverInTwoSteps() public {
        vm.expectEmit(address(plans));
        emit IPlanRegistry.PlanTransferOffered(planId, alice);
        vm.prank(builder);
        plans.offerPlan(planId, alice);
        eq(plans.plan(planId).owner, builder, "an offer alone changes nothing");
        eq(plans.plan(planId).pendingOwner, alice, "pending");

        vm.expectEmit(address(plans));
        emit IPlanRegistry.PlanTransferred(planId, builder, alice);
        vm.prank(alice);
        plans.acceptPlan(planId);
        eq(plans.plan(planId).owner, alice, "owner");
        eq(plans.plan(planId).pendingOwner, address(0), "the offer is used up");

        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, builder));
        vm.prank(builder);
        plans.retire(planId);
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPendingOwner.selector, planId, alice));
        vm.prank(alice);
        plans.acceptPlan(planId);
        vm.prank(alice);
        plans.retire(planId);
    }

    function test_acceptPlan_isForTheAccountThatItWasOfferedTo() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPendingOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.acceptPlan(planId);
        vm.prank(builder);
        plans.offerPlan(planId, alice);
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPendingOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.acceptPlan(planId);
        refuse(IPlanRegistry.PlanUnknown.selector);
        vm.prank(stranger);
        plans.acceptPlan(UNKNOWN);
    }

    function test_offerPlan_toZeroWithdrawsTheOffer() public {
        vm.startPrank(builder);
        plans.offerPlan(planId, alice);
        plans.offerPlan(planId, address(0));
        vm.stopPrank();
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPendingOwner.selector, planId, alice));
        vm.prank(alice);
        plans.acceptPlan(planId);
    }

    function test_offerPlan_isForTheOwner() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.offerPlan(planId, stranger);
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        vm.prank(stranger);
        plans.offerPlan(UNKNOWN, stranger);
    }

    // ------------------------------------------------------------------------------------------------------ grant

    function test_grant_givesCreditsForNothing() public {
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Granted(planId, alice, 3, 0);
        vm.prank(builder);
        plans.grant(planId, alice, 3);
        eq(balanceOf(planId, alice), 300, "credits");
        eq(standing(planId, alice).unitsBought, 0, "not counted as bought");
        eq(plans.plan(planId).sold, 0, "not counted as sold");
        eq(plans.plan(planId).revenue, 0, "no revenue");
    }

    function test_grant_givesTime() public {
        bytes32 timePlan = createPlan(timeTerms());
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Granted(timePlan, alice, 2, START + 60 days);
        vm.prank(builder);
        plans.grant(timePlan, alice, 2);
        eq(standing(timePlan, alice).expiry, START + 60 days, "expiry");
        eq(balanceOf(timePlan, alice), 1, "active");
    }

    function test_grant_isNotBoundByLimitSupplyOrPause() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.purchaseLimit, terms.supply) = (1, 1);
        bytes32 small = createPlan(terms);
        buy(small, alice, 1);
        vm.prank(builder);
        plans.setPaused(small, true);
        give(small, alice, 5);
        eq(balanceOf(small, alice), 600, "credits");
    }

    function test_grant_isForTheOwner() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NotPlanOwner.selector, planId, stranger));
        vm.prank(stranger);
        plans.grant(planId, stranger, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        vm.prank(stranger);
        plans.grant(UNKNOWN, stranger, 1);
    }

    function test_grant_refusesNothingAndNobody() public {
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IPlanRegistry.NoUnits.selector));
        plans.grant(planId, alice, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.NoSubscriber.selector));
        plans.grant(planId, address(0), 1);
        vm.stopPrank();
    }

    function evenSplit(uint256 count) internal pure returns (IPlanRegistry.Payee[] memory payees) {
        payees = new IPlanRegistry.Payee[](count);
        uint16 share = uint16(10_000 / count);
        for (uint256 i; i < count; i++) {
            payees[i] = IPlanRegistry.Payee(address(uint160(0x1000 + i)), share);
        }
        payees[0].basisPoints += uint16(10_000 - share * count);
    }
}
