"""The mutants: one deliberate mistake each, with the property that it breaks and the tests that must notice.

A mutant replaces `old`, which must occur exactly once in `file`, by `new`. `tests` is a regular expression over the names
of the test contracts in tests/contracts/forge that should notice; LEDGER is the stateful campaign.
"""

# ruff: noqa: E501 -- the lines of other files are quoted as they stand there

from __future__ import annotations

from dataclasses import dataclass

PLANS, ASSETS, NODES = "PlanRegistry.sol", "AssetRegistry.sol", "NodeRegistry.sol"
VALIDATOR, LENS = "SignatureValidator.sol", "Lens.sol"
ECDSA, MONEY, CID = "libraries/Ecdsa.sol", "libraries/Money.sol", "libraries/Cid.sol"
STANDING, TILL = "libraries/Standing.sol", "libraries/Till.sol"

LEDGER = "InvariantsTest"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake. `breaks` names the property: I1 to I9 as in the specification, or the rule in a few words."""

    breaks: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    # I1 the contract holds what it owes
    Mutant(
        "I1 refundable price is earned at once", PLANS, "refundable ? till : till.earn(due)", "till.earn(due)", LEDGER
    ),
    Mutant("I1 a withdrawal is not remembered", PLANS, "_withdrawn[planId][payee] += amount;", "", LEDGER),
    Mutant("I1 the fee is paid on top", PLANS, "net = gross - fee;", "net = gross;", LEDGER),
    Mutant(
        "I1 any native amount pays",
        PLANS,
        "if (msg.value != due) revert",
        "if (msg.value > due) revert",
        "PurchaseTest",
    ),
    Mutant(
        "I1 fee on transfer goes unnoticed", MONEY, "if (paid != amount) revert", "if (paid > amount) revert", LEDGER
    ),
    Mutant(
        "I1 a surplus goes unnoticed", MONEY, "if (paid != amount) revert", "if (paid < amount) revert", "PurchaseTest"
    ),
    Mutant("I1 false is taken for true", MONEY, "uint256(bytes32(result)) == 1", "result.length != 0", "EarningsTest"),
    Mutant("I1 a failed payment is forgotten", MONEY, "if (!sent) revert", "if (!sent && amount == 0) revert", LEDGER),
    # I2 given = balance + consumed + expired + refunded
    Mutant("I2 what is taken is not consumed", STANDING, "credits + (credits << 88)", "credits", LEDGER),
    Mutant("I2 what is consumed is not taken", STANDING, "- credits + (credits << 88)", "+ (credits << 88)", LEDGER),
    Mutant(
        "I2 expired credits come back",
        PLANS,
        "            if (balance != 0 && standing.isExpired()) {",
        "            if (balance == 1 && standing.isExpired()) {",
        LEDGER,
    ),
    Mutant(
        "I2 a refund leaves the credits",
        PLANS,
        "_accounts[planId][msg.sender] = standing.burn(burnt);",
        "_accounts[planId][msg.sender] = standing;",
        LEDGER,
    ),
    Mutant(
        "I2 balance and consumed outgrow the word",
        PLANS,
        "balance + standing.consumed() + minted > type(uint88).max",
        "balance + minted > type(uint88).max",
        "PurchaseTest",
    ),
    Mutant(
        "I2 balance outgrows the word",
        PLANS,
        "if (balance + standing.consumed() + minted > type(uint88).max) revert",
        "if (minted == type(uint256).max) revert",
        "PurchaseTest",
    ),
    Mutant(
        "I2 expiry outgrows the word",
        PLANS,
        "if (expiry > type(uint40).max) revert",
        "if (expiry > type(uint48).max) revert",
        "PurchaseTest",
    ),
    # I3 a balance falls only by settlement within the rule, expiry, or the owner's own refund after the cooldown
    Mutant(
        "I3 the maximum of the rule does not hold", PLANS, "credits < min || credits > max", "credits < min", LEDGER
    ),
    Mutant(
        "I3 the minimum of the rule does not hold",
        PLANS,
        "credits < min || credits > max",
        "credits > max",
        "SettleTest",
    ),
    Mutant(
        "I3 the rule wraps in 64 bits",
        PLANS,
        "uint256 max = calls * batch.max;",
        "uint256 max = uint64(calls * batch.max);",
        "SettleTest",
    ),
    Mutant(
        "I3 the cooldown is not waited for",
        PLANS,
        "availableAt == 0 || block.timestamp < availableAt",
        "availableAt == 0",
        LEDGER,
    ),
    Mutant(
        "I3 the cooldown ends a second late",
        PLANS,
        "availableAt == 0 || block.timestamp < availableAt",
        "availableAt == 0 || block.timestamp <= availableAt",
        "RefundTest",
    ),
    Mutant(
        "I3 a refund needs no announcement",
        PLANS,
        "availableAt == 0 || block.timestamp < availableAt",
        "block.timestamp < availableAt",
        LEDGER,
    ),
    Mutant(
        "I3 one announcement, many refunds",
        PLANS,
        "        escrow.availableAt = 0;\n        // Else",
        "        // Else",
        LEDGER,
    ),
    Mutant(
        "I3 a plan is spendable a second too long", STANDING, "block.timestamp >= end", "block.timestamp > end", LEDGER
    ),
    Mutant(
        "I3 a settlement takes from expired credits of nobody",
        PLANS,
        "standing = standing.burn(balance);\n                balance = 0;",
        "balance = 0;",
        LEDGER,
    ),
    Mutant(
        "I3 a renewal starts at the expiry long past",
        PLANS,
        "_max(block.timestamp, standing.expiry()) + time",
        "(standing.expiry() == 0 ? block.timestamp : standing.expiry()) + time",
        LEDGER,
    ),
    Mutant(
        "I3 a renewal forgets the time that is left",
        PLANS,
        "_max(block.timestamp, standing.expiry()) + time",
        "block.timestamp + time",
        LEDGER,
    ),
    # I4 a batch is applied at most once
    Mutant(
        "I4 a batch may be repeated", PLANS, "if (number != expected) revert", "if (number > expected) revert", LEDGER
    ),
    Mutant(
        "I4 a batch may be skipped", PLANS, "if (number != expected) revert", "if (number < expected) revert", LEDGER
    ),
    Mutant("I4 the batch is not counted", PLANS, "        _batches[lane] = number;\n", "", LEDGER),
    Mutant(
        "I4 nodes share their batch numbers",
        PLANS,
        "return keccak256(abi.encode(did, planId, node));",
        "return keccak256(abi.encode(did, planId, node == address(0)));",
        LEDGER,
    ),
    Mutant(
        "I4 assets share their batch numbers",
        PLANS,
        "return keccak256(abi.encode(did, planId, node));",
        "return keccak256(abi.encode(did == 0, planId, node));",
        "SettleTest",
    ),
    Mutant("I4 an empty batch counts", PLANS, "if (entries.length == 0) revert EmptyBatch();", "", "SettleTest"),
    # I5 terms never change
    Mutant(
        "I5 a plan can be created again",
        PLANS,
        "if (_plans[planId].owner != address(0)) revert PlanExists(planId);",
        "",
        "PlansTest",
    ),
    Mutant(
        "I5 revenue flows into the price",
        TILL,
        "Till.unwrap(self) + (amount << 96)",
        "Till.unwrap(self) + (amount << 95)",
        LEDGER,
    ),
    Mutant(
        "I5 payees need not be the whole",
        PLANS,
        "if (sum != BASIS_POINTS) revert",
        "if (sum > BASIS_POINTS) revert",
        "PlansTest",
    ),
    Mutant(
        "I5 a payee counts twice",
        PLANS,
        "for (uint256 j = 0; j < i; ++j)",
        "for (uint256 j = 1; j < i; ++j)",
        "PlansTest",
    ),
    Mutant(
        "I5 the cooldown may be too short",
        PLANS,
        "terms.refundCooldown < MIN_REFUND_COOLDOWN",
        "terms.refundCooldown + 1 < MIN_REFUND_COOLDOWN",
        "PlansTest",
    ),
    # I6 nobody has power over other people's funds or credits
    Mutant(
        "I6 anybody grants",
        PLANS,
        "if (record.owner != msg.sender) revert NotPlanOwner(planId, msg.sender);",
        "",
        LEDGER,
    ),
    Mutant(
        "I6 anybody accepts a plan",
        PLANS,
        "if (_pendingOwner[planId] != msg.sender) revert NotPendingOwner",
        "if (false) revert NotPendingOwner",
        LEDGER,
    ),
    Mutant("I6 an offer can be accepted again", PLANS, "        delete _pendingOwner[planId];\n", "", LEDGER),
    Mutant(
        "I6 the new owner takes the old one's earnings",
        PLANS,
        "_formerEarnings[planId][from] +=",
        "_formerEarnings[planId][msg.sender] +=",
        LEDGER,
    ),
    Mutant("I6 a hand-over counts revenue twice", PLANS, "            _handedOver[planId] = net;\n", "", LEDGER),
    Mutant(
        "I6 withdrawTo takes anybody's",
        PLANS,
        "return _withdraw(planId, msg.sender, to);",
        "return _withdraw(planId, to, msg.sender);",
        LEDGER,
    ),
    Mutant(
        "I6 the first payee's share is rounded down",
        PLANS,
        "(i == 0 ? share + BASIS_POINTS - 1 : share)",
        "share",
        LEDGER,
    ),
    Mutant(
        "I6 every share is rounded up",
        PLANS,
        "(i == 0 ? share + BASIS_POINTS - 1 : share)",
        "(share + BASIS_POINTS - 1)",
        LEDGER,
    ),
    Mutant("I6 no lock", PLANS, "if (_entered != 0) revert Reentered();", "", "AttacksTest"),
    Mutant("I6 the lock stays shut", PLANS, "        _;\n        _entered = 0;", "        _;", "PurchaseTest"),
    Mutant(
        "I6 a foreign node settles",
        PLANS,
        "if (!authorised) revert NodeNotAuthorised",
        "if (false) revert NodeNotAuthorised",
        LEDGER,
    ),
    Mutant(
        "I6 a relayer redirects an authorisation",
        PLANS,
        "return keccak256(abi.encode(block.chainid, address(this), planId, subscriber, units, salt));",
        "return keccak256(abi.encode(block.chainid, address(this), planId, units, salt));",
        LEDGER,
    ),
    Mutant(
        "I6 an authorisation buys another plan",
        PLANS,
        "return keccak256(abi.encode(block.chainid, address(this), planId, subscriber, units, salt));",
        "return keccak256(abi.encode(block.chainid, address(this), subscriber, units, salt));",
        "PurchaseSignedTest",
    ),
    Mutant(
        "I6 no bound on the price",
        PLANS,
        "if (due > maxPrice) revert",
        "if (due == maxPrice + 1) revert",
        "PurchaseTest|PurchaseSignedTest",
    ),
    Mutant(
        "I6 a refusing receiver is ignored",
        PLANS,
        "if (answer != IERC1155Receiver.onERC1155Received.selector) {",
        "if (answer == 0) {",
        "PurchaseTest",
    ),
    # I7 only the DID's owner changes its record
    Mutant(
        "I7 anybody changes an asset",
        ASSETS,
        "if (_existing(did).owner != msg.sender) revert NotAssetOwner(did, msg.sender);\n        _;",
        "_;",
        LEDGER,
    ),
    Mutant(
        "I7 anybody accepts an asset",
        ASSETS,
        "if (record.pendingOwner != msg.sender) revert",
        "if (false) revert",
        LEDGER,
    ),
    Mutant(
        "I7 anybody closes an offer",
        ASSETS,
        "if (_existing(did).owner != msg.sender && _planOwner(planId) != msg.sender) {",
        "if (did == 0) {",
        "AssetsTest",
    ),
    Mutant(
        "I7 a foreign plan opens an asset",
        ASSETS,
        "if (owner != msg.sender || retired) revert",
        "if (retired) revert",
        "AssetsTest|AttacksTest",
    ),
    Mutant(
        "I7 a new rule holds at once",
        ASSETS,
        "effectiveAt = block.timestamp + NOTICE_PERIOD;",
        "effectiveAt = block.timestamp;",
        LEDGER,
    ),
    Mutant(
        "I7 the old rule ends with the notice",
        ASSETS,
        "return end == 0 || block.timestamp < end + SETTLEMENT_WINDOW;",
        "return end == 0 || block.timestamp < end;",
        LEDGER,
    ),
    Mutant(
        "I7 a removed node settles on",
        ASSETS,
        "if (until != 0 && block.timestamp >= until) return (false, 0, 0);",
        "",
        LEDGER,
    ),
    Mutant(
        "I7 a node is removed a second late",
        ASSETS,
        "if (until != 0 && block.timestamp >= until) return (false, 0, 0);",
        "if (until != 0 && block.timestamp > until) return (false, 0, 0);",
        "AssetsTest|SettleTest",
    ),
    Mutant(
        "I7 the union forgets the old maximum",
        ASSETS,
        "terms.max > next.max ? terms.max : next.max",
        "next.max",
        LEDGER,
    ),
    Mutant(
        "I7 the union forgets the old minimum",
        ASSETS,
        "terms.min < next.min ? terms.min : next.min",
        "next.min",
        LEDGER,
    ),
    Mutant(
        "I7 the change before is forgotten", ASSETS, "(terms.min, terms.max) = (current.min, current.max);", "", LEDGER
    ),
    Mutant(
        "I7 a grace without end", ASSETS, "if (until > latest) revert", "if (until > latest + 1) revert", "AssetsTest"
    ),
    Mutant("I7 deactivation can be stretched", ASSETS, "if (record.inactive != active) return;", "", "AssetsTest"),
    Mutant(
        "I7 seventeen plans",
        ASSETS,
        "if (offers_.length > MAX_OFFERS) revert",
        "if (offers_.length > MAX_OFFERS + 1) revert",
        "AssetsTest",
    ),
    # I8 credits never move between accounts
    Mutant(
        "I8 a transfer does not revert",
        PLANS,
        "function safeTransferFrom(address, address, uint256, uint256, bytes calldata) external pure {\n        revert Soulbound();",
        "function safeTransferFrom(address, address, uint256, uint256, bytes calldata) external pure {\n        return;",
        LEDGER,
    ),
    Mutant(
        "I8 a settlement takes from the wrong account",
        PLANS,
        "accounts[subscriber] = standing.consume(taken);",
        "accounts[msg.sender] = standing.consume(taken);",
        LEDGER,
    ),
    # I9 with a voucher plan, consumed <= the signed ceiling
    Mutant(
        "I9 the ceiling is per batch",
        PLANS,
        "return ceiling > consumed ? ceiling - consumed : 0;",
        "return ceiling;",
        LEDGER,
    ),
    Mutant(
        "I9 vouchers are not asked for",
        PLANS,
        "if (_plans[planId].voucherRequired) revert VouchersRequired(planId, 0, entries.length);",
        "",
        "VoucherTest",
    ),
    Mutant(
        "I9 fewer vouchers than entries",
        PLANS,
        "if (vouchers.length != entries.length) {",
        "if (vouchers.length > entries.length) {",
        "VoucherTest",
    ),
    Mutant(
        "I9 signatures are not checked",
        PLANS,
        "if (Ecdsa.isSigner(subscriber, hash, voucher.signature)) return",
        "if (hash != 0) return",
        LEDGER,
    ),
    Mutant(
        "I9 wallets need not agree",
        PLANS,
        "return _walletAccepts(index, subscriber, hash, voucher.signature) ? voucher.ceiling : 0;",
        "return voucher.ceiling;",
        "VoucherTest",
    ),
    Mutant(
        "a wallet that disagrees stops the batch",
        PLANS,
        "if (subscriber.code.length == 0 && !Erc6492.isWrapped(voucher.signature)) {",
        "if (!_walletAccepts(index, subscriber, hash, voucher.signature)) {",
        "VoucherTest|AttacksTest",
    ),
    Mutant(
        "a wallet may burn all the gas",
        PLANS,
        "signatureValidator.call{gas: VOUCHER_GAS}",
        "signatureValidator.call",
        "VoucherTest",
    ),
    Mutant(
        "the sender may starve a wallet",
        PLANS,
        "if (gasleft() < VOUCHER_GAS_LEFT) revert GasTooLow(index, VOUCHER_GAS_LEFT);",
        "",
        "VoucherTest",
    ),
    Mutant(
        "a signature that is nobody's is a shortfall",
        PLANS,
        "if (subscriber.code.length == 0 && !Erc6492.isWrapped(voucher.signature)) {",
        "if (subscriber == address(0)) {",
        "VoucherTest",
    ),
    Mutant(
        "I9 a voucher is good for every plan",
        PLANS,
        "abi.encode(VOUCHER_TYPEHASH, planId, subscriber, voucher.ceiling)",
        "abi.encode(VOUCHER_TYPEHASH, bytes32(0), subscriber, voucher.ceiling)",
        "VoucherTest",
    ),
    Mutant(
        "I9 a voucher is good on every chain",
        PLANS,
        'keccak256("1"), block.chainid, address(this)',
        'keccak256("1"), uint256(1), address(this)',
        "VoucherTest",
    ),
    Mutant(
        "I9 a malleated signature is another one",
        ECDSA,
        "if (uint256(s) > MAX_S) return false;",
        "",
        "VoucherTest|SignaturesTest",
    ),
    Mutant(
        "I9 zero signs everything",
        ECDSA,
        "return recovered != address(0) && recovered == signer;",
        "return recovered == signer;",
        "VoucherTest|SignaturesTest",
    ),
    Mutant(
        "I9 a wallet's any answer is a yes",
        VALIDATOR,
        "bytes32(answer) == bytes32(ERC1271_VALID)",
        "bytes32(answer) != 0",
        "VoucherTest|SignaturesTest",
    ),
    # escrow and revenue
    Mutant(
        "granted credits are used first",
        PLANS,
        "return _min(taken, balance - _min(_escrows[planId][subscriber].free, balance));",
        "return taken - _min(_escrows[planId][subscriber].free, taken);",
        LEDGER,
    ),
    Mutant("granted quantity is refunded", PLANS, "end = last - _min(escrow.free, last);", "end = last;", LEDGER),
    Mutant(
        "a refund covers what was bought later",
        PLANS,
        "escrow.availableAt == 0 ? end : _min(end, escrow.covered)",
        "end",
        LEDGER,
    ),
    Mutant(
        "expired credits are not earned", PLANS, "earned = balance - _min(escrow.free, balance);", "earned = 0;", LEDGER
    ),
    Mutant("elapsed time is earned again", PLANS, "escrow.accruedAt = uint40(block.timestamp);", "", LEDGER),
    Mutant(
        "granted time is earned",
        PLANS,
        "uint256 paidUntil = standing.expiry() - escrow.free;",
        "uint256 paidUntil = standing.expiry();",
        LEDGER,
    ),
    Mutant("granted quantity outlives its expiry", PLANS, "escrow.free = uint88(_min(escrow.free, left));", "", LEDGER),
    Mutant(
        "an expired announcement lives on", PLANS, "if (expired && escrow.availableAt != 0) {", "if (false) {", LEDGER
    ),
    Mutant(
        "a refund of time leaves the time",
        PLANS,
        "standing.withExpiry(standing.expiry() - quantity)",
        "standing.withExpiry(standing.expiry())",
        LEDGER,
    ),
    Mutant(
        "a refund gives no supply back",
        PLANS,
        "sold - _min(sold, quantity / _quantityPerUnit(record))",
        "sold",
        LEDGER,
    ),
    Mutant(
        "a refund fails where the count of units stopped",
        PLANS,
        "sold - _min(sold, quantity / _quantityPerUnit(record))",
        "sold - quantity / _quantityPerUnit(record)",
        "RefundTest",
    ),
    # sales
    Mutant(
        "a paused plan is sold",
        PLANS,
        "if (record.sales != Sales.Open) revert",
        "if (record.sales == Sales.Retired) revert",
        LEDGER,
    ),
    Mutant(
        "a retired plan is granted",
        PLANS,
        "Record storage record = _owned(planId);\n        if (record.sales == Sales.Retired) revert PlanNotOnSale(planId, true);\n        uint256",
        "Record storage record = _owned(planId);\n        uint256",
        "PlansTest",
    ),
    Mutant(
        "the supply is one too many",
        PLANS,
        "sold + units > supply) revert",
        "sold + units > supply + 1) revert",
        LEDGER,
    ),
    Mutant("the limit is one too many", PLANS, "before + bought > limit) {", "before + bought > limit + 1) {", LEDGER),
    # nodes
    Mutant(
        "a key need not be on the curve",
        NODES,
        "mulmod(y, y, P) == addmod(mulmod(mulmod(x, x, P), x, P), 7, P)",
        "y != 0",
        "NodesTest",
    ),
    Mutant("a coordinate may exceed the prime", NODES, "x < P && y < P &&", "y < P &&", "NodesTest"),
    Mutant("a node without a key", NODES, "record.version == 0 || ", "", "NodesTest"),
    Mutant(
        "a retired node opens new assets",
        ASSETS,
        "if (!active) revert NodeNotUsable(node);",
        "if (number == 0) revert NodeNotUsable(node);",
        "AssetsTest",
    ),
    # identifiers
    Mutant(
        "a wrong letter in the CID",
        CID,
        "((high & 1) << 4) | (low >> 30)",
        "((high & 1) << 4) | (low >> 31)",
        "AssetsTest|Erc1155Test",
    ),
    Mutant(
        "a plan id is the same on every chain",
        PLANS,
        "return keccak256(abi.encode(block.chainid, address(this), owner, salt));",
        "return keccak256(abi.encode(address(this), owner, salt));",
        "PlansTest",
    ),
    Mutant(
        "a DID is the same on every chain",
        ASSETS,
        "return keccak256(abi.encode(block.chainid, address(this), owner, salt));",
        "return keccak256(abi.encode(address(this), owner, salt));",
        "AssetsTest",
    ),
)
