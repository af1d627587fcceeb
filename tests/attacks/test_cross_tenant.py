"""A subscriber reaches only what they created: every verb answers for a foreign id as for one that doesn't exist."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import orjson
import pytest
import pytest_asyncio
import yarl

from tests.attacks.verbs import VERBS, WITH_FILES, Verb
from tests.selling import Market, Sold
from tests.world import World

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated"),
]

ATTEMPTS = 1_000
SEED = 20261123
Json = dict[str, Any]
Ids = dict[str, list[str]]
_KIND = re.compile(r"\{([a-z]+)\}")


@dataclass(slots=True)
class Tenant:
    """Somebody with a plan. ids: what they own, by kind."""

    sold: Sold
    http: aiohttp.ClientSession
    ids: Ids

    async def send(self, method: str, path: str, body: Json | None = None) -> tuple[int, str, dict[str, str]]:
        url = yarl.URL(self.sold.world.node.url + path, encoded=True)
        async with self.http.request(method, url, json=body) as answer:
            return answer.status, await answer.text(), dict(answer.headers)


async def furnish(sold: Sold, http: aiohttp.ClientSession) -> Tenant:
    """One of everything, and two of what most attempts are about."""
    did = str(sold.did)
    ids: Ids = {"did": [did]}
    async with openai.AsyncOpenAI(base_url=sold.url, api_key=sold.key, max_retries=0) as client:
        raw = await client.responses.with_raw_response.create(model=did, input="private words")
        first = raw.parse()
        background = await client.responses.create(model=did, input="private words", background=True)
        ids["response"] = [first.id, background.id]
        ids["output"] = [first.output[0].id or ""]
        conversation = await client.conversations.create(items=[{"role": "user", "content": "private words"}])
        await client.responses.create(model=did, input="private words", conversation=conversation.id)
        ids["conversation"] = [conversation.id]
        ids["item"] = [str(item.id) async for item in client.conversations.items.list(conversation.id)]
        file = await client.files.create(file=("private.txt", b"private words"), purpose="user_data")
        ids["file"] = [file.id]
        messages: Any = [{"role": "user", "content": "private words"}]
        ids["completion"] = [(await client.chat.completions.create(model=did, messages=messages, store=True)).id]
        thread = await client.beta.threads.create(messages=messages)
        run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=did, poll_interval_ms=50)
        assert run.status == "completed"
        ids["thread"], ids["run"] = [thread.id], [run.id]
        ids["message"] = [message.id async for message in client.beta.threads.messages.list(thread.id)]
        ids["step"] = [step.id async for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)]
    async with http.get(f"{sold.url}/receipts") as answer:
        ids["charge"] = [receipt["id"] for receipt in (await answer.json())["data"]]
    async with http.get(f"{sold.world.node.url}/auth/keys") as answer:
        ids["key"] = [key["id"] for key in (await answer.json())["data"]]
    assert all(ids.values()), ids
    return Tenant(sold, http, ids)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(world: World) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Two subscribers of one assistant; the first is the one who is attacked."""
    async with AsyncExitStack() as stack:
        sold = await Market(world, stack=stack).sell("responses")
        wallet = await world.wallet()
        await world.buy(sold.plan, wallet)
        other = Sold(world, sold.plan, sold.did, wallet, await world.login(wallet))
        sessions = [await stack.enter_async_context(one.http()) for one in (sold, other)]
        yield await furnish(sold, sessions[0]), await furnish(other, sessions[1])


@dataclass(slots=True)
class Attempt:
    """A verb with its ids filled in, and the same with an id that doesn't exist in the place of the foreign one."""

    verb: Verb
    foreign: dict[str, str]
    missing: dict[str, str]

    async def answers(self, attacker: Tenant) -> list[tuple[int, str, list[str]]]:
        """What both get: status, body without the ids, names of the headers."""
        found = []
        for given in (self.foreign, self.missing):
            body = None if self.verb.body is None else orjson.loads(fill(orjson.dumps(self.verb.body).decode(), given))
            status, text, headers = await attacker.send(self.verb.method, fill(self.verb.path, given), body)
            for kind, id in given.items():
                text = text.replace(id, f"<{kind}>")
            found.append((status, text, sorted(headers)))
        return found


