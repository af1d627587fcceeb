"""A wallet for the browser: announced by EIP-6963, asked by EIP-1193, and it really signs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nvm_chain.chain import Chain, RpcError
from nvm_chain.wallet import LocalWallet

SCRIPT = """
(() => {
  const listeners = {}
  const provider = {
    async request({ method, params = [] }) {
      const answer = await window.__wallet(method, params)
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error)
      return answer.result
    },
    on(event, listener) { (listeners[event] ??= []).push(listener) },
    removeListener(event, listener) { listeners[event] = (listeners[event] ?? []).filter((one) => one !== listener) },
  }
  window.__walletEmit = (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value))
  const info = { uuid: '6f2b1c1e-8a40-4d0c-9d11-1b6c2a5a7f10', name: 'Test Wallet', rdns: 'test.wallet',
    icon: 'data:image/svg+xml,%3Csvg xmlns="http://www.w3.org/2000/svg"/%3E' }
  const announce = () => window.dispatchEvent(
    new CustomEvent('eip6963:announceProvider', { detail: Object.freeze({ info, provider }) }))
  window.addEventListener('eip6963:requestProvider', announce)
  announce()
})()
"""


class BrowserWallet:
    """rejects: methods to which the person says no. chain_id: what the wallet is on; knows: what it can switch to.

    lacks: methods that it doesn't know. asked: every request, as (method, params).
    """

    def __init__(self, wallet: LocalWallet, chain: Chain) -> None:
        self._chain = chain
        self._sending = asyncio.Lock()
        self.use(wallet)
        self.chain_id = chain.chain_id
        self.knows = {chain.chain_id}
        self.rejects: set[str] = set()
        self.lacks: set[str] = set()
        self.connected = False
        self.asked: list[tuple[str, Any]] = []

    def use(self, wallet: LocalWallet) -> None:
        """Another account."""
        self.wallet = wallet

    async def request(self, _source: Any, method: str, params: Any) -> dict[str, Any]:
        """What `window.__wallet` does."""
        self.asked.append((method, params))
        if method in self.rejects:
            return _error(4001, "User rejected the request.")
        if method in self.lacks:
            return _error(-32601, f"the method {method} does not exist")
        try:
            return {"result": await self._answer(method, params)}
        except RpcError as error:
            data = {"originalError": {"code": error.code, "message": error.message, "data": error.data}}
            return _error(-32603, error.message) | {"data": data}
        except _Unknown as error:
            return _error(4902, str(error))

    async def _answer(self, method: str, params: Any) -> Any:
        match method:
            case "eth_requestAccounts":
                self.connected = True
                return [self.wallet.address]
            case "eth_accounts":
                return [self.wallet.address] if self.connected else []
            case "eth_chainId":
                return hex(self.chain_id)
            case "wallet_switchEthereumChain":
                wanted = int(params[0]["chainId"], 16)
                if wanted not in self.knows:
                    raise _Unknown(f"Unrecognized chain ID {wanted}")
                self.chain_id = wanted
                return None
            case "wallet_addEthereumChain":
                self.chain_id = int(params[0]["chainId"], 16)
                self.knows.add(self.chain_id)
                return None
            case "personal_sign":
                return _hex(await self.wallet.sign_message(bytes.fromhex(params[0][2:])))
            case "eth_signTypedData_v4":
                return _hex(await self.wallet.sign_typed_data(json.loads(params[1])))
            case "eth_sendTransaction":
                return await self._send(params[0])
            case _:
                return await self._chain.rpc(method, params)

    async def _send(self, given: dict[str, str]) -> str:
        async with self._sending:
            fees = await self._chain.fees()
            tx: dict[str, Any] = {
                "chainId": self._chain.chain_id,
                "to": given["to"],
                "data": given.get("data", "0x"),
                "value": int(given.get("value", "0x0"), 16),
                "gas": int(given["gas"], 16),
                "nonce": await self._chain.nonce(self.wallet.address, "pending"),
                "type": 2,
                "maxFeePerGas": fees.maximum,
                "maxPriorityFeePerGas": fees.priority or 0,
            }
            return await self._chain.broadcast(await self.wallet.sign_transaction(tx))


class _Unknown(Exception):
    pass


def _hex(signature: bytes) -> str:
    return "0x" + signature.hex()


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
