// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title IERC1155: ERC-1155 with its metadata extension and ERC-165. The errors are IPlanRegistry's.
interface IERC1155 {
    /// @notice `value` of `id` moved; from zero = minted, to zero = burnt.
    event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value);
    /// @notice Several ids moved at once.
    event TransferBatch(
        address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values
    );
    /// @notice `operator` may (not) move everything of `account`.
    event ApprovalForAll(address indexed account, address indexed operator, bool approved);
    /// @notice The metadata of `id` is now at `value`.
    event URI(string value, uint256 indexed id);

    /// @notice How much of `id` the account has.
    function balanceOf(address account, uint256 id) external view returns (uint256);
    /// @notice The same for many (account, id) pairs. Reverts with LengthMismatch.
    function balanceOfBatch(address[] calldata accounts, uint256[] calldata ids)
        external
        view
        returns (uint256[] memory);
    /// @notice Lets an operator move the caller's tokens: nobody may. Reverts with Soulbound.
    function setApprovalForAll(address operator, bool approved) external;
    /// @notice Whether the operator may move the account's tokens.
    function isApprovedForAll(address account, address operator) external view returns (bool);
    /// @notice Moves one token type: none moves. Reverts with Soulbound.
    function safeTransferFrom(address from, address to, uint256 id, uint256 value, bytes calldata data) external;
    /// @notice Moves several token types: none moves. Reverts with Soulbound.
    function safeBatchTransferFrom(
        address from,
        address to,
        uint256[] calldata ids,
        uint256[] calldata values,
        bytes calldata data
    ) external;
    /// @notice Where the metadata of `id` is; empty = there is none. Reverts with PlanUnknown.
    function uri(uint256 id) external view returns (string memory);
    /// @notice ERC-165: 0x01ffc9a7, 0xd9b67a26 (ERC-1155) and 0x0e89341c (its metadata extension).
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
}

/// @title IERC1155Receiver: what a contract answers to take ERC-1155 tokens.
interface IERC1155Receiver {
    /// @notice Accepts with its own selector.
    function onERC1155Received(address operator, address from, uint256 id, uint256 value, bytes calldata data)
        external
        returns (bytes4);
}
