// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title ISignatureValidator: EOA, ERC-1271 and ERC-6492 signatures.
/// @notice An ERC-6492 signature brings a call that deploys the wallet. It is made from here and nowhere else: this contract
/// holds nothing and nobody trusts it as a caller. Off the chain use `eth_call`, which deploys nothing for good.
interface ISignatureValidator {
    /// @notice Whether `signature` over `hash` is `signer`'s: 65 bytes r, s, v of its key (low s, v 27 or 28); or what its
    /// ERC-1271 `isValidSignature` accepts; or ERC-6492, for a wallet that is not deployed yet. Never reverts for a bad
    /// signature, unless its own code uses up the gas.
    function isValidSignature(address signer, bytes32 hash, bytes calldata signature) external returns (bool);
}
