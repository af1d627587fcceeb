"""One class per custom error of the contracts; the message names the values and the way out.

`solidity` is the error's declaration: decoding needs nothing else. Each is a ContractRefused with `.values` by name;
those that mean "there is no such thing" are NotFound too.
"""

from __future__ import annotations

from typing import Any, ClassVar

from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from nvm_chain.abi import Call, decode, display
from nvm_chain.errors import ContractRefused, NotFound

_BY_SELECTOR: dict[bytes, type[KnownRefusal]] = {}
_PANICS = {0x01: "a failed assertion", 0x11: "an arithmetic overflow", 0x12: "a division by zero", 0x32: "a bad index"}


class KnownRefusal(ContractRefused):
    """A custom error that we know by its selector."""

    solidity: ClassVar[str]
    template: ClassVar[str]
    inputs: ClassVar[tuple[dict[str, str], ...]]

    def __init__(self, values: dict[str, Any]) -> None:
        shown = {name: display(value) if isinstance(value, bytes) else value for name, value in values.items()}
        super().__init__(self.solidity.split("(")[0], shown, self.template.format(**shown))

    def __init_subclass__(cls) -> None:
        name, _, rest = cls.solidity.partition("(")
        pairs = [part.split() for part in rest.rstrip(")").split(",") if part]
        cls.inputs = tuple({"type": kind, "name": arg} for kind, arg in pairs)
        signature = f"{name}({','.join(kind for kind, _ in pairs)})"
        _BY_SELECTOR[keccak(text=signature)[:4]] = cls


def refusal(data: bytes, call: Call[Any]) -> ContractRefused:
    """The error that revert data stands for; what we do not know keeps its bytes. call: what was being called."""
    what = f"{call.contract}.{call.function}"
    known = _BY_SELECTOR.get(data[:4])
    try:
        if known is not None:
            values = decode(known.inputs, data[4:])
            return known({c["name"]: value for c, value in zip(known.inputs, values, strict=True)})
        if data[:4] == keccak(text="Error(string)")[:4]:
            reason = decode(({"type": "string", "name": ""},), data[4:])[0]
            return ContractRefused("Error", {"reason": reason}, f"{what} was refused: {reason}")
        if data[:4] == keccak(text="Panic(uint256)")[:4]:
            code = decode(({"type": "uint256", "name": ""},), data[4:])[0]
            return ContractRefused("Panic", {"code": code}, f"{what} failed: {_PANICS.get(code, f'panic {code:#x}')}")
    except DecodingError:
        pass
    return ContractRefused(
        "unknown", {"data": display(data)}, f"{what} was refused with an unknown error {display(data)}"
    )


# ------------------------------------------------------------------------------------------------------------- plans


class PlanUnknown(KnownRefusal, NotFound):
    solidity = "PlanUnknown(bytes32 planId)"
    template = "no plan {planId} on this chain: check the id and the network"


class PlanExists(KnownRefusal):
    solidity = "PlanExists(bytes32 planId)"
    template = "you have created plan {planId} before: use it, or choose another salt"


class PlanNotOnSale(KnownRefusal):
    solidity = "PlanNotOnSale(bytes32 planId, bool retired)"
    template = "plan {planId} is not on sale"

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        why = "it was retired for good: choose another plan" if values["retired"] else "its owner has paused sales"
        self.args = (f"{self.args[0]}: {why}",)


class SoldOut(KnownRefusal):
    solidity = "SoldOut(bytes32 planId, uint256 asked, uint256 available)"
    template = "plan {planId} has {available} units left, {asked} were asked for: buy at most {available}"


class PurchaseLimitReached(KnownRefusal):
    solidity = "PurchaseLimitReached(bytes32 planId, address subscriber, uint256 asked, uint256 remaining)"
    template = (
        "{subscriber} may buy {remaining} more units of plan {planId}, {asked} were asked for: "
        "ask for at most {remaining}, or choose another plan"
    )


class PriceAboveMaximum(KnownRefusal):
    solidity = "PriceAboveMaximum(uint256 due, uint256 maxPrice)"
    template = (
        "the price is {due} base units, above your maximum of {maxPrice}: raise the maximum to {due} to accept it"
    )


class WrongPayment(KnownRefusal):
    solidity = "WrongPayment(uint256 paid, uint256 due)"
    template = "{paid} base units were sent, the plan costs {due}: send exactly {due}"


class TokenRequired(KnownRefusal):
    solidity = "TokenRequired(bytes32 planId)"
    template = "plan {planId} is paid in the native currency: buy it with `purchase` and send the price along"


class NoUnits(KnownRefusal):
    solidity = "NoUnits()"
    template = "zero units were asked for: ask for at least 1"


class NoSubscriber(KnownRefusal):
    solidity = "NoSubscriber()"
    template = "the zero address cannot subscribe: name the account that shall get the credits"


