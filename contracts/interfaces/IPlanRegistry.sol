// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC1155} from "./IERC1155.sol";

/// @title IPlanRegistry: plans, sales, credits, settlement.
/// @notice This file is the specification; PlanRegistry.sol is one implementation of it. There is no admin, no proxy and
/// no upgrade. ERC-1155: token id = `uint256(planId)`; `balanceOf` = credits that can be spent now (time plan: 1 while it
/// is active, else 0); credits are soulbound. Expiry emits no event of its own: the burn follows when expired credits are
/// cleared away, at the next purchase, grant or `accrue`.
///
/// Words. *unit*: what one purchase of quantity one buys. *credit*: what an access consumes. *subscriber*: the account
/// that holds credits or time. *payer*: the account that pays. *base unit*: the smallest unit of the plan's token (wei).
///
/// Assumptions about tokens. An ERC-20 must move exactly the amount asked for: fee-on-transfer tokens are refused with
/// WrongPayment. A token whose balances change by themselves (rebasing) breaks the escrow of its own plans and of no
/// other token's: the contract keeps no cross-token accounts. Tokens that return nothing are fine; false is a failure.
interface IPlanRegistry is IERC1155 {
    // ------------------------------------------------------------------------------------------------------ types

    /// @notice What a subscriber agrees to. Fixed at creation, never changes (I5).
    /// @param token ERC-20 address, or zero for the chain's native currency.
    /// @param price Base units per unit; 0 = free.
    /// @param creditsPerUnit Credits that one unit gives; 0 = a time plan.
    /// @param duration Seconds that one unit lasts; 0 = never expires. A time plan needs a duration.
    /// @param purchaseLimit Units that one account may buy, ever (gifts received count, grants don't); 0 = no limit.
    /// @param supply Units that may be sold in all (grants don't count); 0 = no limit.
    /// @param refundCooldown Seconds between the announcement of a refund and the refund; 0 = not refundable.
    /// At least MIN_REFUND_COOLDOWN when it is not 0.
    /// @param voucherRequired Whether settlement needs the subscriber's signed ceiling.
    struct Terms {
        address token;
        uint96 price;
        uint64 creditsPerUnit;
        uint32 duration;
        uint24 purchaseLimit;
        uint32 supply;
        uint24 refundCooldown;
        bool voucherRequired;
    }

    /// @notice One share of a plan's revenue.
    /// @param basisPoints Of 10,000.
    struct Payee {
        address account;
        uint16 basisPoints;
    }

    /// @notice A plan's record.
    /// @param owner May pause, retire, hand over and grant. Zero = no such plan.
    /// @param pendingOwner Who may accept the hand-over; zero = none.
    /// @param sold Units sold so far (grants not counted), less the whole units that each refund gave back: parts of a unit
    /// are not sold again. Counts up to 2^48 - 1, which no plan with a supply reaches.
    /// @param metadata sha-256 digest of the metadata block; the CIDv1 (raw) follows from it. Zero = none.
    /// @param revenue Base units earned so far in all, before the protocol fee, paid out or not. Grows with each
    /// purchase, or, on a refundable plan, with use and time.
    struct Plan {
        address owner;
        address pendingOwner;
        bool paused;
        bool retired;
        uint48 sold;
        bytes32 metadata;
        uint256 revenue;
        Terms terms;
    }

    /// @notice One account's standing under one plan; lives in one storage slot.
    /// @param balance Credits held, whether or not they have expired (time plan: 1 once bought). See `balanceOf` for what
    /// can be spent now.
    /// @param consumed Credits settled so far; never decreases. What a voucher's ceiling is compared with.
    /// @param expiry Unix seconds; the plan is spendable while `block.timestamp < expiry`. 0 = never bought, or never expires.
    /// @param unitsBought Units bought by or for the account (grants not counted); compared with the purchase limit.
    struct Account {
        uint88 balance;
        uint88 consumed;
        uint40 expiry;
        uint40 unitsBought;
    }

