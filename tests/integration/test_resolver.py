"""DIDs against a real chain and a real node: versions, hand-overs, deactivation, the HTTP binding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from nvm_chain.cid import Cid
from nvm_chain.contract_errors import AssetUnknown
from nvm_chain.did import Did
from nvm_chain.errors import ChainUnavailable, NotFound
from nvm_chain.history import read_history
from nvm_chain.ipfs import LocalStore
from nvm_chain.metadata import Metadata
from nvm_chain.registration import pin, prepare_update, publish
from nvm_chain.resolver import Dereferenced, Place, Resolution, ResolutionFailed, Resolver, utc
from nvm_chain.wallet import LocalWallet
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

EARLIER = 'application/ld+json;profile="https://w3id.org/did-resolution"'


@dataclass(frozen=True, slots=True)
class Past:
    """An assistant with a past: version 1, 2, handed over (2.1), 3 by the new owner; switched off between."""

    did: Did
    heir: LocalWallet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(world: World) -> Past:
    assets, chain = world.deployment.assets, world.chain
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan, title="First")).did
    heir = await world.wallet()
    await _apart(world)
    second = await prepare_update(chain, world.deployment, world.store, world.builder.address, did, title="Second")
    await publish(chain, world.store, world.builder, second)
    await _apart(world)
    await chain.send(assets.set_active(did, False), world.builder)
    await _apart(world)
    await chain.send(assets.set_active(did, True), world.builder)
    await chain.send(assets.offer_asset(did, heir.address), world.builder)
    await _apart(world)
    await chain.send(assets.accept_asset(did), heir)
    return Past(did, heir)


async def _apart(world: World) -> None:
    await world.mine(2, 10)


def resolver(world: World) -> Resolver:
    return Resolver([Place(world.chain, world.deployment)], world.store)


async def ask(world: World, identifier: str, accept: str = "*/*", **query: str) -> aiohttp.ClientResponse:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(
            f"{world.node.url}/1.0/identifiers/{identifier}",
            params=query,
            headers={"accept": accept},
            allow_redirects=False,
        )
        await answer.read()
        return answer


async def test_a_document_names_the_owner_its_chain_and_the_node(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    registered = await world.register(plan)
    found = await resolver(world).resolve(str(registered.did))
    document, chain_id = found.document, world.chain.chain_id
    assert document is not None
    assert document["id"] == str(registered.did)
    assert document["verificationMethod"][0]["blockchainAccountId"] == f"eip155:{chain_id}:{world.builder.address}"
    assert document["service"][0]["serviceEndpoint"] == world.node.url
    assert (found.version_id, found.chain, found.cid) == ("1", f"eip155:{chain_id}", registered.cid)
    assert found.created == found.updated == (await world.chain.header(registered.receipt.block)).timestamp  # type: ignore[union-attr]


async def test_every_version_can_be_asked_for_by_id_and_time(world: World, past: Past) -> None:
    history = await read_history(world.chain, world.deployment, past.did)
    assert [version.id for version in history.versions] == ["1", "2", "2.1"]
    one = resolver(world)
    for version in history.versions:
        by_id = await one.resolve(str(past.did), version_id=version.id)
        by_time = await one.resolve(str(past.did), version_time=utc(version.since))
        assert by_id.document == by_time.document
        assert by_id.version_id == by_time.version_id == version.id
        assert by_id.updated == version.since
    first = await one.resolve(str(past.did), version_id="1")
    assert first.document_metadata["nextVersionId"] == "2"
    assert first.document_metadata["nextUpdate"] == utc(history.versions[1].since)
    with pytest.raises(ResolutionFailed) as failure:
        await one.resolve(str(past.did), version_time=utc(history.versions[0].since - 1))
    assert failure.value.code == "notFound"
    with pytest.raises(ResolutionFailed, match=r"latest versions are 1, 2, 2\.1"):
        await one.resolve(str(past.did), version_id="9")


async def test_a_new_owner_controls_the_did_at_once_and_the_old_one_s_services_are_gone(
    world: World, past: Past
) -> None:
    found = await resolver(world).resolve(str(past.did))
    assert found.version_id == "2.1"
    assert found.document is not None
    assert found.document["controller"] == f"did:pkh:eip155:{world.chain.chain_id}:{past.heir.address}"
    assert found.document["service"] == []
    before = await resolver(world).resolve(str(past.did), version_id="2")
    assert before.document is not None
    assert before.document["controller"].endswith(world.builder.address)
    assert before.document["service"]


async def test_a_block_that_names_a_false_owner_does_not_make_one(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    view = await world.chain.call(world.deployment.assets.asset(did))
    block = await world.store.get(view.metadata)
    thief = LocalWallet.create().address
    forged = block.replace(world.builder.address.encode(), thief.encode())
    assert Metadata.from_block(forged).owner == thief
    cid = await pin(world.store, forged)
    await world.chain.send(world.deployment.assets.set_metadata(did, cid), world.builder)
    document = (await resolver(world).resolve(str(did))).document
    assert document is not None
    assert document["controller"].endswith(world.builder.address)
    assert document["service"] == []


async def test_while_deactivated_a_did_has_no_document_and_is_gone(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    await _apart(world)
    receipt = await world.chain.send(world.deployment.assets.set_active(did, False), world.builder)
    found = await resolver(world).resolve(str(did))
    assert (found.document, found.deactivated, found.status) == (None, True, 410)
    first = await resolver(world).resolve(str(did), version_id="1")
    assert first.document is not None
    assert (first.deactivated, first.status) == (True, 200), "the past stays readable, and is no sign of life"
    async with await ask(world, str(did), versionId="1") as answer:
        metadata = (await answer.json(content_type=None))["didDocumentMetadata"]
        assert (answer.status, metadata["versionId"], metadata["deactivated"]) == (200, "1", True)
    off = (await world.chain.header(receipt.block)).timestamp
    assert (await resolver(world).resolve(str(did), version_time=utc(off))).status == 410
    assert (await resolver(world).resolve(str(did), version_time=utc(off - 1))).status == 200
    for accept in ("*/*", "application/did"):
        answer = await ask(world, str(did), accept)
        assert answer.status == 410
        body = await answer.json(content_type=None)
        assert body["didDocument"] is None
        assert body["didDocumentMetadata"]["deactivated"] is True


async def test_a_deactivated_did_is_gone_also_when_its_block_is(world: World, tmp_path: Path) -> None:
    plan = (await world.create_plan()).plan_id
    did, heir = (await world.register(plan)).did, await world.wallet()
    assets, chain = world.deployment.assets, world.chain
    await chain.send(assets.offer_asset(did, heir.address), world.builder)
    await chain.send(assets.accept_asset(did), heir)
    empty = Resolver([Place(chain, world.deployment)], LocalStore(tmp_path))
    with pytest.raises(ResolutionFailed) as failure:
        await empty.resolve(str(did))
    assert failure.value.status == 503
    await chain.send(assets.set_active(did, False), heir)
    for one in (empty, resolver(world)):
        found = await one.resolve(str(did))
        assert (found.document, found.deactivated, found.status, found.version_id) == (None, True, 410, "1.1")
        assert (await one.dereference(f"{did}#owner")) == found


class Elsewhere:
    """A chain that has not the asset, or says nothing."""

    chain_id = 1

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def call(self, *_: Any) -> Any:
        raise self.error


async def test_of_several_chains_each_is_asked_and_a_silent_one_hides_no_answer(world: World) -> None:
    did = (await world.register((await world.create_plan()).plan_id)).did
    here, unknown = Place(world.chain, world.deployment), Did(b"\x01" * 32)
    silent = Place(Elsewhere(ChainUnavailable("no answer")), world.deployment)  # type: ignore[arg-type]
    without = Place(Elsewhere(AssetUnknown({"did": "none"})), world.deployment)  # type: ignore[arg-type]
    for first in (silent, without):
        for places in ([first, here], [here, first]):
            found = await Resolver(places, world.store).resolve(str(did))
            assert found.chain == f"eip155:{world.chain.chain_id}"
    with pytest.raises(ResolutionFailed, match=f"on eip155:1, eip155:{world.chain.chain_id}") as failure:
        await Resolver([without, here], world.store).resolve(str(unknown))
    assert failure.value.code == "notFound"
    with pytest.raises(ResolutionFailed) as failure:
        await Resolver([silent, here], world.store).resolve(str(unknown))
    assert failure.value.status == 503, "the silent chain may have it"


async def test_it_was_deactivated_at_that_time(world: World, past: Past) -> None:
    history = await read_history(world.chain, world.deployment, past.did)
    (off, _), (on, _) = history.switches
    assert (await resolver(world).resolve(str(past.did), version_time=utc(off))).deactivated
    assert not (await resolver(world).resolve(str(past.did), version_time=utc(on))).deactivated


async def test_fragments_and_services_are_dereferenced(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    one, service = resolver(world), f"access-{world.node.account.lower()}"
    owner = await one.dereference(f"{did}#owner")
    assert isinstance(owner, Dereferenced)
    assert isinstance(owner.content, dict)
    assert owner.content["type"] == "EcdsaSecp256k1RecoveryMethod2020"
    url = await one.dereference(f"{did}?service={service}&relativeRef=%2Fv1%2Fmodels")
    assert isinstance(url, Dereferenced)
    assert url.content == f"{world.node.url}/v1/models"
    assert isinstance(await one.dereference(f"{did}?versionId=1"), Resolution)
    for wrong in (f"{did}#nobody", f"{did}?service=other"):
        with pytest.raises(ResolutionFailed) as failure:
            await one.dereference(wrong)
        assert failure.value.code == "notFound"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", EARLIER),
        (EARLIER, EARLIER),
        ("application/json", EARLIER),
        ("application/did-resolution", "application/did-resolution"),
        ("application/did", "application/did"),
        ("application/did+ld+json", "application/did+ld+json"),
        ("application/did+json", "application/did+json"),
    ],
)
async def test_the_node_answers_in_the_type_that_was_asked_for(
    world: World, past: Past, accept: str, kind: str
) -> None:
    answer = await ask(world, str(past.did), accept)
    body = await answer.json(content_type=None)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    if kind.startswith("application/did") and kind != "application/did-resolution":
        assert body["id"] == str(past.did)
        return
    assert body["didDocument"]["id"] == str(past.did)
    assert body["didResolutionMetadata"]["contentType"] == "application/did+ld+json"
    assert body["didDocumentMetadata"]["versionId"] == "2.1"


async def test_the_node_takes_did_urls_in_the_path_and_in_the_query(world: World, past: Past) -> None:
    for identifier, query in (
        (str(past.did), {"versionId": "1"}),
        (f"{past.did}%3FversionId%3D1".replace(":", "%3A"), {}),
    ):
        url = URL(f"{world.node.url}/1.0/identifiers/{identifier}", encoded=True).update_query(query)
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            body = await answer.json(content_type=None)
            assert answer.status == 200, body
            assert body["didDocumentMetadata"]["versionId"] == "1"
    answer = await ask(world, f"{past.did}%23owner", "application/did")
    assert (await answer.json(content_type=None))["id"] == f"{past.did}#owner"


async def test_the_node_redirects_to_a_service(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did, service = (await world.register(plan)).did, f"access-{world.node.account.lower()}"
    answer = await ask(world, str(did), service=service, relativeRef="/healthz")
    assert (answer.status, answer.headers["location"]) == (303, f"{world.node.url}/healthz")
    answer = await ask(world, str(did), "text/uri-list", service=service)
    assert (answer.status, await answer.text()) == (200, f"{world.node.url}\r\n")
    answer = await ask(world, str(did), "application/did-url-dereferencing", service=service)
    assert (await answer.json(content_type=None))["contentStream"] == world.node.url
    evil = await ask(world, str(did), service=service, relativeRef="//evil.example/")
    assert (evil.status, "location" in evil.headers) == (400, False)


@pytest.mark.parametrize(
    ("written", "location"),
    [
        ("top", "#top"),
        ("b?c=d:e@f", "#b?c=d:e@f"),
        ("%250d%250aSet-Cookie:%2520a=b", "#%0D%0ASet-Cookie:%20a=b"),
        ("%25C3%25A9", "#%C3%A9"),
        ("%2523", "#%23"),
    ],
)
async def test_a_fragment_goes_into_the_redirect_as_a_url_has_it(world: World, written: str, location: str) -> None:
    did, service = (await world.register((await world.create_plan()).plan_id)).did, world.node.account.lower()
    url = URL(
        f"{world.node.url}/1.0/identifiers/{did}%3Fservice=access-{service}%23{written.replace('?', '%3F')}",
        encoded=True,
    )
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (303, world.node.url + location)
        assert "set-cookie" not in answer.headers


async def test_the_hash_of_a_did_url_in_the_query_is_escaped(world: World, past: Past) -> None:
    service = f"access-{world.node.account.lower()}"
    for query, wanted in (
        ("versionId=1%23owner", f"{past.did}#owner"),
        (f"versionId=1&service={service}&relativeRef=/v1%23top", None),
    ):
        url = URL(f"{world.node.url}/1.0/identifiers/{past.did}?{query}", encoded=True)
        headers = {"accept": "application/did"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url, allow_redirects=False) as answer:
            if wanted is None:
                assert (answer.status, answer.headers["location"]) == (303, f"{world.node.url}/v1#top")
            else:
                assert (answer.status, (await answer.json(content_type=None))["id"]) == (200, wanted)


@pytest.mark.parametrize(
    ("identifier", "accept", "status", "code"),
    [
        ("did:nv:12", "*/*", 400, "invalidDid"),
        ("did:nv:" + "0" * 64, "*/*", 404, "notFound"),
        ("did:web:example.org", "*/*", 501, "methodNotSupported"),
        ("did:nv:" + "0" * 64, "application/did+cbor", 406, "representationNotSupported"),
        ("did:nv:" + "0" * 64, "text/uri-list", 404, "notFound"),
    ],
)
async def test_the_node_s_errors_are_those_of_the_standard(
    world: World, identifier: str, accept: str, status: int, code: str
) -> None:
    answer = await ask(world, identifier, accept)
    body = await answer.json(content_type=None)
    assert (answer.status, body["didResolutionMetadata"]["error"]) == (status, code)
    assert body["didDocument"] is None
    today = await ask(world, identifier, "application/did-resolution")
    if accept == "*/*":
        error = (await today.json(content_type=None))["didResolutionMetadata"]["error"]
        assert (today.status, error["title"]) == (status, code)
        assert error["type"].startswith("https://www.w3.org/ns/did#")


async def test_a_missing_or_swapped_block_is_said_without_naming_folders(world: World) -> None:
    plan = (await world.create_plan()).plan_id
    did = (await world.register(plan)).did
    missing = Cid.of(b"nobody has this")
    with pytest.raises(NotFound):
        await world.store.get(missing)
    await world.chain.send(world.deployment.assets.set_metadata(did, missing), world.builder)
    answer = await ask(world, str(did))
    assert answer.status == 503
    assert str(world.folder) not in await answer.text()
    rubbish = await pin(world.store, b'{"v":1}')
    await world.chain.send(world.deployment.assets.set_metadata(did, rubbish), world.builder)
    answer = await ask(world, str(did))
    assert (answer.status, (await answer.json(content_type=None))["didResolutionMetadata"]["error"]) == (
        500,
        "invalidDidDocument",
    )
