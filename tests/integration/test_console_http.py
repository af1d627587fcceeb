"""What the console asks the node for: blocks, the catalogue, reads of the chain; and what the node refuses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from nvm_chain.assets import OfferInput
from nvm_chain.cid import Cid
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import PlanId
from nvm_chain.registration import Draft, named_salt, prepare_registration
from nvm_chain.wallet import LocalWallet
from tests.world import World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(loop_scope="module")
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser's cookies, and nothing more."""
    async with aiohttp.ClientSession(world.node.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def sign_in(http: aiohttp.ClientSession, wallet: LocalWallet) -> dict[str, str]:
    """Starts a session; returns the headers that changes need."""
    async with http.get("/auth/nonce", params={"address": wallet.address}) as answer:
        message = (await answer.json())["message"]
    body = {"message": message, "signature": "0x" + (await wallet.sign_message(message)).hex()}
    async with http.post("/auth/session", json=body) as answer:
        assert answer.status == 201
        return {"x-csrf-token": (await answer.json())["csrf_token"]}


async def rpc(http: aiohttp.ClientSession, method: Any, *params: Any) -> dict[str, Any]:
    async with http.post("/rpc", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}) as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


# --------------------------------------------------------------------------------------------------------------- pages


async def test_pages_forbid_everything_that_they_dont_need(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        policy = answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_files_are_packed_and_kept(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        page = await answer.text()
        assert answer.headers["content-encoding"] == "gzip"
        mark = answer.headers["etag"]
    async with http.get("/", headers={"if-none-match": mark}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    script = page.split('src="./')[1].split('"')[0]
    async with http.get(f"/{script}") as answer:
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/javascript")
    for path in ("/assets/..%2Fsources.sha256", "/assets/none.js", "/sources.sha256", "/static/index.html"):
        async with http.get(path) as answer:
            assert answer.status == 404


async def test_a_title_of_a_stranger_is_text_on_the_public_page(world: World, http: aiohttp.ClientSession) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan, title='"><script>alert(1)</script>{{link}}', description="<b>&amp;")).did

    async def seen() -> bool:
        async with http.get(f"/a/{did}") as answer:
            return answer.status == 200

    await until(seen, "the node to see the assistant")
    for path in (f"/a/{did}", f"/a/{did}/embed", f"/a/{did}/badge.svg"):
        async with http.get(path) as answer:
            assert answer.status == 200
            text = await answer.text()
        assert "<script>alert" not in text
        assert "<b>" not in text
    async with http.get(f"/a/{did}/embed") as answer:
        assert "frame-ancestors *" in answer.headers["content-security-policy"]
        assert "x-frame-options" not in answer.headers
        assert "<script" not in await answer.text()


# -------------------------------------------------------------------------------------------------------------- blocks


async def test_a_link_has_a_picture(world: World, http: aiohttp.ClientSession) -> None:
    did = (await world.register((await world.create_plan()).plan_id, title="Pictured")).did

    async def seen() -> bool:
        async with http.get(f"/a/{did}") as answer:
            return answer.status == 200

    await until(seen, "the node to see the assistant")
    async with http.get(f"/a/{did}") as answer:
        page = await answer.text()
    assert f'<meta property="og:image" content="{world.node.url}/card.png">' in page
    assert '<meta name="twitter:card" content="summary_large_image">' in page
    ahead = re.findall(r'<link rel="modulepreload" crossorigin href="\.\./(assets/[^"]+)">', page)
    assert any(name.startswith("assets/asset-") for name in ahead)
    for name in ahead:
        async with http.get(f"/{name}") as answer:
            assert answer.status == 200, name
    async with http.get("/card.png", headers={"accept-encoding": "identity"}) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["cache-control"] == "public, max-age=86400"
        png, mark = await answer.read(), answer.headers["etag"]
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (1200, 630)
    async with http.get("/card.png", headers={"if-none-match": mark}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_the_operator_sees_what_providers_fail_with(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    subscriber = await world.wallet()
    await world.buy(plan, subscriber)
    key = await world.login(subscriber)
    with world.openai(key) as client:
        for directives, code in (("[[fail 500]]", "provider_error"), ("[[fail 401]]", "assistant_unavailable")):
            await world.provider.queue(directives, path="/v1/responses")
            with pytest.raises(openai.APIStatusError) as caught:
                client.responses.create(model=str(did), input="hello")
            assert caught.value.code == code
    async with aiohttp.ClientSession(world.node.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        await sign_in(http, world.node.wallet)
        async with http.get("/operator") as answer:
            found = (await answer.json())["provider_errors"]
    assert found == {"provider_error": 1, "provider_refused_builder": 1}


async def test_a_block_is_kept_for_who_is_signed_in(world: World, http: aiohttp.ClientSession) -> None:
    block = PlanMetadata("From a browser", "Text.").to_block()
    async with http.put("/blocks", data=block) as answer:
        assert answer.status == 401
    headers = await sign_in(http, await world.wallet())
    async with http.put("/blocks", data=block) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "csrf_token_missing")
    async with http.put("/blocks", data=block, headers=headers) as answer:
        assert (answer.status, (await answer.json())["cid"]) == (201, str(Cid.of(block)))
    assert await world.store.get(Cid.of(block)) == block
    async with http.get(f"/blocks/{Cid.of(block)}") as answer:
        assert await answer.read() == block


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (b"", 400),
        (b"anything at all", 400),
        (b'{"title":"x","type":"plan","v":1}', 400),
        (b" " + PlanMetadata("Not canonical").to_block(), 400),
        (b"x" * (256 * 1024 + 1), 413),
    ],
    ids=["empty", "garbage", "half a plan", "white space", "too long"],
)
async def test_what_is_no_metadata_is_not_kept(
    world: World, http: aiohttp.ClientSession, block: bytes, status: int
) -> None:
    headers = await sign_in(http, await world.wallet())
    async with http.put("/blocks", data=block, headers=headers) as answer:
        assert answer.status == status
    assert not await world.store.has(Cid.of(block))


async def test_metadata_of_somebody_else_is_not_kept(world: World, http: aiohttp.ClientSession) -> None:
    owner, other = await world.wallet(), await world.wallet()
    plan = (await world.create_plan(owner=owner)).plan_id
    draft = Draft(
        salt=named_salt("console"),
        title="Mine",
        definition=world.definition(),
        offers=[OfferInput(plan, 1, 1)],
        nodes=[world.node.account],
    )
    prepared = await prepare_registration(world.chain, world.deployment, world.store, owner.address, draft)
    async with http.put("/blocks", data=prepared.block, headers=await sign_in(http, other)) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "block_refused")
    async with http.put("/blocks", data=prepared.block, headers=await sign_in(http, owner)) as answer:
        assert answer.status == 201


