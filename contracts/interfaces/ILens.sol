// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "./IAssetRegistry.sol";
import {INodeRegistry} from "./INodeRegistry.sol";
import {IPlanRegistry} from "./IPlanRegistry.sol";

/// @title ILens: everything a client needs to know, in one call each. Reads only.
interface ILens {
    /// @notice One way into an asset.
    struct OfferView {
        IAssetRegistry.Offer offer;
        IPlanRegistry.Plan plan;
    }

    /// @notice One node of an asset. `until` as in IAssetRegistry.nodes.
    struct NodeView {
        address account;
        uint40 until;
        INodeRegistry.Node node;
    }

    /// @notice An asset with its offers, plans and nodes.
    struct AssetView {
        IAssetRegistry.Asset asset;
        string cid;
        OfferView[] offers;
        NodeView[] nodes;
    }

    /// @notice A subscriber's standing under a plan.
    /// @param spendable What balanceOf says at this block.
    /// @param refundAvailableAt, refundQuantity, refundAmount As IPlanRegistry.refundOf says at this block.
    /// @param blockNumber, timestamp Of the block that answered.
    struct AccountView {
        IPlanRegistry.Account account;
        uint256 spendable;
        uint256 refundAvailableAt;
        uint256 refundQuantity;
        uint256 refundAmount;
        uint256 blockNumber;
        uint256 timestamp;
    }

    /// @notice Two lists that belong together have different lengths.
    error LengthMismatch(uint256 left, uint256 right);

    /// @notice The plan registry that this lens looks at.
    function planRegistry() external view returns (address);
    /// @notice Resolves a DID. Reverts with AssetUnknown.
    function describe(bytes32 did) external view returns (AssetView memory);
    /// @notice A subscriber's standing under one plan. Reverts with PlanUnknown.
    function account(bytes32 planId, address subscriber) external view returns (AccountView memory);
    /// @notice The same for many (plan, subscriber) pairs in one call.
    function accounts(bytes32[] calldata planIds, address[] calldata subscribers)
        external
        view
        returns (AccountView[] memory);
}
