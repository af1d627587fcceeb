// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../../contracts/interfaces/IPlanRegistry.sol";
import {Base} from "../Base.sol";
import {INodeRegistry} from "../../../../contracts/interfaces/INodeRegistry.sol";
import {IAssetRegistry} from "../../../../contracts/interfaces/IAssetRegistry.sol";
import {Handler} from "./Handler.sol";
import {Owners} from "./Owners.sol";

/// @notice Looks at the contracts through the ghost ledger.
contract Observer is Owners {
    /// @notice I1: per token, the contract holds what it owes, and no more than that but donations and rounding dust.
    function checkSolvency() external view {
        for (uint256 t; t < tokens.length; t++) {
            uint256 debts;
            uint256 later;
            uint256 dust;
            for (uint256 plan; plan < offered.length; plan++) {
                if (offered[plan].terms.token != tokens[t]) continue;
                address[6] memory people = earners();
                for (uint256 i; i < people.length; i++) {
                    debts += plans.earnings(offered[plan].id, people[i]);
                }
                uint256 unaccrued;
                for (uint256 i; i < subscribers.length; i++) {
                    (uint256 refund, uint256 waiting) = claims(plan, subscribers[i]);
                    debts += refund;
                    unaccrued += waiting;
                }
                if (isRefundable(plan)) {
                    later += worth(plan, offered[plan].revenue + unaccrued) - worth(plan, offered[plan].revenue);
                }
                dust += 8 + refundsTaken;
            }
            uint256 held = wealth(tokens[t], address(plans));
            vm.assertGe(held, debts + donated[tokens[t]], "I1: it holds at least what it owes");
            vm.assertLe(held, debts + later + donated[tokens[t]] + dust, "and nothing is stuck");
        }
    }

    /// @notice What a subscriber can have back in the end, and what has been used up and is not in the revenue yet.
    function claims(uint256 plan, address subscriber) internal view returns (uint256 refund, uint256 unaccrued) {
        if (!isRefundable(plan)) return (0, 0);
        Holder storage holder = holders[plan][subscriber];
        uint256 paid = holder.announced + holder.bought;
        unaccrued = holder.unaccrued;
        uint256 gone;
        if (isTime(plan)) gone = block.timestamp - holder.clock;
        else if (hasExpired(holder)) gone = paid;
        if (gone > paid) gone = paid;
        return (worth(plan, paid - gone), unaccrued + gone);
    }

    function look(uint256 plan) internal view override {
        lookAtStandings(plan);
        lookAtBatches(plan);
        lookAtEarnings(plan);
    }

    /// @notice I2, I3, I8: each account's standing is what the ghost says, whoever was the last to act.
    function checkStandings() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            lookAtStandings(plan);
        }
    }

    function lookAtStandings(uint256 plan) internal view {
        for (uint256 i; i < subscribers.length; i++) {
            checkStanding(plan, subscribers[i]);
        }
    }

    function checkStanding(uint256 plan, address subscriber) internal view {
        bytes32 id = offered[plan].id;
        Holder storage holder = holders[plan][subscriber];
        IPlanRegistry.Account memory stored = plans.account(id, subscriber);
        uint256 spendable = plans.balanceOf(subscriber, uint256(id));
        eq(stored.consumed, holder.consumed, "consumed");
        eq(stored.unitsBought, holder.units, "units bought");
        eq(stored.expiry, holder.expiry, "expiry");
        eq(stored.balance, holder.tokens, "the ERC-1155 events tell the same balance");
        if (isTime(plan)) {
            eq(spendable, block.timestamp < holder.expiry ? 1 : 0, "a time plan is active or not");
        } else {
            eq(stored.balance, left(holder), "balance");
            eq(spendable, hasExpired(holder) ? 0 : left(holder), "spendable");
            eq(
                holder.given,
                uint256(stored.balance) + stored.consumed + holder.expired + holder.refunded,
                "I2: given = balance + consumed + expired + refunded"
            );
        }
        if (isRefundable(plan)) {
            (uint256 quantity, uint256 amount, uint256 availableAt) = plans.refundOf(id, subscriber);
            (uint256 expected, uint256 money) = quote(plan, subscriber);
            eq(quantity, expected, "what a refund covers");
            eq(amount, money, "what a refund gives");
            eq(availableAt, holder.availableAt, "when it can be taken");
        }
    }

    /// @notice I4: the next batch is the one after the last that was applied.
    function checkBatches() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            lookAtBatches(plan);
        }
    }

    function lookAtBatches(uint256 plan) internal view {
        for (uint256 i; i < servers.length; i++) {
            checkBatch(plan, plan, servers[i]);
            checkBatch(sibling(plan), plan, servers[i]);
        }
    }

    function checkBatch(uint256 asset, uint256 plan, address server) internal view {
        eq(
            plans.nextBatch(offered[asset].did, offered[plan].id, server),
            batches[asset][plan][server] + 1,
            "I4: batches are applied once and in order"
        );
    }

    /// @notice I5: terms and split are what they were.
    function checkTerms() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            IPlanRegistry.Plan memory stored = plans.plan(offered[plan].id);
            eq(keccak256(abi.encode(stored.terms)), offered[plan].termsHash, "I5: terms never change");
            eq(
                keccak256(abi.encode(plans.payees(offered[plan].id))),
                keccak256(abi.encode(splits[plan])),
                "I5: nor does the split"
            );
            eq(stored.owner, offered[plan].owner, "owner");
            eq(stored.pendingOwner, offered[plan].pendingOwner, "pending owner");
            eq(stored.sold, offered[plan].sold, "sold");
            eq(stored.revenue, gross(plan), "revenue");
            yes(stored.paused == offered[plan].paused && stored.retired == offered[plan].retired, "sales");
        }
    }

    /// @notice I6: everybody can withdraw exactly their own.
    function checkEarnings() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            lookAtEarnings(plan);
        }
    }

    function lookAtEarnings(uint256 plan) internal view {
        address[6] memory people = earners();
        for (uint256 i; i < people.length; i++) {
            eq(
                plans.earnings(offered[plan].id, people[i]),
                owed(plan, people[i], treasury, FEE),
                "I6: earnings are one's own"
            );
        }
    }

    /// @notice I7: the assets' records are as their owners left them.
    function checkAssets() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            lookAtAsset(plan);
            lookAtOffer(plan, plan);
            lookAtOffer(sibling(plan), plan);
        }
    }

    function lookAtAsset(uint256 asset) internal view override {
        IAssetRegistry.Asset memory stored = assets.asset(offered[asset].did);
        Assistant storage a = assistants[asset];
        eq(stored.owner, a.owner, "I7: owner");
        eq(stored.pendingOwner, a.pendingOwner, "I7: pending owner");
        eq(stored.metadata, a.metadata, "I7: metadata");
        eq(stored.version, a.version, "I7: version");
        eq(stored.updatedAt, a.updatedAt, "I7: when it was updated");
        yes(stored.active != a.inactive, "I7: active");
    }

    function lookAtOffer(uint256 asset, uint256 plan) internal view override {
        (bytes32 did, bytes32 id) = (offered[asset].did, offered[plan].id);
        (uint256 low, uint256 high) = rule(asset, plan);
        for (uint256 i; i < servers.length; i++) {
            (bool authorised, uint64 min, uint64 max) = assets.settlementRule(did, id, servers[i]);
            yes(authorised == maySettle(asset, plan, servers[i]), "I7: who may settle");
            if (authorised) yes(min == low && max == high, "I7: rule");
        }
        (bool foreign,,) = assets.settlementRule(did, id, stranger);
        no(foreign, "I7: nobody else settles");
    }

    /// @notice Nobody but the node changes its record.
    function checkNodes() public view override {
        for (uint256 i; i < servers.length; i++) {
            INodeRegistry.Node memory stored = nodes.node(servers[i]);
            Server storage r = records[servers[i]];
            yes(stored.active != r.retired, "node: active");
            eq(stored.version, r.version, "node: version");
            eq(stored.key.x, points[r.key].x, "node: key");
            eq(stored.previousKey.x, points[r.previousKey].x, "node: key before");
            eq(stored.previousUntil, r.previousUntil, "node: how long the key before opens");
            eq(keccak256(bytes(stored.endpoint)), keccak256(bytes(r.endpoint)), "node: endpoint");
        }
    }

    /// @notice I9: with vouchers, nobody's consumption is above what they signed.
    function checkCeilings() external view {
        for (uint256 plan; plan < offered.length; plan++) {
            if (!offered[plan].terms.voucherRequired) continue;
            for (uint256 i; i < subscribers.length; i++) {
                vm.assertLe(
                    plans.account(offered[plan].id, subscribers[i]).consumed,
                    holders[plan][subscribers[i]].ceiling,
                    "I9: consumed <= the signed ceiling"
                );
            }
        }
    }
}

