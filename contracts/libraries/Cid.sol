// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Cid: the IPFS name of a raw block, from its sha-256 digest.
library Cid {
    bytes32 private constant ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

    /// @notice CIDv1, codec raw, sha2-256, in base32 lower case: 59 characters that start with `bafkrei`.
    function fromDigest(bytes32 digest) internal pure returns (string memory) {
        // Version 1, codec 0x55 (raw), hash 0x12 (sha2-256) of 0x20 bytes, digest: 288 bits, then 2 bits of padding make 58
        // groups of 5. The first 256 bits and the last 34 are kept in two words.
        uint256 high = (uint256(0x01551220) << 224) | (uint256(digest) >> 32);
        uint256 low = uint256(uint32(uint256(digest))) << 2;
        bytes memory text = new bytes(59);
        text[0] = "b";
        for (uint256 i = 0; i < 51; ++i) {
            text[i + 1] = ALPHABET[(high >> (251 - 5 * i)) & 31];
        }
        // Group 51 straddles: the last bit of `high` and the first four of `low`.
        text[52] = ALPHABET[((high & 1) << 4) | (low >> 30)];
        for (uint256 i = 52; i < 58; ++i) {
            text[i + 1] = ALPHABET[(low >> (25 - 5 * (i - 52))) & 31];
        }
        return string(text);
    }
}
