// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";

/// @notice ERC-1155 and ERC-165: any wallet or contract can read a plan; nobody can move its credits (I8).
contract Erc1155Test is World {
    bytes32 internal planId;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        planId = createPlan(creditTerms());
        id = uint256(planId);
        buy(planId, alice, 1);
    }

    function test_supportsInterface_namesTheStandards() public view {
        yes(plans.supportsInterface(0x01ffc9a7), "ERC-165");
        yes(plans.supportsInterface(0xd9b67a26), "ERC-1155");
        yes(plans.supportsInterface(0x0e89341c), "ERC-1155 metadata");
        no(plans.supportsInterface(0xffffffff), "ERC-165 says: never this one");
        no(plans.supportsInterface(0x4e2312e0), "it is no receiver");
    }

    function test_safeTransferFrom_isRefusedForEverybody() public {
        bytes memory soulbound = abi.encodeWithSelector(IPlanRegistry.Soulbound.selector);
        uint256[] memory ids = new uint256[](1);
        uint256[] memory values = new uint256[](1);
        (ids[0], values[0]) = (id, 1);
        address[3] memory callers = [alice, builder, node];
        for (uint256 i; i < callers.length; i++) {
            vm.startPrank(callers[i]);
            refuse(soulbound);
            plans.safeTransferFrom(alice, bob, id, 1, "");
            refuse(soulbound);
            plans.safeTransferFrom(alice, bob, id, 0, "");
            refuse(soulbound);
            plans.safeTransferFrom(alice, alice, id, 1, "");
            refuse(soulbound);
            plans.safeBatchTransferFrom(alice, bob, ids, values, "");
            refuse(soulbound);
            plans.safeBatchTransferFrom(alice, bob, new uint256[](0), new uint256[](0), "");
            vm.stopPrank();
        }
        eq(balanceOf(planId, alice), 100, "unmoved");
    }

    function test_setApprovalForAll_isRefused() public {
        bytes memory soulbound = abi.encodeWithSelector(IPlanRegistry.Soulbound.selector);
        vm.startPrank(alice);
        refuse(soulbound);
        plans.setApprovalForAll(bob, true);
        refuse(soulbound);
        plans.setApprovalForAll(bob, false);
        vm.stopPrank();
        no(plans.isApprovedForAll(alice, bob), "nobody is approved");
        no(plans.isApprovedForAll(alice, alice), "not even oneself");
    }

    function test_balanceOfBatch_readsManyAtOnce() public {
        bytes32 timePlan = createPlan(timeTerms());
        buy(timePlan, bob, 1);
        address[] memory accounts = new address[](3);
        uint256[] memory ids = new uint256[](3);
        (accounts[0], accounts[1], accounts[2]) = (alice, bob, alice);
        (ids[0], ids[1], ids[2]) = (id, uint256(timePlan), uint256(timePlan));
        uint256[] memory balances = plans.balanceOfBatch(accounts, ids);
        eq(balances.length, 3, "one each");
        eq(balances[0], 100, "credits");
        eq(balances[1], 1, "active time plan");
        eq(balances[2], 0, "never bought");
    }

    function test_balanceOfBatch_refusesListsOfDifferentLength() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.LengthMismatch.selector, 2, 1));
        plans.balanceOfBatch(new address[](2), new uint256[](1));
        refuse(abi.encodeWithSelector(IPlanRegistry.LengthMismatch.selector, 1, 2));
        plans.balanceOfBatch(new address[](1), new uint256[](2));
    }

    function test_balanceOf_isZeroForWhatDoesNotExist() public view {
        eq(plans.balanceOf(alice, uint256(keccak256("no such plan"))), 0, "unknown plan");
        eq(plans.balanceOf(stranger, id), 0, "never bought");
        eq(plans.balanceOf(address(0), id), 0, "nobody");
    }

    function test_uri_isTheContentAddressOfThePlansMetadata() public {
        // sha-256 of the empty block; the CID is what `ipfs add --cid-version 1 --raw-leaves` prints for an empty file
        bytes32 digest = 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855;
        vm.prank(builder);
        bytes32 described = plans.createPlan(newSalt(), creditTerms(), new IPlanRegistry.Payee[](0), digest);
        vm.assertEq(
            plans.uri(uint256(described)), "ipfs://bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", "uri"
        );
    }

    function test_uri_isEmptyWithoutMetadata() public view {
        vm.assertEq(plans.uri(id), "", "no metadata, no uri");
    }
}