    /// @notice A subscriber's promise to let `consumed` rise to at most `ceiling`; cumulative, so that one signature
    /// covers any number of calls and an older voucher is only ever weaker.
    /// @param signature EOA (65 bytes, low s), ERC-1271, or ERC-6492 (counterfactual wallet) over the EIP-712 struct
    /// `Voucher(bytes32 planId,address subscriber,uint256 ceiling)`.
    struct Voucher {
        uint256 ceiling;
        bytes signature;
    }

    // ----------------------------------------------------------------------------------------------------- events

    /// @notice A plan was created; its terms can be read with `plan` and never change.
    event PlanCreated(bytes32 indexed planId, address indexed owner, bytes32 metadata);
    /// @notice Sales were paused or resumed.
    event SalesPaused(bytes32 indexed planId, bool paused);
    /// @notice Sales have ended for good. Credits already sold stay valid.
    event PlanRetired(bytes32 indexed planId);
    /// @notice A hand-over of the plan was offered to `to` (zero: withdrawn).
    event PlanTransferOffered(bytes32 indexed planId, address indexed to);
    /// @notice The plan has a new owner. Revenue up to here stays with who earned it.
    event PlanTransferred(bytes32 indexed planId, address indexed from, address indexed to);
    /// @notice `units` were bought for `subscriber`.
    /// @param paid Base units of the plan's token.
    /// @param expiry The account's expiry afterwards.
    event Purchased(
        bytes32 indexed planId,
        address indexed subscriber,
        address indexed payer,
        uint256 units,
        uint256 paid,
        uint256 expiry
    );
    /// @notice The owner gave `units` without payment on the chain.
    event Granted(bytes32 indexed planId, address indexed subscriber, uint256 units, uint256 expiry);
    /// @notice `credits` of `subscriber` had expired and were cleared away. An ERC-1155 burn goes with it.
    event CreditsExpired(bytes32 indexed planId, address indexed subscriber, uint256 credits);
    /// @notice Batch `batch` of `node` was applied. Per entry there is an ERC-1155 burn.
    /// @param calls, credits What was asked for in all; `taken` is what balances and vouchers covered.
    /// @param receiptsRoot Merkle root of the batch's receipts, or zero.
    event Settled(
        bytes32 indexed did,
        bytes32 indexed planId,
        address indexed node,
        uint64 batch,
        uint256 calls,
        uint256 credits,
        uint256 taken,
        bytes32 receiptsRoot
    );
    /// @notice An entry asked for `missing` credits more than the balance or the voucher allowed; they were not taken. All that
    /// the entry asked for, if the subscriber's wallet did not accept the voucher's signature.
    event Shortfall(
        bytes32 indexed planId, address indexed subscriber, address indexed node, uint64 batch, uint256 missing
    );
    /// @notice A refund was announced; it can be taken from `availableAt` (unix seconds) on. Zero: called off.
    event RefundAnnounced(bytes32 indexed planId, address indexed subscriber, uint256 availableAt);
    /// @notice `credits` (0 for time plans) were given back for `amount` base units.
    event Refunded(bytes32 indexed planId, address indexed subscriber, uint256 credits, uint256 amount);
    /// @notice `amount` base units of `token` left the contract for `payee`'s share of the plan's revenue.
    event Withdrawn(bytes32 indexed planId, address indexed payee, address indexed to, address token, uint256 amount);

    // ----------------------------------------------------------------------------------------------------- errors

