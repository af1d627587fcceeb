// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "./interfaces/IAssetRegistry.sol";
import {ILens} from "./interfaces/ILens.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {IPlanRegistry} from "./interfaces/IPlanRegistry.sol";

/// @title Lens: see ILens, which is the specification.
contract Lens is ILens {
    /// @inheritdoc ILens
    address public immutable planRegistry;
    IAssetRegistry private immutable _assets;
    INodeRegistry private immutable _nodes;

    constructor(address planRegistry_) {
        planRegistry = planRegistry_;
        _assets = IAssetRegistry(IPlanRegistry(planRegistry_).assetRegistry());
        _nodes = INodeRegistry(_assets.nodeRegistry());
    }

    /// @inheritdoc ILens
    function describe(bytes32 did) external view returns (AssetView memory view_) {
        view_.asset = _assets.asset(did);
        view_.cid = _assets.cid(did);

        IAssetRegistry.Offer[] memory offers = _assets.offers(did);
        view_.offers = new OfferView[](offers.length);
        for (uint256 i = 0; i < offers.length; ++i) {
            view_.offers[i] = OfferView(offers[i], IPlanRegistry(planRegistry).plan(offers[i].planId));
        }

        (address[] memory nodes, uint40[] memory until) = _assets.nodes(did);
        view_.nodes = new NodeView[](nodes.length);
        for (uint256 i = 0; i < nodes.length; ++i) {
            view_.nodes[i] = NodeView(nodes[i], until[i], _nodes.node(nodes[i]));
        }
    }

    /// @inheritdoc ILens
    function account(bytes32 planId, address subscriber) public view returns (AccountView memory view_) {
        IPlanRegistry plans = IPlanRegistry(planRegistry);
        (view_.refundQuantity, view_.refundAmount, view_.refundAvailableAt) = plans.refundOf(planId, subscriber);
        view_.account = plans.account(planId, subscriber);
        view_.spendable = plans.balanceOf(subscriber, uint256(planId));
        view_.blockNumber = block.number;
        view_.timestamp = block.timestamp;
    }

    /// @inheritdoc ILens
    function accounts(bytes32[] calldata planIds, address[] calldata subscribers)
        external
        view
        returns (AccountView[] memory views)
    {
        if (planIds.length != subscribers.length) revert LengthMismatch(planIds.length, subscribers.length);
        views = new AccountView[](planIds.length);
        for (uint256 i = 0; i < planIds.length; ++i) {
            views[i] = account(planIds[i], subscribers[i]);
        }
    }
}