class UnsafeRecipient(KnownRefusal):
    solidity = "UnsafeRecipient(address subscriber)"
    template = "the contract at {subscriber} does not accept ERC-1155 tokens: subscribe with an account that does"


class LimitOverflow(KnownRefusal):
    solidity = "LimitOverflow()"
    template = "the account would hold more credits or time than its record has room for: ask for fewer units"


class NotPlanOwner(KnownRefusal):
    solidity = "NotPlanOwner(bytes32 planId, address caller)"
    template = "{caller} does not own plan {planId}: use the owner's wallet"


class NotPendingOwner(KnownRefusal):
    solidity = "NotPendingOwner(bytes32 id, address caller)"
    template = "{id} was not offered to {caller}: let its owner offer it to this account first"


class InvalidTerms(KnownRefusal):
    solidity = "InvalidTerms(string reason)"
    template = "the plan's terms are not valid: {reason}"


class InvalidSplit(KnownRefusal):
    solidity = "InvalidSplit(string reason)"
    template = (
        "the revenue split is not valid: {reason}; name up to 8 distinct accounts with 10,000 basis points in all"
    )


class Soulbound(KnownRefusal):
    solidity = "Soulbound()"
    template = "credits never move between accounts: buy or grant units for the other account instead"


class TransferFailed(KnownRefusal):
    solidity = "TransferFailed(address token, address to, uint256 amount)"
    template = (
        "{amount} base units of token {token} could not be sent to {to}: check balance and allowance of the payer, "
        "or withdraw to an account that can receive"
    )


class LengthMismatch(KnownRefusal):
    solidity = "LengthMismatch(uint256 left, uint256 right)"
    template = "two lists that belong together have {left} and {right} items: give them the same length"


class InvalidFee(KnownRefusal):
    solidity = "InvalidFee(address recipient, uint16 basisPoints)"
    template = (
        "a protocol fee of {basisPoints} basis points for {recipient} is not valid: at most 10,000, with a recipient"
    )


class Reentered(KnownRefusal):
    solidity = "Reentered()"
    template = "a function that moves value was called from within itself: call it in a transaction of its own"


# -------------------------------------------------------------------------------------------------------- settlement


class NodeNotAuthorised(KnownRefusal):
    solidity = "NodeNotAuthorised(bytes32 did, bytes32 planId, address node)"
    template = (
        "node {node} may not settle asset {did} under plan {planId}: its owner has not added the node, has removed it, "
        "or the plan does not open the asset"
    )


class WrongBatch(KnownRefusal):
    solidity = "WrongBatch(uint64 batch, uint64 expected)"
    template = "batch {batch} was submitted, the next one is {expected}: a lower number was applied before"


class EmptyBatch(KnownRefusal):
    solidity = "EmptyBatch()"
    template = "the batch has no entries: settle when there is something to settle"


class OutsideRule(KnownRefusal):
    solidity = "OutsideRule(uint256 index, uint256 calls, uint256 credits, uint256 min, uint256 max)"
    template = (
        "entry {index} claims {credits} credits for {calls} calls, which cost {min} to {max} in all: "
        "settle calls under the rule they were served under"
    )


class VouchersRequired(KnownRefusal):
    solidity = "VouchersRequired(bytes32 planId, uint256 vouchers, uint256 entries)"
    template = (
        "plan {planId} needs one voucher per entry, {vouchers} came with {entries} entries: use settleWithVouchers"
    )


class InvalidVoucher(KnownRefusal):
    solidity = "InvalidVoucher(uint256 index, address subscriber, uint256 ceiling)"
    template = (
        "voucher {index} is not signed by {subscriber} for ceiling {ceiling}, this plan, chain and contract: "
        "ask the subscriber for a new one"
    )


class GasTooLow(KnownRefusal):
    solidity = "GasTooLow(uint256 index, uint256 needed)"
    template = "asking the wallet of entry {index} may need {needed} gas, less was left: send the batch with more gas"


# ------------------------------------------------------------------------------------------------------------- money


class NotRefundable(KnownRefusal):
    solidity = "NotRefundable(bytes32 planId)"
    template = "plan {planId} excludes refunds in its terms"


class NothingToRefund(KnownRefusal):
    solidity = "NothingToRefund(bytes32 planId, address subscriber)"
    template = "{subscriber} has nothing unused and paid for under plan {planId}: there is nothing to give back"


class RefundNotAvailable(KnownRefusal):
    solidity = "RefundNotAvailable(uint256 availableAt)"
    template = "the refund is not available yet"

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        at = values["availableAt"]
        way = f"take it from unix time {at} on" if at else "announce it first, then wait for the cooldown"
        self.args = (f"{self.args[0]}: {way}",)


class NothingToWithdraw(KnownRefusal):
    solidity = "NothingToWithdraw(bytes32 planId, address account)"
    template = "{account} has nothing left to withdraw from plan {planId}"


# ------------------------------------------------------------------------------------------------------------ assets