def fill(template: str, given: dict[str, str]) -> str:
    return _KIND.sub(lambda found: given.get(found[1], found[0]), template)


def attempt(rng: random.Random, victim: Tenant, attacker: Tenant) -> Attempt:
    verb = rng.choice(VERBS)
    kinds = [kind for kind in _KIND.findall(verb.path + orjson.dumps(verb.body).decode()) if kind != "did"]
    foreign = {"did": attacker.ids["did"][0]}
    for kind in kinds[:-1]:  # a parent of one's own doesn't open somebody else's child
        foreign[kind] = rng.choice((attacker if rng.random() < 0.5 else victim).ids[kind])
    of = kinds[-1] if rng.random() < 0.9 else rng.choice([kind for kind in victim.ids if kind != "did"])
    foreign[kinds[-1]] = rng.choice(victim.ids[of])
    return Attempt(verb, foreign, {kind: id if id in attacker.ids[kind] else other(id) for kind, id in foreign.items()})


def other(id: str) -> str:
    """An id of the same form that nobody has."""
    match = re.fullmatch(r"(.*?[_-])(.+)", id)
    assert match is not None
    kept = match[2][:-12] if len(match[2]) > 24 else ""
    return f"{match[1]}{kept}{secrets.token_hex(32)}"[: len(id)]


async def test_a_thousand_attempts_at_somebody_elses_objects_find_nothing(tenants: tuple[Tenant, Tenant]) -> None:
    victim, attacker = tenants
    rng = random.Random(SEED)
    before, credits = await possessions(victim), await attacker.sold.left()
    tried: set[tuple[str, str]] = set()
    for number in range(ATTEMPTS):
        chosen = attempt(rng, victim, attacker)
        foreign, missing = await chosen.answers(attacker)
        assert foreign == missing, f"attempt {number} of seed {SEED}: {chosen}"
        assert foreign[0] in (400, 404), f"attempt {number} of seed {SEED}: {chosen} {foreign}"
        assert "private" not in foreign[1]
        tried.add((chosen.verb.method, chosen.verb.path))
    assert tried == {(verb.method, verb.path) for verb in VERBS}
    assert await possessions(victim) == before
    assert await attacker.sold.left() == credits


NOBODYS = {
    "/v1/assistants/{}": "assistants are on the chain for everybody to see",
    "/v1/vouchers/{}": "a plan's id, under which everybody has an account of their own: see test_receipts.py",
}


async def test_every_route_that_takes_an_id_is_attacked(world: World) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{world.node.url}/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    routes = {
        (verb.upper(), _KIND.sub("{}", re.sub(r"\{\w+\}", "{id}", path)))
        for path, verbs in paths.items()
        for verb in verbs
        if "{" in path and path.startswith(("/v1/", "/auth/")) and not path.startswith("/v1/models")
    }
    attacked = {(verb.method, _KIND.sub("{}", verb.path.partition("?")[0])) for verb in VERBS}
    assert {route for route in routes - attacked if route[1] not in NOBODYS} == set()


