"""What sealing, login, keys and resolving cost. `python -m bench.crypto` prints them; bench/run.py merges `figures()`.

Microseconds (`_us`) and milliseconds (`_ms`) of one core; medians of several rounds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from node_proxy.access.keys import Keys
from node_proxy.access.login import Login
from node_proxy.access.store import open_access_store
from nvm_chain.assets import OfferInput
from nvm_chain.chain import Chain, open_chain
from nvm_chain.cid import Cid
from nvm_chain.definition import Definition
from nvm_chain.deployments import Deployment, deploy
from nvm_chain.did import Did
from nvm_chain.ipfs import LocalStore, Stores
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plan_creation import PlanDraft, create_plan
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Terms
from nvm_chain.registration import Draft, named_salt, register_assistant
from nvm_chain.resolver import Place, Resolver
from nvm_chain.sealing import Binding, seal, unseal
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID, KEYS, anvil

ROUNDS = 5
ORIGIN = "https://node.example"


async def figures() -> dict[str, float]:
    """seal_us, open_us, login_us, key_lookup_us (remembered), key_lookup_cold_us, resolve_cold_ms, resolve_warm_ms."""
    found = sealing()
    with tempfile.TemporaryDirectory(prefix="nvm-bench-") as name:
        found |= await access(Path(name))
        found |= await resolving(Path(name))
    return found


def sealing() -> dict[str, float]:
    """A definition of usual length, to one node and back."""
    key = generate_private_key()
    owner, registry, node = (LocalWallet.create().address for _ in range(3))
    did = Did.derive(CHAIN_ID, registry, owner, bytes(32))
    binding = Binding(did, owner, CHAIN_ID, registry, node, 1)
    public, ciphertext = public_key_of(key), seal(_definition(), binding, public_key_of(key))
    definition = _definition()
    return {
        "seal_us": _median_us(lambda: seal(definition, binding, public), 100),
        "open_us": _median_us(lambda: unseal(ciphertext, key, binding), 100),
    }


async def access(folder: Path) -> dict[str, float]:
    """A login checked (signature, nonce written down), a key looked up."""

    async def no_contracts(signer: str, digest: bytes, signature: bytes) -> bool:
        raise AssertionError("a plain wallet's signature needs no chain")

    async with open_access_store(folder / "access.db") as store:
        keys, wallet = Keys(store, b"s" * 32), LocalWallet.create()
        login = Login(store, b"s" * 32, origin=ORIGIN, chain_id=1, window=600, validate=no_contracts)
        signed = []
        for _ in range(ROUNDS * 20):
            message = login.message(wallet.address, login.nonce())
            signed.append((message, "0x" + (await wallet.sign_message(message)).hex()))

        async def log_in() -> None:
            await login.verify(*signed.pop())

        text, _ = await keys.issue(wallet.address, name="bench")
        await keys.verify(text)

        async def cold() -> None:
            keys._cache.clear()
            await keys.verify(text)

        async def warm() -> None:
            for _ in range(100):
                await keys.verify(text)

        return {
            "login_us": await _async_median_us(log_in, 20),
            "key_lookup_us": await _async_median_us(warm, 100) / 100,
            "key_lookup_cold_us": await _async_median_us(cold, 500),
        }


async def resolving(folder: Path) -> dict[str, float]:
    """A DID over a local chain. Cold: the block comes from another folder and is copied; warm: it is here."""
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(anvil())
        chain = await stack.enter_async_context(open_chain(process.url, CHAIN_ID))
        builder = LocalWallet(Secret(KEYS[0]))
        deployment = await deploy(chain, builder)
        there = LocalStore(folder / "there")
        did = str(await _register(chain, deployment, there, builder))
        cold: list[float] = []
        warm: list[float] = []
        for round_ in range(ROUNDS * 4):
            async with Stores(LocalStore(folder / f"here-{round_}"), gateways=[there]) as store:
                resolver = Resolver([Place(chain, deployment)], store)
                for times in (cold, warm, warm):
                    began = time.perf_counter()
                    await resolver.resolve(did)
                    times.append((time.perf_counter() - began) * 1e3)
        return {
            "resolve_cold_ms": round(statistics.median(cold), 3),
            "resolve_warm_ms": round(statistics.median(warm), 3),
        }


async def _register(chain: Chain, deployment: Deployment, store: LocalStore, builder: LocalWallet) -> Did:
    node = LocalWallet(Secret(KEYS[1]))
    key = public_key_of(generate_private_key())
    await chain.send(deployment.nodes.register(key, ORIGIN), node)
    terms = Terms(price=1, credits_per_unit=100)
    draft = PlanDraft(salt=named_salt("bench"), metadata=PlanMetadata("bench"), terms=terms)
    plan = (await create_plan(chain, deployment, store, builder, draft)).plan_id
    assistant = Draft(
        salt=named_salt("bench"),
        title="Bench",
        definition=_definition(),
        offers=[OfferInput(plan, 1, 1)],
        nodes=[node.address],
        notes="Ask in plain words. " * 100,
    )
    registered = await register_assistant(chain, deployment, store, builder, assistant)
    assert registered.cid == Cid.of(await store.get(registered.cid))
    return registered.did


def _definition() -> Definition:
    return Definition("https://api.openai.com/v1", Secret("sk-" + "b" * 48), "gpt-5", "You answer briefly. " * 50)


def _median_us(work: Callable[[], object], times: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times * 1e6)
    return round(statistics.median(rounds), 2)


async def _async_median_us(work: Callable[[], Awaitable[None]], times: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            await work()
        rounds.append((time.perf_counter() - began) / times * 1e6)
    return round(statistics.median(rounds), 2)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(figures()), indent=1))
