"""One EVM chain over one JSON-RPC endpoint: reads pinned to a block, transactions, logs.

    async with open_chain("http://127.0.0.1:8545", expected_chain_id=31337) as chain:
        plan = await chain.call(plans.plan(plan_id))
        receipt = await chain.send(plans.purchase(...), wallet)

A call is simulated before it is sent, so that what the contract refuses costs nothing and raises its own error class.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import aiohttp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from nvm_chain.abi import CONTRACTS, Abi, Call, Event
from nvm_chain.contract_errors import refusal
from nvm_chain.errors import ChainUnavailable, ContractRefused, InvalidInput, NotFound, TransactionFailed
from nvm_chain.rpc import Endpoint
from nvm_chain.text import show
from nvm_chain.urls import is_http, without_secrets
from nvm_chain.wallet import Wallet

if TYPE_CHECKING:
    from web3 import AsyncWeb3
    from web3.providers.async_base import AsyncBaseProvider

R = TypeVar("R")
Block = int | Literal["latest", "pending", "safe", "finalized", "earliest"]

REQUEST_TIMEOUT = 20.0
RECEIPT_TIMEOUT = 180.0
MAX_LOG_SPAN = 10_000
_NONCE_MEMORY = 60.0


class InsufficientFunds(TransactionFailed):
    """The sender can't pay value + gas. balance, needed: wei. detail: the endpoint's words."""

    def __init__(self, sender: str, balance: int, needed: int | None, detail: str) -> None:
        need = f" and needs {needed}" if needed is not None else ""
        super().__init__(f"{sender} has {balance} wei{need} for this transaction and its gas: send it more")
        self.sender, self.balance, self.needed, self.detail = sender, balance, needed, detail


class TransactionPending(TransactionFailed):
    """The transaction was sent but no receipt came in time; it may still be mined. `tx_hash` finds it again."""

    def __init__(self, tx_hash: str, seconds: float) -> None:
        super().__init__(
            f"transaction {tx_hash} was sent but is not in a block after {seconds:.0f} s: it may still be mined, "
            f"so look it up before you send it again"
        )
        self.tx_hash = tx_hash


class RpcError(ChainUnavailable):
    """The endpoint answered with a JSON-RPC error that is not a revert. code, message: as it said; data: 0x hex."""

    def __init__(self, where: str, method: str, code: int, message: str, data: str | None) -> None:
        super().__init__(f"{where} refused {method}: {message} (code {code})")
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """number, timestamp (unix seconds), base_fee (wei per gas; None where the chain has no EIP-1559)."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    gas_limit: int
    base_fee: int | None


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas. priority None: a legacy transaction at `maximum`."""

    maximum: int
    priority: int | None

    def bumped(self, percent: int = 13) -> Fees:
        """Fees that replace a pending transaction: nodes ask for at least 10 % more of both."""
        up = 100 + percent
        return Fees(-(-self.maximum * up // 100), None if self.priority is None else -(-self.priority * up // 100))


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Ready for `Chain.broadcast`, as often as you like: the same bytes are the same transaction."""

    tx_hash: str
    raw: bytes
    sender: str
    nonce: int
    gas: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined, successful transaction. effective_gas_price: wei per gas. events: those of our contracts, in order."""

    tx_hash: str
    block: int
    block_hash: str
    gas_used: int
    effective_gas_price: int
    events: tuple[Event, ...]

    @property
    def fee(self) -> int:
        """Wei that the gas cost. (Rollups add a fee for the data, which only their own receipts show.)"""
        return self.gas_used * self.effective_gas_price

    def event(self, name: str, address: str) -> Event:
        """The first event `name` that the contract at `address` emitted. Raises NotFound."""
        for event in self.events:
            if event.name == name and event.address == address:
                return event
        raise NotFound(f"transaction {self.tx_hash} has no event {name} of {address}")


@dataclass(slots=True)
class _Sender:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_nonce: int = 0
    used_at: float = 0.0


class Chain:
    """Made by `open_chain`. `chain_id` is checked on opening; `where` is the endpoint without path and credentials."""

    def __init__(self, endpoint: Endpoint, where: str, chain_id: int) -> None:
        self._endpoint = endpoint
        self.where = where
        self.chain_id = chain_id
        self._senders: defaultdict[str, _Sender] = defaultdict(_Sender)

    @cached_property
    def w3(self) -> AsyncWeb3[AsyncBaseProvider]:
        """web3 over the same connections, for whatever isn't here."""
        # Imported here: it takes longer to load than all the rest, and a node never needs it.
        from nvm_chain.web3_provider import web3_over

        return web3_over(self._endpoint)

    # ------------------------------------------------------------------------------------------------------ reads

    async def rpc(self, method: str, params: Sequence[Any] = ()) -> Any:
        """One JSON-RPC request. Raises RpcError for an error answer, ChainUnavailable when there is no sound answer."""
        return await _rpc(self._endpoint, self.where, method, params)

    async def call(self, call: Call[R], block: Block = "latest", sender: str | None = None) -> R:
        """Reads, or simulates a write, at the state of `block`. Raises ContractRefused when the contract reverts."""
        request: dict[str, str] = {"to": call.to, "data": "0x" + call.data.hex()}
        if sender is not None:
            request["from"] = sender
        if call.value:
            request["value"] = hex(call.value)
        try:
            raw = await self.rpc("eth_call", [request, _block(block)])
        except RpcError as error:
            raise await self._explained(error, call, sender) from error
        return call.decode(bytes.fromhex(raw[2:]))

    async def header(self, block: Block = "latest") -> BlockHeader:
        """The header of a block. Raises NotFound."""
        found = await self.rpc("eth_getBlockByNumber", [_block(block), False])
        if found is None:
            raise NotFound(f"{self.where} has no block {block}")
        fee = found.get("baseFeePerGas")
        return BlockHeader(
            number=int(found["number"], 16),
            hash=found["hash"],
            parent_hash=found["parentHash"],
            timestamp=int(found["timestamp"], 16),
            gas_limit=int(found["gasLimit"], 16),
            base_fee=None if fee is None else int(fee, 16),
        )

    async def block_number(self) -> int:
        return int(await self.rpc("eth_blockNumber"), 16)

    async def balance(self, account: str, block: Block = "latest") -> int:
        """Native balance, wei."""
        return int(await self.rpc("eth_getBalance", [account, _block(block)]), 16)

    async def nonce(self, account: str, block: Block = "latest") -> int:
        """Number of transactions of the account up to `block`: what its next nonce is there."""
        return int(await self.rpc("eth_getTransactionCount", [account, _block(block)]), 16)

    async def code(self, account: str, block: Block = "latest") -> bytes:
        """Deployed bytecode; empty for an account without code."""
        found = await self.rpc("eth_getCode", [account, _block(block)])
        if found is None:
            raise ChainUnavailable(f"{self.where} has no state of block {block}: use an endpoint that keeps it")
        return bytes.fromhex(found[2:])

    async def logs(
        self,
        addresses: Sequence[str],
        from_block: int,
        to_block: int,
        topics: Sequence[str | Sequence[str] | None] = (),
    ) -> list[Event]:
        """Our contracts' events in [from_block, to_block], in chain order; asks in pieces that the endpoint accepts.

        topics: as eth_getLogs takes them (0x hex; a list means "one of"); see `topic` and `event_topics`.
        """
        events: list[Event] = []
        first, span = from_block, MAX_LOG_SPAN
        while first <= to_block:
            last = min(first + span - 1, to_block)
            query = {"address": list(addresses), "fromBlock": hex(first), "toBlock": hex(last), "topics": list(topics)}
            try:
                found = await self.rpc("eth_getLogs", [query])
            except RpcError:
                if span == 1 or last == first:
                    raise
                span = max(1, (last - first + 1) // 4)
                continue
            events += [event for log in found if (event := decode_log(log)) is not None]
            first = last + 1
        return events

    # ----------------------------------------------------------------------------------------------- transactions

    async def fees(self) -> Fees:
        """What a transaction should offer now: twice the base fee plus the tip that the endpoint suggests."""
        base = (await self.header()).base_fee
        if base is None:
            return Fees(int(await self.rpc("eth_gasPrice"), 16), None)
        try:
            tip = int(await self.rpc("eth_maxPriorityFeePerGas"), 16)
        except RpcError:
            tip = 10**9
        return Fees(2 * base + tip, tip)

    async def estimate(self, call: Call[Any], sender: str) -> int:
        """Gas that the call needs at the latest block, without margin. Raises ContractRefused, InsufficientFunds."""
        request = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "value": hex(call.value)}
        try:
            return int(await self.rpc("eth_estimateGas", [request, "latest"]), 16)
        except RpcError as error:
            raise await self._explained(error, call, sender) from error

    async def send(
        self,
        call: Call[Any],
        wallet: Wallet,
        *,
        fees: Fees | None = None,
        gas: int | None = None,
        patience: float = RECEIPT_TIMEOUT,
    ) -> Receipt:
        """Simulates, signs, sends and waits for the receipt.

        Raises ContractRefused or InsufficientFunds before anything is spent; TransactionPending when no receipt came
        in `patience` seconds; TransactionFailed when it was mined and reverted.
        """
        await self.call(call, sender=wallet.address)
        sender = self._senders[wallet.address]
        async with sender.lock:
            signed = await self.sign(call, wallet, nonce=await self._next_nonce(wallet.address), fees=fees, gas=gas)
            try:
                await self.broadcast(signed.raw)
            except TransactionFailed as error:
                if "insufficient funds" in str(error).lower():
                    needed = call.value + signed.gas * signed.fees.maximum
                    raise InsufficientFunds(
                        wallet.address, await self.balance(wallet.address), needed, str(error)
                    ) from error
                raise
            sender.next_nonce, sender.used_at = signed.nonce + 1, time.monotonic()
        return await self.wait(signed.tx_hash, call=call, sender=wallet.address, patience=patience)

    async def sign(
        self, call: Call[Any], wallet: Wallet, *, nonce: int, fees: Fees | None = None, gas: int | None = None
    ) -> SignedTransaction:
        """Signs without sending, for whoever must write it down first. gas: the limit; by default estimated + 25 %."""
        fees = fees or await self.fees()
        gas = gas or -(-await self.estimate(call, wallet.address) * 5 // 4)
        tx: dict[str, Any] = {
            "chainId": self.chain_id,
            "to": call.to,
            "data": "0x" + call.data.hex(),
            "value": call.value,
            "nonce": nonce,
            "gas": gas,
        }
        if fees.priority is None:
            tx["gasPrice"] = fees.maximum
        else:
            tx |= {"type": 2, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.priority}
        raw = await wallet.sign_transaction(tx)
        return SignedTransaction("0x" + keccak(raw).hex(), raw, wallet.address, nonce, gas, fees)

    async def broadcast(self, raw: bytes) -> str:
        """Sends a signed transaction; sending one again that the endpoint already has is no error. Returns the hash."""
        tx_hash = "0x" + keccak(raw).hex()
        try:
            await self.rpc("eth_sendRawTransaction", ["0x" + raw.hex()])
        except RpcError as error:
            text = error.message.lower()
            if "already known" in text or "already imported" in text or "alreadyknown" in text:
                return tx_hash
            if await self.rpc("eth_getTransactionByHash", [tx_hash]) is not None:
                return tx_hash
            raise TransactionFailed(f"{self.where} did not take transaction {tx_hash}: {error.message}") from error
        return tx_hash

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not in a block. Raises TransactionFailed if it reverted."""
        found = await self.rpc("eth_getTransactionReceipt", [tx_hash])
        if found is None or found.get("blockNumber") is None:
            return None
        if int(found["status"], 16) != 1:
            block = int(found["blockNumber"], 16)
            raise TransactionFailed(
                f"transaction {tx_hash} was mined in block {block} but reverted: only gas was spent"
            )
        return Receipt(
            tx_hash=found["transactionHash"],
            block=int(found["blockNumber"], 16),
            block_hash=found["blockHash"],
            gas_used=int(found["gasUsed"], 16),
            effective_gas_price=int(found.get("effectiveGasPrice") or "0x0", 16),
            events=tuple(event for log in found["logs"] if (event := decode_log(log)) is not None),
        )

    async def wait(
        self,
        tx_hash: str,
        *,
        call: Call[Any] | None = None,
        sender: str | None = None,
        confirmations: int = 1,
        patience: float = RECEIPT_TIMEOUT,
    ) -> Receipt:
        """Waits until the transaction is `confirmations` blocks deep. With call and sender a revert is explained."""
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                receipt = await self.receipt(tx_hash)
            except TransactionFailed:
                if call is not None:
                    await self.call(call, sender=sender)  # raises the contract's own reason, if it still holds
                raise
            if receipt is not None and await self.block_number() - receipt.block + 1 >= confirmations:
                return receipt
            if time.monotonic() >= deadline:
                raise TransactionPending(tx_hash, patience)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    async def _next_nonce(self, account: str) -> int:
        # Behind a load balancer "pending" can lag behind what was just sent from here: remember that for a while.
        pending = await self.nonce(account, "pending")
        sender = self._senders[account]
        recent = time.monotonic() - sender.used_at < _NONCE_MEMORY
        return max(pending, sender.next_nonce) if recent else pending

    async def _explained(self, error: RpcError, call: Call[Any], sender: str | None) -> Exception:
        if error.data is not None and len(error.data) > 2:
            return refusal(bytes.fromhex(error.data[2:]), call)
        text = error.message.lower()
        if sender is not None and (
            "insufficient funds" in text or "insufficient balance" in text or "outoffund" in text
        ):
            return InsufficientFunds(sender, await self.balance(sender), call.value or None, error.message)
        if "revert" in text:
            return ContractRefused("revert", {}, f"{call.contract}.{call.function} reverted without a reason")
        return error


def check_rpc_url(url: str) -> str:
    """The endpoint's URL without its secrets, to be shown. Raises InvalidInput if it can't be one."""
    where = without_secrets(url)
    if not is_http(url):
        raise InvalidInput(f"RPC URL {show(where)} has the wrong form: write http://host:port or https://host/path")
    return where


@asynccontextmanager
async def open_chain(
    rpc_url: str, expected_chain_id: int | None = None, *, request_seconds: float = REQUEST_TIMEOUT
) -> AsyncIterator[Chain]:
    """Connects, checks the chain id, and closes the connection at the end.

    request_seconds: for one request. Raises InvalidInput for a malformed URL, ChainUnavailable when nothing answers,
    when what answers is no JSON-RPC endpoint, or when it is another chain.
    """
    where = check_rpc_url(rpc_url)
    endpoint = Endpoint(rpc_url, request_seconds)
    try:
        answer = await _rpc(endpoint, where, "eth_chainId", ())
        try:
            chain_id = int(answer, 16)
        except (TypeError, ValueError) as error:
            raise ChainUnavailable(f"{where} answered {answer!r} to eth_chainId: it is not an Ethereum RPC") from error
        if expected_chain_id is not None and chain_id != expected_chain_id:
            raise ChainUnavailable(
                f"{where} is chain {chain_id}, expected {expected_chain_id}: use an RPC URL of chain "
                f"{expected_chain_id}, or choose the network that has id {chain_id}"
            )
        yield Chain(endpoint, where, chain_id)
    finally:
        await endpoint.close()


def decode_log(log: Mapping[str, Any]) -> Event | None:
    """Decodes a JSON-RPC log of one of our contracts; None for any other. Look at `address`: topics can be imitated."""
    for name in CONTRACTS:
        event = Abi.of(name).event(log)
        if event is not None:
            return event
    return None


def event_topics(*names: str) -> list[str]:
    """Topic 0 of events by name, for `Chain.logs`."""
    known = {name: topic for contract in CONTRACTS for name, topic in Abi.of(contract).topics.items()}
    return ["0x" + known[name].hex() for name in names]


def topic(value: bytes | str) -> str:
    """An indexed value (32 bytes, or an address) as a topic."""
    if isinstance(value, bytes):
        return "0x" + value.rjust(32, b"\0").hex()
    return "0x" + to_checksum_address(value)[2:].lower().rjust(64, "0")


def _block(block: Block) -> str:
    return hex(block) if isinstance(block, int) else block


async def _rpc(endpoint: Endpoint, where: str, method: str, params: Sequence[Any]) -> Any:
    try:
        answer = await endpoint.ask(method, params)
    except aiohttp.ClientResponseError as error:
        raise ChainUnavailable(
            f"{where} answered {method} with HTTP {error.status}: is it an Ethereum RPC URL?"
        ) from None  # aiohttp's error shows the whole URL, and tracebacks are logged
    except TimeoutError as error:
        raise ChainUnavailable(f"{where} did not answer {method} in time: try again, or use another RPC URL") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ChainUnavailable(f"nothing answers at {where}: start the chain's node, or correct the RPC URL") from error
    except (ValueError, RecursionError) as error:
        raise ChainUnavailable(
            f"{where} answered {method} with something that is not JSON: is it an RPC URL?"
        ) from error
    if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
        raise ChainUnavailable(f"{where} answered {method} with something that is not JSON-RPC: is it an RPC URL?")
    if (problem := answer.get("error")) is not None:
        if not isinstance(problem, dict):
            raise RpcError(where, method, 0, str(problem), None)
        raise RpcError(
            where, method, problem.get("code", 0), str(problem.get("message")), _revert_data(problem.get("data"))
        )
    return answer["result"]


def _revert_data(data: object) -> str | None:
    """Endpoints put revert data at `error.data` as hex, inside an object, or behind "Reverted "."""
    if isinstance(data, dict):
        data = data.get("data") or data.get("result") or (data.get("originalError") or {}).get("data")
    if isinstance(data, str):
        data = data.removeprefix("Reverted ")
        return data if data.startswith("0x") else None
    return None