@pytest.mark.parametrize("message", WITH_FILES, ids=["shown", "attached"])
async def test_somebody_elses_file_in_a_thread_reaches_no_assistant(
    tenants: tuple[Tenant, Tenant], message: Json
) -> None:
    victim, attacker = tenants
    answers = []
    for file in (victim.ids["file"][0], other(victim.ids["file"][0])):
        said = orjson.loads(fill(orjson.dumps(message).decode(), {"file": file}))
        for first, then in (([said], []), ([], [said])):
            status, text, _ = await attacker.send("POST", "/v1/threads", {"messages": first})
            thread = orjson.loads(text)["id"]
            for one in then:
                status, _, _ = await attacker.send("POST", f"/v1/threads/{thread}/messages", one)
            assert status == 200
            asked = {"assistant_id": attacker.ids["did"][0]}
            status, text, _ = await attacker.send("POST", f"/v1/threads/{thread}/runs", asked)
            answers.append((status, text.replace(file, "<file>")))
    assert len(set(answers)) == 1
    assert answers[0][0] in (400, 404)


async def possessions(tenant: Tenant) -> list[Any]:
    """All that a subscriber owns, as they see it."""
    paths = {
        **{kind: f"/v1/{kind}s/{{id}}" for kind in ("response", "conversation", "file", "thread")},
        "completion": "/v1/chat/completions/{id}",
        "charge": "/v1/receipts/{id}",
        "key": "/auth/keys/{id}",
        "item": f"/v1/conversations/{tenant.ids['conversation'][0]}/items/{{id}}",
        "message": f"/v1/threads/{tenant.ids['thread'][0]}/messages/{{id}}",
        "run": f"/v1/threads/{tenant.ids['thread'][0]}/runs/{{id}}",
        "step": f"/v1/threads/{tenant.ids['thread'][0]}/runs/{tenant.ids['run'][0]}/steps/{{id}}",
    }
    found = []
    for kind, path in paths.items():
        for id in tenant.ids[kind]:
            status, text, _ = await tenant.send("GET", path.replace("{id}", id))
            assert status == 200, (kind, text)
            value = orjson.loads(text)
            found.append({name: one for name, one in value.items() if name != "last_used_at"})
    return found


async def test_no_list_shows_what_is_somebody_elses(tenants: tuple[Tenant, Tenant]) -> None:
    victim, attacker = tenants
    theirs = {id for kind, ids in victim.ids.items() if kind != "did" for id in ids}
    lists = ("/v1/files", "/v1/chat/completions", "/v1/receipts", "/auth/keys")
    for path in lists:
        status, text, _ = await attacker.send("GET", path)
        assert status == 200, text
        assert not [id for id in theirs if id in text]


@pytest.mark.parametrize(
    "id", ["..%2Fconversations", "%00", "a%00b", "%F0%9F%92%A9", "x" * 5000, "%27%20OR%201%3D1--", "%ff"]
)
async def test_what_is_no_id_at_all_is_not_found(tenants: tuple[Tenant, Tenant], id: str) -> None:
    _, attacker = tenants
    for path in (
        "/v1/responses/{}",
        "/v1/conversations/{}",
        "/v1/files/{}",
        "/v1/threads/{}",
        "/v1/conversations/{}/items",
    ):
        status, text, _ = await attacker.send("GET", path.format(id))
        assert status == 404, text


async def test_all_providers_ids_of_the_builder_are_out_of_reach(tenants: tuple[Tenant, Tenant], world: World) -> None:
    """Subscribers share the builder's account: an id that exists there opens nothing here."""
    _, attacker = tenants
    async with openai.AsyncOpenAI(base_url=world.provider.url, api_key=world.provider.key, max_retries=0) as builder:
        response = await builder.responses.create(model="stand-in", input="the builder's own")
        conversation = await builder.conversations.create()
        file = await builder.files.create(file=("a.txt", b"the builder's own"), purpose="user_data")
    given = {"response": response.id, "conversation": conversation.id, "file": file.id, "did": attacker.ids["did"][0]}
    for verb in VERBS:
        kinds = set(_KIND.findall(verb.path + orjson.dumps(verb.body).decode())) - {"did"}
        if len(kinds) == 1 and kinds <= given.keys():
            found, missing = await Attempt(verb, given, given | {kind: other(given[kind]) for kind in kinds}).answers(
                attacker
            )
            assert found == missing
            assert found[0] in (400, 404)
