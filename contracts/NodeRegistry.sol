// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {INodeRegistry} from "./interfaces/INodeRegistry.sol";

/// @title NodeRegistry: see INodeRegistry, which is the specification.
contract NodeRegistry is INodeRegistry {
    /// @dev The prime of secp256k1: y^2 = x^3 + 7 (mod P).
    uint256 private constant P = 2 ** 256 - 2 ** 32 - 977;

    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_OVERLAP = 90 days;
    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_ENDPOINT = 200;

    struct Record {
        uint32 number;
        uint32 version;
        uint40 previousUntil;
        bool active;
        Key key;
        Key previousKey;
        string endpoint;
    }

    mapping(address account => Record) private _nodes;
    mapping(uint32 number => address) public accountOf;
    uint32 private _count;

    /// @inheritdoc INodeRegistry
    function register(Key calldata key, string calldata endpoint) external {
        Record storage record = _nodes[msg.sender];
        if (record.active) revert NodeExists(msg.sender);
        if (record.number == 0) {
            uint32 number = ++_count;
            record.number = number;
            accountOf[number] = msg.sender;
        }
        record.active = true;
        _setEndpoint(record, endpoint);
        emit NodeRegistered(msg.sender, endpoint);
        // A node that comes back may keep its key; if it doesn't, the one before is gone.
        if (record.version == 0 || !_isKey(record.key, key)) _setKey(record, key, 0);
    }

    /// @inheritdoc INodeRegistry
    function rotateKey(Key calldata key, uint40 overlap) external {
        Record storage record = _active();
        if (overlap > MAX_OVERLAP) revert OverlapTooLong(overlap, MAX_OVERLAP);
        if (_isKey(record.key, key)) revert SameKey();
        _setKey(record, key, overlap);
    }

    /// @inheritdoc INodeRegistry
    function setEndpoint(string calldata endpoint) external {
        _setEndpoint(_active(), endpoint);
        emit EndpointChanged(msg.sender, endpoint);
    }

    /// @inheritdoc INodeRegistry
    function retire() external {
        _active().active = false;
        emit NodeRetired(msg.sender);
    }

    /// @inheritdoc INodeRegistry
    function node(address account) external view returns (Node memory) {
        Record storage record = _nodes[account];
        if (record.number == 0) revert NodeUnknown(account);
        return Node({
            active: record.active,
            version: record.version,
            previousUntil: record.previousUntil,
            key: record.key,
            previousKey: record.previousKey,
            endpoint: record.endpoint
        });
    }

    /// @inheritdoc INodeRegistry
    function isActive(address account) external view returns (bool) {
        return _nodes[account].active;
    }

    /// @inheritdoc INodeRegistry
    function numberOf(address account) external view returns (uint32 number, bool active) {
        Record storage record = _nodes[account];
        return (record.number, record.active);
    }

    function _active() private view returns (Record storage record) {
        record = _nodes[msg.sender];
        if (record.number == 0) revert NodeUnknown(msg.sender);
        if (!record.active) revert NodeIsRetired(msg.sender);
    }

    function _setEndpoint(Record storage record, string calldata endpoint) private {
        uint256 length = bytes(endpoint).length;
        if (length == 0 || length > MAX_ENDPOINT) revert InvalidEndpoint(length, MAX_ENDPOINT);
        record.endpoint = endpoint;
    }

    /// @dev `overlap` 0 drops the previous key at once.
    function _setKey(Record storage record, Key calldata key, uint40 overlap) private {
        uint256 x = uint256(key.x);
        uint256 y = uint256(key.y);
        bool onCurve = x < P && y < P && mulmod(y, y, P) == addmod(mulmod(mulmod(x, x, P), x, P), 7, P);
        if (!onCurve) revert NotOnCurve(key.x, key.y);
        uint40 until = overlap == 0 ? 0 : uint40(block.timestamp) + overlap;
        if (overlap == 0) delete record.previousKey;
        else record.previousKey = record.key;
        record.previousUntil = until;
        record.key = key;
        uint32 version = ++record.version;
        emit KeyChanged(msg.sender, version, key.x, key.y, until);
    }

    function _isKey(Key storage current, Key calldata key) private view returns (bool) {
        return current.x == key.x && current.y == key.y;
    }
}
