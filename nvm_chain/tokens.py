"""ERC-20 tokens, as far as paying for a plan needs them: allowance, ERC-2612 permits, EIP-3009 authorisations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from nvm_chain.abi import Abi, Call
from nvm_chain.address import address
from nvm_chain.amounts import Currency
from nvm_chain.chain import Chain
from nvm_chain.errors import ChainUnavailable, ContractRefused, InvalidInput
from nvm_chain.wallet import Wallet

_TYPES: dict[str, list[tuple[str, str]]] = {
    "EIP712Domain": [
        ("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"),
    ],
    "Permit": [
        ("owner", "address"), ("spender", "address"), ("value", "uint256"),
        ("nonce", "uint256"), ("deadline", "uint256"),
    ],
    "ReceiveWithAuthorization": [
        ("from", "address"), ("to", "address"), ("value", "uint256"),
        ("validAfter", "uint256"), ("validBefore", "uint256"), ("nonce", "bytes32"),
    ],
}  # fmt: skip


def _function(name: str, inputs: tuple[str, ...], output: str) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "inputs": [{"name": f"arg{i}", "type": kind} for i, kind in enumerate(inputs)],
        "outputs": [{"name": "", "type": output}] if output else [],
    }


_ABI = Abi(
    "ERC20",
    (
        _function("name", (), "string"),
        _function("version", (), "string"),
        _function("symbol", (), "string"),
        _function("decimals", (), "uint8"),
        _function("balanceOf", ("address",), "uint256"),
        _function("allowance", ("address", "address"), "uint256"),
        # Some tokens return nothing here, so the result is not read: the allowance is.
        _function("approve", ("address", "uint256"), ""),
        _function("nonces", ("address",), "uint256"),
        _function("DOMAIN_SEPARATOR", (), "bytes32"),
    ),
)


@dataclass(frozen=True, slots=True)
class Token:
    """Calls of one ERC-20 token."""

    address: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address(self.address, "token"))

    def _call(self, function: str, *args: Any) -> Call[Any]:
        return _ABI.call(self.address, function, *args)

    def balance_of(self, account: str) -> Call[int]:
        """Base units that the account has."""
        return self._call("balanceOf", address(account))

    def allowance(self, owner: str, spender: str) -> Call[int]:
        """Base units that the spender may still take from the owner."""
        return self._call("allowance", address(owner, "owner"), address(spender, "spender"))

    def approve(self, spender: str, amount: int) -> Call[None]:
        """Lets the spender take up to `amount` base units from the sender."""
        return self._call("approve", address(spender, "spender"), amount)

    def nonces(self, owner: str) -> Call[int]:
        """The owner's next permit nonce (ERC-2612)."""
        return self._call("nonces", address(owner, "owner"))

    async def currency(self, chain: Chain) -> Currency:
        """Symbol and decimals. Raises InvalidInput when the address is not an ERC-20 token."""
        try:
            decimals = await chain.call(self._call("decimals"))
            symbol = await chain.call(self._call("symbol"))
        except (ContractRefused, ChainUnavailable) as error:
            raise InvalidInput(
                f"{self.address} does not answer as an ERC-20 token on chain {chain.chain_id}"
            ) from error
        if not symbol.isprintable() or not 0 < len(symbol) <= 16 or decimals > 77:
            raise InvalidInput(f"token {self.address} has an unusable symbol or {decimals} decimals")
        return Currency(symbol, decimals, self.address)

    async def domain(self, chain: Chain) -> dict[str, Any]:
        """The token's EIP-712 domain, checked against its DOMAIN_SEPARATOR. Raises InvalidInput if it has no such."""
        try:
            name = await chain.call(self._call("name"))
            separator = await chain.call(self._call("DOMAIN_SEPARATOR"))
        except (ContractRefused, ChainUnavailable) as error:
            raise InvalidInput(f"token {self.address} has no EIP-712 domain: approve it and buy instead") from error
        try:
            versions = [await chain.call(self._call("version")), "1", "2"]
        except (ContractRefused, ChainUnavailable):
            versions = ["1", "2"]
        for version in versions:
            if _separator(name, version, chain.chain_id, self.address) == separator:
                return {
                    "name": name,
                    "version": version,
                    "chainId": chain.chain_id,
                    "verifyingContract": self.address,
                }
        raise InvalidInput(f"token {self.address} signs in a domain that we don't know: approve it and buy instead")

    async def sign_permit(self, chain: Chain, wallet: Wallet, spender: str, amount: int, deadline: int) -> bytes:
        """The wallet's ERC-2612 permit for `amount` base units until `deadline` (unix seconds). 65 bytes."""
        nonce = await chain.call(self.nonces(wallet.address))
        message = {
            "owner": wallet.address,
            "spender": address(spender, "spender"),
            "value": amount,
            "nonce": nonce,
            "deadline": deadline,
        }
        return await wallet.sign_typed_data(_typed("Permit", await self.domain(chain), message))

    async def sign_receive_authorisation(
        self, chain: Chain, wallet: Wallet, to: str, amount: int, valid_after: int, valid_before: int, nonce: bytes
    ) -> bytes:
        """The wallet's EIP-3009 authorisation that `to` may fetch `amount` base units once. 65 bytes."""
        message = {
            "from": wallet.address,
            "to": address(to, "recipient"),
            "value": amount,
            "validAfter": valid_after,
            "validBefore": valid_before,
            "nonce": nonce,
        }
        return await wallet.sign_typed_data(_typed("ReceiveWithAuthorization", await self.domain(chain), message))


def _typed(primary: str, domain: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    types = {kind: [{"name": name, "type": of} for name, of in _TYPES[kind]] for kind in ("EIP712Domain", primary)}
    return {"types": types, "primaryType": primary, "domain": domain, "message": message}


def _separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    return keccak(
        keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + keccak(text=name)
        + keccak(text=version)
        + chain_id.to_bytes(32, "big")
        + bytes.fromhex(contract[2:]).rjust(32, b"\0")
    )
