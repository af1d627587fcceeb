// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Erc6492: signatures of wallets that are not deployed yet.
library Erc6492 {
    /// @dev What such a signature ends with. Before it comes abi.encode(factory, the call that deploys, the wallet's signature).
    bytes32 private constant SUFFIX = 0x6492649264926492649264926492649264926492649264926492649264926492;

    /// @notice Whether the signature says that it is one.
    function isWrapped(bytes calldata signature) internal pure returns (bool) {
        return signature.length >= 32 && bytes32(signature[signature.length - 32:]) == SUFFIX;
    }
}
