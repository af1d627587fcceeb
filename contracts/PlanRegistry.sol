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
import {Erc6492} from "./libraries/Erc6492.sol";
import {Money} from "./libraries/Money.sol";
import {Standing} from "./libraries/Standing.sol";
import {Till, TillLib} from "./libraries/Till.sol";

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
    uint256 public constant VOUCHER_GAS = 1_000_000;
    /// @dev Gas to have before a call that gets VOUCHER_GAS: a 64th stays with the caller (EIP-150), the call costs up to 2,600.
    uint256 private constant VOUCHER_GAS_LEFT = VOUCHER_GAS * 64 / 63 + 5_000;

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

    /// @dev A purchase reads all of it and writes slot 2; a settlement reads slot 1.
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
        // Slot 2: price, revenue, sold.
        Till till;
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
    mapping(bytes32 planId => bytes32) private _metadata;
    mapping(bytes32 planId => address) private _pendingOwner;
    mapping(bytes32 planId => Payee[]) private _payees;
    mapping(bytes32 planId => mapping(address subscriber => Standing)) private _accounts;
    mapping(bytes32 planId => mapping(address subscriber => Escrow)) private _escrows;
    /// @dev Last batch applied, by keccak256(did, planId, node).
    mapping(bytes32 lane => uint64) private _batches;
    /// @dev Revenue (after the fee) up to the last hand-over of a plan without payees: former owners'.
    mapping(bytes32 planId => uint256) private _handedOver;
    mapping(bytes32 planId => mapping(address formerOwner => uint256)) private _formerEarnings;
    mapping(bytes32 planId => mapping(address payee => uint256)) private _withdrawn;
    uint256 private transient _entered;

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
        if (_entered != 0) revert Reentered();
        _entered = 1;
        _;
        _entered = 0;
    }

    // ------------------------------------------------------------------------------------------------ plan's owner

    /// @inheritdoc IPlanRegistry
    function createPlan(bytes32 salt, Terms calldata terms, Payee[] calldata payees_, bytes32 metadata)
        external
        returns (bytes32 planId)
    {
        planId = planIdOf(msg.sender, salt);
        if (_plans[planId].owner != address(0)) revert PlanExists(planId);
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
            till: TillLib.open(terms.price)
        });
        if (metadata != 0) _metadata[planId] = metadata;
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
    function grant(bytes32 planId, address subscriber, uint48 units) external locked {
        Record storage record = _owned(planId);
        if (record.sales == Sales.Retired) revert PlanNotOnSale(planId, true);
        uint256 credits = uint256(record.creditsPerUnit) * units;
        uint256 time = uint256(record.duration) * units;
        bool refundable = record.refundCooldown != 0;
        if (refundable) _accrue(planId, subscriber);
        (uint256 minted, uint256 expiry) = _give(planId, subscriber, credits, time, 0, 0);
        if (refundable) _escrows[planId][subscriber].free += uint88(credits != 0 ? credits : time);
        emit Granted(planId, subscriber, units, expiry);
        _askRecipient(planId, subscriber, minted);
    }

    // -------------------------------------------------------------------------------------------------- purchases

    /// @inheritdoc IPlanRegistry
    function purchase(bytes32 planId, address subscriber, uint48 units, uint256 maxPrice) external payable locked {
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
        uint48 units,
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
        uint48 units,
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
    function authorisationNonce(bytes32 planId, address subscriber, uint48 units, bytes32 salt)
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
        uint256 credits;
        uint256 time;
        uint256 limit;
        (token, due, credits, time, limit) = _order(planId, subscriber, units, maxPrice);
        uint256 expiry;
        (minted, expiry) = _give(planId, subscriber, credits, time, units, limit);
        emit Purchased(planId, subscriber, payer, units, due, expiry);
    }

    /// @dev What `units` are and cost; counts them in the till. Arithmetic is unchecked here and in `_give`: terms have at most
    /// 96 bits and `units` 48, so no product or sum comes near 256; what is stored is compared with its type first.
    function _order(bytes32 planId, address subscriber, uint256 units, uint256 maxPrice)
        private
        returns (address token, uint256 due, uint256 credits, uint256 time, uint256 limit)
    {
        unchecked {
            Record storage record = _plans[planId];
            if (record.owner == address(0)) revert PlanUnknown(planId);
            if (record.sales != Sales.Open) revert PlanNotOnSale(planId, record.sales == Sales.Retired);
            uint256 supply = record.supply;
            limit = record.purchaseLimit;
            time = record.duration * units;
            credits = record.creditsPerUnit * units;
            token = record.token;
            bool refundable = record.refundCooldown != 0;
            if (refundable) _accrue(planId, subscriber);

            Till till = record.till;
            due = till.price() * units;
            if (due > maxPrice) revert PriceAboveMaximum(due, maxPrice);
            uint256 sold = till.sold();
            if (supply != 0 && sold + units > supply) revert SoldOut(planId, units, supply - sold);
            till = till.withSold(sold + units);
            record.till = refundable ? till : till.earn(due);
        }
    }

    /// @dev Adds credits and time to the account. `bought` is what counts against `limit`. `minted` is how much the ERC-1155
    /// balance grew.
    function _give(bytes32 planId, address subscriber, uint256 credits, uint256 time, uint256 bought, uint256 limit)
        private
        returns (uint256 minted, uint256 expiry)
    {
        unchecked {
            if (credits + time == 0) revert NoUnits();
            if (subscriber == address(0)) revert NoSubscriber();
            mapping(address => Standing) storage accounts = _accounts[planId];
            Standing standing = accounts[subscriber];
            uint256 balance = standing.balance();
            if (balance != 0 && standing.isExpired()) {
                _accrue(planId, subscriber);
                standing = standing.burn(balance);
                balance = 0;
            }

            uint256 before = standing.unitsBought();
            if (limit != 0 && before + bought > limit) {
                revert PurchaseLimitReached(planId, subscriber, bought, limit - before);
            }
            standing = standing.withUnitsBought(before + bought);
            if (time != 0) {
                expiry = _max(block.timestamp, standing.expiry()) + time;
                if (expiry > type(uint40).max) revert LimitOverflow();
                standing = standing.withExpiry(expiry);
            }
            // A time plan's token is minted when it becomes active, not when it is renewed.
            minted = credits != 0 ? credits : 1 - balance;
            if (balance + standing.consumed() + minted > type(uint88).max) revert LimitOverflow();
            accounts[subscriber] = standing.mint(minted);
            if (minted != 0) emit TransferSingle(msg.sender, address(0), subscriber, uint256(planId), minted);
        }
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

    /// @dev A batch under way: the rule it obeys, what it needs of the plan, and its sums.
    struct Batch {
        uint256 min;
        uint256 max;
        bytes32 domain;
        bool refundable;
        uint256 calls;
        uint256 credits;
        uint256 taken;
        uint256 earned;
    }

    /// @dev No vouchers = none are needed. The validator that a voucher may be shown to runs code of the wallet's: it finds this
    /// contract locked and nothing read ahead, but for `planId`'s terms.
    // slither-disable-next-line reentrancy-no-eth
    function _settle(
        bytes32 did,
        bytes32 planId,
        uint64 number,
        bytes32 receiptsRoot,
        bytes32[] calldata entries,
        Voucher[] calldata vouchers
    ) private {
        if (entries.length == 0) revert EmptyBatch();
        Batch memory batch = _open(did, planId);
        _count(did, planId, number);
        if (vouchers.length != 0) batch.domain = DOMAIN_SEPARATOR();
        _apply(planId, number, batch, entries, vouchers);
        if (batch.earned != 0) _plans[planId].till = _plans[planId].till.earn(batch.earned);
        emit Settled(did, planId, msg.sender, number, batch.calls, batch.credits, batch.taken, receiptsRoot);
    }

    function _open(bytes32 did, bytes32 planId) private view returns (Batch memory batch) {
        bool authorised;
        (authorised, batch.min, batch.max) = IAssetRegistry(assetRegistry).settlementRule(did, planId, msg.sender);
        if (!authorised) revert NodeNotAuthorised(did, planId, msg.sender);
        batch.refundable = _plans[planId].refundCooldown != 0;
    }

    function _count(bytes32 did, bytes32 planId, uint64 number) private {
        bytes32 lane = _lane(did, planId, msg.sender);
        uint64 expected = _batches[lane] + 1;
        if (number != expected) revert WrongBatch(number, expected);
        _batches[lane] = number;
    }

    /// @dev Takes what the entries ask for and adds it up in `batch`.
    // slither-disable-next-line reentrancy-no-eth
    function _apply(
        bytes32 planId,
        uint64 number,
        Batch memory batch,
        bytes32[] calldata entries,
        Voucher[] calldata vouchers
    ) private {
        mapping(address => Standing) storage accounts = _accounts[planId];
        for (uint256 i = 0; i < entries.length; ++i) {
            (address subscriber, uint256 credits) = _claim(batch, i, uint256(entries[i]));
            uint256 taken = credits;
            if (vouchers.length != 0) {
                uint256 ceiling = _signedCeiling(batch.domain, planId, i, subscriber, vouchers[i]);
                taken = _min(taken, _room(ceiling, accounts[subscriber].consumed()));
            }
            Standing standing = accounts[subscriber];
            taken = _min(taken, standing.balance());
            if (taken != credits) emit Shortfall(planId, subscriber, msg.sender, number, credits - taken);
            if (taken == 0) continue;

            // Also after the expiry, for calls that were served before.
            if (batch.refundable) batch.earned += _paid(planId, subscriber, standing.balance(), taken);
            batch.taken += taken;
            accounts[subscriber] = standing.consume(taken);
            _announceBurn(planId, subscriber, taken);
        }
    }

    function _announceBurn(bytes32 planId, address subscriber, uint256 credits) private {
        emit TransferSingle(msg.sender, subscriber, address(0), uint256(planId), credits);
    }

    /// @dev How many credits a voucher still covers.
    function _room(uint256 ceiling, uint256 consumed) private pure returns (uint256) {
        return ceiling > consumed ? ceiling - consumed : 0;
    }

    /// @dev What an entry asks for, within the rule.
    function _claim(Batch memory batch, uint256 index, uint256 entry)
        private
        pure
        returns (address subscriber, uint256 credits)
    {
        subscriber = address(uint160(entry >> 96));
        credits = uint64(entry);
        // 32 and 64 bits, as many as fit into a block: nothing overflows 256.
        unchecked {
            uint256 calls = uint32(entry >> 64);
            uint256 min = calls * batch.min;
            uint256 max = calls * batch.max;
            if (credits < min || credits > max) revert OutsideRule(index, calls, credits, min, max);
            batch.calls += calls;
            batch.credits += credits;
        }
    }

    /// @dev How many of the credits taken were paid for: granted ones go last.
    function _paid(bytes32 planId, address subscriber, uint256 balance, uint256 taken) private view returns (uint256) {
        return _min(taken, balance - _min(_escrows[planId][subscriber].free, balance));
    }

    /// @dev The voucher's ceiling, or 0 if the code that judges the signature doesn't accept it.
    function _signedCeiling(bytes32 domain, bytes32 planId, uint256 index, address subscriber, Voucher calldata voucher)
        private
        returns (uint256)
    {
        bytes32 hash = keccak256(abi.encode(VOUCHER_TYPEHASH, planId, subscriber, voucher.ceiling));
        hash = keccak256(abi.encodePacked(hex"1901", domain, hash));
        if (Ecdsa.isSigner(subscriber, hash, voucher.signature)) return voucher.ceiling;
        if (subscriber.code.length == 0 && !Erc6492.isWrapped(voucher.signature)) {
            revert InvalidVoucher(index, subscriber, voucher.ceiling);
        }
        return _walletAccepts(index, subscriber, hash, voucher.signature) ? voucher.ceiling : 0;
    }

    /// @dev The wallet's code may answer otherwise than it did when the node asked, or burn its gas: only its own entry falls
    /// short then.
    function _walletAccepts(uint256 index, address subscriber, bytes32 hash, bytes calldata signature)
        private
        returns (bool)
    {
        bytes memory question = abi.encodeCall(ISignatureValidator.isValidSignature, (subscriber, hash, signature));
        if (gasleft() < VOUCHER_GAS_LEFT) revert GasTooLow(index, VOUCHER_GAS_LEFT);
        // The validator is ours: it answers with one word, or with nothing when its gas is gone.
        // slither-disable-next-line return-bomb
        (bool done, bytes memory answer) = signatureValidator.call{gas: VOUCHER_GAS}(question);
        return done && abi.decode(answer, (bool));
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
        Escrow storage escrow = _escrows[planId][msg.sender];
        escrow.availableAt = 0;
        (, uint256 amount, uint256 end) = _refund(record, _accounts[planId][msg.sender], escrow);
        if (amount == 0) revert NothingToRefund(planId, msg.sender);
        uint40 availableAt = uint40(block.timestamp) + record.refundCooldown;
        (escrow.covered, escrow.availableAt) = (uint88(end), availableAt);
        emit RefundAnnounced(planId, msg.sender, availableAt);
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
        Escrow storage escrow = _escrows[planId][msg.sender];
        uint256 availableAt = escrow.availableAt;
        if (availableAt == 0 || block.timestamp < availableAt) revert RefundNotAvailable(availableAt);
        _accrue(planId, msg.sender);
        Standing standing = _accounts[planId][msg.sender];
        uint256 quantity;
        (quantity, amount,) = _refund(record, standing, escrow);
        if (amount == 0) revert NothingToRefund(planId, msg.sender);

        bool timePlan = record.creditsPerUnit == 0;
        if (timePlan) standing = standing.withExpiry(standing.expiry() - quantity);
        uint256 burnt = !timePlan ? quantity : standing.isExpired() ? 1 : 0;
        _accounts[planId][msg.sender] = standing.burn(burnt);
        escrow.availableAt = 0;
        // Else somebody could buy up a limited supply and take all of the money back.
        // The count may have stopped at its maximum and be less than what is given back.
        uint256 sold = record.till.sold();
        record.till = record.till.withSold(sold - _min(sold, quantity / _quantityPerUnit(record)));
        if (burnt != 0) emit TransferSingle(msg.sender, msg.sender, address(0), uint256(planId), burnt);
        emit Refunded(planId, msg.sender, timePlan ? 0 : quantity, amount);
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
        _refundable(planId);
        _accrue(planId, subscriber);
    }

    /// @dev What a refund gives now. `end` is where the paid quantity ends: the value of `consumed`, or the time.
    function _refund(Record storage record, Standing standing, Escrow memory escrow)
        private
        view
        returns (uint256 quantity, uint256 amount, uint256 end)
    {
        bool timePlan = record.creditsPerUnit == 0;
        uint256 start = timePlan ? block.timestamp : standing.consumed();
        if (!standing.isExpired()) {
            uint256 last = timePlan ? standing.expiry() : standing.balance() + start;
            end = last - _min(escrow.free, last);
        }
        uint256 covered = escrow.availableAt == 0 ? end : _min(end, escrow.covered);
        quantity = covered > start ? covered - start : 0;
        amount = quantity * record.till.price() / _quantityPerUnit(record);
    }

    /// @dev Clears what has expired, and on a refundable plan moves what was used up by expiry or time to the revenue.
    function _accrue(bytes32 planId, address subscriber) private {
        Record storage record = _plans[planId];
        Standing standing = _accounts[planId][subscriber];
        bool timePlan = record.creditsPerUnit == 0;
        bool expired = standing.isExpired();
        uint256 balance = standing.balance();

        if (record.refundCooldown != 0) {
            Escrow memory escrow = _escrows[planId][subscriber];
            uint256 earned = 0;
            uint256 left = balance;
            if (timePlan) {
                uint256 paidUntil = standing.expiry() - escrow.free;
                uint256 until = _min(block.timestamp, paidUntil);
                if (until > escrow.accruedAt) earned = until - escrow.accruedAt;
                escrow.accruedAt = uint40(block.timestamp);
                left = standing.expiry() > block.timestamp ? standing.expiry() - block.timestamp : 0;
            } else if (expired) {
                earned = balance - _min(escrow.free, balance);
                left = 0;
            }
            escrow.free = uint88(_min(escrow.free, left));
            if (expired && escrow.availableAt != 0) {
                escrow.availableAt = 0;
                emit RefundAnnounced(planId, subscriber, 0);
            }
            _escrows[planId][subscriber] = escrow;
            if (earned != 0) record.till = record.till.earn(earned);
        }

        if (expired && balance != 0) {
            _accounts[planId][subscriber] = standing.burn(balance);
            if (!timePlan) emit CreditsExpired(planId, subscriber, balance);
            emit TransferSingle(msg.sender, subscriber, address(0), uint256(planId), balance);
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
        Till till = record.till;
        if (record.refundCooldown == 0) return till.revenue();
        return till.revenue() * till.price() / _quantityPerUnit(record);
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
            sold: uint48(record.till.sold()),
            metadata: _metadata[planId],
            revenue: _gross(record),
            terms: Terms({
                token: record.token,
                price: uint96(record.till.price()),
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
        onSale = owner != address(0) && record.sales == Sales.Open
            && (record.supply == 0 || record.till.sold() < record.supply);
        retired = record.sales == Sales.Retired;
        timePlan = owner != address(0) && record.creditsPerUnit == 0;
    }

    /// @inheritdoc IPlanRegistry
    function payees(bytes32 planId) external view returns (Payee[] memory) {
        return _payees[planId];
    }

    /// @inheritdoc IPlanRegistry
    function account(bytes32 planId, address subscriber) external view returns (Account memory) {
        return _accounts[planId][subscriber].unpack();
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
        Standing standing = _accounts[bytes32(id)][subscriber];
        return standing.isExpired() ? 0 : standing.balance();
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
        _existing(bytes32(id));
        bytes32 metadata = _metadata[bytes32(id)];
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

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }
}
