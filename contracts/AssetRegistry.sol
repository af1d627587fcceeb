// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "./interfaces/IAssetRegistry.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {IPlanRegistry} from "./interfaces/IPlanRegistry.sol";
import {Cid} from "./libraries/Cid.sol";

/// @title AssetRegistry: see IAssetRegistry, which is the specification.
/// @dev Registering with one plan and one node writes four new slots: two of the record, the plan's place in the list, and
/// the offer. Nodes are kept by their number in NodeRegistry, so that the first one fits into the record.
contract AssetRegistry is IAssetRegistry {
    /// @inheritdoc IAssetRegistry
    uint256 public constant NOTICE_PERIOD = 1 days;
    /// @inheritdoc IAssetRegistry
    uint256 public constant SETTLEMENT_WINDOW = 1 days;
    /// @inheritdoc IAssetRegistry
    uint256 public constant MAX_OFFERS = 16;
    /// @inheritdoc IAssetRegistry
    uint256 public constant MAX_NODES = 8;

    /// @inheritdoc IAssetRegistry
    address public immutable planRegistry;
    /// @inheritdoc IAssetRegistry
    address public immutable nodeRegistry;

    struct Record {
        // Slot 0. createdAt 0 = no such asset; it lasts until 2106.
        address owner;
        uint32 createdAt;
        uint24 version;
        bool inactive;
        uint32 firstNode;
        // Slot 1
        bytes32 metadata;
        // Slot 2, written only when one of these is first needed.
        address pendingOwner;
        uint40 updatedAt;
        uint40 inactiveSince;
        // Slot 3: the other nodes.
        uint32[MAX_NODES - 1] moreNodes;
    }

    /// @dev The rule is (min, max) until `effectiveAt`, then the one in `_nextRules`. effectiveAt 0 = there is no other.
    struct Terms {
        uint64 min;
        uint64 max;
        uint40 effectiveAt;
        uint40 closesAt;
        bool exists;
    }

    struct Rule {
        uint64 min;
        uint64 max;
    }

    mapping(bytes32 did => Record) private _assets;
    mapping(bytes32 did => mapping(bytes32 planId => Terms)) private _offers;
    mapping(bytes32 did => mapping(bytes32 planId => Rule)) private _nextRules;
    /// @dev Places 0 .. MAX_OFFERS - 1, filled from the front; the first zero ends the list.
    mapping(bytes32 did => mapping(uint256 place => bytes32 planId)) private _planAt;
    /// @dev When a removed node's right to settle ends; 0 = it has not been removed.
    mapping(bytes32 did => mapping(uint32 node => uint40)) private _nodeUntil;

    constructor(address nodeRegistry_) {
        planRegistry = msg.sender;
        nodeRegistry = nodeRegistry_;
    }

    modifier onlyOwner(bytes32 did) {
        if (_existing(did).owner != msg.sender) revert NotAssetOwner(did, msg.sender);
        _;
    }

    // ------------------------------------------------------------------------------------------------------ owner

    /// @inheritdoc IAssetRegistry
    function register(bytes32 salt, bytes32 metadata, OfferInput[] calldata offers_, address[] calldata nodes_)
        external
        returns (bytes32 did)
    {
        did = didOf(msg.sender, salt);
        if (_assets[did].createdAt != 0) revert AssetExists(did);
        if (metadata == 0) revert NoMetadata();
        if (offers_.length == 0) revert NoPlan();
        if (nodes_.length == 0) revert NoNode();
        if (offers_.length > MAX_OFFERS) revert TooMany(MAX_OFFERS);
        if (nodes_.length > MAX_NODES) revert TooMany(MAX_NODES);

        Record storage record = _assets[did];
        (record.owner, record.createdAt, record.version, record.inactive, record.firstNode) =
        (msg.sender, uint32(block.timestamp), 1, false, _usableNode(nodes_[0]));
        record.metadata = metadata;
        emit AssetRegistered(did, msg.sender, metadata);
        emit NodeChanged(did, nodes_[0], type(uint40).max);
        for (uint256 i = 1; i < nodes_.length; ++i) {
            _addNode(did, nodes_[i]);
        }
        for (uint256 i = 0; i < offers_.length; ++i) {
            if (_offers[did][offers_[i].planId].exists) revert OfferExists(did, offers_[i].planId);
            _openOffer(did, i, offers_[i]);
        }
    }

    /// @inheritdoc IAssetRegistry
    function didOf(address owner, bytes32 salt) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), owner, salt));
    }

    /// @inheritdoc IAssetRegistry
    function setMetadata(bytes32 did, bytes32 metadata) external onlyOwner(did) {
        if (metadata == 0) revert NoMetadata();
        Record storage record = _assets[did];
        record.metadata = metadata;
        record.updatedAt = uint40(block.timestamp);
        uint24 version = ++record.version;
        emit MetadataChanged(did, version, metadata);
    }

    /// @inheritdoc IAssetRegistry
    function addOffer(bytes32 did, OfferInput calldata offer_) external onlyOwner(did) {
        // The plan's own former place, else the first one that is free.
        uint256 place = MAX_OFFERS;
        for (uint256 i = 0; i < MAX_OFFERS; ++i) {
            bytes32 planId = _planAt[did][i];
            bool own = planId == offer_.planId;
            bool free = planId == 0 || _isDropped(_offers[did][planId]);
            if (own && !free) revert OfferExists(did, planId);
            if (own || (free && place == MAX_OFFERS)) place = i;
            if (own || planId == 0) break;
        }
        if (place == MAX_OFFERS) revert TooMany(MAX_OFFERS);
        delete _offers[did][_planAt[did][place]];
        _openOffer(did, place, offer_);
    }

    /// @inheritdoc IAssetRegistry
    function changeOffer(bytes32 did, OfferInput calldata offer_) external onlyOwner(did) {
        Terms storage terms = _closable(did, offer_.planId);
        (address owner,, bool retired, bool timePlan) = IPlanRegistry(planRegistry).planStatus(offer_.planId);
        if (owner != msg.sender) revert PlanNotUsable(offer_.planId, owner, retired);
        _checkRule(offer_, timePlan);
        uint256 effectiveAt = terms.effectiveAt;
        if (effectiveAt != 0 && block.timestamp >= effectiveAt) {
            uint256 until = effectiveAt + SETTLEMENT_WINDOW;
            if (block.timestamp < until) revert ChangeTooSoon(did, offer_.planId, until);
            Rule memory current = _nextRules[did][offer_.planId];
            (terms.min, terms.max) = (current.min, current.max);
        }
        effectiveAt = block.timestamp + NOTICE_PERIOD;
        terms.effectiveAt = uint40(effectiveAt);
        _nextRules[did][offer_.planId] = Rule(offer_.min, offer_.max);
        emit OfferChanged(did, offer_.planId, offer_.min, offer_.max, uint40(effectiveAt));
    }

    /// @inheritdoc IAssetRegistry
    function closeOffer(bytes32 did, bytes32 planId) external {
        if (_existing(did).owner != msg.sender && _planOwner(planId) != msg.sender) {
            revert NotAssetOwner(did, msg.sender);
        }
        uint40 closesAt = uint40(block.timestamp + NOTICE_PERIOD);
        _closable(did, planId).closesAt = closesAt;
        emit OfferClosed(did, planId, closesAt);
    }

    /// @inheritdoc IAssetRegistry
    function addNode(bytes32 did, address node) external onlyOwner(did) {
        _addNode(did, node);
    }

    /// @inheritdoc IAssetRegistry
    function removeNode(bytes32 did, address node, uint40 until) external onlyOwner(did) {
        uint32 number = _numberOf(node);
        if (!_isListed(did, number)) revert NodeUnknown(did, node);
        uint256 latest = block.timestamp + SETTLEMENT_WINDOW;
        if (until > latest) revert UntilTooLate(until, latest);
        // Zero means "not removed": any other second that has passed says the same as the one asked for.
        if (until == 0) until = 1;
        _nodeUntil[did][number] = until;
        emit NodeChanged(did, node, until);
    }

    /// @inheritdoc IAssetRegistry
    function setActive(bytes32 did, bool active) external onlyOwner(did) {
        Record storage record = _assets[did];
        if (record.inactive != active) return;
        record.inactive = !active;
        if (!active) record.inactiveSince = uint40(block.timestamp);
        emit ActiveChanged(did, active);
    }

    /// @inheritdoc IAssetRegistry
    function offerAsset(bytes32 did, address to) external onlyOwner(did) {
        _assets[did].pendingOwner = to;
        emit AssetTransferOffered(did, to);
    }

    /// @inheritdoc IAssetRegistry
    function acceptAsset(bytes32 did) external {
        Record storage record = _existing(did);
        if (record.pendingOwner != msg.sender) revert NotPendingOwner(did, msg.sender);
        address from = record.owner;
        record.owner = msg.sender;
        record.pendingOwner = address(0);
        emit AssetTransferred(did, from, msg.sender);
    }

    // ------------------------------------------------------------------------------------------------------ reads

    /// @inheritdoc IAssetRegistry
    function asset(bytes32 did) external view returns (Asset memory) {
        Record storage record = _existing(did);
        return Asset({
            owner: record.owner,
            pendingOwner: record.pendingOwner,
            active: !record.inactive,
            version: record.version,
            createdAt: record.createdAt,
            updatedAt: record.version == 1 ? record.createdAt : record.updatedAt,
            metadata: record.metadata
        });
    }

    /// @inheritdoc IAssetRegistry
    function offers(bytes32 did) external view returns (Offer[] memory list) {
        _existing(did);
        uint256 count = 0;
        while (count < MAX_OFFERS && _planAt[did][count] != 0) ++count;
        list = new Offer[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = offer(did, _planAt[did][i]);
        }
    }

    /// @inheritdoc IAssetRegistry
    function offer(bytes32 did, bytes32 planId) public view returns (Offer memory view_) {
        Terms memory terms = _offers[did][planId];
        if (!terms.exists) revert OfferUnknown(did, planId);
        view_ = Offer(planId, terms.min, terms.max, 0, 0, 0, terms.closesAt);
        if (terms.effectiveAt == 0) return view_;
        Rule memory next = _nextRules[did][planId];
        if (block.timestamp < terms.effectiveAt) {
            (view_.nextMin, view_.nextMax, view_.effectiveAt) = (next.min, next.max, terms.effectiveAt);
        } else {
            (view_.min, view_.max) = (next.min, next.max);
        }
    }

    /// @inheritdoc IAssetRegistry
    function nodes(bytes32 did) external view returns (address[] memory accounts, uint40[] memory until) {
        Record storage record = _existing(did);
        accounts = new address[](MAX_NODES);
        until = new uint40[](MAX_NODES);
        uint256 count = 0;
        for (uint256 i = 0; i < MAX_NODES; ++i) {
            uint32 number = _nodeAt(record, i);
            if (number == 0) continue;
            uint40 end = _nodeUntil[did][number];
            accounts[count] = INodeRegistry(nodeRegistry).accountOf(number);
            until[count++] = end == 0 ? type(uint40).max : end;
        }
        // Both lists were made for the most there can be: cut them to what there is.
        assembly ("memory-safe") {
            mstore(accounts, count)
            mstore(until, count)
        }
    }

    /// @inheritdoc IAssetRegistry
    function settlementRule(bytes32 did, bytes32 planId, address node)
        external
        view
        returns (bool authorised, uint64 min, uint64 max)
    {
        Terms memory terms = _offers[did][planId];
        if (!terms.exists || !_mayStillSettle(terms.closesAt)) return (false, 0, 0);
        Record storage record = _assets[did];
        if (record.inactive && !_mayStillSettle(record.inactiveSince)) return (false, 0, 0);
        uint32 number = _numberOf(node);
        if (!_isListed(did, number)) return (false, 0, 0);
        uint256 until = _nodeUntil[did][number];
        if (until != 0 && block.timestamp >= until) return (false, 0, 0);

        if (terms.effectiveAt == 0 || block.timestamp < terms.effectiveAt) return (true, terms.min, terms.max);
        Rule memory next = _nextRules[did][planId];
        if (!_mayStillSettle(terms.effectiveAt)) return (true, next.min, next.max);
        return (true, terms.min < next.min ? terms.min : next.min, terms.max > next.max ? terms.max : next.max);
    }

    /// @inheritdoc IAssetRegistry
    function cid(bytes32 did) external view returns (string memory) {
        return Cid.fromDigest(_existing(did).metadata);
    }

    // ---------------------------------------------------------------------------------------------------- private

    function _existing(bytes32 did) private view returns (Record storage record) {
        record = _assets[did];
        if (record.createdAt == 0) revert AssetUnknown(did);
    }

    /// @dev Whether what was served before `end` settles; 0 = there is no end.
    function _mayStillSettle(uint256 end) private view returns (bool) {
        return end == 0 || block.timestamp < end + SETTLEMENT_WINDOW;
    }

    // Offers

    function _openOffer(bytes32 did, uint256 place, OfferInput calldata offer_) private {
        (address owner,, bool retired, bool timePlan) = IPlanRegistry(planRegistry).planStatus(offer_.planId);
        if (owner != msg.sender || retired) revert PlanNotUsable(offer_.planId, owner, retired);
        _checkRule(offer_, timePlan);
        _planAt[did][place] = offer_.planId;
        _offers[did][offer_.planId] = Terms(offer_.min, offer_.max, 0, 0, true);
        emit OfferChanged(did, offer_.planId, offer_.min, offer_.max, uint40(block.timestamp));
    }

    function _checkRule(OfferInput calldata offer_, bool timePlan) private pure {
        if (offer_.min > offer_.max || (timePlan && offer_.max != 0)) {
            revert InvalidRule(offer_.planId, offer_.min, offer_.max);
        }
    }

    function _planOwner(bytes32 planId) private view returns (address owner) {
        (owner,,,) = IPlanRegistry(planRegistry).planStatus(planId);
    }

    /// @dev An offer that is neither closed nor closing.
    function _closable(bytes32 did, bytes32 planId) private view returns (Terms storage terms) {
        terms = _offers[did][planId];
        if (!terms.exists) revert OfferUnknown(did, planId);
        if (terms.closesAt != 0) revert OfferClosing(did, planId, terms.closesAt);
    }

    /// @dev A closed offer under which nothing settles any more: its place is free.
    function _isDropped(Terms storage terms) private view returns (bool) {
        return !_mayStillSettle(terms.closesAt);
    }

    // Nodes

    function _addNode(bytes32 did, address node) private {
        Record storage record = _assets[did];
        uint32 number = _usableNode(node);
        uint256 place = MAX_NODES;
        for (uint256 i = 0; i < MAX_NODES; ++i) {
            uint32 other = _nodeAt(record, i);
            if (other == number) {
                // A node that was removed comes back into its place.
                if (_nodeUntil[did][number] == 0) revert NodeExists(did, node);
                place = i;
                break;
            }
            uint256 until = other == 0 ? 0 : _nodeUntil[did][other];
            bool free = other == 0 || (until != 0 && block.timestamp >= until);
            if (free && place == MAX_NODES) place = i;
        }
        if (place == MAX_NODES) revert TooMany(MAX_NODES);
        delete _nodeUntil[did][_nodeAt(record, place)];
        if (place == 0) record.firstNode = number;
        else record.moreNodes[place - 1] = number;
        emit NodeChanged(did, node, type(uint40).max);
    }

    function _nodeAt(Record storage record, uint256 place) private view returns (uint32) {
        return place == 0 ? record.firstNode : record.moreNodes[place - 1];
    }

    /// @dev Also true for a removed node whose place has not been taken.
    function _isListed(bytes32 did, uint32 number) private view returns (bool) {
        if (number == 0) return false;
        Record storage record = _assets[did];
        for (uint256 i = 0; i < MAX_NODES; ++i) {
            if (_nodeAt(record, i) == number) return true;
        }
        return false;
    }

    function _numberOf(address node) private view returns (uint32 number) {
        (number,) = INodeRegistry(nodeRegistry).numberOf(node);
    }

    function _usableNode(address node) private view returns (uint32 number) {
        bool active;
        (number, active) = INodeRegistry(nodeRegistry).numberOf(node);
        if (!active) revert NodeNotUsable(node);
    }
}