async def test_a_wallet_fills_no_disk(world: World, http: aiohttp.ClientSession) -> None:
    headers = await sign_in(http, await world.wallet())
    for number in range(61):
        block = PlanMetadata(f"Number {number}").to_block()
        async with http.put("/blocks", data=block, headers=headers) as answer:
            assert answer.status == (201 if number < 60 else 429)
    assert int(answer.headers["retry-after"]) > 1


async def test_other_files_of_the_store_are_not_shown(world: World, http: aiohttp.ClientSession) -> None:
    cid = await world.store.put(b"something private in the same store")
    async with http.get(f"/blocks/{cid}") as answer:
        assert answer.status == 404
    async with http.get("/blocks/..%2F..%2Fledger.db") as answer:
        assert answer.status == 404


# ----------------------------------------------------------------------------------------------------------- catalogue


async def test_the_catalogue_is_searched_sorted_and_paged(world: World, http: aiohttp.ClientSession) -> None:
    owner = await world.wallet()
    dear = (await world.create_plan(price=10**18, owner=owner, title="Dear")).plan_id
    cheap = (await world.create_plan(price=10**15, owner=owner, title="Cheap")).plan_id
    first = (await world.register(dear, owner=owner, title="Zebra", tags=("stripes",))).did
    second = (await world.register(cheap, owner=owner, title="Ape", description="Likes bananas.")).did

    async def found(**query: str) -> list[str]:
        async with http.get("/catalogue", params={"owner": owner.address, **query}) as answer:
            assert answer.status == 200
            return [one["did"] for one in (await answer.json())["data"]]

    async def both() -> bool:
        return len(await found()) == 2

    await until(both, "the catalogue")
    assert await found(sort="title") == [str(second), str(first)]
    assert await found(sort="price") == [str(second), str(first)]
    assert await found(q="BANANAS likes") == [str(second)]
    assert await found(q="stripes") == await found(tag="stripes") == [str(first)]
    assert await found(plan=str(cheap)) == [str(second)]
    assert await found(kind="time") == await found(kind="free") == []
    assert len(await found(kind="credits")) == 2
    page = await found(sort="title", limit="1")
    assert await found(sort="title", limit="1", after=page[0]) == [str(first)]
    limits = [{"limit": limit} for limit in ("0", "1e9", "1" * 5_000)]
    for wrong in ({"sort": "size"}, {"kind": "any"}, {"owner": "me"}, *limits):
        async with http.get("/catalogue", params=wrong) as answer:
            assert answer.status == 400