    /// @notice No plan has this id.
    error PlanUnknown(bytes32 planId);
    /// @notice The caller has created a plan with this salt before.
    error PlanExists(bytes32 planId);
    /// @notice The plan's sales are paused (`retired` false) or have ended for good (`retired` true).
    error PlanNotOnSale(bytes32 planId, bool retired);
    /// @notice `available` units are left of the plan's supply, `asked` were asked for.
    error SoldOut(bytes32 planId, uint256 asked, uint256 available);
    /// @notice The account may buy `remaining` more units, `asked` were asked for.
    error PurchaseLimitReached(bytes32 planId, address subscriber, uint256 asked, uint256 remaining);
    /// @notice `due` base units are above the payer's bound.
    error PriceAboveMaximum(uint256 due, uint256 maxPrice);
    /// @notice `paid` base units arrived where exactly `due` were owed (also: native currency sent to a token plan).
    error WrongPayment(uint256 paid, uint256 due);
    /// @notice A purchase by authorisation or permit needs an ERC-20 plan.
    error TokenRequired(bytes32 planId);
    /// @notice Zero units were asked for.
    error NoUnits();
    /// @notice The zero address cannot subscribe.
    error NoSubscriber();
    /// @notice The receiving contract does not accept ERC-1155 tokens.
    error UnsafeRecipient(address subscriber);
    /// @notice The account would hold or have consumed more than 2^88 - 1 credits, an expiry would leave 40 bits, or the plan's
    /// revenue 112 (base units; on a refundable plan credits or seconds used up).
    error LimitOverflow();
    /// @notice Only the plan's owner may do this.
    error NotPlanOwner(bytes32 planId, address caller);
    /// @notice Only the account that the hand-over was offered to may accept it.
    error NotPendingOwner(bytes32 planId, address caller);
    /// @notice A time plan needs a duration and takes no vouchers, a free plan has no token and nothing to refund, a cooldown
    /// has a minimum, and a token has code.
    error InvalidTerms(string reason);
    /// @notice Payees: 0 to 8, non-zero and distinct, shares non-zero and 10,000 in all.
    error InvalidSplit(string reason);
    /// @notice Credits never move between accounts (I8).
    error Soulbound();
    /// @notice The asset does not let this node settle under this plan now.
    error NodeNotAuthorised(bytes32 did, bytes32 planId, address node);
    /// @notice The next batch of this (asset, plan, node) is `expected`.
    error WrongBatch(uint64 batch, uint64 expected);
    /// @notice A batch needs at least one entry.
    error EmptyBatch();
    /// @notice Entry `index` claims `credits` for `calls`, outside [calls x min, calls x max] of the rule in force.
    error OutsideRule(uint256 index, uint256 calls, uint256 credits, uint256 min, uint256 max);
    /// @notice The plan asks for vouchers: use `settleWithVouchers`, one per entry.
    error VouchersRequired(bytes32 planId, uint256 vouchers, uint256 entries);
    /// @notice The signature of entry `index` is not the subscriber's for this plan, ceiling, chain and contract, and there is no
    /// wallet that could accept it: the account has no code and the signature is not ERC-6492.
    error InvalidVoucher(uint256 index, address subscriber, uint256 ceiling);
    /// @notice Less than `needed` gas is left when the subscriber's wallet is to be asked about entry `index`: send more.
    error GasTooLow(uint256 index, uint256 needed);
    /// @notice The plan's terms exclude refunds.
    error NotRefundable(bytes32 planId);
    /// @notice There is nothing to give back.
    error NothingToRefund(bytes32 planId, address subscriber);
    /// @notice No refund was announced, or its cooldown ends at `availableAt` (0 = not announced).
    error RefundNotAvailable(uint256 availableAt);
    /// @notice `account` has no share left to withdraw from the plan.
    error NothingToWithdraw(bytes32 planId, address account);
    /// @notice The transfer of native currency or of the token failed.
    error TransferFailed(address token, address to, uint256 amount);
    /// @notice A function that moves value was re-entered.
    error Reentered();
    /// @notice Two lists that belong together have different lengths.
    error LengthMismatch(uint256 left, uint256 right);
    /// @notice A protocol fee needs a recipient and is at most 10,000 basis points.
    error InvalidFee(address recipient, uint16 basisPoints);

    // -------------------------------------------------------------------------------------------------- constants

    /// @notice The asset registry whose rules and nodes settlement obeys; deployed by this contract's constructor.
    function assetRegistry() external view returns (address);
    /// @notice Checks vouchers that plain ECDSA does not settle (ERC-1271, ERC-6492).
    function signatureValidator() external view returns (address);
    /// @notice Protocol fee in basis points of revenue, rounded down, and who gets it. Fixed at deployment, zero by default.
    function protocolFee() external view returns (address recipient, uint16 basisPoints);
    /// @notice Smallest cooldown that refundable terms may have, seconds.
    // solhint-disable-next-line func-name-mixedcase
    function MIN_REFUND_COOLDOWN() external view returns (uint256);
    /// @notice Gas that the check of one voucher by code that is not ours (ERC-1271, ERC-6492) may use.
    // solhint-disable-next-line func-name-mixedcase
    function VOUCHER_GAS() external view returns (uint256);
    /// @notice EIP-712 domain separator: name "nvm-chain PlanRegistry", version "1", chain id, this address.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32);

