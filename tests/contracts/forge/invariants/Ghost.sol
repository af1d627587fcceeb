// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../../contracts/interfaces/IPlanRegistry.sol";

/// @notice The ledger as the specification tells it, in the plainest terms: what a holder has left lies in three heaps,
/// used up in this order: announced for a refund, bought since, granted. Time plans use up seconds by the clock, credit
/// plans use up credits by settlement. The contract stores none of these numbers; both must tell the same story.
abstract contract Ghost {
    struct Holder {
        uint256 announced;
        uint256 bought;
        uint256 granted;
        /// Time plans: up to when elapsed seconds have been used up here.
        uint256 clock;
        /// Paid quantity that was used up and is not yet in the plan's revenue.
        uint256 unaccrued;
        uint256 expiry;
        uint256 units;
        uint256 availableAt;
        // credits in all, for I2
        uint256 given;
        uint256 consumed;
        uint256 expired;
        uint256 refunded;
        /// The highest ceiling ever signed.
        uint256 ceiling;
        /// What the ERC-1155 events add up to.
        uint256 tokens;
    }

    struct Offered {
        bytes32 id;
        bytes32 did;
        bytes32 termsHash;
        IPlanRegistry.Terms terms;
        address owner;
        address pendingOwner;
        bool paused;
        bool retired;
        uint256 sold;
        /// Base units; on a refundable plan the quantity that was used up.
        uint256 revenue;
        uint256 handedOver;
        uint256 paidIn;
        uint256 refundedOut;
        uint256 withdrawnOut;
    }

    /// The asset that was registered with the plan of the same number, as its owners left it.
    struct Assistant {
        address owner;
        address pendingOwner;
        bytes32 metadata;
        uint256 version;
        uint256 updatedAt;
        bool inactive;
        uint256 inactiveSince;
    }

    /// One plan's offer of one asset. Open is also one that closes.
    struct Terms {
        bool exists;
        uint64 min;
        uint64 max;
        uint64 nextMin;
        uint64 nextMax;
        uint256 effectiveAt;
        uint256 closesAt;
    }

    /// A node's record, as the node left it.
    struct Server {
        bool retired;
        uint256 version;
        uint256 key;
        uint256 previousKey;
        uint256 previousUntil;
        string endpoint;
    }

    Offered[] internal offered;
    mapping(uint256 plan => mapping(address subscriber => Holder)) internal holders;
    mapping(uint256 plan => mapping(address account => uint256)) internal formerEarnings;
    mapping(uint256 plan => mapping(address account => uint256)) internal withdrawn;
    mapping(uint256 plan => IPlanRegistry.Payee[]) internal splits;
    Assistant[] internal assistants;
    mapping(uint256 asset => mapping(uint256 plan => Terms)) internal offers;
    mapping(uint256 asset => mapping(uint256 plan => mapping(address node => uint64))) internal batches;
    mapping(uint256 asset => mapping(address node => uint256)) internal nodeUntil;
    mapping(address node => Server) internal records;
    mapping(address token => uint256) internal donated;
    uint256 internal refundsTaken;

    function isTime(uint256 plan) internal view returns (bool) {
        return offered[plan].terms.creditsPerUnit == 0;
    }

    function isRefundable(uint256 plan) internal view returns (bool) {
        return offered[plan].terms.refundCooldown != 0;
    }

    function perUnit(uint256 plan) internal view returns (uint256) {
        return isTime(plan) ? offered[plan].terms.duration : offered[plan].terms.creditsPerUnit;
    }

    /// @notice Whether what was served before `end` settles: for a day; 0 = there is no end.
    function stillSettles(uint256 end) internal view returns (bool) {
        return end == 0 || block.timestamp < end + 1 days;
    }

    /// @notice Whether `node` may settle for the asset under the plan now.
    function maySettle(uint256 asset, uint256 plan, address node) internal view returns (bool) {
        Terms storage terms = offers[asset][plan];
        return terms.exists && stillSettles(terms.closesAt)
            && (!assistants[asset].inactive || stillSettles(assistants[asset].inactiveSince))
            && block.timestamp < nodeUntil[asset][node];
    }

    /// @notice What settlement obeys now.
    function rule(uint256 asset, uint256 plan) internal view returns (uint256 min, uint256 max) {
        Terms storage o = offers[asset][plan];
        (min, max) = (o.min, o.max);
        if (o.effectiveAt == 0 || block.timestamp < o.effectiveAt) return (min, max);
        if (block.timestamp >= o.effectiveAt + 1 days) return (o.nextMin, o.nextMax);
        return (min < o.nextMin ? min : o.nextMin, max > o.nextMax ? max : o.nextMax);
    }

    /// @notice The asset that the plan may open as its second one.
    function sibling(uint256 plan) internal view returns (uint256) {
        return (plan + 1) % offered.length;
    }

    /// @notice What `quantity` cost, rounded down.
    function worth(uint256 plan, uint256 quantity) internal view returns (uint256) {
        return quantity * offered[plan].terms.price / perUnit(plan);
    }

    function left(Holder storage holder) internal view returns (uint256) {
        return holder.announced + holder.bought + holder.granted;
    }

    function hasExpired(Holder storage holder) internal view returns (bool) {
        return holder.expiry != 0 && block.timestamp >= holder.expiry;
    }

    /// @notice Takes `quantity` from the heaps in their order; returns how much of it had been paid for.
    function useUp(Holder storage holder, uint256 quantity) internal returns (uint256 paid) {
        uint256 part = quantity < holder.announced ? quantity : holder.announced;
        (holder.announced, quantity, paid) = (holder.announced - part, quantity - part, paid + part);
        part = quantity < holder.bought ? quantity : holder.bought;
        (holder.bought, quantity, paid) = (holder.bought - part, quantity - part, paid + part);
        part = quantity < holder.granted ? quantity : holder.granted;
        holder.granted -= part;
    }

    /// @notice Lets the clock use up a time plan's seconds.
    function elapse(uint256 plan, address subscriber) internal {
        Holder storage holder = holders[plan][subscriber];
        if (!isTime(plan)) return;
        holder.unaccrued += useUp(holder, block.timestamp - holder.clock);
        holder.clock = block.timestamp;
    }

    /// @notice What a purchase, a grant, a refund and `accrue` do first.
    function accrueGhost(uint256 plan, address subscriber) internal {
        Holder storage holder = holders[plan][subscriber];
        elapse(plan, subscriber);
        if (hasExpired(holder)) {
            if (!isTime(plan)) {
                holder.expired += left(holder);
                holder.unaccrued += holder.announced + holder.bought;
                (holder.announced, holder.bought, holder.granted) = (0, 0, 0);
            }
            holder.availableAt = 0;
        }
        if (isRefundable(plan)) offered[plan].revenue += holder.unaccrued;
        holder.unaccrued = 0;
    }

    function giveGhost(uint256 plan, address subscriber, uint256 units, bool paid) internal {
        Holder storage holder = holders[plan][subscriber];
        IPlanRegistry.Terms storage terms = offered[plan].terms;
        accrueGhost(plan, subscriber);
        if (paid) holder.bought += units * perUnit(plan);
        else holder.granted += units * perUnit(plan);
        holder.given += units * terms.creditsPerUnit;
        if (isTime(plan)) {
            holder.expiry = block.timestamp + left(holder);
        } else if (terms.duration != 0) {
            uint256 from = holder.expiry > block.timestamp ? holder.expiry : block.timestamp;
            holder.expiry = from + units * terms.duration;
        }
        if (paid) {
            holder.units += units;
            offered[plan].sold += units;
            offered[plan].paidIn += units * terms.price;
            if (!isRefundable(plan)) offered[plan].revenue += units * terms.price;
        }
    }

    /// @notice What a refund would give now.
    function quote(uint256 plan, address subscriber) internal view returns (uint256 quantity, uint256 amount) {
        Holder storage holder = holders[plan][subscriber];
        if (!isRefundable(plan)) return (0, 0);
        (uint256 announced, uint256 bought) = (holder.announced, holder.bought);
        if (isTime(plan)) {
            // what the clock has used up since it was last looked at
            uint256 elapsed = block.timestamp - holder.clock;
            uint256 part = elapsed < announced ? elapsed : announced;
            announced -= part;
            elapsed -= part;
            bought -= elapsed < bought ? elapsed : bought;
        } else if (hasExpired(holder)) {
            return (0, 0);
        }
        quantity = holder.availableAt == 0 ? announced + bought : announced;
        amount = worth(plan, quantity);
    }

    function gross(uint256 plan) internal view returns (uint256) {
        return isRefundable(plan) ? worth(plan, offered[plan].revenue) : offered[plan].revenue;
    }

    function feeOf(uint256 revenue, uint256 basisPoints) internal pure returns (uint256) {
        return revenue * basisPoints / 10_000;
    }

    /// @notice What the account can withdraw from the plan.
    function owed(uint256 plan, address account_, address feeRecipient, uint256 basisPoints)
        internal
        view
        returns (uint256 amount)
    {
        uint256 fee = feeOf(gross(plan), basisPoints);
        uint256 net = gross(plan) - fee;
        IPlanRegistry.Payee[] storage payees = splits[plan];
        if (account_ == feeRecipient) amount += fee;
        if (payees.length == 0) {
            amount += formerEarnings[plan][account_];
            if (account_ == offered[plan].owner) amount += net - offered[plan].handedOver;
        }
        for (uint256 i; i < payees.length; i++) {
            if (payees[i].account != account_) continue;
            uint256 share = net * payees[i].basisPoints;
            amount += i == 0 && share % 10_000 != 0 ? share / 10_000 + 1 : share / 10_000;
        }
        amount -= withdrawn[plan][account_];
    }
}
