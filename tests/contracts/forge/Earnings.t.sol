// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {AcceptingPayee, BombingPayee, GasBurningPayee, RevertingPayee} from "./actors/Payees.sol";
import {BlockingToken, FalseToken} from "./tokens/Hostile.sol";

/// @notice earnings, withdraw, withdrawTo, the split and the protocol fee.
contract EarningsTest is World {
    bytes32 internal planId;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
    }

    // ---------------------------------------------------------------------------------------------------- withdraw

    function test_withdraw_sendsTheOwnerWhatItEarned() public {
        buy(planId, alice, 3);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Withdrawn(planId, builder, builder, address(0), 3 ether);
        vm.prank(stranger); // anybody may pay the gas
        eq(plans.withdraw(planId, builder), 3 ether, "amount");
        eq(builder.balance, 3 ether, "paid");
        eq(plans.earnings(planId, builder), 0, "nothing left");
        eq(plans.plan(planId).revenue, 3 ether, "revenue is counted in all");
        buy(planId, alice, 1);
        eq(plans.earnings(planId, builder), 1 ether, "and goes on");
    }

    function test_withdraw_refusesWhoHasNothing() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToWithdraw.selector, planId, builder));
        plans.withdraw(planId, builder);
        buy(planId, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToWithdraw.selector, planId, stranger));
        plans.withdraw(planId, stranger);
        plans.withdraw(planId, builder);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToWithdraw.selector, planId, builder));
        plans.withdraw(planId, builder);
        refuse(abi.encodeWithSelector(IPlanRegistry.NothingToWithdraw.selector, planId, stranger));
        vm.prank(stranger);
        plans.withdrawTo(planId, stranger);
    }

    function test_withdrawTo_sendsTheCallersEarningsElsewhere() public {
        buy(planId, alice, 1);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Withdrawn(planId, builder, treasury, address(0), 1 ether);
        vm.prank(builder);
        eq(plans.withdrawTo(planId, treasury), 1 ether, "amount");
        eq(treasury.balance, 1 ether, "paid");
    }

    function test_withdrawTo_nobodyIsRefused() public {
        buy(planId, alice, 1);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, address(0), address(0), 1 ether));
        vm.prank(builder);
        plans.withdrawTo(planId, address(0));
        eq(plans.earnings(planId, builder), 1 ether, "not burnt");
    }

    function test_withdraw_takesFromNoOtherPlan() public {
        bytes32 other = createPlan(creditTerms());
        buy(planId, alice, 1);
        buy(other, alice, 2);
        plans.withdraw(planId, builder);
        eq(plans.earnings(other, builder), 2 ether, "the other plan's");
        eq(address(plans).balance, 2 ether, "is held");
    }

    // ------------------------------------------------------------------------------------------------------- split

    function testFuzz_earnings_splitRoundsUpForTheFirstAndDownForTheOthers(
        uint96 price,
        uint16 first,
        uint16 second,
        uint8 purchases
    ) public {
        first = uint16(within(first, 1, 9_998));
        second = uint16(within(second, 1, 9_999 - first));
        IPlanRegistry.Payee[] memory payees = new IPlanRegistry.Payee[](3);
        payees[0] = IPlanRegistry.Payee(account("first"), first);
        payees[1] = IPlanRegistry.Payee(account("second"), second);
        payees[2] = IPlanRegistry.Payee(account("third"), 10_000 - first - second);
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = uint96(within(price, 1, 2 ** 80));
        planId = createPlan(terms, payees);
        uint256 revenue;
        for (uint256 i; i < within(purchases, 1, 5); i++) {
            buy(planId, alice, 1);
            revenue += terms.price;
            if (i == 2) plans.withdraw(planId, payees[0].account); // taking early changes nobody's share
        }
        uint256 sum;
        for (uint256 i; i < 3; i++) {
            uint256 exact = revenue * payees[i].basisPoints;
            uint256 share = i == 0 ? (exact + 9_999) / 10_000 : exact / 10_000;
            uint256 got = plans.earnings(planId, payees[i].account) + payees[i].account.balance;
            eq(got, share, "share");
            sum += got;
        }
        vm.assertLe(sum, revenue, "no more than there is");
        vm.assertGt(sum + 3, revenue, "fewer base units wait than there are payees");
        eq(plans.earnings(planId, builder), 0, "the owner has no share of a split plan");
    }

    function test_withdraw_everyPayeeOfEightGetsItsShareInAnyOrder() public {
        IPlanRegistry.Payee[] memory payees = new IPlanRegistry.Payee[](8);
        for (uint256 i; i < 8; i++) {
            payees[i] = IPlanRegistry.Payee(address(uint160(0x1000 + i)), 1_250);
        }
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = 1; // dust: eight shares of an eighth
        planId = createPlan(terms, payees);
        buy(planId, alice, 7);
        eq(plans.earnings(planId, payees[0].account), 1, "rounded up");
        eq(plans.earnings(planId, payees[7].account), 0, "rounded down");
        plans.withdraw(planId, payees[0].account);
        buy(planId, alice, 1);
        for (uint256 i = 8; i > 1; i--) {
            eq(plans.withdraw(planId, payees[i - 1].account), 1, "one each");
        }
        eq(plans.earnings(planId, payees[0].account), 0, "the first has had its own");
        eq(address(plans).balance, 0, "all of it is paid");
    }

    // ---------------------------------------------------------------------------------------------------- hand-over

    function handOver(address from, address to) internal {
        vm.prank(from);
        plans.offerPlan(planId, to);
        vm.prank(to);
        plans.acceptPlan(planId);
    }

    function test_acceptPlan_leavesThePreviousOwnerWhatItEarned() public {
        buy(planId, alice, 2);
        handOver(builder, bob);
        buy(planId, alice, 3);
        eq(plans.earnings(planId, builder), 2 ether, "before");
        eq(plans.earnings(planId, bob), 3 ether, "after");
        plans.withdraw(planId, builder);
        eq(plans.earnings(planId, bob), 3 ether, "unchanged");
        handOver(bob, builder);
        buy(planId, alice, 4);
        eq(plans.earnings(planId, builder), 4 ether, "owner again");
        eq(plans.earnings(planId, bob), 3 ether, "kept");
        plans.withdraw(planId, bob);
        plans.withdraw(planId, builder);
        eq(address(plans).balance, 0, "all paid");
    }

    function test_acceptPlan_afterAWithdrawalLeavesTheRest() public {
        buy(planId, alice, 2);
        plans.withdraw(planId, builder);
        buy(planId, alice, 1);
        handOver(builder, bob);
        eq(plans.earnings(planId, builder), 1 ether, "the rest");
        eq(plans.earnings(planId, bob), 0, "nothing yet");
    }

    function test_acceptPlan_changesNothingForPayees() public {
        planId = createPlan(creditTerms(), split(treasury, 7_500, stranger, 2_500));
        buy(planId, alice, 1);
        handOver(builder, bob);
        buy(planId, alice, 1);
        eq(plans.earnings(planId, treasury), 1.5 ether, "first");
        eq(plans.earnings(planId, stranger), 0.5 ether, "second");
        eq(plans.earnings(planId, bob), 0, "the owner has no share");
    }

    // ------------------------------------------------------------------------------------------------ protocol fee

    function withFee(uint16 basisPoints) internal {
        deploy(treasury, basisPoints);
        node = registerNode("node");
        planId = createPlan(creditTerms());
    }

    function test_protocolFee_isFixedAtDeployment() public {
        (address recipient, uint16 basisPoints) = plans.protocolFee();
        yes(recipient == address(0) && basisPoints == 0, "zero by default");
        withFee(250);
        (recipient, basisPoints) = plans.protocolFee();
        yes(recipient == treasury && basisPoints == 250, "as deployed");
    }

    function test_protocolFee_needsARecipientAndAtMostTheWhole() public {
        bytes memory code = vm.getCode("PlanRegistry.sol:PlanRegistry");
        eq(
            keccak256(deployError(code, address(0), 1)),
            keccak256(abi.encodeWithSelector(IPlanRegistry.InvalidFee.selector, address(0), 1)),
            "no recipient"
        );
        eq(
            keccak256(deployError(code, treasury, 10_001)),
            keccak256(abi.encodeWithSelector(IPlanRegistry.InvalidFee.selector, treasury, 10_001)),
            "more than the whole"
        );
        eq(keccak256(deployError(code, treasury, 10_000)), keccak256(""), "the whole is allowed");
    }

    function deployError(bytes memory code, address recipient, uint16 basisPoints) internal returns (bytes memory) {
        bytes memory init = abi.encodePacked(code, abi.encode(recipient, basisPoints, nodes, validator));
        address made;
        assembly ("memory-safe") {
            made := create(0, add(init, 32), mload(init))
        }
        if (made != address(0)) return "";
        bytes memory reason;
        assembly ("memory-safe") {
            reason := mload(0x40)
            mstore(reason, returndatasize())
            returndatacopy(add(reason, 32), 0, returndatasize())
            mstore(0x40, add(reason, add(32, and(add(returndatasize(), 31), not(31)))))
        }
        return reason;
    }

    function testFuzz_protocolFee_isRoundedDownAndComesFirst(uint16 basisPoints, uint96 price, uint8 purchases) public {
        basisPoints = uint16(within(basisPoints, 1, 10_000));
        withFee(basisPoints);
        IPlanRegistry.Terms memory terms = creditTerms();
        terms.price = uint96(within(price, 1, 2 ** 80));
        planId = createPlan(terms);
        uint256 revenue;
        for (uint256 i; i < within(purchases, 1, 5); i++) {
            buy(planId, alice, 1);
            revenue += terms.price;
        }
        uint256 fee = revenue * basisPoints / 10_000;
        eq(plans.earnings(planId, treasury), fee, "fee on all revenue, rounded down once");
        eq(plans.earnings(planId, builder), revenue - fee, "the rest");
        if (fee != 0) plans.withdraw(planId, treasury);
        if (revenue != fee) plans.withdraw(planId, builder);
        eq(address(plans).balance, 0, "all paid");
    }

    function test_protocolFee_onARefundablePlanIsTakenFromWhatIsEarned() public {
        withFee(1_000);
        planId = createPlan(refundable(creditTerms()));
        bytes32 did = registerAsset(planId, 1, 100);
        buy(planId, alice, 1);
        eq(plans.earnings(planId, treasury), 0, "nothing is earned yet");
        settleOne(did, planId, alice, 1, 50);
        eq(plans.earnings(planId, treasury), 0.05 ether, "a tenth of half");
        vm.prank(alice);
        plans.announceRefund(planId);
        vm.warp(START + 1 days);
        vm.prank(alice);
        eq(plans.takeRefund(planId, alice), 0.5 ether, "no fee on a refund");
    }

    function test_protocolFee_recipientMayAlsoBeOwnerOrPayee() public {
        withFee(1_000);
        planId = createPlan(creditTerms(), split(treasury, 5_000, builder, 5_000));
        buy(planId, alice, 1);
        eq(plans.earnings(planId, treasury), 0.1 ether + 0.45 ether, "fee and share");
        eq(plans.withdraw(planId, treasury), 0.55 ether, "in one");
        eq(plans.withdraw(planId, builder), 0.45 ether, "the other share");
        vm.prank(treasury);
        bytes32 own = plans.createPlan("own", creditTerms(), new IPlanRegistry.Payee[](0), 0);
        buy(own, alice, 1);
        eq(plans.withdraw(own, treasury), 1 ether, "fee and all of the rest");
        eq(address(plans).balance, 0, "all paid");
    }

    // --------------------------------------------------------------------------------------- payees that can't take

    function test_withdraw_ofOneThatCannotReceiveBlocksNobody() public {
        address[3] memory bad =
            [address(new RevertingPayee()), address(new GasBurningPayee()), address(new BombingPayee())];
        for (uint256 i; i < 3; i++) {
            planId = createPlan(creditTerms(), split(bad[i], 5_000, builder, 5_000));
            uint256 before = builder.balance;
            buy(planId, alice, 2);
            if (i < 2) {
                refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, address(0), bad[i], 1 ether));
                plans.withdraw{gas: 1_000_000}(planId, bad[i]);
                eq(plans.earnings(planId, bad[i]), 1 ether, "not lost");
            } else {
                // a megabyte of answer costs who asks for the payment, and nobody else
                (bool paid,) =
                    address(plans).call{gas: 3_000_000}(abi.encodeCall(IPlanRegistry.withdraw, (planId, bad[i])));
                eq(plans.earnings(planId, bad[i]), paid ? 0 : 1 ether, "paid or not lost");
            }
            eq(plans.withdraw(planId, builder), 1 ether, "the others get theirs");
            eq(builder.balance - before, 1 ether, "paid");
        }
    }

    function test_withdrawTo_helpsAPayeeThatCannotReceive() public {
        RevertingPayee payee = new RevertingPayee();
        planId = createPlan(creditTerms(), split(address(payee), 5_000, builder, 5_000));
        buy(planId, alice, 2);
        payee.act(address(plans), abi.encodeCall(IPlanRegistry.withdrawTo, (planId, treasury)), 0);
        eq(treasury.balance, 1 ether, "paid elsewhere");
    }

    function test_withdraw_paysContracts() public {
        AcceptingPayee payee = new AcceptingPayee();
        planId = createPlan(creditTerms(), split(address(payee), 5_000, builder, 5_000));
        buy(planId, alice, 2);
        plans.withdraw(planId, address(payee));
        eq(address(payee).balance, 1 ether, "paid");
    }

    function test_withdraw_tokenThatBlocksAPayeeBlocksNobodyElse() public {
        BlockingToken token = new BlockingToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        planId = createPlan(terms, split(bob, 5_000, builder, 5_000));
        buyWithToken(planId, alice, 1);
        token.setBlocked(bob, true);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, bob, 500));
        plans.withdraw(planId, bob);
        eq(plans.withdraw(planId, builder), 500, "the other payee");
        vm.prank(bob);
        eq(plans.withdrawTo(planId, treasury), 500, "and the blocked one, elsewhere");
    }

    function test_withdraw_tokenThatSaysFalseChangesNothing() public {
        FalseToken token = new FalseToken();
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (address(token), 1_000);
        planId = createPlan(terms);
        buyWithToken(planId, alice, 1);
        token.setBroken(true);
        refuse(abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, builder, 1_000));
        plans.withdraw(planId, builder);
        token.setBroken(false);
        eq(plans.withdraw(planId, builder), 1_000, "later");
        eq(token.balanceOf(builder), 1_000, "paid");
    }
}
