// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AssetRegistry} from "./AssetRegistry.sol";
import {IAssetRegistry} from "./interfaces/IAssetRegistry.sol";
import {IERC1155, IERC1155Receiver} from "./interfaces/IERC1155.sol";
import {IPlanRegistry} from "./interfaces/IPlanRegistry.sol";
import {ISignatureValidator} from "./interfaces/ISignatureValidator.sol";
import {IToken} from "./interfaces/IToken.sol";
import {Cid} from "./libraries/Cid.sol";
import {Ecdsa} from "./libraries/Ecdsa.sol";
import {Money} from "./libraries/Money.sol";

/// @title PlanRegistry: see IPlanRegistry, which is the specification.
/// @dev A *quantity* is what a plan sells: credits, or on a time plan seconds. One unit is `creditsPerUnit` credits or
/// `duration` seconds. A refundable plan holds its price in escrow and counts as revenue the quantity that was used up:
/// amounts of money are computed from quantities when they are read, so rounding never adds up.
contract PlanRegistry is IPlanRegistry {
    uint256 private constant BASIS_POINTS = 10_000;
    uint256 private constant MAX_PAYEES = 8;
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 planId,address subscriber,uint256 ceiling)");

    /// @inheritdoc IPlanRegistry
    uint256 public constant MIN_REFUND_COOLDOWN = 1 hours;

    /// @inheritdoc IPlanRegistry
    address public immutable assetRegistry;
    /// @inheritdoc IPlanRegistry
    address public immutable signatureValidator;
    address private immutable _feeRecipient;
    uint16 private immutable _feeBasisPoints;

    enum Sales {
        Open,
        Paused,
        Retired
    }

    /// @dev A purchase reads slots 0 to 2 and writes slot 2; a settlement reads slot 1.
    struct Record {
        // Slot 0. owner 0 = no such plan.
        address owner;
        uint32 duration;
        uint24 purchaseLimit;
        uint32 supply;
        Sales sales;
        // Slot 1
        address token;
        uint64 creditsPerUnit;
        uint24 refundCooldown;
        bool voucherRequired;
        // Slot 2. revenue: base units; on a refundable plan the paid quantity that was used up.
        uint96 price;
        uint112 revenue;
        uint48 sold;
        // Slot 3
        bytes32 metadata;
    }

    /// @dev One account's part in a refundable plan. Paid quantity is used up before free, bought earlier before later.
    /// @param free Granted quantity: never refunded. Counts up to what is left (credits held; seconds to the expiry).
    /// @param covered Where the announced quantity ends: value of `consumed`, or time, at which it is used up.
    /// @param availableAt When the announced refund can be taken; 0 = not announced.
    /// @param accruedAt Time plans: up to when elapsed seconds are in the revenue.
    struct Escrow {
        uint88 free;
        uint88 covered;
        uint40 availableAt;
        uint40 accruedAt;
    }

    mapping(bytes32 planId => Record) private _plans;
    mapping(bytes32 planId => address) private _pendingOwner;
    mapping(bytes32 planId => Payee[]) private _payees;
    mapping(bytes32 planId => mapping(address subscriber => Account)) private _accounts;
    mapping(bytes32 planId => mapping(address subscriber => Escrow)) private _escrows;
    /// @dev Last batch applied, by keccak256(did, planId, node).
    mapping(bytes32 lane => uint64) private _batches;
    /// @dev Revenue (after the fee) up to the last hand-over of a plan without payees: former owners'.
    mapping(bytes32 planId => uint256) private _handedOver;
    mapping(bytes32 planId => mapping(address formerOwner => uint256)) private _formerEarnings;
    mapping(bytes32 planId => mapping(address payee => uint256)) private _withdrawn;
    bool private transient _entered;

    constructor(address feeRecipient, uint16 feeBasisPoints, address nodeRegistry, address signatureValidator_) {
        if (feeBasisPoints > BASIS_POINTS || (feeBasisPoints != 0 && feeRecipient == address(0))) {
            revert InvalidFee(feeRecipient, feeBasisPoints);
        }
        _feeRecipient = feeRecipient;
        _feeBasisPoints = feeBasisPoints;
        signatureValidator = signatureValidator_;
        assetRegistry = address(new AssetRegistry(nodeRegistry));
    }

    /// @dev On every function that moves credits or money; only those call code that isn't ours.
    modifier locked() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    // ------------------------------------------------------------------------------------------------ plan's owner

    /// @inheritdoc IPlanRegistry
    function createPlan(bytes32 salt, Terms calldata terms, Payee[] calldata payees_, bytes32 metadata)
        external
        returns (bytes32 planId)
    {
        planId = planIdOf(msg.sender, salt);
        Record storage record = _plans[planId];
        if (record.owner != address(0)) revert PlanExists(planId);
        _checkTerms(terms);
        _plans[planId] = Record({
            owner: msg.sender,
            duration: terms.duration,
            purchaseLimit: terms.purchaseLimit,
            supply: terms.supply,
            sales: Sales.Open,
            token: terms.token,
            creditsPerUnit: terms.creditsPerUnit,
            refundCooldown: terms.refundCooldown,
            voucherRequired: terms.voucherRequired,
            price: terms.price,
            revenue: 0,
            sold: 0,
            metadata: metadata
        });
        if (payees_.length != 0) _setPayees(planId, payees_);
        emit PlanCreated(planId, msg.sender, metadata);
    }

    function _checkTerms(Terms calldata terms) private view {
        if (terms.creditsPerUnit == 0) {
            if (terms.duration == 0) revert InvalidTerms("a time plan needs a duration");
            if (terms.voucherRequired) revert InvalidTerms("a time plan has no credits to vouch for");
        }
        if (terms.price == 0) {
            if (terms.token != address(0)) revert InvalidTerms("a free plan has no token");
            if (terms.refundCooldown != 0) revert InvalidTerms("a free plan has nothing to refund");
        }
        if (terms.token != address(0) && terms.token.code.length == 0) revert InvalidTerms("the token has no code");
        if (terms.refundCooldown != 0 && terms.refundCooldown < MIN_REFUND_COOLDOWN) {
            revert InvalidTerms("the refund cooldown is shorter than MIN_REFUND_COOLDOWN");
        }
    }

    function _setPayees(bytes32 planId, Payee[] calldata payees_) private {
        if (payees_.length > MAX_PAYEES) revert InvalidSplit("more than 8 payees");
        uint256 sum = 0;
        for (uint256 i = 0; i < payees_.length; ++i) {
            if (payees_[i].account == address(0)) revert InvalidSplit("a payee is the zero address");
            if (payees_[i].basisPoints == 0) revert InvalidSplit("a payee has no share");
            for (uint256 j = 0; j < i; ++j) {
                if (payees_[i].account == payees_[j].account) revert InvalidSplit("a payee is named twice");
            }
            sum += payees_[i].basisPoints;
            _payees[planId].push(payees_[i]);
        }
        if (sum != BASIS_POINTS) revert InvalidSplit("the shares are not 10,000 in all");
    }

    /// @inheritdoc IPlanRegistry
    function planIdOf(address owner, bytes32 salt) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), owner, salt));
    }

    /// @inheritdoc IPlanRegistry
    function setPaused(bytes32 planId, bool paused) external {
        Record storage record = _owned(planId);
        if (record.sales == Sales.Retired) revert PlanNotOnSale(planId, true);
        record.sales = paused ? Sales.Paused : Sales.Open;
        emit SalesPaused(planId, paused);
    }

    /// @inheritdoc IPlanRegistry
    function retire(bytes32 planId) external {
        _owned(planId).sales = Sales.Retired;
        emit PlanRetired(planId);
    }

    /// @inheritdoc IPlanRegistry
    function offerPlan(bytes32 planId, address to) external {
        _owned(planId);
        _pendingOwner[planId] = to;
        emit PlanTransferOffered(planId, to);
    }

    /// @inheritdoc IPlanRegistry
    function acceptPlan(bytes32 planId) external locked {
        Record storage record = _existing(planId);
        if (_pendingOwner[planId] != msg.sender) revert NotPendingOwner(planId, msg.sender);
        address from = record.owner;
        if (_payees[planId].length == 0) {
            (uint256 net,) = _revenue(record);
            _formerEarnings[planId][from] += net - _handedOver[planId];
            _handedOver[planId] = net;
        }
        record.owner = msg.sender;
        delete _pendingOwner[planId];
        emit PlanTransferred(planId, from, msg.sender);
    }

    /// @inheritdoc IPlanRegistry
    function grant(bytes32 planId, address subscriber, uint32 units) external locked {
        Record storage record = _owned(planId);
        if (record.sales == Sales.Retired) revert PlanNotOnSale(planId, true);
        (uint256 minted, uint256 expiry) = _give(planId, record, subscriber, units, false);
        emit Granted(planId, subscriber, units, expiry);
        _askRecipient(planId, subscriber, minted);
    }

    // -------------------------------------------------------------------------------------------------- purchases

    /// @inheritdoc IPlanRegistry
    function purchase(bytes32 planId, address subscriber, uint32 units, uint256 maxPrice) external payable locked {
        (address token, uint256 due, uint256 minted) = _sell(planId, subscriber, units, maxPrice, msg.sender);
        if (token == address(0)) {
            if (msg.value != due) revert WrongPayment(msg.value, due);
        } else {
            if (msg.value != 0) revert WrongPayment(msg.value, 0);
            Money.pull(token, msg.sender, due);
        }
        _askRecipient(planId, subscriber, minted);
    }

    /// @inheritdoc IPlanRegistry
    function purchaseWithPermit(
        bytes32 planId,
        address subscriber,
        uint32 units,
        uint256 maxPrice,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external locked {
        (address token, uint256 due, uint256 minted) = _sell(planId, subscriber, units, maxPrice, msg.sender);
        if (token == address(0)) revert TokenRequired(planId);
        // Somebody may have submitted the permit already. Whether there is an allowance shows in the transfer.
        try IToken(token).permit(msg.sender, address(this), due, deadline, v, r, s) {} catch {}
        Money.pull(token, msg.sender, due);
        _askRecipient(planId, subscriber, minted);
    }

    /// @inheritdoc IPlanRegistry
    function purchaseWithAuthorisation(
        bytes32 planId,
        address subscriber,
        uint32 units,
        address payer,
        bytes32 salt,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata signature
    ) external locked {
        (address token, uint256 due, uint256 minted) = _sell(planId, subscriber, units, type(uint256).max, payer);
        if (token == address(0)) revert TokenRequired(planId);
        bytes32 nonce = authorisationNonce(planId, subscriber, units, salt);
        Money.collect(token, due, _authorisation(payer, due, validAfter, validBefore, nonce, signature));
        _askRecipient(planId, subscriber, minted);
    }

    /// @inheritdoc IPlanRegistry
    function authorisationNonce(bytes32 planId, address subscriber, uint32 units, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), planId, subscriber, units, salt));
    }

    /// @dev The call of EIP-3009: with v, r, s if that is what the signature is, else as USDC 2.2 takes it.
    function _authorisation(
        address payer,
        uint256 due,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) private view returns (bytes memory) {
        if (signature.length != 65) {
            return abi.encodeWithSignature(
                "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
                payer,
                address(this),
                due,
                validAfter,
                validBefore,
                nonce,
                signature
            );
        }
        return abi.encodeWithSignature(
            "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
            payer,
            address(this),
            due,
            validAfter,
            validBefore,
            nonce,
            uint8(signature[64]),
            bytes32(signature[:32]),
            bytes32(signature[32:64])
        );
    }

    /// @dev Everything of a purchase but the payment.
    function _sell(bytes32 planId, address subscriber, uint256 units, uint256 maxPrice, address payer)
        private
        returns (address token, uint256 due, uint256 minted)
    {
        Record storage record = _existing(planId);
        if (record.sales != Sales.Open) revert PlanNotOnSale(planId, record.sales == Sales.Retired);
        due = record.price * units;
        if (due > maxPrice) revert PriceAboveMaximum(due, maxPrice);

        uint256 sold = record.sold + units;
        uint256 supply = record.supply;
        if (supply != 0 && sold > supply) revert SoldOut(planId, units, supply - record.sold);
        if (record.refundCooldown == 0) {
            uint256 revenue = record.revenue + due;
            if (revenue > type(uint112).max) revert LimitOverflow();
            record.revenue = uint112(revenue);
        }
        record.sold = uint48(_min(sold, type(uint48).max));

        uint256 expiry;
        (minted, expiry) = _give(planId, record, subscriber, units, true);
        emit Purchased(planId, subscriber, payer, units, due, expiry);
        token = record.token;
    }

    /// @dev Adds `units` to the account. `minted` is how much its ERC-1155 balance grew.
    function _give(bytes32 planId, Record storage record, address subscriber, uint256 units, bool paid)
        private
        returns (uint256 minted, uint256 expiry)
    {
        if (units == 0) revert NoUnits();
        if (subscriber == address(0)) revert NoSubscriber();
        Account memory account_ = _accounts[planId][subscriber];

        if (paid) {
            uint256 bought = account_.unitsBought + units;
            uint256 limit = record.purchaseLimit;
            if (limit != 0 && bought > limit) {
                revert PurchaseLimitReached(planId, subscriber, units, limit - account_.unitsBought);
            }
            account_.unitsBought = uint40(_min(bought, type(uint40).max));
        }

        bool refundable = record.refundCooldown != 0;
        if (refundable || _isExpired(account_)) _accrue(planId, record, subscriber, account_);

        uint256 credits = record.creditsPerUnit * units;
        uint256 secondsBought = record.duration * units;
        if (secondsBought != 0) {
            expiry = _max(block.timestamp, account_.expiry) + secondsBought;
            if (expiry > type(uint40).max) revert LimitOverflow();
            account_.expiry = uint40(expiry);
        }
        // A time plan's token is minted when it becomes active, not when it is renewed.
        minted = credits != 0 ? credits : 1 - account_.balance;
        uint256 balance = account_.balance + minted;
        if (balance + account_.consumed > type(uint88).max) revert LimitOverflow();
        account_.balance = uint88(balance);

        _accounts[planId][subscriber] = account_;
        if (refundable && !paid) _escrows[planId][subscriber].free += uint88(credits != 0 ? credits : secondsBought);
        if (minted != 0) emit TransferSingle(msg.sender, address(0), subscriber, uint256(planId), minted);
    }

    /// @dev ERC-1155 lets a contract refuse tokens. Called last: there is nothing left to write.
    function _askRecipient(bytes32 planId, address subscriber, uint256 minted) private {
        if (minted == 0 || subscriber.code.length == 0) return;
        try IERC1155Receiver(subscriber)
            .onERC1155Received(msg.sender, address(0), uint256(planId), minted, "") returns (
            bytes4 answer
        ) {
            if (answer != IERC1155Receiver.onERC1155Received.selector) {
                revert UnsafeRecipient(subscriber);
            }
        } catch {
            revert UnsafeRecipient(subscriber);
        }
    }

    // ------------------------------------------------------------------------------------------------- settlement

    /// @inheritdoc IPlanRegistry
    function settle(bytes32 did, bytes32 planId, uint64 batch, bytes32 receiptsRoot, bytes32[] calldata entries)
        external
        locked
    {
        if (_plans[planId].voucherRequired) revert VouchersRequired(planId, 0, entries.length);
        Voucher[] calldata none;
        assembly ("memory-safe") {
            none.offset := 0
            none.length := 0
        }
        _settle(did, planId, batch, receiptsRoot, entries, none);
    }

    /// @inheritdoc IPlanRegistry
    function settleWithVouchers(
        bytes32 did,
        bytes32 planId,
        uint64 batch,
        bytes32 receiptsRoot,
        bytes32[] calldata entries,
        Voucher[] calldata vouchers
    ) external locked {
        if (vouchers.length != entries.length) {
            revert VouchersRequired(planId, vouchers.length, entries.length);
        }
        _settle(did, planId, batch, receiptsRoot, entries, vouchers);
    }

    /// @dev What a batch is settled with, gathered in memory.
    struct Batch {
        bytes32 planId;
        uint64 number;
        uint64 min;
        uint64 max;
        bool refundable;
        bytes32 domain;
        uint256 calls;
        uint256 credits;
        uint256 taken;
        uint256 earned;
    }

    /// @dev No vouchers = none are needed.
    function _settle(
        bytes32 did,
        bytes32 planId,
        uint64 number,
        bytes32 receiptsRoot,
        bytes32[] calldata entries,
        Voucher[] calldata vouchers
    ) private {
        if (entries.length == 0) revert EmptyBatch();
        Batch memory batch;
        batch.planId = planId;
        batch.number = number;
        bool authorised;
        (authorised, batch.min, batch.max) = IAssetRegistry(assetRegistry).settlementRule(did, planId, msg.sender);
        if (!authorised) revert NodeNotAuthorised(did, planId, msg.sender);

        bytes32 lane = _lane(did, planId, msg.sender);
        uint64 expected = _batches[lane] + 1;
        if (number != expected) revert WrongBatch(number, expected);
        _batches[lane] = number;

        batch.refundable = _plans[planId].refundCooldown != 0;
        if (vouchers.length != 0) batch.domain = DOMAIN_SEPARATOR();
        mapping(address => Account) storage accounts = _accounts[planId];
        for (uint256 i = 0; i < entries.length; ++i) {
            uint256 entry = uint256(entries[i]);
            address subscriber = address(uint160(entry >> 96));
            uint256 credits = _claim(batch, i, entry);
            uint256 ceiling = type(uint256).max;
            if (vouchers.length != 0) {
                ceiling = vouchers[i].ceiling;
                _checkVoucher(batch, i, subscriber, vouchers[i]);
            }
            _take(batch, accounts[subscriber], subscriber, credits, ceiling);
        }

        if (batch.earned != 0) {
            Record storage record = _plans[planId];
            record.revenue = _toUint112(record.revenue + batch.earned);
        }
        emit Settled(did, planId, msg.sender, number, batch.calls, batch.credits, batch.taken, receiptsRoot);
    }

    /// @dev The credits that an entry asks for, within the rule.
    function _claim(Batch memory batch, uint256 index, uint256 entry) private pure returns (uint256 credits) {
        uint256 calls = uint32(entry >> 64);
        credits = uint64(entry);
        uint256 min = calls * batch.min;
        uint256 max = calls * batch.max;
        if (credits < min || credits > max) revert OutsideRule(index, calls, credits, min, max);
        batch.calls += calls;
        batch.credits += credits;
    }

    /// @dev Takes `credits` as far as the balance and the ceiling cover them. Also after the expiry, for calls served before.
    function _take(Batch memory batch, Account storage stored, address subscriber, uint256 credits, uint256 ceiling)
        private
    {
        Account memory account_ = stored;
        uint256 allowed = ceiling > account_.consumed ? ceiling - account_.consumed : 0;
        uint256 taken = _min(_min(credits, account_.balance), allowed);
        if (taken != credits) emit Shortfall(batch.planId, subscriber, msg.sender, batch.number, credits - taken);
        if (taken == 0) return;

        if (batch.refundable) {
            uint256 free = _min(_escrows[batch.planId][subscriber].free, account_.balance);
            batch.earned += _min(taken, account_.balance - free);
        }
        batch.taken += taken;
        // balance + consumed stays what it is, and that fits.
        unchecked {
            account_.balance -= uint88(taken);
            account_.consumed += uint88(taken);
        }
        (stored.balance, stored.consumed) = (account_.balance, account_.consumed);
        emit TransferSingle(msg.sender, subscriber, address(0), uint256(batch.planId), taken);
    }

    function _checkVoucher(Batch memory batch, uint256 index, address subscriber, Voucher calldata voucher) private {
        bytes32 hash = keccak256(abi.encode(VOUCHER_TYPEHASH, batch.planId, subscriber, voucher.ceiling));
        hash = keccak256(abi.encodePacked(hex"1901", batch.domain, hash));
        bool valid = Ecdsa.isSigner(subscriber, hash, voucher.signature)
            || ISignatureValidator(signatureValidator).isValidSignature(subscriber, hash, voucher.signature);
        if (!valid) revert InvalidVoucher(index, subscriber, voucher.ceiling);
    }

    /// @inheritdoc IPlanRegistry
    function nextBatch(bytes32 did, bytes32 planId, address node) external view returns (uint64) {
        return _batches[_lane(did, planId, node)] + 1;
    }

    function _lane(bytes32 did, bytes32 planId, address node) private pure returns (bytes32) {
        return keccak256(abi.encode(did, planId, node));
    }

    /// @inheritdoc IPlanRegistry
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("nvm-chain PlanRegistry"), keccak256("1"), block.chainid, address(this)
            )
        );
    }

    // ---------------------------------------------------------------------------------------------------- refunds

    /// @inheritdoc IPlanRegistry
    function announceRefund(bytes32 planId) external locked {
        Record storage record = _refundable(planId);
        Account memory account_ = _accounts[planId][msg.sender];
        Escrow memory escrow = _escrows[planId][msg.sender];
        escrow.availableAt = 0;
        (, uint256 amount, uint256 end) = _refund(record, account_, escrow);
        if (amount == 0) revert NothingToRefund(planId, msg.sender);
        escrow.covered = uint88(end);
        escrow.availableAt = uint40(block.timestamp) + record.refundCooldown;
        _escrows[planId][msg.sender] = escrow;
        emit RefundAnnounced(planId, msg.sender, escrow.availableAt);
    }

    /// @inheritdoc IPlanRegistry
    function cancelRefund(bytes32 planId) external locked {
        _refundable(planId);
        Escrow storage escrow = _escrows[planId][msg.sender];
        if (escrow.availableAt == 0) revert RefundNotAvailable(0);
        escrow.availableAt = 0;
        emit RefundAnnounced(planId, msg.sender, 0);
    }

    /// @inheritdoc IPlanRegistry
    function takeRefund(bytes32 planId, address to) external locked returns (uint256 amount) {
        Record storage record = _refundable(planId);
        uint256 availableAt = _escrows[planId][msg.sender].availableAt;
        if (availableAt == 0 || block.timestamp < availableAt) revert RefundNotAvailable(availableAt);
        Account memory account_ = _accounts[planId][msg.sender];
        uint256 quantity;
        (quantity, amount,) = _refund(record, account_, _escrows[planId][msg.sender]);
        if (amount == 0) revert NothingToRefund(planId, msg.sender);

        _accrue(planId, record, msg.sender, account_);
        _escrows[planId][msg.sender].availableAt = 0;
        uint256 credits = 0;
        uint256 burnt = 0;
        if (record.creditsPerUnit == 0) {
            account_.expiry -= uint40(quantity);
            burnt = _isExpired(account_) ? 1 : 0;
        } else {
            credits = quantity;
            burnt = quantity;
        }
        account_.balance -= uint88(burnt);
        _accounts[planId][msg.sender] = account_;
        if (burnt != 0) emit TransferSingle(msg.sender, msg.sender, address(0), uint256(planId), burnt);
        emit Refunded(planId, msg.sender, credits, amount);
        Money.send(record.token, to, amount);
    }

    /// @inheritdoc IPlanRegistry
    function refundOf(bytes32 planId, address subscriber)
        external
        view
        returns (uint256 quantity, uint256 amount, uint256 availableAt)
    {
        Record storage record = _existing(planId);
        if (record.refundCooldown == 0) return (0, 0, 0);
        Escrow memory escrow = _escrows[planId][subscriber];
        (quantity, amount,) = _refund(record, _accounts[planId][subscriber], escrow);
        availableAt = escrow.availableAt;
    }

    /// @inheritdoc IPlanRegistry
    function accrue(bytes32 planId, address subscriber) external locked {
        Record storage record = _refundable(planId);
        Account memory account_ = _accounts[planId][subscriber];
        _accrue(planId, record, subscriber, account_);
        _accounts[planId][subscriber] = account_;
    }

    /// @dev What a refund gives now. `end` is where the paid quantity ends: the value of `consumed`, or the time.
    function _refund(Record storage record, Account memory account_, Escrow memory escrow)
        private
        view
        returns (uint256 quantity, uint256 amount, uint256 end)
    {
        bool timePlan = record.creditsPerUnit == 0;
        uint256 start = timePlan ? block.timestamp : account_.consumed;
        if (!_isExpired(account_)) {
            uint256 held = timePlan ? account_.expiry : account_.balance + start;
            end = held - _min(escrow.free, held);
        }
        uint256 last = escrow.availableAt == 0 ? end : _min(end, escrow.covered);
        quantity = last > start ? last - start : 0;
        amount = quantity * record.price / _quantityPerUnit(record);
    }

    /// @dev Clears what has expired, and on a refundable plan moves what was used up by expiry or time to the revenue.
    /// The caller writes `account_` back.
    function _accrue(bytes32 planId, Record storage record, address subscriber, Account memory account_) private {
        bool timePlan = record.creditsPerUnit == 0;
        bool expired = _isExpired(account_);
        if (record.refundCooldown != 0) {
            Escrow memory escrow = _escrows[planId][subscriber];
            uint256 earned = 0;
            uint256 left = account_.balance;
            if (timePlan) {
                uint256 paidUntil = account_.expiry - escrow.free;
                uint256 until = _min(block.timestamp, paidUntil);
                if (until > escrow.accruedAt) earned = until - escrow.accruedAt;
                escrow.accruedAt = uint40(block.timestamp);
                left = expired ? 0 : account_.expiry - block.timestamp;
            } else if (expired) {
                earned = left - _min(escrow.free, left);
                left = 0;
            }
            escrow.free = uint88(_min(escrow.free, left));
            if (expired && escrow.availableAt != 0) {
                escrow.availableAt = 0;
                emit RefundAnnounced(planId, subscriber, 0);
            }
            _escrows[planId][subscriber] = escrow;
            if (earned != 0) record.revenue = _toUint112(record.revenue + earned);
        }
        if (expired && account_.balance != 0) {
            if (!timePlan) emit CreditsExpired(planId, subscriber, account_.balance);
            emit TransferSingle(msg.sender, subscriber, address(0), uint256(planId), account_.balance);
            account_.balance = 0;
        }
    }

    // --------------------------------------------------------------------------------------------------- earnings

    /// @inheritdoc IPlanRegistry
    function earnings(bytes32 planId, address payee) public view returns (uint256) {
        Record storage record = _existing(planId);
        (uint256 net, uint256 fee) = _revenue(record);
        uint256 earned = payee == _feeRecipient ? fee : 0;
        Payee[] storage split = _payees[planId];
        uint256 count = split.length;
        if (count == 0) {
            earned += _formerEarnings[planId][payee];
            if (payee == record.owner) earned += net - _handedOver[planId];
        }
        for (uint256 i = 0; i < count; ++i) {
            if (split[i].account != payee) continue;
            uint256 share = net * split[i].basisPoints;
            // Each share only ever grows, and together they are at most `net`: see IPlanRegistry.createPlan.
            earned += (i == 0 ? share + BASIS_POINTS - 1 : share) / BASIS_POINTS;
        }
        return earned - _withdrawn[planId][payee];
    }

    /// @inheritdoc IPlanRegistry
    function withdraw(bytes32 planId, address payee) external locked returns (uint256) {
        return _withdraw(planId, payee, payee);
    }

    /// @inheritdoc IPlanRegistry
    function withdrawTo(bytes32 planId, address to) external locked returns (uint256) {
        return _withdraw(planId, msg.sender, to);
    }

    function _withdraw(bytes32 planId, address payee, address to) private returns (uint256 amount) {
        amount = earnings(planId, payee);
        if (amount == 0) revert NothingToWithdraw(planId, payee);
        _withdrawn[planId][payee] += amount;
        address token = _plans[planId].token;
        emit Withdrawn(planId, payee, to, token, amount);
        Money.send(token, to, amount);
    }

    /// @dev Base units earned so far, without and with what the protocol takes.
    function _revenue(Record storage record) private view returns (uint256 net, uint256 fee) {
        uint256 gross = _gross(record);
        fee = gross * _feeBasisPoints / BASIS_POINTS;
        net = gross - fee;
    }

    function _gross(Record storage record) private view returns (uint256) {
        if (record.refundCooldown == 0) return record.revenue;
        return uint256(record.revenue) * record.price / _quantityPerUnit(record);
    }

    // ------------------------------------------------------------------------------------------------------ reads

    /// @inheritdoc IPlanRegistry
    function plan(bytes32 planId) external view returns (Plan memory) {
        Record storage record = _existing(planId);
        return Plan({
            owner: record.owner,
            pendingOwner: _pendingOwner[planId],
            paused: record.sales == Sales.Paused,
            retired: record.sales == Sales.Retired,
            sold: record.sold,
            metadata: record.metadata,
            revenue: _gross(record),
            terms: Terms({
                token: record.token,
                price: record.price,
                creditsPerUnit: record.creditsPerUnit,
                duration: record.duration,
                purchaseLimit: record.purchaseLimit,
                supply: record.supply,
                refundCooldown: record.refundCooldown,
                voucherRequired: record.voucherRequired
            })
        });
    }

    /// @inheritdoc IPlanRegistry
    function planStatus(bytes32 planId)
        external
        view
        returns (address owner, bool onSale, bool retired, bool timePlan)
    {
        Record storage record = _plans[planId];
        owner = record.owner;
        onSale =
            owner != address(0) && record.sales == Sales.Open && (record.supply == 0 || record.sold < record.supply);
        retired = record.sales == Sales.Retired;
        timePlan = owner != address(0) && record.creditsPerUnit == 0;
    }

    /// @inheritdoc IPlanRegistry
    function payees(bytes32 planId) external view returns (Payee[] memory) {
        return _payees[planId];
    }

    /// @inheritdoc IPlanRegistry
    function account(bytes32 planId, address subscriber) external view returns (Account memory) {
        return _accounts[planId][subscriber];
    }

    /// @inheritdoc IPlanRegistry
    function refundAvailableAt(bytes32 planId, address subscriber) external view returns (uint256) {
        return _escrows[planId][subscriber].availableAt;
    }

    /// @inheritdoc IPlanRegistry
    function protocolFee() external view returns (address recipient, uint16 basisPoints) {
        return (_feeRecipient, _feeBasisPoints);
    }

    // --------------------------------------------------------------------------------------------------- ERC-1155

    /// @inheritdoc IERC1155
    function balanceOf(address subscriber, uint256 id) public view returns (uint256) {
        Account memory account_ = _accounts[bytes32(id)][subscriber];
        return _isExpired(account_) ? 0 : account_.balance;
    }

    /// @inheritdoc IERC1155
    function balanceOfBatch(address[] calldata subscribers, uint256[] calldata ids)
        external
        view
        returns (uint256[] memory balances)
    {
        if (subscribers.length != ids.length) revert LengthMismatch(subscribers.length, ids.length);
        balances = new uint256[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            balances[i] = balanceOf(subscribers[i], ids[i]);
        }
    }

    /// @inheritdoc IERC1155
    function isApprovedForAll(address, address) external pure returns (bool) {
        return false;
    }

    /// @inheritdoc IERC1155
    function setApprovalForAll(address, bool) external pure {
        revert Soulbound();
    }

    /// @inheritdoc IERC1155
    function safeTransferFrom(address, address, uint256, uint256, bytes calldata) external pure {
        revert Soulbound();
    }

    /// @inheritdoc IERC1155
    function safeBatchTransferFrom(address, address, uint256[] calldata, uint256[] calldata, bytes calldata)
        external
        pure
    {
        revert Soulbound();
    }

    /// @inheritdoc IERC1155
    function uri(uint256 id) external view returns (string memory) {
        bytes32 metadata = _existing(bytes32(id)).metadata;
        return metadata == 0 ? "" : string.concat("ipfs://", Cid.fromDigest(metadata));
    }

    /// @inheritdoc IERC1155
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == 0xd9b67a26 || interfaceId == 0x0e89341c;
    }

    // ---------------------------------------------------------------------------------------------------- private

    function _existing(bytes32 planId) private view returns (Record storage record) {
        record = _plans[planId];
        if (record.owner == address(0)) revert PlanUnknown(planId);
    }

    function _owned(bytes32 planId) private view returns (Record storage record) {
        record = _existing(planId);
        if (record.owner != msg.sender) revert NotPlanOwner(planId, msg.sender);
    }

    function _refundable(bytes32 planId) private view returns (Record storage record) {
        record = _existing(planId);
        if (record.refundCooldown == 0) revert NotRefundable(planId);
    }

    function _quantityPerUnit(Record storage record) private view returns (uint256) {
        uint256 credits = record.creditsPerUnit;
        return credits == 0 ? record.duration : credits;
    }

    function _isExpired(Account memory account_) private view returns (bool) {
        return account_.expiry != 0 && block.timestamp >= account_.expiry;
    }

    function _toUint112(uint256 value) private pure returns (uint112) {
        if (value > type(uint112).max) revert LimitOverflow();
        return uint112(value);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }
}
