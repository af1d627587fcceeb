// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {INodeRegistry} from "../../../contracts/interfaces/INodeRegistry.sol";
import {World} from "./World.sol";

/// @notice NodeRegistry: keys with overlap, endpoints, retirement.
contract NodesTest is World {
    uint256 internal constant P = 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f;
    INodeRegistry.Key internal first;
    INodeRegistry.Key internal second;
    INodeRegistry.Key internal third;

    function setUp() public override {
        super.setUp();
        (first, second, third) = (pointOf(1), pointOf(2), pointOf(3));
        vm.prank(alice);
        nodes.register(first, "https://a.example");
    }

    function refuseKey(INodeRegistry.Key memory key) internal {
        refuse(abi.encodeWithSelector(INodeRegistry.NotOnCurve.selector, key.x, key.y));
    }

    // ---------------------------------------------------------------------------------------------------- register

    function test_register_publishesKeyAndEndpoint() public {
        vm.expectEmit(address(nodes));
        emit INodeRegistry.NodeRegistered(bob, "https://b.example");
        vm.expectEmit(address(nodes));
        emit INodeRegistry.KeyChanged(bob, 1, second.x, second.y, 0);
        vm.prank(bob);
        nodes.register(second, "https://b.example");
        INodeRegistry.Node memory stored = nodes.node(bob);
        yes(stored.active && nodes.isActive(bob), "active");
        eq(stored.version, 1, "version");
        eq(stored.key.x, second.x, "x");
        eq(stored.key.y, second.y, "y");
        eq(stored.previousUntil, 0, "no key before");
        vm.assertEq(stored.endpoint, "https://b.example", "endpoint");
    }

    function test_numberOf_countsFromOneInTheOrderOfRegistration() public {
        (uint32 last, bool active) = nodes.numberOf(alice);
        yes(last != 0 && active, "registered");
        eq(nodes.accountOf(last), alice, "and back");
        vm.prank(bob);
        nodes.register(second, "https://b.example");
        (uint32 next,) = nodes.numberOf(bob);
        eq(next, uint256(last) + 1, "the next number");
        eq(nodes.accountOf(next), bob, "and back");
        (uint32 none, bool not) = nodes.numberOf(stranger);
        yes(none == 0 && !not, "not registered");
        eq(nodes.accountOf(0), address(0), "nobody has number 0");
        eq(nodes.accountOf(next + 1), address(0), "nor one not given yet");
        vm.prank(alice);
        nodes.retire();
        (uint32 same, bool still) = nodes.numberOf(alice);
        yes(same == last && !still, "retired, with the same number");
    }

    function test_register_refusesASecondTime() public {
        refuse(abi.encodeWithSelector(INodeRegistry.NodeExists.selector, alice));
        vm.prank(alice);
        nodes.register(second, "https://a.example");
    }

    function testFuzz_register_refusesPointsThatAreNotOnTheCurve(uint256 x, uint256 y) public {
        bool on = x < P && y < P && mulmod(y, y, P) == addmod(mulmod(mulmod(x, x, P), x, P), 7, P);
        INodeRegistry.Key memory key = INodeRegistry.Key(bytes32(x), bytes32(y));
        if (!on) refuseKey(key);
        vm.prank(bob);
        nodes.register(key, "https://b.example");
    }

    function testFuzz_register_takesEveryPointOnTheCurve(uint256 scalar) public {
        scalar = within(scalar, 1, type(uint128).max);
        INodeRegistry.Key memory key = pointOf(scalar);
        vm.prank(bob);
        nodes.register(key, "https://b.example");
        eq(nodes.node(bob).key.y, key.y, "stored");
        // the other point with the same x is on the curve too, one beside it is not
        key.y = bytes32(uint256(key.y) ^ 1);
        refuseKey(key);
        vm.prank(bob);
        nodes.rotateKey(key, 0);
    }

    function test_register_refusesCoordinatesThatOnlyMatchModuloThePrime() public {
        // x = P + 1 is 1 modulo P, and (1, y) is on the curve
        uint256 y = 0x4218f20ae6c646b363db68605822fb14264ca8d2587fdd6fbc750d587e76a7ee;
        INodeRegistry.Key memory key = INodeRegistry.Key(bytes32(uint256(1)), bytes32(y));
        vm.prank(bob);
        nodes.register(key, "https://b.example");
        key = INodeRegistry.Key(bytes32(P + 1), bytes32(y));
        refuseKey(key);
        vm.prank(stranger);
        nodes.register(key, "https://c.example");
        key = INodeRegistry.Key(0, 0);
        refuseKey(key);
        vm.prank(stranger);
        nodes.register(key, "https://c.example");
    }

    function test_register_refusesEndpointsThatAreEmptyOrTooLong() public {
        uint256 limit = nodes.MAX_ENDPOINT();
        refuse(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, 0, limit));
        vm.prank(bob);
        nodes.register(second, "");
        refuse(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, limit + 1, limit));
        vm.prank(bob);
        nodes.register(second, string(new bytes(limit + 1)));
        vm.prank(bob);
        nodes.register(second, string(new bytes(limit)));
        refuse(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, 0, limit));
        vm.prank(bob);
        nodes.setEndpoint("");
        refuse(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, limit + 1, limit));
        vm.prank(bob);
        nodes.setEndpoint(string(new bytes(limit + 1)));
    }

    // --------------------------------------------------------------------------------------------------- rotateKey

    function test_rotateKey_keepsThePreviousKeyForTheOverlap() public {
        vm.expectEmit(address(nodes));
        emit INodeRegistry.KeyChanged(alice, 2, second.x, second.y, START + 7 days);
        vm.prank(alice);
        nodes.rotateKey(second, 7 days);
        INodeRegistry.Node memory stored = nodes.node(alice);
        eq(stored.version, 2, "version");
        eq(stored.key.x, second.x, "current x");
        eq(stored.key.y, second.y, "current y");
        eq(stored.previousKey.x, first.x, "previous x");
        eq(stored.previousKey.y, first.y, "previous y");
        eq(stored.previousUntil, START + 7 days, "until");
    }

    function test_rotateKey_withoutOverlapEndsTheOldKeyAtOnce() public {
        vm.prank(alice);
        nodes.rotateKey(second, 0);
        vm.assertLe(nodes.node(alice).previousUntil, START, "not valid any more");
        vm.prank(alice);
        nodes.rotateKey(third, 1);
        eq(nodes.node(alice).version, 3, "version");
        eq(nodes.node(alice).previousKey.x, second.x, "only the last one overlaps");
    }

    function test_rotateKey_boundsTheOverlap() public {
        uint40 limit = uint40(nodes.MAX_OVERLAP());
        refuse(abi.encodeWithSelector(INodeRegistry.OverlapTooLong.selector, limit + 1, limit));
        vm.prank(alice);
        nodes.rotateKey(second, limit + 1);
        vm.prank(alice);
        nodes.rotateKey(second, limit);
        eq(nodes.node(alice).previousUntil, START + limit, "the whole limit");
    }

    function test_rotateKey_refusesTheSameKeyAndNoKey() public {
        refuse(abi.encodeWithSelector(INodeRegistry.SameKey.selector));
        vm.prank(alice);
        nodes.rotateKey(first, 0);
        INodeRegistry.Key memory key = INodeRegistry.Key(first.x, second.y);
        refuseKey(key);
        vm.prank(alice);
        nodes.rotateKey(key, 0);
        // same x, other y: a different key
        key = INodeRegistry.Key(first.x, bytes32(P - uint256(first.y)));
        vm.prank(alice);
        nodes.rotateKey(key, 0);
        eq(nodes.node(alice).version, 2, "rotated");
    }

    // ------------------------------------------------------------------------------------------------ setEndpoint

    function test_setEndpoint_changesTheBaseUrl() public {
        vm.expectEmit(address(nodes));
        emit INodeRegistry.EndpointChanged(alice, "https://new.example");
        vm.prank(alice);
        nodes.setEndpoint("https://new.example");
        vm.assertEq(nodes.node(alice).endpoint, "https://new.example", "endpoint");
    }

    // ------------------------------------------------------------------------------------------------------ retire

    function test_retire_andComeBack() public {
        vm.expectEmit(address(nodes));
        emit INodeRegistry.NodeRetired(alice);
        vm.prank(alice);
        nodes.retire();
        no(nodes.isActive(alice) || nodes.node(alice).active, "retired");
        vm.startPrank(alice);
        refuse(abi.encodeWithSelector(INodeRegistry.NodeIsRetired.selector, alice));
        nodes.rotateKey(second, 0);
        refuse(abi.encodeWithSelector(INodeRegistry.NodeIsRetired.selector, alice));
        nodes.setEndpoint("https://new.example");
        refuse(abi.encodeWithSelector(INodeRegistry.NodeIsRetired.selector, alice));
        nodes.retire();
        (uint32 number,) = nodes.numberOf(alice);
        nodes.register(second, "https://back.example");
        vm.stopPrank();
        yes(nodes.isActive(alice), "back");
        eq(nodes.node(alice).version, 2, "the second key");
        eq(nodes.node(alice).key.x, second.x, "is current");
        (uint32 again,) = nodes.numberOf(alice);
        eq(again, number, "the number never changes");
        vm.assertEq(nodes.node(alice).endpoint, "https://back.example", "endpoint");
    }

    function test_everything_isUnknownForAnAccountThatNeverRegistered() public {
        bytes memory unknown = abi.encodeWithSelector(INodeRegistry.NodeUnknown.selector, bob);
        vm.startPrank(bob);
        refuse(unknown);
        nodes.rotateKey(second, 0);
        refuse(unknown);
        nodes.setEndpoint("https://b.example");
        refuse(unknown);
        nodes.retire();
        refuse(unknown);
        nodes.node(bob);
        vm.stopPrank();
        no(nodes.isActive(bob), "not active");
    }
}
