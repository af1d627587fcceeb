"""The pinning service client against a server written to the API's specification, and against hostile ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvm_chain.cid import Cid
from nvm_chain.errors import InvalidInput, NotFound, NvmError, StoreUnavailable
from nvm_chain.ipfs import LocalStore, Stores
from nvm_chain.ipfs.care import holdings, repin
from nvm_chain.ipfs.pinning import PinningService, PinRefused
from nvm_chain.secret import Secret
from tests.peers.pinning import pinning_service
from tests.unit.gateways import gateway, honest, liar

BLOCK = b'{"title":"Math tutor"}'
CID = Cid.of(BLOCK)
TOKEN = "t0ken"


async def test_a_service_fetches_and_keeps_what_it_is_asked_to(tmp_path: Path) -> None:
    network = LocalStore(tmp_path)
    await network.put(BLOCK)
    async with pinning_service(network) as peer, PinningService(peer.url, Secret(TOKEN)) as service:
        assert not await service.has(CID)
        pin = await service.wait(await service.add(CID, name="tutor", origins=["/ip4/127.0.0.1/tcp/4001"]), 5)
        assert (pin.status, pin.name, pin.delegates) == ("pinned", "tutor", ("/dnsaddr/pin.example",))
        assert peer.held == {str(CID): BLOCK}
        assert await service.has(CID)
        assert (await service.add(CID)).request_id == pin.request_id, "asking again asks for nothing new"
        assert len(peer.pins) == 1
        await service.remove(pin)
        await service.remove(pin)
        assert not await service.has(CID)
        with pytest.raises(NotFound):
            await service.get(pin.request_id, CID)


async def test_a_failed_request_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    network = LocalStore(tmp_path)
    async with pinning_service(network, seconds=0.1) as peer, PinningService(peer.url, Secret(TOKEN)) as service:
        failed = await service.wait(await service.add(CID), 5)
        assert (failed.status, failed.details) == ("failed", '"no provider has the block"')
        await network.put(BLOCK)
        again = await service.wait(await service.add(CID), 5)
        assert again.status == "pinned"
        assert list(peer.pins) == [again.request_id]
        assert ("POST", f"/psa/pins/{failed.request_id}") in peer.requests


async def test_a_wrong_token_is_refused_with_the_way_out_and_not_echoed(tmp_path: Path) -> None:
    async with (
        pinning_service(LocalStore(tmp_path)) as peer,
        PinningService(peer.url, Secret("wr0ng-token")) as service,
    ):
        with pytest.raises(PinRefused, match="check its access token") as failure:
            await service.add(CID)
    assert (failure.value.status, failure.value.reason) == (401, "UNAUTHORIZED")
    assert "wr0ng" not in f"{failure.value!r} {service!r} {service.__dict__} {service.name}"


@pytest.mark.parametrize("url", ["http://pin.example", "https://user:secret@pin.example", "ftp://x", "https://x/?a=b"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="pinning service"):
        PinningService(url, Secret(TOKEN))


def test_a_service_without_a_token_is_refused() -> None:
    with pytest.raises(InvalidInput, match="needs an access token"):
        PinningService("https://pin.example", Secret(""))


@contextlib.asynccontextmanager
async def answering(answer: web.Response | Any, **options: Any) -> AsyncIterator[PinningService]:
    async def handler(_: web.Request) -> web.Response:
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with (
        TestServer(app, host="127.0.0.1") as server,
        PinningService(str(server.make_url("/")), Secret(TOKEN), **options) as service,
    ):
        yield service


def pin(**changes: Any) -> dict[str, Any]:
    return {"requestid": "a-1", "status": "pinned", "pin": {"cid": str(CID)}, "delegates": ["/dns/x"], **changes}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"count": 1, "results": 5},
        {"count": 1, "results": ["x"]},
        {"count": 1, "results": [pin(status="perhaps")]},
        {"count": 1, "results": [pin(requestid="../../v1/delete")]},
        {"count": 1, "results": [pin(requestid=7)]},
        {"count": 1, "results": [pin(pin={"cid": str(Cid.of(b"another"))})]},
        web.Response(text="<html>"),
        web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}),
        web.Response(status=500, text="oops"),
        web.Response(body=b"x" * (2 << 20)),
    ],
)
async def test_an_answer_of_another_form_is_no_pin(answer: Any) -> None:
    async with answering(answer) as service:
        with pytest.raises(StoreUnavailable):
            await service.find(CID)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["requestid", "status", "pin", "cid", "info", "delegates", "name"]), inner, max_size=5), max_leaves=12))  # fmt: skip  # noqa: E501
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_a_pin_or_refused(entry: Any) -> None:
    with contextlib.suppress(NvmError):
        PinningService("https://pin.example", Secret(TOKEN))._pin(json.loads(json.dumps(entry)), CID)


async def test_a_doctor_tells_who_holds_a_block_who_does_not_and_who_lies(tmp_path: Path) -> None:
    here, there = LocalStore(tmp_path / "here"), LocalStore(tmp_path / "there")
    await here.put(BLOCK)
    async with (
        gateway(liar) as bad,
        gateway(honest) as good,
        pinning_service(here) as peer,
        PinningService(peer.url, Secret(TOKEN)) as service,
        Stores(here, [there], [bad, good]) as stores,
    ):
        (report,) = await holdings(stores, [service], [CID])
        assert [holding.holds for holding in report.holdings] == [True, False, False, True, False]
        assert report.copies == 2
        assert "not the bytes" in str(report.holdings[2].error) or report.holdings[2].error is not None
        done = await repin(stores, [service], CID, name="tutor", patience=5)
        assert done.complete
        assert done.held == (here.name, there.name)
        assert done.pins[0][1].status == "pinned"
        (report,) = await holdings(stores, [service], [CID])
        assert [holding.holds for holding in report.holdings] == [True, True, False, True, True]


async def test_a_block_that_nobody_has_is_said_so(tmp_path: Path) -> None:
    async with Stores(LocalStore(tmp_path)) as stores:
        done = await repin(stores, [], CID)
    assert (done.source, done.complete) == (None, False)
    assert isinstance(done.faults[0].error, NotFound)


async def test_a_broken_service_does_not_keep_others_from_holding(tmp_path: Path) -> None:
    here = LocalStore(tmp_path)
    await here.put(BLOCK)
    async with answering(web.Response(status=503)) as broken, Stores(here) as stores:
        done = await repin(stores, [broken], CID)
    assert done.held == (here.name,)
    assert not done.complete