class AssetUnknown(KnownRefusal, NotFound):
    solidity = "AssetUnknown(bytes32 did)"
    template = "no asset {did} on this chain: check the DID and the network"


class AssetExists(KnownRefusal):
    solidity = "AssetExists(bytes32 did)"
    template = "asset {did} is registered already: update it, or choose another salt"


class NotAssetOwner(KnownRefusal):
    solidity = "NotAssetOwner(bytes32 did, address caller)"
    template = "{caller} does not own asset {did}: use the owner's wallet"


class NoMetadata(KnownRefusal):
    solidity = "NoMetadata()"
    template = "the metadata digest is zero: pin the metadata first and give its digest"


class NoPlan(KnownRefusal):
    solidity = "NoPlan()"
    template = "an assistant needs at least one plan that opens it: create one first (`nvm-chain plan create`)"


class NoNode(KnownRefusal):
    solidity = "NoNode()"
    template = "an assistant needs at least one access node that serves it: name one with --node"


class PlanNotUsable(KnownRefusal):
    solidity = "PlanNotUsable(bytes32 planId, address owner, bool retired)"
    template = "plan {planId} cannot open this asset"

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        if values["retired"]:
            why = "it is retired: create a new plan"
        elif int(values["owner"], 16) == 0:
            why = "there is no such plan on this chain"
        else:
            why = f"it belongs to {values['owner']}: use a plan of the asset's owner"
        self.args = (f"{self.args[0]}: {why}",)


class InvalidRule(KnownRefusal):
    solidity = "InvalidRule(bytes32 planId, uint64 min, uint64 max)"
    template = (
        "{min} to {max} credits per access is not valid for plan {planId}: the minimum may not be above the maximum, "
        "and under a time plan both are 0 (PLAN=0)"
    )


class OfferExists(KnownRefusal):
    solidity = "OfferExists(bytes32 did, bytes32 planId)"
    template = "plan {planId} opens asset {did} already: change its rule instead"


class OfferUnknown(KnownRefusal, NotFound):
    solidity = "OfferUnknown(bytes32 did, bytes32 planId)"
    template = "plan {planId} does not open asset {did}: choose one of the asset's plans"


class OfferClosing(KnownRefusal):
    solidity = "OfferClosing(bytes32 did, bytes32 planId, uint256 closesAt)"
    template = "the offer of plan {planId} for asset {did} closes at unix time {closesAt}: add a new one after it"


class ChangeTooSoon(KnownRefusal):
    solidity = "ChangeTooSoon(bytes32 did, bytes32 planId, uint256 until)"
    template = (
        "calls may still settle under the rule before the last change of plan {planId} for asset {did}: "
        "change it again after unix time {until}"
    )


class TooMany(KnownRefusal):
    solidity = "TooMany(uint256 limit)"
    template = "an asset has at most {limit} of these: close or remove one first"


class NodeNotUsable(KnownRefusal):
    solidity = "NodeNotUsable(address node)"
    template = "{node} is not a registered node, or has retired: choose an active one"


class AssetNodeUnknown(KnownRefusal, NotFound):
    solidity = "NodeUnknown(bytes32 did, address node)"
    template = "{node} is not one of the nodes of asset {did}"


class AssetNodeExists(KnownRefusal):
    solidity = "NodeExists(bytes32 did, address node)"
    template = "{node} serves asset {did} already"


class UntilTooLate(KnownRefusal):
    solidity = "UntilTooLate(uint256 until, uint256 latest)"
    template = "a removed node may settle until {latest} at the latest, not until {until} (unix seconds)"


# ------------------------------------------------------------------------------------------------------------- nodes


class NodeUnknown(KnownRefusal, NotFound):
    solidity = "NodeUnknown(address node)"
    template = (
        "{node} is not registered as a node on this chain: register it (`nvm-node register`), or check the address"
    )


class NodeExists(KnownRefusal):
    solidity = "NodeExists(address node)"
    template = "{node} is registered already: change its key or endpoint instead"


class NodeIsRetired(KnownRefusal):
    solidity = "NodeIsRetired(address node)"
    template = "node {node} has retired: register it again first"


class NotOnCurve(KnownRefusal):
    solidity = "NotOnCurve(bytes32 x, bytes32 y)"
    template = "({x}, {y}) is not a point on secp256k1: give the node's real public key"


class SameKey(KnownRefusal):
    solidity = "SameKey()"
    template = "this is the node's current key already: generate a new one"


class OverlapTooLong(KnownRefusal):
    solidity = "OverlapTooLong(uint256 overlap, uint256 limit)"
    template = "an overlap of {overlap} s is too long: at most {limit} s"


class InvalidEndpoint(KnownRefusal):
    solidity = "InvalidEndpoint(uint256 length, uint256 limit)"
    template = "an endpoint of {length} bytes is not valid: write a base URL of 1 to {limit} bytes"
