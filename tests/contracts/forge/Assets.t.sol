// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";

/// @notice AssetRegistry: DIDs, metadata, offers, nodes. Only the DID's owner changes its record (I7).
contract AssetsTest is World {
    uint40 internal constant FOREVER = type(uint40).max;
    bytes32 internal constant UNKNOWN = keccak256("no such asset");
    bytes32 internal planId;
    bytes32 internal otherPlan;
    bytes32 internal did;
    uint256 internal notice;
    uint256 internal window;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
        otherPlan = createPlan(creditTerms());
        did = registerAsset(planId, 2, 5);
        notice = assets.NOTICE_PERIOD();
        window = assets.SETTLEMENT_WINDOW();
    }

    function input(bytes32 plan, uint64 min, uint64 max) internal pure returns (IAssetRegistry.OfferInput memory) {
        return IAssetRegistry.OfferInput(plan, min, max);
    }

    function rule(address who) internal view returns (bool authorised, uint64 min, uint64 max) {
        return assets.settlementRule(did, planId, who);
    }

    function assertRule(uint64 min, uint64 max, string memory message) internal view {
        (bool authorised, uint64 low, uint64 high) = rule(node);
        yes(authorised && low == min && high == max, message);
    }

    // ---------------------------------------------------------------------------------------------------- register

    function test_register_storesTheRecordAndAnnouncesIt() public {
        bytes32 salt = newSalt();
        bytes32 expected = assets.didOf(builder, salt);
        vm.expectEmit(address(assets));
        emit IAssetRegistry.AssetRegistered(expected, builder, "digest");
        vm.expectEmit(address(assets));
        emit IAssetRegistry.NodeChanged(expected, node, FOREVER);
        vm.expectEmit(address(assets));
        emit IAssetRegistry.OfferChanged(expected, planId, 3, 7, START);
        vm.prank(builder);
        bytes32 made = assets.register(salt, "digest", offerOf(planId, 3, 7), listOf(node));
        eq(made, expected, "the DID is known beforehand");

        IAssetRegistry.Asset memory asset = assets.asset(made);
        eq(asset.owner, builder, "owner");
        eq(asset.pendingOwner, address(0), "pending owner");
        yes(asset.active, "active");
        eq(asset.version, 1, "version");
        eq(asset.createdAt, START, "created");
        eq(asset.updatedAt, START, "updated");
        eq(asset.metadata, "digest", "metadata");
        IAssetRegistry.Offer[] memory offers = assets.offers(made);
        eq(offers.length, 1, "one offer");
        eq(
            keccak256(abi.encode(offers[0])),
            keccak256(abi.encode(IAssetRegistry.Offer(planId, 3, 7, 0, 0, 0, 0))),
            "in force, nothing scheduled"
        );
        (address[] memory accounts, uint40[] memory until) = assets.nodes(made);
        yes(accounts.length == 1 && until.length == 1, "one node");
        yes(accounts[0] == node && until[0] == FOREVER, "until removed");
    }

    function testFuzz_didOf_isTheHashOfChainContractOwnerAndSalt(uint64 chain, address owner, bytes32 salt) public {
        chain = uint64(within(chain, 1, type(uint64).max));
        vm.chainId(chain);
        eq(assets.didOf(owner, salt), keccak256(abi.encode(uint256(chain), address(assets), owner, salt)), "did");
    }

    function test_register_refusesASaltUsedBefore() public {
        vm.startPrank(builder);
        bytes32 made = assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.AssetExists.selector, made));
        assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(node));
        vm.stopPrank();
    }

    function test_register_refusesWhatIsMissing() public {
        IAssetRegistry.OfferInput[] memory none = new IAssetRegistry.OfferInput[](0);
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.NoMetadata.selector));
        assets.register("salt", 0, offerOf(planId, 1, 1), listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.NoPlan.selector));
        assets.register("salt", "digest", none, listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.NoNode.selector));
        assets.register("salt", "digest", offerOf(planId, 1, 1), new address[](0));
        vm.stopPrank();
    }

    function test_register_refusesPlansThatAreUnknownForeignOrRetired() public {
        vm.prank(stranger);
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, planId, builder, false));
        assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(node));
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, UNKNOWN, address(0), false));
        assets.register("salt", "digest", offerOf(UNKNOWN, 1, 1), listOf(node));
        plans.setPaused(planId, true);
        assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(node)); // a pause is no end
        plans.retire(otherPlan);
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, otherPlan, builder, true));
        assets.register("pepper", "digest", offerOf(otherPlan, 1, 1), listOf(node));
        vm.stopPrank();
    }

    function test_register_refusesImpossibleRules() public {
        bytes32 timePlan = createPlan(timeTerms());
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, planId, 2, 1));
        assets.register("salt", "digest", offerOf(planId, 2, 1), listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, timePlan, 0, 1));
        assets.register("salt", "digest", offerOf(timePlan, 0, 1), listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, timePlan, 1, 1));
        assets.register("salt", "digest", offerOf(timePlan, 1, 1), listOf(node));
        assets.register("salt", "digest", offerOf(timePlan, 0, 0), listOf(node));
        assets.register("pepper", "digest", offerOf(planId, 0, type(uint64).max), listOf(node));
        vm.stopPrank();
    }

    function test_register_refusesNodesThatAreUnknownOrRetired() public {
        vm.prank(otherNode);
        nodes.retire();
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeNotUsable.selector, stranger));
        assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(stranger));
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeNotUsable.selector, otherNode));
        assets.register("salt", "digest", offerOf(planId, 1, 1), listOf(otherNode));
        vm.stopPrank();
    }

    function test_register_refusesPlansAndNodesNamedTwice() public {
        IAssetRegistry.OfferInput[] memory twice = new IAssetRegistry.OfferInput[](2);
        (twice[0], twice[1]) = (input(planId, 1, 1), input(planId, 2, 2));
        address[] memory nodesTwice = new address[](2);
        (nodesTwice[0], nodesTwice[1]) = (node, node);
        vm.startPrank(builder);
        bytes32 would = assets.didOf(builder, "salt");
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferExists.selector, would, planId));
        assets.register("salt", "digest", twice, listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeExists.selector, would, node));
        assets.register("salt", "digest", offerOf(planId, 1, 1), nodesTwice);
        vm.stopPrank();
    }

    function test_register_takesSixteenPlansAndEightNodesAndNoMore() public {
        IAssetRegistry.OfferInput[] memory sixteen = manyOffers(16);
        address[] memory eight = manyNodes(8);
        vm.prank(builder);
        bytes32 made = assets.register("salt", "digest", sixteen, eight);
        IAssetRegistry.Offer[] memory stored = assets.offers(made);
        eq(stored.length, 16, "offers in one call");
        (address[] memory accounts,) = assets.nodes(made);
        eq(accounts.length, 8, "nodes in one call");
        for (uint256 i; i < 16; i++) {
            eq(stored[i].planId, sixteen[i].planId, "in order");
            for (uint256 j; j < 8; j++) {
                (bool authorised, uint64 min, uint64 max) = assets.settlementRule(made, sixteen[i].planId, eight[j]);
                yes(authorised && min == i + 1 && max == 2 * i + 2, "each node may settle each plan");
            }
        }
        for (uint256 j; j < 8; j++) {
            eq(accounts[j], eight[j], "in order");
        }
        bytes32 extraPlan = createPlan(creditTerms());
        address extraNode = registerNode("extra");
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.TooMany.selector, 16));
        assets.addOffer(made, input(extraPlan, 1, 1));
        refuse(abi.encodeWithSelector(IAssetRegistry.TooMany.selector, 8));
        assets.addNode(made, extraNode);
        vm.stopPrank();
    }

    function test_register_refusesSeventeenPlansAndNineNodes() public {
        IAssetRegistry.OfferInput[] memory seventeen = manyOffers(17);
        address[] memory nine = manyNodes(9);
        refuse(abi.encodeWithSelector(IAssetRegistry.TooMany.selector, 16));
        vm.prank(builder);
        assets.register("salt", "digest", seventeen, listOf(node));
        refuse(abi.encodeWithSelector(IAssetRegistry.TooMany.selector, 8));
        vm.prank(builder);
        assets.register("salt", "digest", offerOf(planId, 1, 1), nine);
    }

    function manyOffers(uint256 count) internal returns (IAssetRegistry.OfferInput[] memory list) {
        list = new IAssetRegistry.OfferInput[](count);
        for (uint256 i; i < count; i++) {
            list[i] = input(createPlan(creditTerms()), uint64(i + 1), uint64(2 * i + 2));
        }
    }

    function manyNodes(uint256 count) internal returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i; i < count; i++) {
            list[i] = registerNode(string.concat("node ", vm.toString(i)));
        }
    }

    // ------------------------------------------------------------------------------------------------- setMetadata

    function test_setMetadata_publishesANewVersion() public {
        vm.warp(START + 5);
        vm.expectEmit(address(assets));
        emit IAssetRegistry.MetadataChanged(did, 2, "second");
        vm.prank(builder);
        assets.setMetadata(did, "second");
        IAssetRegistry.Asset memory asset = assets.asset(did);
        yes(asset.version == 2 && asset.metadata == "second", "second version");
        yes(asset.createdAt == START && asset.updatedAt == START + 5, "times");
        refuse(abi.encodeWithSelector(IAssetRegistry.NoMetadata.selector));
        vm.prank(builder);
        assets.setMetadata(did, 0);
    }

    function test_cid_isTheContentAddressOfTheMetadata() public {
        bytes32 digest = sha256("hello world");
        vm.prank(builder);
        assets.setMetadata(did, digest);
        // what `ipfs add --cid-version 1 --raw-leaves` prints for a file with these eleven bytes
        vm.assertEq(assets.cid(did), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "cid");
        refuse(abi.encodeWithSelector(IAssetRegistry.AssetUnknown.selector, UNKNOWN));
        assets.cid(UNKNOWN);
    }

    // ---------------------------------------------------------------------------------------------------- addOffer

    function test_addOffer_isInForceAtOnce() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.OfferChanged(did, otherPlan, 1, 9, START);
        vm.prank(builder);
        assets.addOffer(did, input(otherPlan, 1, 9));
        (bool authorised, uint64 min, uint64 max) = assets.settlementRule(did, otherPlan, node);
        yes(authorised && min == 1 && max == 9, "rule");
        eq(assets.offers(did).length, 2, "two offers");
    }

    function test_addOffer_refusesWhatRegisterRefuses() public {
        vm.prank(stranger);
        bytes32 foreign = plans.createPlan("salt", creditTerms(), new IPlanRegistry.Payee[](0), 0);
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferExists.selector, did, planId));
        assets.addOffer(did, input(planId, 1, 1));
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, otherPlan, 3, 2));
        assets.addOffer(did, input(otherPlan, 3, 2));
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, foreign, stranger, false));
        assets.addOffer(did, input(foreign, 1, 1));
        vm.stopPrank();
    }

    // ------------------------------------------------------------------------------------------------- changeOffer

    function test_changeOffer_takesEffectAfterTheNotice() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.OfferChanged(did, planId, 8, 10, uint40(START + notice));
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 8, 10));
        IAssetRegistry.Offer memory offer = assets.offer(did, planId);
        yes(offer.min == 2 && offer.max == 5, "still the old rule");
        yes(offer.nextMin == 8 && offer.nextMax == 10 && offer.effectiveAt == START + notice, "scheduled");
        assertRule(2, 5, "settlement obeys the old rule");

        vm.warp(START + notice);
        offer = assets.offer(did, planId);
        yes(offer.min == 8 && offer.max == 10 && offer.effectiveAt == 0, "the new rule, nothing scheduled");
        yes(offer.nextMin == 0 && offer.nextMax == 0, "nothing scheduled");
        assertRule(2, 10, "both rules for the window");
        vm.warp(START + notice + window - 1);
        assertRule(2, 10, "until its last second");
        vm.warp(START + notice + window);
        assertRule(8, 10, "then the new one alone");
    }

    function testFuzz_changeOffer_unionOfOldAndNewHoldsForTheWindow(uint64 min, uint64 max) public {
        if (min > max) (min, max) = (max, min);
        vm.prank(builder);
        assets.changeOffer(did, input(planId, min, max));
        vm.warp(START + notice);
        assertRule(min < 2 ? min : 2, max > 5 ? max : 5, "union");
        vm.warp(START + notice + window);
        assertRule(min, max, "new");
    }

    function test_changeOffer_replacesAChangeNotYetInForceWithAFullNotice() public {
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 8, 10));
        vm.warp(START + notice - 1);
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 20, 30));
        vm.warp(START + notice);
        assertRule(2, 5, "the first change never took effect");
        eq(assets.offer(did, planId).effectiveAt, START + 2 * notice - 1, "a full notice");
        vm.warp(START + 2 * notice - 1);
        assertRule(2, 30, "the second did");
        vm.warp(START + 2 * notice - 1 + window);
        assertRule(20, 30, "alone after the window");
    }

    function test_changeOffer_waitsWhileTheRuleBeforeCanStillBeSettled() public {
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 8, 10));
        vm.warp(START + notice);
        refuse(abi.encodeWithSelector(IAssetRegistry.ChangeTooSoon.selector, did, planId, START + notice + window));
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 20, 30));
        vm.warp(START + notice + window - 1);
        refuse(abi.encodeWithSelector(IAssetRegistry.ChangeTooSoon.selector, did, planId, START + notice + window));
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 20, 30));
        vm.warp(START + notice + window);
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 20, 30));
        assertRule(8, 10, "under notice");
    }

    function test_changeOffer_refusesWhatIsNoOfferOrNoRule() public {
        vm.startPrank(builder);
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferUnknown.selector, did, otherPlan));
        assets.changeOffer(did, input(otherPlan, 1, 1));
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, planId, 2, 1));
        assets.changeOffer(did, input(planId, 2, 1));
        bytes32 timePlan = createTimePlan();
        assets.addOffer(did, input(timePlan, 0, 0));
        refuse(abi.encodeWithSelector(IAssetRegistry.InvalidRule.selector, timePlan, 0, 1));
        assets.changeOffer(did, input(timePlan, 0, 1));
        vm.stopPrank();
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferUnknown.selector, did, otherPlan));
        assets.offer(did, otherPlan);
    }

    function createTimePlan() private returns (bytes32) {
        return plans.createPlan(newSalt(), timeTerms(), new IPlanRegistry.Payee[](0), 0);
    }

    // -------------------------------------------------------------------------------------------------- closeOffer

    function test_closeOffer_endsAfterNoticeAndWindow() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.OfferClosed(did, planId, uint40(START + notice));
        vm.prank(builder);
        assets.closeOffer(did, planId);
        eq(assets.offer(did, planId).closesAt, START + notice, "closes after the notice");
        vm.warp(START + notice + window - 1);
        assertRule(2, 5, "what was served still settles");
        vm.warp(START + notice + window);
        (bool authorised,,) = rule(node);
        no(authorised, "then no more");
    }

    function test_closeOffer_isAlsoForThePlansOwner() public {
        vm.prank(builder);
        plans.offerPlan(planId, alice);
        vm.prank(alice);
        plans.acceptPlan(planId);
        refuse(abi.encodeWithSelector(IAssetRegistry.NotAssetOwner.selector, did, stranger));
        vm.prank(stranger);
        assets.closeOffer(did, planId);
        vm.prank(alice);
        assets.closeOffer(did, planId);
        vm.warp(START + notice + window);
        (bool authorised,,) = rule(node);
        no(authorised, "nobody settles on alice's subscribers any more");
    }

    function test_changeOffer_isForThePlansOwner() public {
        vm.prank(builder);
        plans.offerPlan(planId, alice);
        vm.prank(alice);
        plans.acceptPlan(planId);
        refuse(abi.encodeWithSelector(IAssetRegistry.PlanNotUsable.selector, planId, alice, false));
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 100, 100));
    }

    function test_changeOffer_isPossibleAfterThePlanRetired() public {
        vm.prank(builder);
        plans.retire(planId);
        vm.prank(builder);
        assets.changeOffer(did, input(planId, 8, 10));
    }

    function test_closeOffer_canNeitherBeRepeatedNorChanged() public {
        vm.startPrank(builder);
        assets.closeOffer(did, planId);
        bytes memory closing = abi.encodeWithSelector(IAssetRegistry.OfferClosing.selector, did, planId, START + notice);
        vm.warp(START + 1);
        refuse(closing);
        assets.closeOffer(did, planId);
        refuse(closing);
        assets.changeOffer(did, input(planId, 1, 1));
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferUnknown.selector, did, otherPlan));
        assets.closeOffer(did, otherPlan);
        vm.stopPrank();
    }

    function test_closeOffer_placeIsFreeAgainAfterTheWindow() public {
        IAssetRegistry.OfferInput[] memory sixteen = manyOffers(16);
        vm.prank(builder);
        did = assets.register("full", "digest", sixteen, listOf(node));
        vm.startPrank(builder);
        assets.closeOffer(did, sixteen[3].planId);
        vm.warp(START + notice + window - 1);
        refuse(abi.encodeWithSelector(IAssetRegistry.TooMany.selector, 16));
        assets.addOffer(did, input(planId, 2, 5));
        vm.warp(START + notice + window);
        assets.addOffer(did, input(planId, 2, 5));
        vm.stopPrank();
        assertRule(2, 5, "the new offer");
        for (uint256 i; i < 16; i++) {
            (bool authorised, uint64 min,) = assets.settlementRule(did, sixteen[i].planId, node);
            yes(authorised == (i != 3), "the others stay");
            if (i != 3) eq(min, i + 1, "with their rules");
        }
        refuse(abi.encodeWithSelector(IAssetRegistry.OfferUnknown.selector, did, sixteen[3].planId));
        assets.offer(did, sixteen[3].planId);
    }

    function test_addOffer_ofAPlanThatWasClosedWorksAfterTheWindow() public {
        vm.startPrank(builder);
        assets.closeOffer(did, planId);
        vm.warp(START + notice + window - 1);
        vm.expectRevert();
        assets.addOffer(did, input(planId, 7, 7));
        vm.warp(START + notice + window);
        assets.addOffer(did, input(planId, 7, 7));
        vm.stopPrank();
        assertRule(7, 7, "a fresh offer");
        eq(assets.offer(did, planId).closesAt, 0, "open-ended");
    }

    function test_closeOffer_withAChangeUnderWayStillSettlesAllRulesServed() public {
        vm.startPrank(builder);
        assets.changeOffer(did, input(planId, 8, 10));
        vm.warp(START + notice + 1);
        assets.closeOffer(did, planId);
        vm.stopPrank();
        assertRule(2, 10, "old and new");
        vm.warp(START + notice + window);
        assertRule(8, 10, "new");
    }

    // ------------------------------------------------------------------------------------------ addNode, removeNode

    function test_addNode_authorisesAtOnce() public {
        (bool authorised,,) = rule(otherNode);
        no(authorised, "not yet");
        vm.expectEmit(address(assets));
        emit IAssetRegistry.NodeChanged(did, otherNode, FOREVER);
        vm.prank(builder);
        assets.addNode(did, otherNode);
        (authorised,,) = rule(otherNode);
        yes(authorised, "now");
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeExists.selector, did, otherNode));
        vm.prank(builder);
        assets.addNode(did, otherNode);
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeNotUsable.selector, stranger));
        vm.prank(builder);
        assets.addNode(did, stranger);
    }

    function test_removeNode_endsAtTheGivenSecond() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.NodeChanged(did, node, START + 100);
        vm.prank(builder);
        assets.removeNode(did, node, START + 100);
        vm.warp(START + 99);
        (bool authorised,,) = rule(node);
        yes(authorised, "until");
        vm.warp(START + 100);
        (authorised,,) = rule(node);
        no(authorised, "no longer");
    }

    function test_removeNode_graceIsBounded() public {
        uint40 latest = uint40(START + window);
        refuse(abi.encodeWithSelector(IAssetRegistry.UntilTooLate.selector, latest + 1, latest));
        vm.prank(builder);
        assets.removeNode(did, node, latest + 1);
        refuse(abi.encodeWithSelector(IAssetRegistry.UntilTooLate.selector, FOREVER, latest));
        vm.prank(builder);
        assets.removeNode(did, node, FOREVER);
        vm.prank(builder);
        assets.removeNode(did, node, latest);
        refuse(abi.encodeWithSelector(IAssetRegistry.NodeUnknown.selector, did, otherNode));
        vm.prank(builder);
        assets.removeNode(did, otherNode, 0);
    }

    function test_removeNode_placeIsFreeAgain() public {
        address[] memory eight = manyNodes(8);
        vm.startPrank(builder);
        did = assets.register("full", "digest", offerOf(planId, 1, 1), eight);
        assets.removeNode(did, eight[2], 0);
        assets.addNode(did, node);
        vm.stopPrank();
        (bool authorised,,) = rule(node);
        yes(authorised, "the new one");
        for (uint256 i; i < 8; i++) {
            (authorised,,) = rule(eight[i]);
            yes(authorised == (i != 2), "the others stay");
        }
    }

    function test_addNode_afterItsRemovalWorksAgain() public {
        vm.startPrank(builder);
        assets.removeNode(did, node, 0);
        vm.warp(START + 1);
        assets.addNode(did, node);
        vm.stopPrank();
        (bool authorised,,) = rule(node);
        yes(authorised, "back");
        (address[] memory accounts, uint40[] memory until) = assets.nodes(did);
        eq(accounts.length, until.length, "same length");
        uint256 found;
        for (uint256 i; i < accounts.length; i++) {
            if (accounts[i] == node && until[i] == FOREVER) found++;
        }
        eq(found, 1, "listed once as serving");
    }

    // --------------------------------------------------------------------------------------------------- setActive

    function test_setActive_endsSettlementAfterTheWindowAndBack() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.ActiveChanged(did, false);
        vm.prank(builder);
        assets.setActive(did, false);
        no(assets.asset(did).active, "inactive");
        vm.warp(START + window - 1);
        assertRule(2, 5, "the window");
        vm.warp(START + window);
        (bool authorised,,) = rule(node);
        no(authorised, "over");
        vm.expectEmit(address(assets));
        emit IAssetRegistry.ActiveChanged(did, true);
        vm.prank(builder);
        assets.setActive(did, true);
        yes(assets.asset(did).active, "active");
        assertRule(2, 5, "again");
    }

    function test_setActive_twiceDoesNotStretchTheWindow() public {
        vm.startPrank(builder);
        assets.setActive(did, false);
        vm.warp(START + window - 1);
        assets.setActive(did, false);
        vm.stopPrank();
        vm.warp(START + window);
        (bool authorised,,) = rule(node);
        no(authorised, "counted from the first");
    }

    // ------------------------------------------------------------------------------------- offerAsset, acceptAsset

    function test_acceptAsset_handsTheRecordOverInTwoSteps() public {
        vm.expectEmit(address(assets));
        emit IAssetRegistry.AssetTransferOffered(did, alice);
        vm.prank(builder);
        assets.offerAsset(did, alice);
        eq(assets.asset(did).owner, builder, "an offer alone changes nothing");
        eq(assets.asset(did).pendingOwner, alice, "pending");
        refuse(abi.encodeWithSelector(IAssetRegistry.NotPendingOwner.selector, did, stranger));
        vm.prank(stranger);
        assets.acceptAsset(did);
        vm.expectEmit(address(assets));
        emit IAssetRegistry.AssetTransferred(did, builder, alice);
        vm.prank(alice);
        assets.acceptAsset(did);
        eq(assets.asset(did).owner, alice, "owner");
        eq(assets.asset(did).pendingOwner, address(0), "used up");
        assertRule(2, 5, "offers under the previous owner's plans stay");
        refuse(abi.encodeWithSelector(IAssetRegistry.NotAssetOwner.selector, did, builder));
        vm.prank(builder);
        assets.setMetadata(did, "mine");
        refuse(abi.encodeWithSelector(IAssetRegistry.NotPendingOwner.selector, did, alice));
        vm.prank(alice);
        assets.acceptAsset(did);
    }

    function test_offerAsset_toZeroWithdrawsTheOffer() public {
        vm.startPrank(builder);
        assets.offerAsset(did, alice);
        assets.offerAsset(did, address(0));
        vm.stopPrank();
        refuse(abi.encodeWithSelector(IAssetRegistry.NotPendingOwner.selector, did, alice));
        vm.prank(alice);
        assets.acceptAsset(did);
    }

    // -------------------------------------------------------------------------------------------- everything, others

    function changes(bytes32 of_) internal view returns (bytes[] memory list) {
        list = new bytes[](8);
        list[0] = abi.encodeCall(assets.setMetadata, (of_, "theirs"));
        list[1] = abi.encodeCall(assets.addOffer, (of_, input(otherPlan, 1, 1)));
        list[2] = abi.encodeCall(assets.changeOffer, (of_, input(planId, 1, 1)));
        list[3] = abi.encodeCall(assets.closeOffer, (of_, planId));
        list[4] = abi.encodeCall(assets.addNode, (of_, otherNode));
        list[5] = abi.encodeCall(assets.removeNode, (of_, node, 0));
        list[6] = abi.encodeCall(assets.setActive, (of_, false));
        list[7] = abi.encodeCall(assets.offerAsset, (of_, stranger));
    }

    function test_everyChange_isForTheOwnerOnly() public {
        bytes[] memory list = changes(did);
        bytes32 before = snapshot();
        address[4] memory callers = [stranger, node, alice, address(plans)];
        for (uint256 c; c < callers.length; c++) {
            bytes memory refusal = abi.encodeWithSelector(IAssetRegistry.NotAssetOwner.selector, did, callers[c]);
            for (uint256 i; i < list.length; i++) {
                vm.prank(callers[c]);
                (bool ok, bytes memory reason) = address(assets).call(list[i]);
                no(ok, "refused");
                eq(keccak256(reason), keccak256(refusal), "with the reason");
            }
        }
        eq(snapshot(), before, "nothing changed");
    }

    function test_everyChange_ofAnUnknownAssetIsRefused() public {
        bytes[] memory list = changes(UNKNOWN);
        bytes memory refusal = abi.encodeWithSelector(IAssetRegistry.AssetUnknown.selector, UNKNOWN);
        for (uint256 i; i < list.length; i++) {
            vm.prank(builder);
            (bool ok, bytes memory reason) = address(assets).call(list[i]);
            no(ok, "refused");
            eq(keccak256(reason), keccak256(refusal), "with the reason");
        }
        refuse(refusal);
        assets.acceptAsset(UNKNOWN);
        refuse(refusal);
        assets.asset(UNKNOWN);
        refuse(refusal);
        assets.offers(UNKNOWN);
        refuse(refusal);
        assets.nodes(UNKNOWN);
        (bool authorised,,) = assets.settlementRule(UNKNOWN, planId, node);
        no(authorised, "nobody settles it");
    }

    function snapshot() internal view returns (bytes32) {
        (address[] memory accounts, uint40[] memory until) = assets.nodes(did);
        return keccak256(abi.encode(assets.asset(did), assets.offers(did), accounts, until));
    }
}
