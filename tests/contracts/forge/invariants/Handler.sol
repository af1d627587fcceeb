// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IAssetRegistry} from "../../../../contracts/interfaces/IAssetRegistry.sol";
import {IERC1155} from "../../../../contracts/interfaces/IERC1155.sol";
import {IPlanRegistry} from "../../../../contracts/interfaces/IPlanRegistry.sol";
import {Vm} from "../Vm.sol";
import {World} from "../World.sol";
import {RevertingPayee} from "../actors/Payees.sol";
import {Wallet1271} from "../actors/Wallets.sol";
import {DevToken} from "../tokens/DevToken.sol";
import {Erc20} from "../tokens/Erc20.sol";
import {FalseToken, FeeToken, NoReturnToken, ReentrantToken, RevertingToken} from "../tokens/Hostile.sol";
import {Ghost} from "./Ghost.sol";

/// @notice Many people use many plans at once, honestly and not. Before each call the ghost says whether it must succeed;
/// afterwards the call must have done so, and the ghost has moved the same way. A wrong prediction reverts, and a revert of
/// the handler fails the campaign (fail_on_revert).
abstract contract Handler is World, Ghost {
    uint16 internal constant FEE = 333;

    address[] internal subscribers;
    address[] internal builders;
    address[] internal servers;
    address[] internal tokens;
    DevToken internal dollar;
    RevertingToken internal moody;
    FalseToken internal sulky;
    ReentrantToken internal sneaky;
    address internal grumpyPayee;
    uint256 internal focusPlan;
    uint256 internal focusSubscriber;
    /// Who has bought something refundable, and who has announced a refund: the next steps mostly go there.
    Pair[] internal buyers;
    Pair[] internal announcers;

    struct Pair {
        uint256 plan;
        address subscriber;
    }
    /// How often each action did what it set out to do: a campaign that never gets anywhere proves nothing.
    mapping(bytes4 => uint256) public successes;
    /// How often a wallet's credits were not taken because it didn't accept its voucher.
    uint256 public vouchersRefused;
    /// How many batches were for another asset than the plan's first, and how many showed vouchers that no plan asked for.
    uint256 public settledForSiblings;
    uint256 public vouchersNotAskedFor;

    function setUp() public virtual override {
        super.setUp();
        deploy(treasury, FEE);
        servers = [registerNode("node"), registerNode("other node")];
        records[servers[0]] = Server(false, 1, keyOf("node encryption"), 0, 0, "https://node.example");
        records[servers[1]] = Server(false, 1, keyOf("other node encryption"), 0, 0, "https://node.example");
        builders = [builder, account("second builder")];
        subscribers = [alice, bob, account("carol"), address(new Wallet1271(account("wallet owner")))];
        dollar = new DevToken();
        (moody, sulky, sneaky) = (new RevertingToken(), new FalseToken(), new ReentrantToken());
        grumpyPayee = address(new RevertingPayee());
        tokens = [
            address(0),
            address(dollar),
            address(new NoReturnToken()),
            address(moody),
            address(sulky),
            address(sneaky),
            address(new FeeToken())
        ];
        openPlans();
    }

    // -------------------------------------------------------------------------------------------------- the plans

    function openPlans() private {
        IPlanRegistry.Payee[] memory none = new IPlanRegistry.Payee[](0);
        IPlanRegistry.Payee[] memory three = new IPlanRegistry.Payee[](3);
        three[0] = IPlanRegistry.Payee(builder, 3_333);
        three[1] = IPlanRegistry.Payee(grumpyPayee, 3_333);
        three[2] = IPlanRegistry.Payee(treasury, 3_334);
        // token, price, credits, duration, limit, supply, cooldown, vouchers
        open(IPlanRegistry.Terms(address(0), 7, 3, 0, 60, 500, 0, false), none); // plain
        open(IPlanRegistry.Terms(address(0), 0, 10, 0, 2, 0, 0, false), none); // trial
        open(IPlanRegistry.Terms(address(0), 1 ether + 1, 1_000_003, 0, 0, 0, 1 hours, false), none); // refundable
        open(IPlanRegistry.Terms(address(0), 11, 0, 5 hours + 1, 0, 0, 1 hours, false), three); // refundable time
        open(IPlanRegistry.Terms(address(dollar), 1_000_003, 0, 1 days, 0, 0, 0, false), three); // time
        open(IPlanRegistry.Terms(address(dollar), 13, 29, 6 hours, 0, 0, 2 hours, false), none); // both, refundable
        open(IPlanRegistry.Terms(address(0), 5, 50, 12 hours, 0, 0, 0, true), none); // both, vouchers
        open(IPlanRegistry.Terms(tokens[2], 17, 23, 0, 0, 0, 3 hours, true), three); // no-return, refundable, vouchers
        open(IPlanRegistry.Terms(address(moody), 19, 7, 0, 0, 0, 1 hours, false), none); // reverting
        open(IPlanRegistry.Terms(address(sulky), 3, 11, 2 hours, 0, 0, 0, false), none); // false-returning
        open(IPlanRegistry.Terms(address(sneaky), 9, 4, 0, 0, 0, 1 hours, false), none); // re-entrant
        open(IPlanRegistry.Terms(tokens[6], 100, 4, 0, 0, 0, 0, false), none); // fee on transfer
        open(IPlanRegistry.Terms(address(dollar), 5, 0, 3 hours, 0, 0, 1 hours, false), none); // refundable time
        // every other plan opens a second asset from the start
        for (uint256 plan; plan < offered.length; plan += 2) {
            Terms storage second = offers[sibling(plan)][plan];
            (second.exists, second.max) = (true, isTime(plan) ? 0 : 30);
            vm.prank(builder);
            assets.addOffer(
                offered[sibling(plan)].did, IAssetRegistry.OfferInput(offered[plan].id, second.min, second.max)
            );
        }
    }

    function open(IPlanRegistry.Terms memory terms, IPlanRegistry.Payee[] memory payees) private {
        uint256 plan = offered.length;
        bytes32 id = createPlan(terms, payees);
        (uint64 min, uint64 max) = terms.creditsPerUnit == 0 ? (0, 0) : (uint64(plan % 3), uint64(20 + plan));
        Offered storage entry_ = offered.push();
        (entry_.id, entry_.terms, entry_.termsHash) = (id, terms, keccak256(abi.encode(terms)));
        entry_.owner = builder;
        Terms storage offer = offers[plan][plan];
        (offer.exists, offer.min, offer.max) = (true, min, max);
        assistants.push(Assistant(builder, address(0), keccak256("metadata"), 1, block.timestamp, false, 0));
        vm.prank(builder);
        entry_.did = assets.register(newSalt(), keccak256("metadata"), offerOf(id, min, max), servers);
        for (uint256 i; i < payees.length; i++) {
            splits[plan].push(payees[i]);
        }
        for (uint256 i; i < servers.length; i++) {
            nodeUntil[plan][servers[i]] = type(uint256).max;
        }
    }

    // ------------------------------------------------------------------------------------------------ one call

    /// @notice After the action everything about its plan is compared with the ghost; the invariants compare all plans.
    modifier looks(uint256 planSeed) {
        uint256 plan = pickPlan(planSeed);
        _;
        look(plan);
    }

    function look(uint256 plan) internal view virtual;

    /// @notice Makes the call; it must succeed exactly if `expected`. Adds up the ERC-1155 events.
    function attempt(address who, uint256 value, bytes memory data, bool expected) internal returns (bytes memory) {
        if (who.balance < value) vm.deal(who, value);
        vm.recordLogs();
        vm.prank(who);
        (bool ok, bytes memory result) = address(plans).call{value: value}(data);
        vm.assertEq(ok, expected, "the call did not go as the specification says");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!ok) return result;
        successes[bytes4(data)]++;
        for (uint256 i; i < logs.length; i++) {
            if (logs[i].emitter != address(plans) || logs[i].topics[0] != IERC1155.TransferSingle.selector) continue;
            (uint256 id, uint256 amount) = abi.decode(logs[i].data, (uint256, uint256));
            (address from, address to) =
                (address(uint160(uint256(logs[i].topics[2]))), address(uint160(uint256(logs[i].topics[3]))));
            yes((from == address(0)) != (to == address(0)), "credits are minted or burnt, never moved");
            uint256 plan = planWith(bytes32(id));
            if (from == address(0)) holders[plan][to].tokens += amount;
            else holders[plan][from].tokens -= amount;
        }
        yes(sneaky.attempts() == 0 || !sneaky.succeeded(), "a re-entering call got through");
        return result;
    }

    function planWith(bytes32 id) internal view returns (uint256 plan) {
        while (offered[plan].id != id) plan++;
    }

    /// @notice Mostly the plan in focus: else hardly a sequence would get as far as a refund.
    function pickPlan(uint256 seed) internal view returns (uint256) {
        return seed % 4 == 0 ? (seed >> 2) % offered.length : focusPlan;
    }

    function pickSubscriber(uint256 seed) internal view returns (address) {
        return subscribers[seed % 4 == 0 ? (seed >> 2) % subscribers.length : focusSubscriber];
    }

    function pick(address[] storage list, uint256 seed) internal view returns (address) {
        return list[seed % list.length];
    }

    function focusOn(uint256 plan, uint256 subscriber) external {
        // the refundable ones more often: they have more to do
        uint8[20] memory often = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 3, 5, 7, 8, 10, 12];
        (focusPlan, focusSubscriber) = (often[plan % 20], subscriber % subscribers.length);
    }

    function keyFor(address subscriber) internal pure returns (uint256) {
        string[4] memory names = ["alice", "bob", "carol", "wallet owner"];
        for (uint256 i; i < 3; i++) {
            if (vm.addr(keyOf(names[i])) == subscriber) return keyOf(names[i]);
        }
        return keyOf(names[3]);
    }

    /// @notice Whether the plan's token moves now.
    function tokenWorks(uint256 plan) internal view returns (bool) {
        address token = offered[plan].terms.token;
        if (token == address(moody)) return !moody.broken();
        if (token == address(sulky)) return !sulky.broken();
        return true;
    }

    function mayBuy(uint256 plan, address subscriber, uint256 units, uint256 bound) internal view returns (bool) {
        Offered storage o = offered[plan];
        return !o.paused && !o.retired && units != 0 && bound >= units * o.terms.price
            && (o.terms.supply == 0 || o.sold + units <= o.terms.supply)
            && (o.terms.purchaseLimit == 0 || holders[plan][subscriber].units + units <= o.terms.purchaseLimit);
    }

    // ---------------------------------------------------------------------------------------------------- purchases

    function buyFor(uint256 planSeed, uint256 who, uint256 payerSeed, uint256 units, uint256 slip)
        external
        looks(planSeed)
    {
        uint256 plan = pickPlan(planSeed);
        address subscriber = pickSubscriber(who);
        address payer = pick(subscribers, payerSeed);
        units = within(units, 0, 9);
        uint256 due = units * offered[plan].terms.price;
        address token = offered[plan].terms.token;
        uint256 value = token == address(0) ? due : 0;
        uint256 bound = slip % 16 == 15 && due != 0 ? due - 1 : due;
        if (slip % 16 == 14) value++;
        bool expected = mayBuy(plan, subscriber, units, bound) && slip % 16 != 14;
        if (token != address(0)) {
            stock(payer, token, due);
            expected = expected && tokenWorks(plan) && token != tokens[6];
        }
        uint48 count = uint48(units);
        attempt(payer, value, abi.encodeCall(plans.purchase, (offered[plan].id, subscriber, count, bound)), expected);
        if (!expected) return;
        giveGhost(plan, subscriber, units, true);
        if (isRefundable(plan)) buyers.push(Pair(plan, subscriber));
    }

    function stock(address payer, address token, uint256 amount) internal {
        Erc20(token).mint(payer, amount);
        vm.prank(payer);
        (bool ok,) = token.call(abi.encodeCall(Erc20.approve, (address(plans), amount)));
        require(ok, "approve");
    }

    /// @notice Bob pays by a permit; it may be somebody else's signature, or submitted before by somebody else.
    function buyWithPermit(uint256 planSeed, uint256 who, uint256 units, uint256 slip)
        external
        looks(([uint256(4), 5, 12][planSeed % 3]) << 2)
    {
        uint256 plan = [uint256(4), 5, 12][planSeed % 3];
        address subscriber = pickSubscriber(who);
        units = within(units, 0, 5);
        uint256 due = units * offered[plan].terms.price;
        bool honest = slip % 8 != 7;
        uint256 bound = slip % 8 == 5 && due != 0 ? due - 1 : due;
        bytes memory data = permitted(Order(offered[plan].id, subscriber, uint48(units), bound), due, slip);
        bool expected = honest && mayBuy(plan, subscriber, units, bound);
        attempt(bob, 0, data, expected);
        if (!expected) return;
        giveGhost(plan, subscriber, units, true);
        if (isRefundable(plan)) buyers.push(Pair(plan, subscriber));
    }

    struct Order {
        bytes32 id;
        address subscriber;
        uint48 units;
        uint256 bound;
    }

    function permitted(Order memory o, uint256 due, uint256 slip) internal returns (bytes memory) {
        stock(bob, address(dollar), 0);
        dollar.mint(bob, due);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(slip % 8 == 7 ? "forger" : "bob"), permitDigest(due));
        if (slip % 8 == 6) dollar.permit(bob, address(plans), due, NO_BOUND, v, r, s);
        return abi.encodeCall(plans.purchaseWithPermit, (o.id, o.subscriber, o.units, o.bound, NO_BOUND, v, r, s));
    }

    function permitDigest(uint256 due) internal view returns (bytes32) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typehash, bob, address(plans), due, dollar.nonces(bob), NO_BOUND));
        return keccak256(abi.encodePacked("\x19\x01", dollar.DOMAIN_SEPARATOR(), structHash));
    }

    function buyWithAuthorisation(uint256 planSeed, uint256 who, uint256 units, uint256 slip)
        external
        looks(([uint256(4), 5, 12][planSeed % 3]) << 2)
    {
        uint256 plan = [uint256(4), 5, 12][planSeed % 3];
        address subscriber = pickSubscriber(who);
        units = within(units, 1, 5);
        bytes32 salt = newSalt();
        bytes memory signed = authorisation(plan, subscriber, uint48(units), salt);
        bool honest = slip % 8 != 7; // else the relayer helps itself
        bytes memory data = abi.encodeCall(
            plans.purchaseWithAuthorisation,
            (offered[plan].id, honest ? subscriber : relayer, uint48(units), bob, salt, 0, NO_BOUND, signed)
        );
        bool expected = honest && mayBuy(plan, subscriber, units, NO_BOUND);
        attempt(relayer, 0, data, expected);
        if (expected) giveGhost(plan, subscriber, units, true);
    }

    /// @notice Bob's signature that pays for it.
    function authorisation(uint256 plan, address subscriber, uint48 units, bytes32 salt)
        internal
        returns (bytes memory)
    {
        uint256 due = units * uint256(offered[plan].terms.price);
        dollar.mint(bob, due);
        bytes32 nonce = plans.authorisationNonce(offered[plan].id, subscriber, units, salt);
        bytes32 typehash = dollar.RECEIVE_WITH_AUTHORIZATION_TYPEHASH();
        bytes32 structHash = keccak256(abi.encode(typehash, bob, address(plans), due, 0, NO_BOUND, nonce));
        return signature(keyOf("bob"), keccak256(abi.encodePacked("\x19\x01", dollar.DOMAIN_SEPARATOR(), structHash)));
    }

    function grantTo(uint256 planSeed, uint256 who, uint256 units, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        address subscriber = pickSubscriber(who);
        units = within(units, 0, 4);
        address caller = slip % 8 == 7 ? stranger : offered[plan].owner;
        bool expected = caller == offered[plan].owner && units != 0 && !offered[plan].retired;
        attempt(caller, 0, abi.encodeCall(plans.grant, (offered[plan].id, subscriber, uint48(units))), expected);
        if (expected) giveGhost(plan, subscriber, units, false);
    }

    // --------------------------------------------------------------------------------------------------- settlement

    struct Claim {
        address subscriber;
        uint256 calls;
        uint256 credits;
        uint256 ceiling;
        bool forged;
    }

    /// What is settled, and how. Vouchers may be shown where the plan asks for none; they hold then too.
    struct Lane {
        uint256 asset;
        uint256 plan;
        address server;
        bool vouchers;
    }

    function settleBatch(uint256 planSeed, uint256 nodeSeed, uint256 seed, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        Lane memory lane = Lane(
            nodeSeed % 8 > 4 ? sibling(plan) : plan,
            plan,
            slip % 16 == 15 ? stranger : pick(servers, nodeSeed),
            offered[plan].terms.voucherRequired || (slip >> 16) % 4 == 3
        );
        Claim[] memory claims = new Claim[](1 + seed % 3);
        (bytes32[] memory list, bool expected) = fill(lane, claims, seed);
        expected = expected && maySettle(lane.asset, plan, lane.server) && slip % 16 != 14;
        uint64 batch = batches[lane.asset][plan][lane.server] + (slip % 16 == 14 ? (slip >> 8) % 2 == 0 ? 0 : 2 : 1);
        attempt(lane.server, 0, settlement(lane, batch, list, claims), expected);
        if (!expected) return;
        batches[lane.asset][plan][lane.server] = batch;
        if (lane.asset != plan) settledForSiblings++;
        if (lane.vouchers && !offered[plan].terms.voucherRequired) vouchersNotAskedFor++;
        for (uint256 i; i < claims.length; i++) {
            settleGhost(lane, claims[i]);
        }
    }

    function fill(Lane memory lane, Claim[] memory claims, uint256 seed)
        internal
        view
        returns (bytes32[] memory list, bool expected)
    {
        (list, expected) = (new bytes32[](claims.length), true);
        (uint256 min, uint256 max) = rule(lane.asset, lane.plan);
        for (uint256 i; i < claims.length; i++) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            Claim memory claim = claims[i];
            claim.subscriber = pickSubscriber(random);
            claim.calls = (random >> 8) % 6;
            claim.credits = within(random >> 16, claim.calls * min, claim.calls * max);
            if ((random >> 240) % 32 == 0) claim.credits = claim.calls * max + 1;
            expected = expected && claim.credits <= claim.calls * max;
            claim.ceiling = holders[lane.plan][claim.subscriber].consumed + (random >> 128) % 60;
            claim.forged = lane.vouchers && (random >> 248) % 16 == 0;
            // a wallet that doesn't accept its voucher fails its own entry only
            expected = expected && !(claim.forged && claim.subscriber.code.length == 0);
            list[i] = entry(claim.subscriber, claim.calls, claim.credits);
        }
    }

    function settlement(Lane memory lane, uint64 batch, bytes32[] memory list, Claim[] memory claims)
        internal
        returns (bytes memory)
    {
        uint256 plan = lane.plan;
        Offered storage o = offered[plan];
        bytes32 did = offered[lane.asset].did;
        if (!lane.vouchers) return abi.encodeCall(plans.settle, (did, o.id, batch, 0, list));
        IPlanRegistry.Voucher[] memory signed = new IPlanRegistry.Voucher[](claims.length);
        for (uint256 i; i < claims.length; i++) {
            Claim memory claim = claims[i];
            uint256 key = claim.forged ? keyOf("forger") : keyFor(claim.subscriber);
            signed[i] = voucher(o.id, key, claim.subscriber, claim.ceiling);
            Holder storage holder = holders[plan][claim.subscriber];
            if (!claim.forged && claim.ceiling > holder.ceiling) holder.ceiling = claim.ceiling;
        }
        return abi.encodeCall(plans.settleWithVouchers, (did, o.id, batch, 0, list, signed));
    }

    function settleGhost(Lane memory lane, Claim memory claim) internal {
        uint256 plan = lane.plan;
        if (isTime(plan)) return;
        Holder storage holder = holders[plan][claim.subscriber];
        uint256 taken = claim.credits < left(holder) ? claim.credits : left(holder);
        if (lane.vouchers) {
            uint256 ceiling = claim.forged ? 0 : claim.ceiling;
            uint256 room = ceiling > holder.consumed ? ceiling - holder.consumed : 0;
            if (room < taken) taken = room;
            if (claim.forged && claim.credits != 0 && left(holder) != 0) vouchersRefused++;
        }
        uint256 paid = useUp(holder, taken);
        holder.consumed += taken;
        if (isRefundable(plan)) offered[plan].revenue += paid;
    }

    // ------------------------------------------------------------------------------------------------------ refunds

    /// @notice Mostly one of the list, the last ones more often.
    function choose(Pair[] storage list, uint256 planSeed, uint256 who) private view returns (uint256, address) {
        if (list.length == 0 || planSeed % 8 == 7) return (pickPlan(planSeed), pickSubscriber(who));
        uint256 back = who % (list.length < 8 ? list.length : 8);
        Pair storage pair = list[list.length - 1 - back];
        return (pair.plan, pair.subscriber);
    }

    function announce(uint256 planSeed, uint256 who) external {
        (uint256 plan, address subscriber) = choose(buyers, planSeed, who);
        announceRefund(plan, subscriber);
        look(plan);
    }

    function announceRefund(uint256 plan, address subscriber) private {
        Holder storage holder = holders[plan][subscriber];
        elapse(plan, subscriber);
        bool lapsed = !isTime(plan) && hasExpired(holder);
        uint256 paid = lapsed ? 0 : holder.announced + holder.bought;
        bool expected = isRefundable(plan) && worth(plan, paid) != 0;
        attempt(subscriber, 0, abi.encodeCall(plans.announceRefund, (offered[plan].id)), expected);
        if (!expected) return;
        (holder.announced, holder.bought) = (paid, 0);
        holder.availableAt = block.timestamp + offered[plan].terms.refundCooldown;
        announcers.push(Pair(plan, subscriber));
    }

    function cancel(uint256 planSeed, uint256 who) external {
        (uint256 plan, address subscriber) = choose(announcers, planSeed, who);
        cancelRefund(plan, subscriber);
        look(plan);
    }

    function cancelRefund(uint256 plan, address subscriber) private {
        Holder storage holder = holders[plan][subscriber];
        bool expected = isRefundable(plan) && holder.availableAt != 0;
        elapse(plan, subscriber);
        attempt(subscriber, 0, abi.encodeCall(plans.cancelRefund, (offered[plan].id)), expected);
        if (!expected) return;
        (holder.announced, holder.bought, holder.availableAt) = (0, holder.announced + holder.bought, 0);
    }

    function take(uint256 planSeed, uint256 who, uint256 slip) external {
        (uint256 plan, address subscriber) = choose(announcers, planSeed, who);
        takeRefund(plan, subscriber, slip);
        look(plan);
    }

    function takeRefund(uint256 plan, address subscriber, uint256 slip) private {
        Holder storage holder = holders[plan][subscriber];
        if (slip % 4 == 0 && holder.availableAt > block.timestamp) vm.warp(holder.availableAt);
        (uint256 quantity, uint256 amount) = quote(plan, subscriber);
        address to = slip % 8 == 7 ? grumpyPayee : treasury;
        bool expected = isRefundable(plan) && holder.availableAt != 0 && block.timestamp >= holder.availableAt
            && amount != 0 && tokenWorks(plan) && !(to == grumpyPayee && offered[plan].terms.token == address(0));
        uint256 before = wealth(offered[plan].terms.token, to);
        attempt(subscriber, 0, abi.encodeCall(plans.takeRefund, (offered[plan].id, to)), expected);
        if (!expected) return;
        eq(wealth(offered[plan].terms.token, to) - before, amount, "a refund arrives");
        accrueGhost(plan, subscriber);
        (holder.announced, holder.availableAt) = (0, 0);
        offered[plan].refundedOut += amount;
        offered[plan].sold -= quantity / perUnit(plan);
        refundsTaken++;
        if (isTime(plan)) holder.expiry = block.timestamp + left(holder);
        else holder.refunded += quantity;
    }

    function accrueFor(uint256 planSeed, uint256 who) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        address subscriber = pickSubscriber(who);
        bool expected = isRefundable(plan);
        attempt(stranger, 0, abi.encodeCall(plans.accrue, (offered[plan].id, subscriber)), expected);
        if (expected) accrueGhost(plan, subscriber);
    }

    function wealth(address token, address account_) internal view returns (uint256) {
        return token == address(0) ? account_.balance : Erc20(token).balanceOf(account_);
    }

    // ----------------------------------------------------------------------------------------------------- earnings

    function earners() public view returns (address[6] memory) {
        return [builders[0], builders[1], treasury, grumpyPayee, stranger, alice];
    }

    function withdrawFor(uint256 planSeed, uint256 who, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        address earner = earners()[who % 6];
        address token = offered[plan].terms.token;
        bool elsewhere = slip % 2 == 1;
        address to = elsewhere ? relayer : earner;
        uint256 amount = owed(plan, earner, treasury, FEE);
        bool expected = amount != 0 && tokenWorks(plan) && !(to == grumpyPayee && token == address(0));
        uint256 before = wealth(token, to);
        bytes32 id = offered[plan].id;
        if (elsewhere) attempt(earner, 0, abi.encodeCall(plans.withdrawTo, (id, to)), expected);
        else attempt(stranger, 0, abi.encodeCall(plans.withdraw, (id, earner)), expected);
        if (!expected) return;
        uint256 arrives = token == tokens[6] ? amount - amount / 100 : amount;
        eq(wealth(token, to) - before, arrives, "earnings arrive");
        withdrawn[plan][earner] += amount;
        offered[plan].withdrawnOut += amount;
    }

    function donate(uint256 tokenSeed, uint256 amount) external {
        address token = tokens[1 + tokenSeed % (tokens.length - 1)];
        amount = within(amount, 1, 1_000);
        Erc20(token).mint(address(plans), amount);
        donated[token] += amount;
    }

    // -------------------------------------------------------------------------------------------------- the builders

    function pause(uint256 planSeed, bool paused, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        address caller = slip % 8 == 7 ? stranger : offered[plan].owner;
        bool expected = caller != stranger && !offered[plan].retired;
        paused = paused && slip % 4 == 0; // mostly open: what is not sold is not used either
        attempt(caller, 0, abi.encodeCall(plans.setPaused, (offered[plan].id, paused)), expected);
        if (expected) offered[plan].paused = paused;
    }

    function retirePlan(uint256 planSeed, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        address caller = slip % 64 == 63 ? offered[plan].owner : stranger; // seldom: it is for good
        attempt(caller, 0, abi.encodeCall(plans.retire, (offered[plan].id)), caller != stranger);
        if (caller != stranger) (offered[plan].retired, offered[plan].paused) = (true, false);
    }

    function handOver(uint256 planSeed, uint256 to, uint256 slip) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        Offered storage o = offered[plan];
        address next = pick(builders, to);
        bool expected = slip % 4 != 3;
        address caller = expected ? o.owner : next == o.owner ? stranger : next;
        attempt(caller, 0, abi.encodeCall(plans.offerPlan, (o.id, next)), expected);
        if (expected) o.pendingOwner = next;
        address taker = slip % 4 == 2 ? stranger : next;
        expected = o.pendingOwner == taker;
        attempt(taker, 0, abi.encodeCall(plans.acceptPlan, (o.id)), expected);
        if (!expected) return;
        if (splits[plan].length == 0) {
            uint256 net = gross(plan) - feeOf(gross(plan), FEE);
            formerEarnings[plan][o.owner] += net - o.handedOver;
            o.handedOver = net;
        }
        (o.owner, o.pendingOwner) = (taker, address(0));
    }

    // ------------------------------------------------------------------------------------------------- the others

    /// @notice A stranger tries to move credits, and somebody else's record.
    function meddle(uint256 planSeed, uint256 who, uint256 to, uint256 amount) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        uint256 id = uint256(offered[plan].id);
        address from = pickSubscriber(who);
        attempt(from, 0, abi.encodeCall(plans.safeTransferFrom, (from, pick(subscribers, to), id, amount, "")), false);
        attempt(from, 0, abi.encodeCall(plans.setApprovalForAll, (pick(subscribers, to), true)), false);
        vm.startPrank(from);
        (bool done,) = address(assets).call(abi.encodeCall(assets.setMetadata, (offered[plan].did, "mine")));
        (bool taken,) = address(assets).call(abi.encodeCall(assets.acceptAsset, (offered[plan].did)));
        (bool closed,) = address(assets).call(abi.encodeCall(assets.closeOffer, (offered[plan].did, offered[plan].id)));
        (bool off,) = address(assets).call(abi.encodeCall(assets.setActive, (offered[plan].did, false)));
        vm.stopPrank();
        no(done || taken || closed || off, "only the asset's owner changes its record");
    }

    function mood(bool moodyBroken, bool sulkyBroken, uint256 attack, bool before) external {
        moody.setBroken(moodyBroken, false);
        sulky.setBroken(sulkyBroken);
        bytes32 id = offered[10].id;
        bytes[4] memory attacks = [
            abi.encodeCall(plans.withdraw, (id, offered[10].owner)),
            abi.encodeCall(plans.purchase, (id, alice, 1, NO_BOUND)),
            abi.encodeCall(plans.accrue, (id, alice)),
            abi.encodeCall(plans.purchase, (offered[1].id, alice, 1, 0))
        ];
        sneaky.arm(attack % 5 == 4 ? address(0) : address(plans), attacks[attack % 4], before);
    }

    function pass(uint256 time) external {
        vm.warp(block.timestamp + within(time, 0, 8 hours));
    }

    /// @notice Exactly at, or a second before, something that matters.
    function passTo(uint256 planSeed, uint256 who, uint256 which, bool before) external looks(planSeed) {
        uint256 plan = pickPlan(planSeed);
        Holder storage holder = holders[plan][pickSubscriber(who)];
        uint256[4] memory moments = [
            holder.expiry,
            holder.availableAt,
            offers[plan][plan].effectiveAt,
            offers[plan][plan].effectiveAt == 0 ? 0 : offers[plan][plan].effectiveAt + 1 days
        ];
        uint256 to = moments[which % 4];
        if (before && to != 0) to--;
        if (to > block.timestamp && to < block.timestamp + 2 days) vm.warp(to);
    }
}