# ----------------------------------------------------------------------------------------------------------------- rpc


async def test_the_chain_is_read_through_the_node(world: World, http: aiohttp.ClientSession) -> None:
    assert (await rpc(http, "eth_chainId"))["result"] == hex(world.chain.chain_id)
    balance = await rpc(http, "eth_getBalance", world.builder.address, "latest")
    assert int(balance["result"], 16) == await world.chain.balance(world.builder.address)
    unknown = world.deployment.plans.plan(PlanId(b"\1" * 32))
    refused = await rpc(http, "eth_call", {"to": unknown.to, "data": "0x" + unknown.data.hex()}, "latest")
    assert refused["error"]["data"].startswith("0x"), "the contract's reason gets lost"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_sendRawTransaction", ["0x00"]),
        ("eth_sendTransaction", [{}]),
        ("eth_accounts", []),
        ("anvil_setBalance", ["0x" + "11" * 20, "0x1"]),
        ("debug_traceTransaction", ["0x" + "11" * 32]),
        ("eth_call", [{}, "latest", {"0x" + "11" * 20: {"balance": "0x1"}}]),
        ("eth_getBlockByNumber", ["latest", True]),
        ("eth_getLogs", [{"fromBlock": "0x0"}]),
        ("eth_getLogs", [{"address": "0x" + "11" * 20, "topics": [None, "0x" + "11" * 32]}]),
        ("eth_getLogs", []),
        ({"a": 1}, []),
        (None, []),
    ],
)
async def test_nothing_else_is_passed_on(
    world: World, http: aiohttp.ClientSession, method: Any, params: list[Any]
) -> None:
    assert (await rpc(http, method, *params))["error"]["code"] in (-32601, -32602)


async def test_logs_of_our_contracts_about_something_are_given(world: World, http: aiohttp.ClientSession) -> None:
    owner = await world.wallet()
    plan = (await world.create_plan(owner=owner)).plan_id
    address = world.deployment.plan_registry
    about = {"address": address, "topics": [None, str(plan)], "fromBlock": "0x0", "toBlock": "latest"}
    found = await rpc(http, "eth_getLogs", about)
    assert [log["topics"][1] for log in found["result"]] == [str(plan)]
    anything: tuple[Any, ...] = (
        [None],
        [None, [None]],
        [None, [None, str(plan)]],
        [None, []],
        [None, "0x11"],
        [None, [[]]],
    )
    for topics in anything:
        everything = await rpc(http, "eth_getLogs", {"address": address, "topics": topics, "fromBlock": "0x0"})
        assert everything["error"]["code"] == -32602


async def test_who_is_signed_in_is_told_only_to_the_own_origin(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/console.json") as answer:
        assert (await answer.json())["session"] is None
    wallet = await world.wallet()
    await sign_in(http, wallet)
    async with http.get("/console.json") as answer:
        assert (await answer.json())["session"]["subscriber"] == wallet.address
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


async def test_the_operators_page_is_the_operators(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/operator") as answer:
        assert answer.status == 401
    await sign_in(http, await world.wallet())
    async with http.get("/operator") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "operator_only")
    await sign_in(http, world.node.wallet)
    async with http.get("/operator") as answer:
        assert answer.status == 200
        assert (await answer.json())["signer"] == world.node.account
