// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Doer} from "./Receivers.sol";

/// @notice An ERC-1271 contract wallet that its one owner signs for; it accepts ERC-1155 tokens.
contract Wallet1271 is Doer {
    address public immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view virtual returns (bytes4) {
        if (signature.length != 65) return 0xffffffff;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer == OWNER && signer != address(0) ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external pure returns (bytes4) {
        return this.onERC1155Received.selector;
    }

    receive() external payable {}
}

/// @notice Signs everything.
contract YesWallet is Wallet1271 {
    constructor() Wallet1271(address(0)) {}

    function isValidSignature(bytes32, bytes calldata) external pure override returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

/// @notice Accepts everything when it is asked for free, as a node asks with eth_call, and nothing in a transaction.
contract FickleWallet is Wallet1271 {
    constructor() Wallet1271(address(0)) {}

    function isValidSignature(bytes32, bytes calldata) external view override returns (bytes4) {
        return tx.gasprice == 0 ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @notice Breaks in every way that a wallet's signature check can break.
contract BrokenWallet is Wallet1271 {
    enum Way {
        Reverts,
        BurnsGas,
        AnswersNothing,
        AnswersShort,
        AnswersZero,
        AnswersDirty
    }

    Way public way;

    constructor(Way way_) Wallet1271(address(0)) {
        way = way_;
    }

    function isValidSignature(bytes32, bytes calldata) external view override returns (bytes4) {
        Way now_ = way;
        bytes4 magic = this.isValidSignature.selector;
        if (now_ == Way.Reverts) revert("broken");
        if (now_ == Way.AnswersZero) return 0;
        assembly ("memory-safe") {
            switch now_
            case 1 { invalid() }
            case 2 { return(0, 0) }
            case 3 {
                mstore(0, magic)
                return(0, 4)
            }
            default {
                mstore(0, or(magic, 1)) // the right four bytes, then dirt: not a bytes4
                return(0, 32)
            }
        }
    }
}

/// @notice Deploys Wallet1271s at addresses known beforehand, for ERC-6492 signatures.
contract WalletFactory {
    uint256 public deployments;

    function deploy(address owner, bytes32 salt) external returns (address wallet) {
        wallet = walletOf(owner, salt);
        if (wallet.code.length == 0) {
            new Wallet1271{salt: salt}(owner);
            deployments++;
        }
    }

    function walletOf(address owner, bytes32 salt) public view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(Wallet1271).creationCode, abi.encode(owner)));
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes1(0xff), address(this), salt, code)))));
    }
}

/// @notice A "factory" that calls `target` with `data` when a signature check makes it deploy, and keeps what came of it.
contract ReenteringFactory {
    address public target;
    bytes public data;
    uint256 public attempts;
    bool public succeeded;
    bytes public result;

    function arm(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function deploy() external {
        attempts++;
        (succeeded, result) = target.call(data);
    }
}
