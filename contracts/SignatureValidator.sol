// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISignatureValidator} from "./interfaces/ISignatureValidator.sol";
import {Ecdsa} from "./libraries/Ecdsa.sol";
import {Erc6492} from "./libraries/Erc6492.sol";

/// @title SignatureValidator: see ISignatureValidator, which is the specification.
contract SignatureValidator is ISignatureValidator {
    /// @dev bytes4(keccak256("isValidSignature(bytes32,bytes)")), which is also the answer that means yes.
    bytes4 private constant ERC1271_VALID = 0x1626ba7e;

    /// @inheritdoc ISignatureValidator
    function isValidSignature(address signer, bytes32 hash, bytes calldata signature) external returns (bool) {
        if (!Erc6492.isWrapped(signature)) {
            return Ecdsa.isSigner(signer, hash, signature) || _isValid1271(signer, hash, signature);
        }

        // Decoded in a call of its own, so that bytes that are no such triple are a bad signature and not a failure.
        try this.unwrap(signature[:signature.length - 32]) returns (
            address factory, bytes memory prepare, bytes memory inner
        ) {
            if (_isValid1271(signer, hash, inner)) return true;
            // Deploys the wallet, or prepares one that is deployed. Whether it worked shows in what the wallet says.
            // slither-disable-next-line low-level-calls
            (bool done,) = factory.call(prepare);
            return done && _isValid1271(signer, hash, inner);
        } catch {
            return false;
        }
    }

    /// @notice Decodes what ERC-6492 wraps: who deploys the wallet, with what call, and the wallet's own signature.
    function unwrap(bytes calldata wrapped)
        external
        pure
        returns (address factory, bytes memory prepare, bytes memory signature)
    {
        return abi.decode(wrapped, (address, bytes, bytes));
    }

    function _isValid1271(address signer, bytes32 hash, bytes memory signature) private view returns (bool) {
        if (signer.code.length == 0) return false;
        (bool done, bytes memory answer) = signer.staticcall(abi.encodeWithSelector(ERC1271_VALID, hash, signature));
        return done && answer.length >= 32 && bytes32(answer) == bytes32(ERC1271_VALID);
    }
}
