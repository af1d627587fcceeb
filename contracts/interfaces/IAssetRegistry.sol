// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title IAssetRegistry: assistants, the plans that open them and the nodes that serve them.
/// @notice A DID is `did:nv:` + 64 hex digits of `didOf(owner, salt)`, known before registration. Only the DID's owner
/// changes its record (I7); the owner of a plan may besides close the offer under it (`closeOffer`). Everything needed to
/// resolve a DID can be read from here with one RPC endpoint.
interface IAssetRegistry {
    // ------------------------------------------------------------------------------------------------------ types

    /// @notice What one access costs under one plan. 0 <= min <= max; equal = fixed price. A time plan has min = max = 0.
    struct OfferInput {
        bytes32 planId;
        uint64 min;
        uint64 max;
    }

    /// @notice An offer as it stands at the block that is read.
    /// @param min, max Credits per access in force now.
    /// @param nextMin, nextMax, effectiveAt The rule that takes over at `effectiveAt` (unix seconds); effectiveAt 0 = no change
    /// is scheduled.
    /// @param closesAt When the offer stops to admit calls; 0 = open-ended. Calls served before settle for SETTLEMENT_WINDOW more.
    struct Offer {
        bytes32 planId;
        uint64 min;
        uint64 max;
        uint64 nextMin;
        uint64 nextMax;
        uint40 effectiveAt;
        uint40 closesAt;
    }

    /// @notice An asset's record.
    /// @param metadata sha-256 digest of the current metadata block.
    /// @param version Number of metadata versions so far; the first is 1.
    /// @param createdAt, updatedAt Unix seconds of the registration and of the last metadata version.
    struct Asset {
        address owner;
        address pendingOwner;
        bool active;
        uint32 version;
        uint40 createdAt;
        uint40 updatedAt;
        bytes32 metadata;
    }

    // ----------------------------------------------------------------------------------------------------- events

    /// @notice An assistant was registered. Offers and nodes have their own events.
    event AssetRegistered(bytes32 indexed did, address indexed owner, bytes32 metadata);
    /// @notice New metadata: version `version`, digest `metadata`.
    event MetadataChanged(bytes32 indexed did, uint32 indexed version, bytes32 metadata);
    /// @notice `planId` opens the asset at min..max credits per access from `effectiveAt` on.
    event OfferChanged(bytes32 indexed did, bytes32 indexed planId, uint64 min, uint64 max, uint40 effectiveAt);
    /// @notice `planId` stops opening the asset at `closesAt`.
    event OfferClosed(bytes32 indexed did, bytes32 indexed planId, uint40 closesAt);
    /// @notice `node` may serve and settle the asset until `until` (unix seconds; type(uint40).max = until removed).
    event NodeChanged(bytes32 indexed did, address indexed node, uint40 until);
    /// @notice The asset was deactivated or activated again.
    event ActiveChanged(bytes32 indexed did, bool active);
    /// @notice A hand-over of the asset was offered to `to` (zero: withdrawn).
    event AssetTransferOffered(bytes32 indexed did, address indexed to);
    /// @notice The asset has a new owner.
    event AssetTransferred(bytes32 indexed did, address indexed from, address indexed to);

    // ----------------------------------------------------------------------------------------------------- errors

    /// @notice No asset has this DID.
    error AssetUnknown(bytes32 did);
    /// @notice The caller has registered an asset with this salt before.
    error AssetExists(bytes32 did);
    /// @notice Only the DID's owner may do this (I7); closing an offer, also the plan's.
    error NotAssetOwner(bytes32 did, address caller);
    /// @notice Only the account that the hand-over was offered to may accept it.
    error NotPendingOwner(bytes32 did, address caller);
    /// @notice The metadata digest is zero.
    error NoMetadata();
    /// @notice An asset is registered with at least one plan.
    error NoPlan();
    /// @notice An asset is registered with at least one node.
    error NoNode();
    /// @notice The plan is unknown, not the caller's, or retired.
    error PlanNotUsable(bytes32 planId, address owner, bool retired);
    /// @notice min > max, or credits on a time plan.
    error InvalidRule(bytes32 planId, uint64 min, uint64 max);
    /// @notice The plan opens the asset already: change its rule instead.
    error OfferExists(bytes32 did, bytes32 planId);
    /// @notice The plan does not open the asset.
    error OfferUnknown(bytes32 did, bytes32 planId);
    /// @notice The offer is closed or closing: it can be neither changed nor closed again.
    error OfferClosing(bytes32 did, bytes32 planId, uint256 closesAt);
    /// @notice The last change of this rule can still be settled under until `until`; try again after it.
    error ChangeTooSoon(bytes32 did, bytes32 planId, uint256 until);
    /// @notice An asset has at most MAX_OFFERS offers and MAX_NODES nodes.
    error TooMany(uint256 limit);
    /// @notice The node is not registered in NodeRegistry, or retired.
    error NodeNotUsable(address node);
    /// @notice The node is not one of the asset's.
    error NodeUnknown(bytes32 did, address node);
    /// @notice The node is one of the asset's already.
    error NodeExists(bytes32 did, address node);
    /// @notice `until` is later than SETTLEMENT_WINDOW from now.
    error UntilTooLate(uint256 until, uint256 latest);

    // -------------------------------------------------------------------------------------------------- constants