    // ------------------------------------------------------------------------------------------------ plan's owner

    /// @notice Creates a plan owned by the caller. Its id, `planIdOf(caller, salt)`, is known beforehand.
    /// @param payees Revenue split; empty = all to whoever owns the plan when the revenue arises. Of the plan's revenue in
    /// all, the first payee's share is rounded up and the others' down: what is left, fewer than `payees.length` base
    /// units ever, waits for the next revenue. (Giving the first payee all of the remainder would let it withdraw what
    /// is another's once more revenue comes in.)
    /// @param metadata sha-256 digest of the metadata block (title, description); zero = none.
    /// @dev Emits PlanCreated. Reverts with PlanExists, InvalidTerms, InvalidSplit.
    function createPlan(bytes32 salt, Terms calldata terms, Payee[] calldata payees, bytes32 metadata)
        external
        returns (bytes32 planId);

    /// @notice keccak256(abi.encode(chain id, this contract, owner, salt)).
    function planIdOf(address owner, bytes32 salt) external view returns (bytes32);

    /// @notice Pauses or resumes sales; settlement and refunds go on.
    /// @dev Emits SalesPaused. Reverts with PlanUnknown, NotPlanOwner, PlanNotOnSale (retired).
    function setPaused(bytes32 planId, bool paused) external;
    /// @notice Ends sales for good.
    /// @dev Emits PlanRetired. Reverts with PlanUnknown, NotPlanOwner.
    function retire(bytes32 planId) external;
    /// @notice Offers the plan to `to`; zero withdraws the offer.
    /// @dev Emits PlanTransferOffered. Reverts with PlanUnknown, NotPlanOwner.
    function offerPlan(bytes32 planId, address to) external;
    /// @notice Accepts an offered plan. What the owner's share has earned so far stays withdrawable by the previous owner;
    /// what a refundable plan has earned by time and nobody has accrued yet goes to the new one.
    /// @dev Emits PlanTransferred. Reverts with PlanUnknown, NotPendingOwner, Reentered.
    function acceptPlan(bytes32 planId) external;
    /// @notice Gives `units` to `subscriber` without payment on the chain (fiat sale, gift, promotion). Not counted
    /// against the purchase limit or the supply, possible while paused, not after `retire`. On a refundable plan granted
    /// credits are consumed last and never refunded.
    /// @dev Emits Granted, TransferSingle, and what `accrue` emits. Reverts with PlanUnknown, NotPlanOwner, PlanNotOnSale (retired),
    /// NoUnits, NoSubscriber, LimitOverflow, UnsafeRecipient, Reentered.
    function grant(bytes32 planId, address subscriber, uint48 units) external;

    // -------------------------------------------------------------------------------------------------- purchases

    /// @notice Buys `units` of `planId` for `subscriber`; anybody may pay for anybody. Native plan: send exactly
    /// price x units. ERC-20 plan: approve it first and send nothing.
    /// @param maxPrice The most the payer accepts to pay in all, in base units.
    /// @dev Emits Purchased, TransferSingle, and what `accrue` emits. Reverts with PlanUnknown, PlanNotOnSale, PriceAboveMaximum,
    /// SoldOut, NoUnits, NoSubscriber, PurchaseLimitReached, LimitOverflow, WrongPayment, TransferFailed, UnsafeRecipient, Reentered.
    function purchase(bytes32 planId, address subscriber, uint48 units, uint256 maxPrice) external payable;

