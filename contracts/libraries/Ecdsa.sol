// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Ecdsa: signatures of externally owned accounts.
library Ecdsa {
    /// @dev Half of the order of secp256k1: a larger s is the same signature in its second form (malleability).
    uint256 private constant MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Whether the signature is `signer`'s: 65 bytes r, s, v with low s and v 27 or 28.
    function isSigner(address signer, bytes32 hash, bytes calldata signature) internal pure returns (bool) {
        if (signature.length != 65) return false;
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > MAX_S) return false;
        address recovered = ecrecover(hash, uint8(signature[64]), bytes32(signature[:32]), s);
        return recovered != address(0) && recovered == signer;
    }
}
