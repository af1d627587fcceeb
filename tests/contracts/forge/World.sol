// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {ILens} from "../../../contracts/interfaces/ILens.sol";
import {INodeRegistry} from "../../../contracts/interfaces/INodeRegistry.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";
import {Erc20} from "./tokens/Erc20.sol";

/// @notice The contracts, deployed as they are deployed for real, the people who use them, and one line for each thing
/// that people do. Tests see the contracts through their interfaces only: what is tested is the specification.
abstract contract World is Base {
    uint40 internal constant START = 1_800_000_000;
    uint256 internal constant NO_BOUND = type(uint256).max;

    IPlanRegistry internal plans;
    IAssetRegistry internal assets;
    INodeRegistry internal nodes;
    ILens internal lens;
    address internal validator;

    address internal builder;
    address internal alice;
    address internal bob;
    address internal stranger;
    address internal relayer;
    address internal node;
    address internal otherNode;
    address internal treasury;

    uint256 private salts;

    function setUp() public virtual {
        vm.warp(START);
        builder = account("builder");
        alice = account("alice");
        bob = account("bob");
        stranger = account("stranger");
        relayer = account("relayer");
        treasury = account("treasury");
        deploy(address(0), 0);
        node = registerNode("node");
        otherNode = registerNode("other node");
        vm.deal(alice, 1_000_000 ether);
        vm.deal(bob, 1_000_000 ether);
    }

    /// @notice Fresh contracts with this protocol fee.
    function deploy(address feeRecipient, uint16 feeBasisPoints) internal {
        nodes = INodeRegistry(vm.deployCode("NodeRegistry.sol:NodeRegistry"));
        validator = vm.deployCode("SignatureValidator.sol:SignatureValidator");
        plans = IPlanRegistry(
            vm.deployCode(
                "PlanRegistry.sol:PlanRegistry", abi.encode(feeRecipient, feeBasisPoints, address(nodes), validator)
            )
        );
        assets = IAssetRegistry(plans.assetRegistry());
        lens = ILens(vm.deployCode("Lens.sol:Lens", abi.encode(address(plans))));
    }

    function newSalt() internal returns (bytes32) {
        return bytes32(++salts);
    }

    // ------------------------------------------------------------------------------------------------------ nodes

    /// @notice The public point of a private scalar.
    function pointOf(uint256 scalar) internal returns (INodeRegistry.Key memory) {
        Vm.Wallet memory wallet = vm.createWallet(scalar);
        return INodeRegistry.Key(bytes32(wallet.publicKeyX), bytes32(wallet.publicKeyY));
    }

    function registerNode(string memory name) internal returns (address made) {
        made = account(name);
        INodeRegistry.Key memory key = pointOf(keyOf(string.concat(name, " encryption")));
        vm.prank(made);
        nodes.register(key, "https://node.example");
    }

    // ------------------------------------------------------------------------------------------------------ plans

    /// @notice 100 credits for one ether, for ever, for anybody.
    function creditTerms() internal pure returns (IPlanRegistry.Terms memory terms) {
        terms.price = 1 ether;
        terms.creditsPerUnit = 100;
    }

    /// @notice A month of access for one ether.
    function timeTerms() internal pure returns (IPlanRegistry.Terms memory terms) {
        terms.price = 1 ether;
        terms.duration = 30 days;
    }

    /// @notice Refundable after a day's notice.
    function refundable(IPlanRegistry.Terms memory terms) internal pure returns (IPlanRegistry.Terms memory) {
        terms.refundCooldown = uint24(1 days);
        return terms;
    }

    function createPlan(IPlanRegistry.Terms memory terms) internal returns (bytes32) {
        return createPlan(terms, new IPlanRegistry.Payee[](0));
    }

    function createPlan(IPlanRegistry.Terms memory terms, IPlanRegistry.Payee[] memory payees)
        internal
        returns (bytes32)
    {
        vm.prank(builder);
        return plans.createPlan(newSalt(), terms, payees, bytes32(0));
    }

    function split(address first, uint16 firstShare, address second, uint16 secondShare)
        internal
        pure
        returns (IPlanRegistry.Payee[] memory payees)
    {
        payees = new IPlanRegistry.Payee[](2);
        payees[0] = IPlanRegistry.Payee(first, firstShare);
        payees[1] = IPlanRegistry.Payee(second, secondShare);
    }

    /// @notice `subscriber` buys for itself, in native currency.
    function buy(bytes32 planId, address subscriber, uint32 units) internal {
        uint256 due = uint256(plans.plan(planId).terms.price) * units;
        vm.deal(subscriber, subscriber.balance + due);
        vm.prank(subscriber);
        plans.purchase{value: due}(planId, subscriber, units, due);
    }

    /// @notice `subscriber` mints and approves what it needs, then buys for itself.
    function buyWithToken(bytes32 planId, address subscriber, uint32 units) internal {
        IPlanRegistry.Terms memory terms = plans.plan(planId).terms;
        uint256 due = uint256(terms.price) * units;
        Erc20(terms.token).mint(subscriber, due);
        vm.startPrank(subscriber);
        Erc20(terms.token).approve(address(plans), due);
        plans.purchase(planId, subscriber, units, due);
        vm.stopPrank();
    }

    function give(bytes32 planId, address subscriber, uint32 units) internal {
        vm.prank(plans.plan(planId).owner);
        plans.grant(planId, subscriber, units);
    }

    function balanceOf(bytes32 planId, address subscriber) internal view returns (uint256) {
        return plans.balanceOf(subscriber, uint256(planId));
    }

    function standing(bytes32 planId, address subscriber) internal view returns (IPlanRegistry.Account memory) {
        return plans.account(planId, subscriber);
    }

    // ----------------------------------------------------------------------------------------------------- assets

    function offerOf(bytes32 planId, uint64 min, uint64 max)
        internal
        pure
        returns (IAssetRegistry.OfferInput[] memory offers)
    {
        offers = new IAssetRegistry.OfferInput[](1);
        offers[0] = IAssetRegistry.OfferInput(planId, min, max);
    }

    function listOf(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }

    /// @notice The builder's assistant, opened by `planId` at min..max credits per access, served by `node`.
    function registerAsset(bytes32 planId, uint64 min, uint64 max) internal returns (bytes32) {
        return registerAsset(builder, planId, min, max);
    }

    function registerAsset(address owner, bytes32 planId, uint64 min, uint64 max) internal returns (bytes32) {
        vm.prank(owner);
        return assets.register(newSalt(), keccak256("metadata"), offerOf(planId, min, max), listOf(node));
    }

    // ------------------------------------------------------------------------------------------------- settlement

    function entry(address subscriber, uint256 calls, uint256 amount) internal pure returns (bytes32) {
        require(calls <= type(uint32).max && amount <= type(uint64).max, "entry out of range");
        return bytes32((uint256(uint160(subscriber)) << 96) | (calls << 64) | amount);
    }

    function entries(bytes32 one) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = one;
    }

    function entries(bytes32 one, bytes32 two) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](2);
        (list[0], list[1]) = (one, two);
    }

    function entries(bytes32 one, bytes32 two, bytes32 three) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](3);
        (list[0], list[1], list[2]) = (one, two, three);
    }

    /// @notice `node` settles one entry in the batch that is next.
    function settleOne(bytes32 did, bytes32 planId, address subscriber, uint256 calls, uint256 amount) internal {
        uint64 batch = plans.nextBatch(did, planId, node);
        vm.prank(node);
        plans.settle(did, planId, batch, bytes32(0), entries(entry(subscriber, calls, amount)));
    }

    /// @notice The digest that a subscriber signs to let `consumed` rise to `ceiling`.
    function voucherDigest(bytes32 planId, address subscriber, uint256 ceiling) internal view returns (bytes32) {
        return voucherDigest(plans.DOMAIN_SEPARATOR(), planId, subscriber, ceiling);
    }

    function voucherDigest(bytes32 domain, bytes32 planId, address subscriber, uint256 ceiling)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typehash = keccak256("Voucher(bytes32 planId,address subscriber,uint256 ceiling)");
        bytes32 structHash = keccak256(abi.encode(typehash, planId, subscriber, ceiling));
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function voucher(bytes32 planId, uint256 key, address subscriber, uint256 ceiling)
        internal
        view
        returns (IPlanRegistry.Voucher memory)
    {
        return IPlanRegistry.Voucher(ceiling, signature(key, voucherDigest(planId, subscriber, ceiling)));
    }

    function vouchers(IPlanRegistry.Voucher memory one) internal pure returns (IPlanRegistry.Voucher[] memory list) {
        list = new IPlanRegistry.Voucher[](1);
        list[0] = one;
    }

    // ----------------------------------------------------------------------------------------------------- errors

    /// @notice The next call reverts with exactly this error.
    function refuse(bytes memory revertData) internal {
        vm.expectRevert(revertData);
    }

    function refuse(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }
}
