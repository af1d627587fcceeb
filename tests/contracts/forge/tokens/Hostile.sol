// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Erc20} from "./Erc20.sol";

/// @notice Moves what it should and returns nothing, as the oldest tokens do.
contract NoReturnToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// @notice Says false and moves nothing while `broken`.
contract FalseToken is Erc20 {
    bool public broken;

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function transfer(address to, uint256 value) external override returns (bool) {
        if (broken) return false;
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        if (broken) return false;
        _spend(from, value);
        _move(from, to, value);
        return true;
    }
}

/// @notice Moves what it should, and says false.
contract FalseButMovesToken is Erc20 {
    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        _spend(from, value);
        _move(from, to, value);
        return false;
    }
}

/// @notice Says true and moves nothing.
contract LyingToken is Erc20 {
    function transferFrom(address, address, uint256) external pure override returns (bool) {
        return true;
    }
}

/// @notice Keeps one in a hundred of what it moves.
contract FeeToken is Erc20 {
    function _move(address from, address to, uint256 value) internal override {
        uint256 fee = value / 100;
        super._move(from, to, value - fee);
        balanceOf[from] -= fee;
        totalSupply -= fee;
    }
}

/// @notice Delivers one base unit more than it was asked for.
contract GenerousToken is Erc20 {
    function _move(address from, address to, uint256 value) internal override {
        super._move(from, to, value);
        balanceOf[to] += 1;
        totalSupply += 1;
    }
}

/// @notice Reverts while `broken`, with a reason or by burning all gas it gets.
contract RevertingToken is Erc20 {
    bool public broken;
    bool public burning;

    function setBroken(bool broken_, bool burning_) external {
        broken = broken_;
        burning = burning_;
    }

    function _move(address from, address to, uint256 value) internal override {
        if (burning) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        require(!broken, "token is broken");
        super._move(from, to, value);
    }
}

/// @notice Refuses to move anything to or from the listed accounts, as USDC does.
contract BlockingToken is Erc20 {
    mapping(address => bool) public blocked;

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function _move(address from, address to, uint256 value) internal override {
        require(!blocked[from] && !blocked[to], "blocked");
        super._move(from, to, value);
    }
}

/// @notice Calls `target` while it moves money, before or after the balances change, and keeps what came of it.
contract ReentrantToken is Erc20 {
    address public target;
    bytes public data;
    bool public before;
    uint256 public attempts;
    bool public succeeded;
    bytes public result;

    function arm(address target_, bytes calldata data_, bool before_) external {
        (target, data, before, attempts, succeeded) = (target_, data_, before_, 0, false);
        delete result;
    }

    function permit(address owner, address spender, uint256 value, uint256, uint8, bytes32, bytes32) external {
        _call();
        _approve(owner, spender, value);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) internal override {
        if (before) _call();
        super._move(from, to, value);
        if (!before) _call();
    }

    function _call() private {
        address to = target;
        if (to == address(0)) return;
        target = address(0);
        attempts++;
        (succeeded, result) = to.call(data);
        target = to;
    }
}

/// @notice Its permit always reverts; the rest is plain.
contract PermitlessToken is Erc20 {
    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external pure {
        revert("no permit today");
    }
}

/// @notice Accepts every EIP-3009 authorisation and moves nothing.
contract LyingAuthorisationToken is Erc20 {
    function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes memory) external {}

    function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)
        external {}
}
