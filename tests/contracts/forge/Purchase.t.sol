// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {IERC1155} from "../../../contracts/interfaces/IERC1155.sol";
import {AcceptingReceiver, HooklessReceiver, RefusingReceiver, WrongAnswerReceiver} from "./actors/Receivers.sol";
import {Erc20} from "./tokens/Erc20.sol";
import {
    FalseButMovesToken,
    FalseToken,
    FeeToken,
    GenerousToken,
    LyingToken,
    NoReturnToken,
    RevertingToken
} from "./tokens/Hostile.sol";

/// @notice purchase, and what every way of buying has in common.
contract PurchaseTest is World {
    bytes32 internal constant UNKNOWN = keccak256("no such plan");
    bytes32 internal planId;
    bytes32 internal timePlan;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
        timePlan = createPlan(timeTerms());
    }

    // ------------------------------------------------------------------------------------------------------ money

    function test_purchase_nativePlanGivesCreditsForExactlyThePrice() public {
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(alice, address(0), alice, uint256(planId), 300);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(planId, alice, alice, 3, 3 ether, 0);
        vm.prank(alice);
        plans.purchase{value: 3 ether}(planId, alice, 3, 3 ether);

        eq(balanceOf(planId, alice), 300, "credits");
        eq(standing(planId, alice).unitsBought, 3, "units bought");
        eq(standing(planId, alice).expiry, 0, "never expires");
        eq(plans.plan(planId).sold, 3, "sold");
        eq(plans.plan(planId).revenue, 3 ether, "revenue");
        eq(plans.earnings(planId, builder), 3 ether, "earnings");
        eq(address(plans).balance, 3 ether, "held");
    }

    function testFuzz_purchase_refusesAnyOtherAmount(uint256 paid, uint32 units) public {
        units = uint32(within(units, 1, 1_000_000));
        uint256 due = uint256(units) * 1 ether;
        paid = within(paid, 0, due * 2);
        vm.assume(paid != due);
        vm.deal(alice, paid);
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongPayment.selector, paid, due));
        vm.prank(alice);
        plans.purchase{value: paid}(planId, alice, units, NO_BOUND);
    }

    function test_purchase_refusesAPriceAboveThePayersBound() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.PriceAboveMaximum.selector, 2 ether, 2 ether - 1));
        vm.prank(alice);
        plans.purchase{value: 2 ether}(planId, alice, 2, 2 ether - 1);
        vm.prank(alice);
        plans.purchase{value: 2 ether}(planId, alice, 2, 2 ether);
    }

    function test_purchase_priceTimesUnitsDoesNotWrap() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = type(uint96).max;
        terms.creditsPerUnit = 1;
        bytes32 dear = createPlan(terms);
        uint256 due = uint256(type(uint96).max) * type(uint16).max;
        vm.deal(alice, 2 * due);
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongPayment.selector, due - 1, due));
        vm.prank(alice);
        plans.purchase{value: due - 1}(dear, alice, type(uint16).max, NO_BOUND);
        vm.prank(alice);
        plans.purchase{value: due}(dear, alice, type(uint16).max, due);
        eq(plans.earnings(dear, builder), due, "all of it is earned");
    }

    function test_purchase_refusesMoreRevenueThanAPlanCounts() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = type(uint96).max;
        terms.creditsPerUnit = 1;
        bytes32 dear = createPlan(terms);
        uint256 most = uint256(type(uint112).max) / type(uint96).max;
        vm.deal(alice, (most + 1) * uint256(type(uint96).max));
        vm.prank(alice);
        plans.purchase{value: most * uint256(type(uint96).max)}(dear, alice, uint32(most), NO_BOUND);
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(alice);
        plans.purchase{value: uint256(type(uint96).max)}(dear, alice, 1, NO_BOUND);
        eq(plans.withdraw(dear, builder), most * uint256(type(uint96).max), "what is there can be had");
    }

    function test_purchase_freePlanCostsNothing() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = 0;
        bytes32 free = createPlan(terms);
        vm.prank(alice);
        plans.purchase(free, alice, 1, 0);
        eq(balanceOf(free, alice), 100, "credits");
        refuse(abi.encodeWithSelector(IPlanRegistry.WrongPayment.selector, 1, 0));
        vm.prank(alice);
        plans.purchase{value: 1}(free, alice, 1, 0);
    }

    function test_purchase_anybodyMayPayForAnybody() public {
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(planId, bob, alice, 1, 1 ether, 0);
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, bob, 1, NO_BOUND);
        eq(balanceOf(planId, bob), 100, "the gift arrives");
        eq(balanceOf(planId, alice), 0, "and not with the payer");
    }

    // --------------------------------------------------------------------------------------------- who, what, how

    function test_purchase_refusesAnUnknownPlan() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanUnknown.selector, UNKNOWN));
        vm.prank(alice);
        plans.purchase(UNKNOWN, alice, 1, NO_BOUND);
    }

    function test_purchase_refusesNoUnitsAndNobody() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NoUnits.selector));
        vm.prank(alice);
        plans.purchase(planId, alice, 0, NO_BOUND);
        refuse(abi.encodeWithSelector(IPlanRegistry.NoSubscriber.selector));
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, address(0), 1, NO_BOUND);
    }

    function test_purchase_stopsAtTheSupply() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.supply = 3;
        bytes32 scarce = createPlan(terms);
        buy(scarce, alice, 2);
        refuse(abi.encodeWithSelector(IPlanRegistry.SoldOut.selector, scarce, 2, 1));
        vm.prank(bob);
        plans.purchase{value: 2 ether}(scarce, bob, 2, NO_BOUND);
        buy(scarce, bob, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.SoldOut.selector, scarce, 1, 0));
        vm.prank(bob);
        plans.purchase{value: 1 ether}(scarce, bob, 1, NO_BOUND);
    }

    function test_purchase_stopsAtTheLimitOfTheAccountGiftsIncluded() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.purchaseLimit = 2;
        bytes32 limited = createPlan(terms);
        vm.prank(bob);
        plans.purchase{value: 1 ether}(limited, alice, 1, NO_BOUND);
        refuse(abi.encodeWithSelector(IPlanRegistry.PurchaseLimitReached.selector, limited, alice, 2, 1));
        vm.prank(alice);
        plans.purchase{value: 2 ether}(limited, alice, 2, NO_BOUND);
        buy(limited, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.PurchaseLimitReached.selector, limited, alice, 1, 0));
        vm.prank(bob);
        plans.purchase{value: 1 ether}(limited, alice, 1, NO_BOUND);
        buy(limited, bob, 2);
        eq(balanceOf(limited, bob), 200, "another account has a limit of its own");
    }

    function test_purchase_trialIsAFreePlanWithLimitOne() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.price, terms.purchaseLimit) = (0, 1);
        bytes32 trial = createPlan(terms);
        vm.prank(alice);
        plans.purchase(trial, alice, 1, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.PurchaseLimitReached.selector, trial, alice, 1, 0));
        vm.prank(alice);
        plans.purchase(trial, alice, 1, 0);
    }

    // --------------------------------------------------------------------------------------------- top-up, renewal

    function test_purchase_topUpAddsCredits() public {
        buy(planId, alice, 1);
        buy(planId, alice, 2);
        eq(balanceOf(planId, alice), 300, "credits");
        eq(standing(planId, alice).unitsBought, 3, "units");
    }

    function test_purchase_renewalExtendsFromTheExpiryWhileActive() public {
        buy(timePlan, alice, 1);
        vm.warp(START + 10 days);
        buy(timePlan, alice, 2);
        eq(standing(timePlan, alice).expiry, START + 90 days, "no day is lost");
    }

    function test_purchase_renewalExtendsFromNowOnceExpired() public {
        buy(timePlan, alice, 1);
        vm.warp(START + 40 days);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(timePlan, alice, alice, 1, 1 ether, START + 70 days);
        buy(timePlan, alice, 1);
        eq(standing(timePlan, alice).expiry, START + 70 days, "no day is sold twice");
    }

    function testFuzz_purchase_renewalExtendsFromTheLaterOfNowAndExpiry(uint256 wait, uint32 units) public {
        units = uint32(within(units, 1, 1_000));
        wait = within(wait, 0, 365 days);
        buy(timePlan, alice, 1);
        vm.warp(START + wait);
        uint256 expiry = START + 30 days;
        buy(timePlan, alice, units);
        uint256 from = expiry > block.timestamp ? expiry : block.timestamp;
        eq(standing(timePlan, alice).expiry, from + uint256(units) * 30 days, "expiry");
    }

    function test_balanceOf_endsExactlyAtTheExpiry() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.duration = 30 days;
        bytes32 expiring = createPlan(terms);
        buy(expiring, alice, 1);
        buy(timePlan, alice, 1);
        vm.warp(START + 30 days - 1);
        eq(balanceOf(expiring, alice), 100, "spendable in the last second");
        eq(balanceOf(timePlan, alice), 1, "active in the last second");
        vm.warp(START + 30 days);
        eq(balanceOf(expiring, alice), 0, "not at the expiry");
        eq(balanceOf(timePlan, alice), 0, "not at the expiry");
        eq(standing(expiring, alice).balance, 100, "still held until they are cleared away");
    }

    function test_purchase_clearsExpiredCreditsAway() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.duration = 30 days;
        bytes32 expiring = createPlan(terms);
        buy(expiring, alice, 1);
        vm.warp(START + 30 days);
        vm.deal(alice, 1 ether);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.CreditsExpired(expiring, alice, 100);
        vm.expectEmit(address(plans));
        emit IERC1155.TransferSingle(alice, alice, address(0), uint256(expiring), 100);
        vm.prank(alice);
        plans.purchase{value: 1 ether}(expiring, alice, 1, NO_BOUND);
        eq(balanceOf(expiring, alice), 100, "only the new ones");
        eq(standing(expiring, alice).expiry, START + 60 days, "with a new expiry");
    }

    function test_purchase_beforeExpiryKeepsTheOldCredits() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.duration = 30 days;
        bytes32 expiring = createPlan(terms);
        buy(expiring, alice, 1);
        vm.warp(START + 30 days - 1);
        buy(expiring, alice, 1);
        eq(balanceOf(expiring, alice), 200, "both");
        eq(standing(expiring, alice).expiry, START + 60 days, "both with the later expiry");
    }

    // ------------------------------------------------------------------------------------------------ type limits

    function test_purchase_refusesMoreCreditsThanAnAccountHolds() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.price, terms.creditsPerUnit) = (0, type(uint64).max);
        bytes32 huge = createPlan(terms);
        // (2^64 - 1) x 2^24 < 2^88, and 2^24 + 1 of them are too many
        vm.prank(alice);
        plans.purchase(huge, alice, 2 ** 24, 0);
        eq(balanceOf(huge, alice), (2 ** 64 - 1) * 2 ** 24, "nearly full");
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(alice);
        plans.purchase(huge, alice, 1, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(bob);
        plans.purchase(huge, bob, type(uint32).max, 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(builder);
        plans.grant(huge, alice, 1);
    }

    function test_purchase_neverLetsBalanceAndConsumedOutgrowTheSlot() public {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.price, terms.creditsPerUnit) = (0, type(uint64).max);
        bytes32 huge = createPlan(terms);
        bytes32 did = registerAsset(huge, 0, type(uint64).max);
        vm.prank(alice);
        plans.purchase(huge, alice, 2 ** 24, 0);
        settleOne(did, huge, alice, 1, type(uint64).max);
        eq(standing(huge, alice).consumed, type(uint64).max, "consumed");
        // what is held and what was consumed could otherwise not be settled together later
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(alice);
        plans.purchase(huge, alice, 1, 0);
    }

    function test_purchase_refusesAnExpiryBeyondFortyBits() public {
        IPlanRegistry.Terms memory terms = timeTerms();
        (terms.price, terms.duration) = (0, type(uint32).max);
        bytes32 eternal = createPlan(terms);
        uint256 room = (type(uint40).max - START) / type(uint32).max;
        vm.prank(alice);
        plans.purchase(eternal, alice, uint32(room), 0);
        refuse(abi.encodeWithSelector(IPlanRegistry.LimitOverflow.selector));
        vm.prank(alice);
        plans.purchase(eternal, alice, 1, 0);
        eq(standing(eternal, alice).expiry, START + room * type(uint32).max, "unchanged");
    }

    // ---------------------------------------------------------------------------------------------------- receivers

    function test_purchase_asksContractsWhetherTheyTakeTheTokens() public {
        AcceptingReceiver wallet = new AcceptingReceiver();
        vm.prank(alice);
        plans.purchase{value: 1 ether}(planId, address(wallet), 1, NO_BOUND);
        eq(wallet.received(), 1, "asked once");
        eq(wallet.operator(), alice, "operator");
        eq(wallet.from(), address(0), "minted");
        eq(wallet.id(), uint256(planId), "id");
        eq(wallet.value(), 100, "value");
    }

    function test_purchase_refusesContractsThatDoNotTakeTheTokens() public {
        address[3] memory wallets =
            [address(new HooklessReceiver()), address(new WrongAnswerReceiver()), address(new RefusingReceiver())];
        for (uint256 i; i < wallets.length; i++) {
            refuse(abi.encodeWithSelector(IPlanRegistry.UnsafeRecipient.selector, wallets[i]));
            vm.prank(alice);
            plans.purchase{value: 1 ether}(planId, wallets[i], 1, NO_BOUND);
            refuse(abi.encodeWithSelector(IPlanRegistry.UnsafeRecipient.selector, wallets[i]));
            vm.prank(builder);
            plans.grant(planId, wallets[i], 1);
        }
    }

    // ------------------------------------------------------------------------------------------------------ ERC-20

    function tokenPlan(address token) internal returns (bytes32) {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (token, 10_000_000);
        return createPlan(terms);
    }

    /// @notice `alice` has the price of 10 units in `token`, approved.
    function stock(address token) internal {
        Erc20(token).mint(alice, 100_000_000);
        vm.prank(alice);
        (bool ok,) = token.call(abi.encodeCall(Erc20.approve, (address(plans), 100_000_000)));
        yes(ok, "approve");
    }

    function test_purchase_erc20PlanPullsExactlyThePrice() public {
        Erc20 token = new Erc20();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(tokens, alice, alice, 2, 20_000_000, 0);
        vm.prank(alice);
        plans.purchase(tokens, alice, 2, 20_000_000);
        eq(token.balanceOf(alice), 80_000_000, "paid");
        eq(token.balanceOf(address(plans)), 20_000_000, "held");
        eq(plans.earnings(tokens, builder), 20_000_000, "earned");
        eq(balanceOf(tokens, alice), 200, "credits");
    }

    function test_purchase_erc20PlanRefusesNativeCurrency() public {
        Erc20 token = new Erc20();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        refuse(IPlanRegistry.WrongPayment.selector);
        vm.prank(alice);
        plans.purchase{value: 1}(tokens, alice, 1, NO_BOUND);
        refuse(IPlanRegistry.WrongPayment.selector);
        vm.prank(alice);
        plans.purchase{value: 10_000_000}(tokens, alice, 1, NO_BOUND);
    }

    function test_purchase_erc20PlanTakesTheCallersTokensAndNobodyElses() public {
        Erc20 token = new Erc20();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, plans, 10_000_000));
        vm.prank(bob);
        plans.purchase(tokens, alice, 1, NO_BOUND);
    }

    function test_purchase_takesTokensThatReturnNothing() public {
        NoReturnToken token = new NoReturnToken();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        vm.prank(alice);
        plans.purchase(tokens, alice, 1, NO_BOUND);
        eq(token.balanceOf(address(plans)), 10_000_000, "held");
        plans.withdraw(tokens, builder);
        eq(token.balanceOf(builder), 10_000_000, "and paid out");
    }

    function test_purchase_refusesTokensThatSayFalse() public {
        FalseToken token = new FalseToken();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        token.setBroken(true);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, plans, 10_000_000));
        vm.prank(alice);
        plans.purchase(tokens, alice, 1, NO_BOUND);

        FalseButMovesToken odd = new FalseButMovesToken();
        bytes32 odds = tokenPlan(address(odd));
        stock(address(odd));
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, odd, plans, 10_000_000));
        vm.prank(alice);
        plans.purchase(odds, alice, 1, NO_BOUND);
    }

    function test_purchase_refusesTokensThatRevert() public {
        RevertingToken token = new RevertingToken();
        bytes32 tokens = tokenPlan(address(token));
        stock(address(token));
        token.setBroken(true, false);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, plans, 10_000_000));
        vm.prank(alice);
        plans.purchase(tokens, alice, 1, NO_BOUND);
    }

    function test_purchase_refusesTokensThatDeliverAnythingElse() public {
        address[3] memory odd = [address(new FeeToken()), address(new LyingToken()), address(new GenerousToken())];
        uint256[3] memory arrives = [uint256(9_900_000), 0, 10_000_001];
        for (uint256 i; i < odd.length; i++) {
            bytes32 tokens = tokenPlan(odd[i]);
            stock(odd[i]);
            refuse(abi.encodeWithSelector(IPlanRegistry.WrongPayment.selector, arrives[i], 10_000_000));
            vm.prank(alice);
            plans.purchase(tokens, alice, 1, NO_BOUND);
            eq(balanceOf(tokens, alice), 0, "no credits");
        }
    }

    function test_purchase_refusesATokenWhoseCodeIsGone() public {
        address token = address(new Erc20());
        bytes32 tokens = tokenPlan(token);
        vm.etch(token, "");
        vm.expectRevert();
        vm.prank(alice);
        plans.purchase(tokens, alice, 1, NO_BOUND);
        eq(balanceOf(tokens, alice), 0, "no credits");
    }
}
