// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../../contracts/interfaces/IAssetRegistry.sol";
import {INodeRegistry} from "../../../../contracts/interfaces/INodeRegistry.sol";
import {Handler} from "./Handler.sol";

/// @notice What the owners of assets and the nodes do to their records, and what others try: see Handler.
abstract contract Owners is Handler {
    /// The public points of the scalars that nodes use; of 0, no key.
    mapping(uint256 scalar => INodeRegistry.Key) internal points;
    uint256[] internal scalars;

    function setUp() public override {
        super.setUp();
        string[4] memory names = ["node encryption", "other node encryption", "third", "fourth"];
        for (uint256 i; i < names.length; i++) {
            uint256 scalar = keyOf(names[i]);
            points[scalar] = pointOf(scalar);
            scalars.push(scalar);
        }
    }

    function lookAtAsset(uint256 asset) internal view virtual;
    function lookAtOffer(uint256 asset, uint256 plan) internal view virtual;
    function checkNodes() public view virtual;

    /// @notice A call to one of the other registries; it must succeed exactly if `expected`.
    function attemptAt(address registry, address who, bytes memory data, bool expected) private {
        vm.prank(who);
        (bool ok,) = registry.call(data);
        vm.assertEq(ok, expected, "the registry did not answer as the specification says");
        if (ok) successes[bytes4(data)]++;
    }

    /// @notice Mostly the owner of the asset, else its plan's, another builder or nobody in particular.
    function pickCaller(uint256 asset, uint256 plan, uint256 slip) private view returns (address) {
        if (slip % 8 == 7) return stranger;
        if (slip % 8 == 6) return offered[plan].owner;
        return slip % 8 == 5 ? pick(builders, slip >> 3) : assistants[asset].owner;
    }

    // ------------------------------------------------------------------------------------------------------ offers

    /// @notice Whether the rule before the current one can still be settled under.
    function isChanging(Terms storage terms) private view returns (bool) {
        uint256 from = terms.effectiveAt;
        return from != 0 && block.timestamp >= from && block.timestamp < from + 1 days;
    }

    function changeRule(uint256 planSeed, uint64 min, uint64 max, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        uint256 asset = (slip >> 8) % 4 == 3 ? sibling(plan) : plan;
        Terms storage o = offers[asset][plan];
        (min, max) = (uint64(within(min, 0, 10)), uint64(within(max, 5, 40)));
        if (isTime(plan)) (min, max) = (0, 0);
        address caller = pickCaller(asset, plan, slip);
        bool expected = caller == assistants[asset].owner && caller == offered[plan].owner && min <= max && o.exists
            && o.closesAt == 0 && !isChanging(o);
        IAssetRegistry.OfferInput memory input = IAssetRegistry.OfferInput(offered[plan].id, min, max);
        attemptAt(address(assets), caller, abi.encodeCall(assets.changeOffer, (offered[asset].did, input)), expected);
        if (expected) {
            if (o.effectiveAt != 0 && block.timestamp >= o.effectiveAt) (o.min, o.max) = (o.nextMin, o.nextMax);
            (o.nextMin, o.nextMax, o.effectiveAt) = (min, max, block.timestamp + 1 days);
        }
        lookAtOffer(asset, plan);
    }

    /// @notice The plan's second asset, or its first one again after it was closed.
    function openOffer(uint256 planSeed, uint64 min, uint64 max, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        uint256 asset = (slip >> 8) % 4 == 3 ? plan : sibling(plan);
        Terms storage o = offers[asset][plan];
        (min, max) = (uint64(within(min, 0, 10)), uint64(within(max, 5, 40)));
        if (isTime(plan)) max = (slip >> 9) % 8 == 7 ? 1 : 0;
        if (isTime(plan)) min = 0;
        address caller = pickCaller(asset, plan, slip);
        bool expected = caller == assistants[asset].owner && caller == offered[plan].owner && !offered[plan].retired
            && (isTime(plan) ? max == 0 : min <= max) && (!o.exists || !stillSettles(o.closesAt));
        IAssetRegistry.OfferInput memory input = IAssetRegistry.OfferInput(offered[plan].id, min, max);
        attemptAt(address(assets), caller, abi.encodeCall(assets.addOffer, (offered[asset].did, input)), expected);
        if (expected) offers[asset][plan] = Terms(true, min, max, 0, 0, 0, 0);
        lookAtOffer(asset, plan);
    }

    /// @notice Mostly the second asset's: a plan that opens nothing is settled by nobody.
    function closeOffer(uint256 planSeed, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        uint256 asset = (slip >> 8) % 8 == 7 ? plan : sibling(plan);
        Terms storage o = offers[asset][plan];
        address caller = pickCaller(asset, plan, slip);
        bool expected =
            (caller == assistants[asset].owner || caller == offered[plan].owner) && o.exists && o.closesAt == 0;
        bytes memory data = abi.encodeCall(assets.closeOffer, (offered[asset].did, offered[plan].id));
        attemptAt(address(assets), caller, data, expected);
        if (expected) o.closesAt = block.timestamp + 1 days;
        lookAtOffer(asset, plan);
    }

    // ------------------------------------------------------------------------------------------------------ assets

    function publish(uint256 assetSeed, uint256 digest, uint256 slip) external {
        uint256 asset = pickPlan(assetSeed);
        Assistant storage a = assistants[asset];
        address caller = pickCaller(asset, asset, slip);
        bool expected = caller == a.owner && digest != 0;
        bytes memory data = abi.encodeCall(assets.setMetadata, (offered[asset].did, bytes32(digest)));
        attemptAt(address(assets), caller, data, expected);
        if (expected) (a.metadata, a.version, a.updatedAt) = (bytes32(digest), a.version + 1, block.timestamp);
        lookAtAsset(asset);
    }

    function handOverAsset(uint256 assetSeed, uint256 to, uint256 slip) external {
        uint256 asset = pickPlan(assetSeed);
        Assistant storage a = assistants[asset];
        bytes32 did = offered[asset].did;
        address next = to % 8 == 7 ? address(0) : pick(builders, to);
        address caller = pickCaller(asset, asset, slip);
        bool expected = caller == a.owner;
        attemptAt(address(assets), caller, abi.encodeCall(assets.offerAsset, (did, next)), expected);
        if (expected) a.pendingOwner = next;
        address taker = (slip >> 8) % 4 == 3 ? stranger : pick(builders, to);
        expected = taker == a.pendingOwner;
        attemptAt(address(assets), taker, abi.encodeCall(assets.acceptAsset, (did)), expected);
        if (expected) (a.owner, a.pendingOwner) = (taker, address(0));
        lookAtAsset(asset);
    }

    function activate(uint256 assetSeed, uint256 slip) external looks(assetSeed) {
        uint256 asset = pickPlan(assetSeed);
        Assistant storage a = assistants[asset];
        bool active = (slip >> 8) % 4 != 3; // mostly: who is inactive settles no more
        address caller = pickCaller(asset, asset, slip);
        bool expected = caller == a.owner;
        bytes memory data = abi.encodeCall(assets.setActive, (offered[asset].did, active));
        attemptAt(address(assets), caller, data, expected);
        if (expected && a.inactive == active) {
            a.inactive = !active;
            if (!active) a.inactiveSince = block.timestamp;
        }
        lookAtAsset(asset);
    }

    function toggleNode(uint256 planSeed, uint256 nodeSeed, uint256 grace, uint256 slip) external looks(planSeed) {
        uint256 asset = pickPlan(planSeed);
        address server = pick(servers, nodeSeed);
        bool serving = nodeUntil[asset][server] == type(uint256).max;
        uint40 until = uint40(block.timestamp + within(grace, 0, 1 days));
        address caller = pickCaller(asset, asset, slip);
        bytes memory data = serving
            ? abi.encodeCall(assets.removeNode, (offered[asset].did, server, until))
            : abi.encodeCall(assets.addNode, (offered[asset].did, server));
        bool expected = caller == assistants[asset].owner && (serving || !records[server].retired);
        attemptAt(address(assets), caller, data, expected);
        if (expected) nodeUntil[asset][server] = serving ? until : type(uint256).max;
        lookAtOffer(asset, asset);
    }

    // ------------------------------------------------------------------------------------------------------- nodes

    /// @notice A node changes its own record; whoever isn't registered has none to change.
    function changeNode(uint256 nodeSeed, uint256 what, uint256 seed, uint256 slip) external {
        address server = slip % 8 == 7 ? stranger : pick(servers, nodeSeed);
        Server storage r = records[server];
        bool active = server != stranger && !r.retired;
        what = what % 8;
        if (what < 3) rotate(server, r, active, seed, slip);
        else if (what < 5) move(server, r, active, seed);
        else if (what == 5) leave(server, r, active);
        else if (server != stranger) comeBack(server, r, seed);
        checkNodes();
    }

    function rotate(address server, Server storage r, bool active, uint256 seed, uint256 slip) private {
        uint256 scalar = scalars[seed % scalars.length];
        uint256 overlap = (slip >> 8) % 4 == 0 ? 0 : within(slip >> 8, 0, 90 days + 1);
        bool expected = active && scalar != r.key && overlap <= 90 days;
        bytes memory data = abi.encodeCall(nodes.rotateKey, (points[scalar], uint40(overlap)));
        attemptAt(address(nodes), server, data, expected);
        if (expected) setKey(r, scalar, overlap);
    }

    function setKey(Server storage r, uint256 scalar, uint256 overlap) private {
        (r.previousKey, r.previousUntil) = overlap == 0 ? (0, 0) : (r.key, block.timestamp + overlap);
        (r.key, r.version) = (scalar, r.version + 1);
    }

    function move(address server, Server storage r, bool active, uint256 seed) private {
        string memory endpoint = seed % 8 == 0 ? "" : string.concat("https://node.example/", vm.toString(seed));
        bool expected = active && seed % 8 != 0;
        attemptAt(address(nodes), server, abi.encodeCall(nodes.setEndpoint, (endpoint)), expected);
        if (expected) r.endpoint = endpoint;
    }

    function leave(address server, Server storage r, bool active) private {
        attemptAt(address(nodes), server, abi.encodeCall(nodes.retire, ()), active);
        if (active) r.retired = true;
    }

    function comeBack(address server, Server storage r, uint256 seed) private {
        uint256 scalar = scalars[seed % scalars.length];
        string memory endpoint = "https://node.example/again";
        bool expected = r.retired;
        attemptAt(address(nodes), server, abi.encodeCall(nodes.register, (points[scalar], endpoint)), expected);
        if (!expected) return;
        (r.retired, r.endpoint) = (false, endpoint);
        if (scalar != r.key) setKey(r, scalar, 0);
    }
}
