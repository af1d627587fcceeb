// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title INodeRegistry: access nodes, their encryption keys and endpoints.
/// @notice A node is the account that settles. Its encryption key is a secp256k1 key of its own, checked to be on the
/// curve, so that nobody encrypts to a key that a web page made up. Nobody but the node changes its record.
interface INodeRegistry {
    /// @notice A point on secp256k1, affine coordinates.
    struct Key {
        bytes32 x;
        bytes32 y;
    }

    /// @notice A node's record.
    /// @param version Number of encryption keys so far; the current key has this number, the first is 1.
    /// @param key The current key: what new secrets are sealed to.
    /// @param previousKey The key before (version - 1); secrets sealed to it open until `previousUntil`.
    /// @param previousUntil Unix seconds; 0 = there is none.
    /// @param endpoint Base URL, without `/v1`.
    struct Node {
        bool active;
        uint32 version;
        uint40 previousUntil;
        Key key;
        Key previousKey;
        string endpoint;
    }

    /// @notice A node registered, or came back after retirement.
    event NodeRegistered(address indexed node, string endpoint);
    /// @notice Key `version` is current; the one before stays valid until `previousUntil`.
    event KeyChanged(address indexed node, uint32 indexed version, bytes32 x, bytes32 y, uint40 previousUntil);
    /// @notice The node's base URL changed.
    event EndpointChanged(address indexed node, string endpoint);
    /// @notice The node retired: no asset may name it any more.
    event NodeRetired(address indexed node);

    /// @notice The account has not registered.
    error NodeUnknown(address node);
    /// @notice The account is registered already.
    error NodeExists(address node);
    /// @notice The node has retired.
    error NodeIsRetired(address node);
    /// @notice (x, y) is not a point on secp256k1.
    error NotOnCurve(bytes32 x, bytes32 y);
    /// @notice The key is the current one already.
    error SameKey();
    /// @notice `overlap` is above MAX_OVERLAP.
    error OverlapTooLong(uint256 overlap, uint256 limit);
    /// @notice The endpoint is empty or longer than MAX_ENDPOINT bytes.
    error InvalidEndpoint(uint256 length, uint256 limit);

    /// @notice Longest overlap of two keys, seconds (90 days).
    // solhint-disable-next-line func-name-mixedcase
    function MAX_OVERLAP() external view returns (uint256);
    /// @notice Longest endpoint, bytes (200).
    // solhint-disable-next-line func-name-mixedcase
    function MAX_ENDPOINT() external view returns (uint256);

    /// @notice Registers the caller as a node, or brings it back after its retirement.
    /// @dev Emits NodeRegistered, and KeyChanged unless it comes back with its key. Reverts with NodeExists, InvalidEndpoint, NotOnCurve.
    function register(Key calldata key, string calldata endpoint) external;
    /// @notice Replaces the encryption key; the old one stays valid for `overlap` seconds.
    /// @dev Emits KeyChanged. Reverts with NodeUnknown, NodeIsRetired, OverlapTooLong, SameKey, NotOnCurve.
    function rotateKey(Key calldata key, uint40 overlap) external;
    /// @notice Changes the base URL.
    /// @dev Emits EndpointChanged. Reverts with NodeUnknown, NodeIsRetired, InvalidEndpoint.
    function setEndpoint(string calldata endpoint) external;
    /// @notice Retires the node; assets that name it may still settle with it until they remove it.
    /// @dev Emits NodeRetired. Reverts with NodeUnknown, NodeIsRetired.
    function retire() external;

    /// @notice The node's record. Reverts with NodeUnknown.
    function node(address account) external view returns (Node memory);
    /// @notice Whether the account is a registered node that has not retired.
    function isActive(address account) external view returns (bool);
    /// @notice Nodes are numbered from 1 in the order of registration; contracts store the number (32 bits) for the address.
    /// @return number 0 = not registered. Never changes, also not by retirement.
    function numberOf(address account) external view returns (uint32 number, bool active);
    /// @notice The node with this number; zero = there is none.
    function accountOf(uint32 number) external view returns (address);
}
