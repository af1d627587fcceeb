// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title IToken: what PlanRegistry calls on an ERC-20, with its ERC-2612 and EIP-3009 extensions.
interface IToken {
    /// @notice ERC-20.
    function balanceOf(address account) external view returns (uint256);
    /// @notice ERC-20.
    function transfer(address to, uint256 amount) external returns (bool);
    /// @notice ERC-20.
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    /// @notice ERC-2612: allowance by signature.
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    /// @notice EIP-3009: transfer by signature, submitted by the receiver.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
    /// @notice The same with a signature of any form, for contract wallets (USDC 2.2).
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
