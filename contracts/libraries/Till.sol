// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../interfaces/IPlanRegistry.sol";

/// @dev What sales change of a plan, in one word, from the lowest bits: price 96, revenue 112, sold 48. The revenue is in base
/// units; on a refundable plan it is the paid quantity that was used up.
type Till is uint256;

using TillLib for Till global;

/// @title TillLib: reads and changes a Till.
library TillLib {
    function open(uint96 price_) internal pure returns (Till) {
        return Till.wrap(price_);
    }

    function price(Till self) internal pure returns (uint256) {
        return uint96(Till.unwrap(self));
    }

    function revenue(Till self) internal pure returns (uint256) {
        return uint112(Till.unwrap(self) >> 96);
    }

    function sold(Till self) internal pure returns (uint256) {
        return Till.unwrap(self) >> 208;
    }

    /// @dev Reverts with LimitOverflow if the revenue leaves 112 bits.
    function earn(Till self, uint256 amount) internal pure returns (Till) {
        unchecked {
            if (self.revenue() + amount > type(uint112).max) revert IPlanRegistry.LimitOverflow();
            return Till.wrap(Till.unwrap(self) + (amount << 96));
        }
    }

    /// @dev Counts up to 2^48 - 1 and stays there.
    function withSold(Till self, uint256 units) internal pure returns (Till) {
        uint256 most = type(uint48).max;
        return Till.wrap((Till.unwrap(self) & (type(uint256).max >> 48)) | ((units < most ? units : most) << 208));
    }
}
