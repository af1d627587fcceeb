// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AssetRegistry} from "../../../contracts/AssetRegistry.sol";
import {NodeRegistry} from "../../../contracts/NodeRegistry.sol";
import {PlanRegistry} from "../../../contracts/PlanRegistry.sol";
import {IAssetRegistry} from "../../../contracts/interfaces/IAssetRegistry.sol";
import {INodeRegistry} from "../../../contracts/interfaces/INodeRegistry.sol";
import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {Standing} from "../../../contracts/libraries/Standing.sol";
import {Till} from "../../../contracts/libraries/Till.sol";

/// @notice Cheatcodes of the symbolic runner.
interface Vm {
    function assume(bool condition) external pure;
    function prank(address sender) external;
    function warp(uint256 timestamp) external;
    function deal(address account, uint256 balance) external;
}

/// @notice Proofs over all values of the arguments, by symbolic execution. A `check_` that returns holds for every input
/// that its assumptions admit.
abstract contract Symbolic {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint40 internal constant START = 1_800_000_000;
}

/// @notice The two hand-packed words: whatever else is in them, each operation changes what it says and nothing else.
contract WordsSymbolicTest is Symbolic {
    function check_consume_movesCreditsFromBalanceToConsumed(Standing standing, uint256 credits) public pure {
        vm.assume(credits <= standing.balance());
        vm.assume(standing.balance() + standing.consumed() <= type(uint88).max);
        Standing next = standing.consume(credits);
        assert(next.balance() == standing.balance() - credits);
        assert(next.consumed() == standing.consumed() + credits);
        assert(next.balance() + next.consumed() == standing.balance() + standing.consumed());
        assert(next.expiry() == standing.expiry());
        assert(next.unitsBought() == standing.unitsBought());
    }

    function check_mint_raisesTheBalanceOnly(Standing standing, uint256 credits) public pure {
        vm.assume(credits <= type(uint88).max - standing.balance());
        Standing next = standing.mint(credits);
        assert(next.balance() == standing.balance() + credits);
        assert(next.consumed() == standing.consumed());
        assert(next.expiry() == standing.expiry());
        assert(next.unitsBought() == standing.unitsBought());
    }

    function check_burn_lowersTheBalanceOnly(Standing standing, uint256 credits) public pure {
        vm.assume(credits <= standing.balance());
        Standing next = standing.burn(credits);
        assert(next.balance() == standing.balance() - credits);
        assert(next.consumed() == standing.consumed());
        assert(next.expiry() == standing.expiry());
        assert(next.unitsBought() == standing.unitsBought());
    }

    function check_withExpiry_changesTheExpiryOnly(Standing standing, uint40 expiry) public pure {
        Standing next = standing.withExpiry(expiry);
        assert(next.expiry() == expiry);
        assert(next.balance() == standing.balance());
        assert(next.consumed() == standing.consumed());
        assert(next.unitsBought() == standing.unitsBought());
    }

    function check_withUnitsBought_changesTheUnitsOnly(Standing standing, uint256 units) public pure {
        Standing next = standing.withUnitsBought(units);
        assert(next.unitsBought() == (units < type(uint40).max ? units : type(uint40).max));
        assert(next.balance() == standing.balance());
        assert(next.consumed() == standing.consumed());
        assert(next.expiry() == standing.expiry());
    }

    function check_unpack_isHowSolidityLaysTheAccountOut(Standing standing) public pure {
        IPlanRegistry.Account memory account = standing.unpack();
        assert(account.balance == standing.balance() && account.consumed == standing.consumed());
        assert(account.expiry == standing.expiry() && account.unitsBought == standing.unitsBought());
    }

    function check_earn_raisesTheRevenueOnly(Till till, uint256 amount) public pure {
        vm.assume(amount <= type(uint112).max - till.revenue());
        Till next = till.earn(amount);
        assert(next.revenue() == till.revenue() + amount);
        assert(next.price() == till.price());
        assert(next.sold() == till.sold());
    }

    function check_withSold_changesTheCountOnly(Till till, uint256 units) public pure {
        Till next = till.withSold(units);
        assert(next.sold() == (units < type(uint48).max ? units : type(uint48).max));
        assert(next.price() == till.price());
        assert(next.revenue() == till.revenue());
    }
}

