// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Vm} from "./Vm.sol";

/// @notice What every test shares: the cheatcodes, short assertions and a way to bend a fuzzed number into a range.
abstract contract Base {
    /// The address that a call to the cheatcodes goes to, by convention of the test runner.
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function eq(uint256 left, uint256 right, string memory message) internal pure {
        vm.assertEq(left, right, message);
    }

    function eq(address left, address right, string memory message) internal pure {
        vm.assertEq(left, right, message);
    }

    function eq(bytes32 left, bytes32 right, string memory message) internal pure {
        vm.assertEq(left, right, message);
    }

    function yes(bool condition, string memory message) internal pure {
        vm.assertTrue(condition, message);
    }

    function no(bool condition, string memory message) internal pure {
        vm.assertFalse(condition, message);
    }

    /// @notice `value` folded into [low, high]; the ends stay reachable because a fuzzer likes 0 and the maximum.
    function within(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        if (value >= low && value <= high) return value;
        uint256 span = high - low + 1;
        if (span == 0) return value;
        if (value > type(uint256).max - 3) return high - (type(uint256).max - value) % span;
        return low + value % span;
    }

    /// @notice A reproducible account with a known key, never a precompile.
    function keyOf(string memory name) internal pure returns (uint256) {
        return uint256(keccak256(bytes(name))) >> 1;
    }

    function account(string memory name) internal returns (address made) {
        made = vm.addr(keyOf(name));
        vm.label(made, name);
    }

    /// @notice A 65-byte signature r, s, v.
    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