/// @notice The invariants, looked at after every call of a campaign.
contract InvariantsTest is Base {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Observer internal world;

    function setUp() public {
        world = new Observer();
        world.setUp();
    }

    function targetContracts() public view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(world);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory list) {
        bytes4[30] memory actions = [
            Handler.buyFor.selector,
            Handler.buyFor.selector,
            Handler.buyWithAuthorisation.selector,
            Handler.grantTo.selector,
            Handler.settleBatch.selector,
            Handler.settleBatch.selector,
            Handler.announce.selector,
            Handler.announce.selector,
            Handler.announce.selector,
            Handler.cancel.selector,
            Handler.take.selector,
            Handler.take.selector,
            Handler.accrueFor.selector,
            Handler.withdrawFor.selector,
            Handler.withdrawFor.selector,
            Handler.donate.selector,
            Handler.pause.selector,
            Handler.retirePlan.selector,
            Handler.handOver.selector,
            Handler.buyWithPermit.selector,
            Owners.changeRule.selector,
            Owners.openOffer.selector,
            Owners.openOffer.selector,
            Owners.closeOffer.selector,
            Owners.toggleNode.selector,
            Owners.publish.selector,
            Owners.handOverAsset.selector,
            Owners.activate.selector,
            Owners.changeNode.selector,
            Handler.meddle.selector
        ];
        list = new FuzzSelector[](1);
        list[0].addr = address(world);
        list[0].selectors = new bytes4[](actions.length + 4);
        for (uint256 i; i < actions.length; i++) {
            list[0].selectors[i] = actions[i];
        }
        list[0].selectors[actions.length] = Handler.mood.selector;
        list[0].selectors[actions.length + 1] = Handler.pass.selector;
        list[0].selectors[actions.length + 2] = Handler.passTo.selector;
        list[0].selectors[actions.length + 3] = Handler.focusOn.selector;
    }

    /// @notice One campaign looks at all of them: separate ones would walk the same sequences again.
    function invariant_I1_to_I9_theContractsTellTheSameStoryAsTheLedger() public view {
        world.checkSolvency();
        world.checkStandings();
        world.checkBatches();
        world.checkTerms();
        world.checkEarnings();
        world.checkAssets();
        world.checkNodes();
        world.checkCeilings();
    }

    /// @notice A campaign in which nobody gets anywhere would prove nothing: on one fixed walk everything happens.
    function test_theWalkersGetEverythingDone() public {
        bytes4[] memory actions = targetSelectors()[0].selectors;
        for (uint256 i; i < 1_500; i++) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            bytes memory data = abi.encodePacked(actions[seed % actions.length], word(seed, 1), word(seed, 2));
            data = abi.encodePacked(data, word(seed, 3), word(seed, 4), word(seed, 5));
            (bool ok, bytes memory reason) = address(world).call(data);
            // an argument that is no bool is refused by the decoder, without a reason
            require(ok || reason.length == 0, "the walk stumbled");
        }
        bytes4[25] memory calls = [
            IPlanRegistry.purchase.selector,
            IPlanRegistry.purchaseWithAuthorisation.selector,
            IPlanRegistry.grant.selector,
            IPlanRegistry.settle.selector,
            IPlanRegistry.settleWithVouchers.selector,
            IPlanRegistry.announceRefund.selector,
            IPlanRegistry.cancelRefund.selector,
            IPlanRegistry.takeRefund.selector,
            IPlanRegistry.accrue.selector,
            IPlanRegistry.withdraw.selector,
            IPlanRegistry.withdrawTo.selector,
            IPlanRegistry.setPaused.selector,
            IPlanRegistry.offerPlan.selector,
            IPlanRegistry.acceptPlan.selector,
            IPlanRegistry.purchaseWithPermit.selector,
            IAssetRegistry.setMetadata.selector,
            IAssetRegistry.addOffer.selector,
            IAssetRegistry.closeOffer.selector,
            IAssetRegistry.offerAsset.selector,
            IAssetRegistry.acceptAsset.selector,
            IAssetRegistry.setActive.selector,
            INodeRegistry.rotateKey.selector,
            INodeRegistry.setEndpoint.selector,
            INodeRegistry.retire.selector,
            INodeRegistry.register.selector
        ];
        for (uint256 i; i < calls.length; i++) {
            yes(world.successes(calls[i]) != 0, string.concat("never succeeded: call ", vm.toString(i)));
        }
        yes(world.settledForSiblings() != 0, "no plan was settled for its second asset");
        yes(world.vouchersNotAskedFor() != 0, "vouchers were shown only where a plan asks for them");
    }

    /// @notice The same for what the walk is too short for: a wallet that doesn't accept the voucher it is settled with.
    function test_walletsRefuseVouchersOnTheWay() public {
        (uint256 vouchers, uint256 wallet, uint256 focused) = (6, 3, 1);
        world.focusOn(vouchers, wallet);
        for (uint256 i; i < 64; i++) {
            world.buyFor(focused, focused, 0, 1, 0);
            world.settleBatch(focused, 0, i, 0);
        }
        yes(world.vouchersRefused() != 0, "no wallet ever refused its voucher");
        yes(world.successes(IPlanRegistry.settleWithVouchers.selector) != 0, "nothing was settled");
    }

    /// @notice Half the time 0 or 1, which any type takes.
    function word(uint256 seed, uint256 place) internal pure returns (uint256) {
        uint256 random = uint256(keccak256(abi.encode(seed, place)));
        return random % 2 == 0 ? (random >> 8) % 2 : uint32(random >> 8);
    }
}