/// @notice The contracts themselves: one plan, one asset, one node, symbolic amounts.
/// The price is a whole number of base units per credit: dividing is too hard for a solver, the fuzz tests vary the rounding.
contract SettlementSymbolicTest is Symbolic {
    address internal constant ALICE = address(0xa11ce);
    address internal constant NODE = address(0x0de);
    uint64 internal constant PER_UNIT = 1_000;
    PlanRegistry internal plans;
    AssetRegistry internal assets;
    bytes32 internal planId;
    bytes32 internal did;

    function setUp() public {
        vm.warp(START);
        NodeRegistry nodes = new NodeRegistry();
        plans = new PlanRegistry(address(0), 0, address(nodes), address(0));
        assets = AssetRegistry(plans.assetRegistry());
        vm.prank(NODE);
        nodes.register(
            INodeRegistry.Key(
                0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798,
                0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8
            ),
            "https://node.example"
        );
        IPlanRegistry.Terms memory terms;
        (terms.price, terms.creditsPerUnit, terms.refundCooldown) = (1 ether, PER_UNIT, uint24(1 days));
        planId = plans.createPlan("plan", terms, new IPlanRegistry.Payee[](0), 0);
        IAssetRegistry.OfferInput[] memory offers = new IAssetRegistry.OfferInput[](1);
        offers[0] = IAssetRegistry.OfferInput(planId, 0, type(uint64).max);
        address[] memory servers = new address[](1);
        servers[0] = NODE;
        did = assets.register("asset", "metadata", offers, servers);
    }

    function settle(uint64 batch, uint64 credits) internal returns (bool ok) {
        bytes32[] memory entries = new bytes32[](1);
        entries[0] = bytes32((uint256(uint160(ALICE)) << 96) | (1 << 64) | credits);
        vm.prank(NODE);
        (ok,) = address(plans).call(abi.encodeCall(plans.settle, (did, planId, batch, 0, entries)));
    }

    function check_settle_conservesCredits(uint8 units, uint64 credits) public {
        vm.assume(units != 0);
        plans.grant(planId, ALICE, units);
        uint256 given = uint256(units) * PER_UNIT;
        assert(settle(1, credits));
        IPlanRegistry.Account memory account = plans.account(planId, ALICE);
        assert(uint256(account.balance) + account.consumed == given);
        assert(account.consumed == (credits < given ? credits : given));
    }

    function check_settle_appliesEachBatchExactlyOnceAndInOrder(uint64 first, uint64 second, uint64 third) public {
        plans.grant(planId, ALICE, 1);
        assert(settle(first, 1) == (first == 1));
        vm.assume(first == 1);
        assert(settle(second, 1) == (second == 2));
        uint64 expected = second == 2 ? 3 : 2;
        assert(plans.nextBatch(did, planId, NODE) == expected);
        assert(settle(third, 1) == (third == expected));
        uint256 applied = 1 + (second == 2 ? 1 : 0) + (third == expected ? 1 : 0);
        assert(plans.account(planId, ALICE).consumed == applied);
    }

    function check_takeRefund_andRevenueAreNeverMoreThanWasPaid(uint64 used) public {
        vm.deal(ALICE, 1 ether);
        vm.prank(ALICE);
        plans.purchase{value: 1 ether}(planId, ALICE, 1, 1 ether);
        vm.assume(used < PER_UNIT);
        assert(settle(1, used));
        vm.prank(ALICE);
        plans.announceRefund(planId);
        vm.warp(START + 1 days);
        vm.prank(ALICE);
        uint256 amount = plans.takeRefund(planId, ALICE);
        assert(amount == (PER_UNIT - used) * 1 ether / PER_UNIT);
        assert(ALICE.balance == amount);
        assert(plans.earnings(planId, address(this)) + amount <= 1 ether);
        assert(address(plans).balance == 1 ether - amount);
        assert(plans.account(planId, ALICE).balance == 0);
    }

    function check_takeRefund_neverBeforeTheCooldown(uint32 wait) public {
        vm.deal(ALICE, 1 ether);
        vm.prank(ALICE);
        plans.purchase{value: 1 ether}(planId, ALICE, 1, 1 ether);
        vm.prank(ALICE);
        plans.announceRefund(planId);
        vm.warp(uint256(START) + wait);
        vm.prank(ALICE);
        (bool ok,) = address(plans).call(abi.encodeCall(plans.takeRefund, (planId, ALICE)));
        assert(ok == (wait >= 1 days));
    }
}
