// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Doer} from "./Receivers.sol";

/// @notice Cannot receive native currency.
contract RevertingPayee is Doer {
    receive() external payable {
        revert("no thanks");
    }
}

/// @notice Burns all gas that it is given.
contract GasBurningPayee is Doer {
    receive() external payable {
        assembly ("memory-safe") {
            invalid()
        }
    }
}

/// @notice Answers a payment with a megabyte, for the caller to copy.
contract BombingPayee is Doer {
    receive() external payable {
        assembly ("memory-safe") {
            return(0, 1000000)
        }
    }
}

/// @notice Accepts native currency.
contract AcceptingPayee is Doer {
    receive() external payable {}
}
