// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../interfaces/IPlanRegistry.sol";
import {IToken} from "../interfaces/IToken.sol";

/// @title Money: native currency (token = zero) and ERC-20 tokens, also those that return nothing.
library Money {
    /// @notice Pulls exactly `amount` of an ERC-20 from `payer`, who has approved it.
    function pull(address token, address payer, uint256 amount) internal {
        collect(token, amount, abi.encodeCall(IToken.transferFrom, (payer, address(this), amount)));
    }

    /// @notice Makes a call on the token that must bring exactly `amount` here, and checks that it did.
    function collect(address token, uint256 amount, bytes memory transfer) internal {
        uint256 before = IToken(token).balanceOf(address(this));
        if (!succeeds(token, transfer)) revert IPlanRegistry.TransferFailed(token, address(this), amount);
        uint256 paid = IToken(token).balanceOf(address(this)) - before;
        // A balance that the token's call has changed is what is asked for, and PlanRegistry is locked meanwhile.
        // slither-disable-next-line reentrancy-balance
        if (paid != amount) revert IPlanRegistry.WrongPayment(paid, amount);
    }

    /// @notice Sends `amount` to `to`.
    function send(address token, address to, uint256 amount) internal {
        bool sent = false;
        if (to == address(0)) sent = false;
        else if (token == address(0)) (sent,) = to.call{value: amount}("");
        else sent = succeeds(token, abi.encodeCall(IToken.transfer, (to, amount)));
        if (!sent) revert IPlanRegistry.TransferFailed(token, to, amount);
    }

    /// @dev Success is: it did not revert, and it returned nothing or true. Plans are created with tokens that have code.
    function succeeds(address token, bytes memory transfer) private returns (bool) {
        (bool done, bytes memory result) = token.call(transfer);
        return done && (result.length == 0 || (result.length >= 32 && uint256(bytes32(result)) == 1));
    }
}
