"""An access node's wallet login and API keys. (The calls themselves go through any OpenAI client.)"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp

from nvm_chain.did import Did
from nvm_chain.errors import NotFound, NvmError
from nvm_chain.plans import PlanId
from nvm_chain.receipts import Proof
from nvm_chain.secret import Secret
from nvm_chain.text import show
from nvm_chain.urls import base_url
from nvm_chain.vouchers import Voucher
from nvm_chain.wallet import Wallet

_STATEMENT = "Sign in to use AI assistants with the plans of this wallet. This sends no transaction and costs nothing."
_SECONDS = 30.0
_MAX_ANSWER = 1 << 20


class NodeUnavailable(NvmError):
    """The access node can't be reached, or answers with something that is not a node's answer."""


class NodeRefused(NvmError):
    """The access node refused. status: HTTP; code: OpenAI's error code, or None."""

    def __init__(self, message: str, status: int, code: str | None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key's record. budget: credits, None = no limit. expires_at, revoked_at: unix seconds, None = never.

    secret: the key itself; only there right after it was made.
    """

    id: str
    name: str
    subscriber: str
    budget: int | None
    spent: int
    expires_at: int | None
    revoked_at: int | None
    assistants: tuple[str, ...] | None
    secret: Secret | None = None


class AccessNode:
    """One access node at `url` (without `/v1`). Made by `open_node`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url = session, url

    async def login(
        self,
        wallet: Wallet,
        chain_id: int,
        *,
        name: str = "login",
        budget: int | None = None,
        expires_in: int | None = None,
        assistants: Sequence[Did] | None = None,
    ) -> ApiKey:
        """Signs in (EIP-4361) and returns a new API key with its secret.

        The message that is signed names the host that we connect to and the chain that we are on, not what the node
        says they are: a node that relays another node's nonce gets a signature that is of no use there.
        Raises NodeRefused, NodeUnavailable.
        """
        answer = await self._json("GET", "/auth/nonce")
        nonce, expires_at = answer.get("nonce"), answer.get("expires_at")
        if not isinstance(nonce, str) or not nonce.isalnum() or not isinstance(expires_at, int):
            raise NodeUnavailable(f"{self.url} gives no nonce to sign in with: is it an access node?")
        text = sign_in_message(self.url, wallet.address, chain_id, nonce, datetime.fromtimestamp(expires_at, UTC))
        signature = await wallet.sign_message(text)
        body: dict[str, Any] = {"message": text, "signature": "0x" + signature.hex(), "name": name}
        body |= _wishes(budget, expires_in, assistants)
        return _key(await self._json("POST", "/auth/login", body=body))

    async def create_key(
        self,
        key: Secret,
        *,
        name: str,
        budget: int | None = None,
        expires_in: int | None = None,
        assistants: Sequence[Did] | None = None,
    ) -> ApiKey:
        """Another key of the same wallet. key: one that may manage keys."""
        body = {"name": name} | _wishes(budget, expires_in, assistants)
        return _key(await self._json("POST", "/auth/keys", key, body))

    async def keys(self, key: Secret) -> list[ApiKey]:
        """The wallet's keys, without their secrets."""
        answer = await self._json("GET", "/auth/keys", key)
        return [_key(entry) for entry in answer["data"]]

    async def revoke(self, key: Secret, key_id: str) -> None:
        """Revokes a key of the same wallet."""
        await self._json("DELETE", f"/auth/keys/{key_id}", key)

    async def account(self, key: Secret) -> dict[str, Any]:
        """What the wallet holds under each plan that opens an assistant at this node, as the node tells it."""
        return await self._json("GET", "/v1/account", key)

    async def receipts(
        self,
        key: Secret,
        *,
        limit: int = 20,
        after: str = "",
        assistant: Did | None = None,
        plan_id: PlanId | None = None,
        settled: bool | None = None,
    ) -> dict[str, Any]:
        """A page of the wallet's receipts, newest first: `data`, `has_more`, `last_id` (the next page's `after`)."""
        query = {
            "limit": str(limit),
            "after": after,
            "assistant": "" if assistant is None else str(assistant),
            "plan": "" if plan_id is None else str(plan_id),
            "settled": "" if settled is None else str(settled).lower(),
        }
        return await self._json("GET", "/v1/receipts?" + urlencode({k: v for k, v in query.items() if v}), key)

    async def receipt(self, key: Secret, receipt_id: str) -> dict[str, Any]:
        """One receipt as the node tells it: `receipt`, `hash`, `signature`, `settlement`. Raises NotFound."""
        return await self._json("GET", f"/v1/receipts/{quote(receipt_id, safe='')}", key)

    async def proof(self, key: Secret, receipt_id: str) -> Proof:
        """A settled receipt with its proof, which isn't checked yet. Raises NotFound, also before it is settled."""
        try:
            answer = await self._json("GET", f"/v1/receipts/{quote(receipt_id, safe='')}/proof", key)
        except NodeRefused as error:
            if error.status == 409:
                raise NotFound(str(error)) from error
            raise
        return Proof.parse(json.dumps(answer).encode())

    async def hand_in(self, key: Secret, plan_id: PlanId, voucher: Voucher) -> dict[str, Any]:
        """Gives the node a voucher that the wallet has signed; answers how much it opens. Raises NodeRefused."""
        body = {
            "plan_id": str(plan_id),
            "ceiling": str(voucher.ceiling),
            "signature": "0x" + voucher.signature.hex(),
        }
        return await self._json("POST", "/v1/vouchers", key, body)

    async def _json(
        self, method: str, path: str, key: Secret | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        headers = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        try:
            async with self._session.request(
                method, self.url + path, json=body, headers=headers, allow_redirects=False
            ) as answer:
                raw = b""
                async for part in answer.content.iter_any():
                    raw += part
                    if len(raw) > _MAX_ANSWER:
                        raise NodeUnavailable(
                            f"{self.url} answered with more than {_MAX_ANSWER} bytes: is it an access node?"
                        )
                status = answer.status
                parsed = json.loads(raw) if answer.content_type == "application/json" else None
        except TimeoutError as error:
            raise NodeUnavailable(f"the access node {self.url} did not answer in time: try again") from error
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise NodeUnavailable(f"no access node answers at {self.url}: check the URL, or try again") from error
        if not isinstance(parsed, dict):
            raise NodeUnavailable(f"{self.url} answered HTTP {status} without JSON: is it an access node?")
        if status >= 400:
            raise _refused(self.url, status, parsed)
        return parsed


@asynccontextmanager
async def open_node(url: str) -> AsyncIterator[AccessNode]:
    """Connects to the access node at `url`; https, or http on this machine. Raises InvalidInput for another form."""
    base = base_url(url).removesuffix("/v1")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:
        yield AccessNode(session, base)


def sign_in_message(url: str, account: str, chain_id: int, nonce: str, expires: datetime) -> str:
    """The EIP-4361 message for the node at `url`."""
    now = datetime.now(UTC)
    return (
        f"{urlsplit(url).netloc} wants you to sign in with your Ethereum account:\n{account}\n\n{_STATEMENT}\n\n"
        f"URI: {url}\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\n"
        f"Issued At: {now:%Y-%m-%dT%H:%M:%SZ}\nExpiration Time: {expires:%Y-%m-%dT%H:%M:%SZ}"
    )


def _wishes(budget: int | None, expires_in: int | None, assistants: Sequence[Did] | None) -> dict[str, Any]:
    dids = None if assistants is None else [str(did) for did in assistants]
    wishes = {"budget": budget, "expires_in": expires_in, "assistants": dids}
    return {name: value for name, value in wishes.items() if value is not None}


def _key(entry: dict[str, Any]) -> ApiKey:
    try:
        assistants = entry["assistants"]
        return ApiKey(
            id=str(entry["id"]),
            name=str(entry["name"]),
            subscriber=str(entry["subscriber"]),
            budget=entry["budget"],
            spent=int(entry.get("spent") or 0),
            expires_at=entry["expires_at"],
            revoked_at=entry["revoked_at"],
            assistants=None if assistants is None else tuple(assistants),
            secret=Secret(entry["key"]) if "key" in entry else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NodeUnavailable("the node's answer is not an API key's record: is it an access node?") from error


def _refused(url: str, status: int, answer: dict[str, Any]) -> NvmError:
    error = answer.get("error")
    error = error if isinstance(error, dict) else {}
    message, code = error.get("message"), error.get("code")
    text = message if isinstance(message, str) and message.isprintable() else show(message)
    if status == 404:
        return NotFound(f"{url}: {text}")
    if status >= 500:
        return NodeUnavailable(f"{url} answered HTTP {status}: {text}")
    return NodeRefused(f"{url}: {text}", status, code if isinstance(code, str) else None)