    /// @notice The plan registry that this registry was deployed by.
    function planRegistry() external view returns (address);
    /// @notice Where nodes publish their keys.
    function nodeRegistry() external view returns (address);
    /// @notice Seconds between the announcement of a rule's change and its effect (1 day).
    // solhint-disable-next-line func-name-mixedcase
    function NOTICE_PERIOD() external view returns (uint256);
    /// @notice Seconds for which calls served before a change, a closing or a node's removal still settle (1 day).
    // solhint-disable-next-line func-name-mixedcase
    function SETTLEMENT_WINDOW() external view returns (uint256);
    /// @notice Most offers that one asset has (16), closed ones included until they are dropped.
    // solhint-disable-next-line func-name-mixedcase
    function MAX_OFFERS() external view returns (uint256);
    /// @notice Most nodes that one asset has (8).
    // solhint-disable-next-line func-name-mixedcase
    function MAX_NODES() external view returns (uint256);

    // ------------------------------------------------------------------------------------------------------ owner

    /// @notice Registers an assistant owned by the caller. Offers take effect at once.
    /// @dev Emits AssetRegistered, NodeChanged per node, OfferChanged per offer. Reverts with AssetExists, NoMetadata, NoPlan, NoNode,
    /// TooMany, NodeNotUsable, NodeExists (named twice), OfferExists (named twice), PlanNotUsable, InvalidRule.
    function register(bytes32 salt, bytes32 metadata, OfferInput[] calldata offers, address[] calldata nodes)
        external
        returns (bytes32 did);

    /// @notice keccak256(abi.encode(chain id, this contract, owner, salt)).
    function didOf(address owner, bytes32 salt) external view returns (bytes32);

    /// @notice Publishes a new metadata version (also: rotation of the sealed secret).
    /// @dev Emits MetadataChanged. Reverts with AssetUnknown, NotAssetOwner, NoMetadata.
    function setMetadata(bytes32 did, bytes32 metadata) external;
    /// @notice Adds an offer, in force at once: no call was served under it before.
    /// @dev Emits OfferChanged. Reverts with AssetUnknown, NotAssetOwner, OfferExists, TooMany, PlanNotUsable, InvalidRule.
    function addOffer(bytes32 did, OfferInput calldata offer) external;
    /// @notice Schedules a new rule after NOTICE_PERIOD. A change not yet in force is replaced, with a full notice period.
    /// The plan must be the caller's; sales may have ended.
    /// @dev Emits OfferChanged. Reverts with AssetUnknown, NotAssetOwner, OfferUnknown, OfferClosing, PlanNotUsable, InvalidRule, and
    /// with ChangeTooSoon while calls may still settle under the rule before the current one.
    function changeOffer(bytes32 did, OfferInput calldata offer) external;
    /// @notice Closes an offer after NOTICE_PERIOD; its place is free for another one SETTLEMENT_WINDOW later. The DID's owner
    /// may, and so may the plan's: whoever takes over a plan is not bound to the assets that it opened before.
    /// @dev Emits OfferClosed. Reverts with AssetUnknown, NotAssetOwner, OfferUnknown, OfferClosing.
    function closeOffer(bytes32 did, bytes32 planId) external;
    /// @notice Lets a node serve and settle the asset.
    /// @dev Emits NodeChanged. Reverts with AssetUnknown, NotAssetOwner, NodeNotUsable, NodeExists, TooMany.
    function addNode(bytes32 did, address node) external;
    /// @notice Stops a node; it may settle what it served until `until`, at most SETTLEMENT_WINDOW from now, or not at
    /// all (`until` <= now).
    /// @dev Emits NodeChanged. Reverts with AssetUnknown, NotAssetOwner, NodeUnknown, UntilTooLate.
    function removeNode(bytes32 did, address node, uint40 until) external;
    /// @notice Deactivates (calls end, what was served still settles for SETTLEMENT_WINDOW) or activates the asset again.
    /// @dev Emits ActiveChanged, unless it is so already. Reverts with AssetUnknown, NotAssetOwner.
    function setActive(bytes32 did, bool active) external;
    /// @notice Offers the asset to `to`; zero withdraws the offer.
    /// @dev Emits AssetTransferOffered. Reverts with AssetUnknown, NotAssetOwner.
    function offerAsset(bytes32 did, address to) external;
    /// @notice Accepts an offered asset. Offers under the previous owner's plans stay until somebody closes them.
    /// @dev Emits AssetTransferred. Reverts with AssetUnknown, NotPendingOwner.
    function acceptAsset(bytes32 did) external;

    // ------------------------------------------------------------------------------------------------------ reads

    /// @notice The asset's record. Reverts with AssetUnknown.
    function asset(bytes32 did) external view returns (Asset memory);
    /// @notice All offers of the asset, closed ones included until their place is taken. Reverts with AssetUnknown.
    function offers(bytes32 did) external view returns (Offer[] memory);
    /// @notice The offer of one plan. Reverts with OfferUnknown.
    function offer(bytes32 did, bytes32 planId) external view returns (Offer memory);
    /// @notice The asset's nodes and until when each may serve (type(uint40).max = until removed). Reverts with AssetUnknown.
    function nodes(bytes32 did) external view returns (address[] memory accounts, uint40[] memory until);
    /// @notice What settlement obeys now: for SETTLEMENT_WINDOW after a change the union of the old and the new rule.
    /// @return authorised Whether `node` may settle (did, planId) now.
    /// @return min Fewest credits per call.
    /// @return max Most credits per call.
    function settlementRule(bytes32 did, bytes32 planId, address node)
        external
        view
        returns (bool authorised, uint64 min, uint64 max);
    /// @notice CIDv1 (raw, sha2-256, base32 lower case) of the current metadata block, computed from its digest. Reverts with
    /// AssetUnknown.
    function cid(bytes32 did) external view returns (string memory);
}
