// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {ILens} from "../../../contracts/interfaces/ILens.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";

/// @notice Lens: one call says what the registries say.
contract LensTest is World {
    bytes32 internal planId;
    bytes32 internal timePlan;
    bytes32 internal did;

    function setUp() public override {
        super.setUp();
        planId = createPlan(refundable(creditTerms()));
        timePlan = createPlan(timeTerms());
        did = registerAsset(planId, 2, 5);
        vm.startPrank(builder);
        assets.addOffer(did, IAssetRegistry.OfferInput(timePlan, 0, 0));
        assets.addNode(did, otherNode);
        vm.stopPrank();
        buy(planId, alice, 1);
        buy(timePlan, bob, 1);
    }

    function test_describe_isTheAssetWithItsOffersPlansAndNodes() public {
        vm.prank(builder);
        assets.removeNode(did, node, START + 60);
        ILens.AssetView memory seen = lens.describe(did);
        eq(keccak256(abi.encode(seen.asset)), keccak256(abi.encode(assets.asset(did))), "asset");
        vm.assertEq(seen.cid, assets.cid(did), "cid");
        eq(seen.offers.length, 2, "offers");
        bytes32[2] memory planIds = [planId, timePlan];
        for (uint256 i; i < 2; i++) {
            eq(
                keccak256(abi.encode(seen.offers[i].offer)),
                keccak256(abi.encode(assets.offer(did, planIds[i]))),
                "offer"
            );
            eq(keccak256(abi.encode(seen.offers[i].plan)), keccak256(abi.encode(plans.plan(planIds[i]))), "plan");
        }
        eq(seen.nodes.length, 2, "nodes");
        yes(seen.nodes[0].account == node && seen.nodes[0].until == START + 60, "the removed one");
        yes(seen.nodes[1].account == otherNode && seen.nodes[1].until == type(uint40).max, "the other");
        eq(keccak256(abi.encode(seen.nodes[1].node)), keccak256(abi.encode(nodes.node(otherNode))), "node");
    }

    function test_describe_refusesAnUnknownAsset() public {
        refuse(abi.encodeWithSelector(IAssetRegistry.AssetUnknown.selector, bytes32("unknown")));
        lens.describe("unknown");
    }

    function test_account_isTheStandingAtThisBlock() public {
        vm.prank(alice);
        plans.announceRefund(planId);
        vm.warp(START + 100);
        vm.roll(77);
        ILens.AccountView memory seen = lens.account(planId, alice);
        eq(keccak256(abi.encode(seen.account)), keccak256(abi.encode(plans.account(planId, alice))), "account");
        eq(seen.spendable, 100, "spendable");
        eq(seen.refundAvailableAt, START + 1 days, "refund available");
        eq(seen.refundQuantity, 100, "refund quantity");
        eq(seen.refundAmount, 1 ether, "refund amount");
        eq(seen.blockNumber, 77, "block");
        eq(seen.timestamp, START + 100, "time");
        refuse(IPlanRegistry.PlanUnknown.selector);
        lens.account("unknown", alice);
    }

    function test_accounts_readsManyPairsAtOnce() public {
        bytes32[] memory ids = new bytes32[](3);
        address[] memory who = new address[](3);
        (ids[0], ids[1], ids[2]) = (planId, timePlan, timePlan);
        (who[0], who[1], who[2]) = (alice, alice, bob);
        vm.warp(START + 1);
        ILens.AccountView[] memory seen = lens.accounts(ids, who);
        eq(seen.length, 3, "one each");
        for (uint256 i; i < 3; i++) {
            eq(keccak256(abi.encode(seen[i])), keccak256(abi.encode(lens.account(ids[i], who[i]))), "the same");
        }
        yes(seen[0].spendable == 100 && seen[1].spendable == 0 && seen[2].spendable == 1, "spendable");
        refuse(abi.encodeWithSelector(ILens.LengthMismatch.selector, 2, 1));
        lens.accounts(new bytes32[](2), new address[](1));
    }
}
