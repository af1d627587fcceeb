// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @notice A contract that can be told to call something, with value, and passes on what came of it.
contract Doer {
    function act(address target, bytes calldata data, uint256 value) external returns (bytes memory result) {
        bool ok;
        (ok, result) = target.call{value: value}(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
    }

    function fund() external payable {}
}

/// @notice A contract wallet without any ERC-1155 hook.
contract HooklessReceiver is Doer {}

/// @notice Accepts ERC-1155 tokens and remembers the last ones.
contract AcceptingReceiver is Doer {
    address public operator;
    address public from;
    uint256 public id;
    uint256 public value;
    uint256 public received;

    function onERC1155Received(address operator_, address from_, uint256 id_, uint256 value_, bytes calldata)
        external
        virtual
        returns (bytes4)
    {
        (operator, from, id, value) = (operator_, from_, id_, value_);
        received++;
        return this.onERC1155Received.selector;
    }

    receive() external payable virtual {}
}

/// @notice Answers the hook with something else than its selector.
contract WrongAnswerReceiver is Doer {
    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external pure returns (bytes4) {
        return 0xdeadbeef;
    }
}

/// @notice Reverts in the hook.
contract RefusingReceiver is Doer {
    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external pure returns (bytes4) {
        revert("not for me");
    }
}

/// @notice Calls `target` from the hook and from `receive`, and keeps what came of it.
contract ReenteringReceiver is AcceptingReceiver {
    address public target;
    bytes public data;
    uint256 public callValue;
    uint256 public attempts;
    bool public succeeded;
    bytes public result;

    function arm(address target_, bytes calldata data_, uint256 value_) external {
        (target, data, callValue, attempts, succeeded) = (target_, data_, value_, 0, false);
        delete result;
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external override returns (bytes4) {
        _call();
        return this.onERC1155Received.selector;
    }

    receive() external payable override {
        _call();
    }

    function _call() private {
        address to = target;
        if (to == address(0)) return;
        target = address(0);
        attempts++;
        (succeeded, result) = to.call{value: callValue}(data);
        target = to;
    }
}