    /// @notice The same with an ERC-2612 permit of the caller for exactly the price; a permit that somebody else has
    /// already submitted does no harm as long as the allowance is there.
    /// @dev Emits Purchased, TransferSingle, and what `accrue` emits. Reverts with PlanUnknown, PlanNotOnSale, PriceAboveMaximum,
    /// SoldOut, NoUnits, NoSubscriber, PurchaseLimitReached, LimitOverflow, TokenRequired, WrongPayment, TransferFailed (no
    /// allowance: a permit that fails has no error of its own), UnsafeRecipient, Reentered.
    function purchaseWithPermit(
        bytes32 planId,
        address subscriber,
        uint48 units,
        uint256 maxPrice,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice The same paid by `payer`'s EIP-3009 authorisation, submitted by anybody (gasless for the payer). The
    /// authorisation's value is price x units and its nonce is `authorisationNonce(planId, subscriber, units, salt)`,
    /// so that a relayer can't redirect it.
    /// @dev Emits Purchased, TransferSingle, and what `accrue` emits. Reverts with PlanUnknown, PlanNotOnSale, SoldOut, NoUnits,
    /// NoSubscriber, PurchaseLimitReached, LimitOverflow, TokenRequired, WrongPayment, TransferFailed (the token refuses the
    /// authorisation), UnsafeRecipient, Reentered. The authorised value is the bound on the price.
    function purchaseWithAuthorisation(
        bytes32 planId,
        address subscriber,
        uint48 units,
        address payer,
        bytes32 salt,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata signature
    ) external;

    /// @notice keccak256(abi.encode(chain id, this contract, planId, subscriber, units, salt)).
    function authorisationNonce(bytes32 planId, address subscriber, uint48 units, bytes32 salt)
        external
        view
        returns (bytes32);

    // ------------------------------------------------------------------------------------------------- settlement

    /// @notice Applies a batch of calls served by the caller for asset `did` under `planId`. The caller must be a node that
    /// the asset authorises, the plan one that opens it.
    /// @param batch The number after the last one applied for (did, planId, caller); the first is 1. Applied exactly once.
    /// @param receiptsRoot Merkle root of the receipts, or zero.
    /// @param entries Per subscriber one word: subscriber << 96 | calls << 64 | credits (uint160, uint32, uint64).
    /// Credits must be within [calls x min, calls x max] of the rule in force; what the balance doesn't cover is reported
    /// as a Shortfall and not taken. Credits that expired but were not cleared away can still be settled, for calls that
    /// were served before.
    /// @dev Emits Settled, and per entry TransferSingle and Shortfall. Reverts with VouchersRequired, EmptyBatch, NodeNotAuthorised,
    /// WrongBatch, OutsideRule, Reentered, and on a refundable plan LimitOverflow.
    function settle(bytes32 did, bytes32 planId, uint64 batch, bytes32 receiptsRoot, bytes32[] calldata entries)
        external;

    /// @notice The same with one voucher per entry, for plans that ask for vouchers; also caps `consumed` at the ceiling.
    /// A signature that plain ECDSA does not settle is shown to the subscriber's wallet (ERC-1271, ERC-6492), whose answer
    /// nobody can know beforehand. So it can't fail the batch: a wallet that does not say yes within VOUCHER_GAS makes a
    /// Shortfall of its whole entry, and the node may claim the same calls again in a later batch. A node checks each
    /// voucher when it is handed in.
    /// @dev Emits Settled, and per entry TransferSingle and Shortfall. Reverts with VouchersRequired (not one per entry), EmptyBatch,
    /// NodeNotAuthorised, WrongBatch, OutsideRule, Reentered, on a refundable plan LimitOverflow; with InvalidVoucher, if no
    /// wallet is there to be asked: then the node can know, and nothing is lost; and with GasTooLow: a wallet always has its
    /// VOUCHER_GAS, so the sender can't make it fail.
    function settleWithVouchers(
        bytes32 did,
        bytes32 planId,
        uint64 batch,
        bytes32 receiptsRoot,
        bytes32[] calldata entries,
        Voucher[] calldata vouchers
    ) external;

    /// @notice Number of the next batch of `node` for (did, planId).
    function nextBatch(bytes32 did, bytes32 planId, address node) external view returns (uint64);

    // ---------------------------------------------------------------------------------------------------- refunds

    /// @notice Announces that the caller wants back the paid credits or time that it holds now. Settlement goes on. What
    /// is bought later is not covered: neither a purchase nor a grant, by whomever, delays the refund or brings it forward.
    /// Announcing again covers everything and starts a new cooldown.
    /// @dev Emits RefundAnnounced. Reverts with PlanUnknown, NotRefundable, NothingToRefund, Reentered.
    function announceRefund(bytes32 planId) external;
    /// @notice Calls the announcement off.
    /// @dev Emits RefundAnnounced. Reverts with PlanUnknown, NotRefundable, RefundNotAvailable(0) if there is none, Reentered.
    function cancelRefund(bytes32 planId) external;
    /// @notice After the cooldown, pays the caller for the announced paid credits not consumed, floor(credits x price /
    /// creditsPerUnit), or seconds not elapsed, floor(seconds x price / duration); they are gone afterwards. Paid credits
    /// and time are used up before granted ones, and what was announced before what was bought later.
    /// @param to Who gets the money.
    /// @dev Emits Refunded, TransferSingle, and what `accrue` emits. Reverts with PlanUnknown, NotRefundable, RefundNotAvailable,
    /// NothingToRefund, LimitOverflow, TransferFailed, Reentered.
    /// @return amount Base units.
    function takeRefund(bytes32 planId, address to) external returns (uint256 amount);
    /// @notice What `takeRefund` gives at this second's state, and from when it can be taken. Without an announcement
    /// (`availableAt` 0) what one would cover. Reverts with PlanUnknown.
    /// @return quantity Credits, or seconds on a time plan.
    /// @return amount Base units.
    /// @return availableAt Unix seconds; 0 = not announced.
    function refundOf(bytes32 planId, address subscriber)
        external
        view
        returns (uint256 quantity, uint256 amount, uint256 availableAt);
    /// @notice Moves to the plan's revenue what a refundable plan has earned from `subscriber` by expiry or elapsed time.
    /// Anybody may call it; a purchase, a grant and a refund do it by themselves.
    /// @dev Emits, where something has expired, CreditsExpired (on a credit plan), TransferSingle, RefundAnnounced (zero: an
    /// announcement has nothing left to cover). Reverts with PlanUnknown, NotRefundable, LimitOverflow, Reentered.
    function accrue(bytes32 planId, address subscriber) external;

    // --------------------------------------------------------------------------------------------------- earnings

    /// @notice What `account` can withdraw from the plan now, in base units of the plan's token, protocol fee deducted.
    /// Includes what it earned as a former owner. The fee's recipient asks with its own address. Reverts with PlanUnknown.
    function earnings(bytes32 planId, address account) external view returns (uint256);
    /// @notice Sends `account` its earnings; anybody may call it.
    /// @dev Emits Withdrawn. Reverts with PlanUnknown, NothingToWithdraw, TransferFailed, Reentered.
    function withdraw(bytes32 planId, address account) external returns (uint256 amount);
    /// @notice Sends the caller's earnings to `to`: for a payee that cannot receive.
    /// @dev Emits Withdrawn. Reverts with PlanUnknown, NothingToWithdraw, TransferFailed, Reentered.
    function withdrawTo(bytes32 planId, address to) external returns (uint256 amount);

    // ------------------------------------------------------------------------------------------------------ reads

    /// @notice The plan's record. Reverts with PlanUnknown.
    function plan(bytes32 planId) external view returns (Plan memory);
    /// @notice Owner of the plan (zero = unknown), whether it can be bought now, whether its sales have ended for good, and
    /// whether it sells time. What other contracts ask.
    function planStatus(bytes32 planId) external view returns (address owner, bool onSale, bool retired, bool timePlan);
    /// @notice The revenue split; empty = the owner.
    function payees(bytes32 planId) external view returns (Payee[] memory);
    /// @notice The account's slot, O(1) however often it has bought.
    function account(bytes32 planId, address subscriber) external view returns (Account memory);
    /// @notice When a refund that the subscriber announced becomes available; 0 = none announced.
    function refundAvailableAt(bytes32 planId, address subscriber) external view returns (uint256);
}
