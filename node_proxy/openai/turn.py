"""One response and what it continues: how its provider gets that, and what is kept afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from node_proxy import logs
from node_proxy.dialects import Answer
from node_proxy.errors import BadRequest, InvalidValue, ObjectNotFound, ProviderRefusedSetup
from node_proxy.openai.calls import Access
from node_proxy.openai.inputs import MAX_ITEMS, check_items
from node_proxy.openai.kept_items import CALLS, check_answered, listed, special
from node_proxy.openai.objects import LONGEST_LINE, Step, Stored
from node_proxy.openai.request import Prepared
from node_proxy.openai.upstream import Upstream, account, keeps_state
from node_proxy.storage import StorageFailed
from nvm_chain.text import show

if TYPE_CHECKING:
    from node_proxy.openai.history import History

log = logs.get("history")

Json = dict[str, Any]

_ANSWERED = frozenset({"completed", "incomplete"})
_RECENT = 64
"""Items at the end of a conversation that are looked at when its provider has the rest."""


class PreviousNotFound(BadRequest):
    """`previous_response_id` names no response of the caller's that can be continued (HTTP 400)."""

    code = "previous_response_not_found"


class ConversationLocked(BadRequest):
    """Another response works on the conversation (HTTP 400, as OpenAI answers)."""

    code = "conversation_locked"


def locked() -> ConversationLocked:
    """For a conversation that is in use."""
    return ConversationLocked(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        param="conversation",
    )


def needs_turn(prepared: Prepared) -> bool:
    """Whether a response has anything to do with what is kept here: before it, in its input, or afterwards."""
    return bool(prepared.store or prepared.previous or prepared.conversation or special(prepared.items))


class Turn:
    """One response and what it continues. Use `History.turn`.

    asked: whether the provider has begun to answer.
    """

    def __init__(self, history: History, access: Access, prepared: Prepared) -> None:
        self._history = history
        self._objects = history.objects
        self._access = access
        self._prepared = prepared
        self._subscriber = access.key.subscriber
        self._upstream = keeps_state(access.definition)
        self._account = account(history.calls.secret, access.definition) if self._upstream else ""
        self._known: dict[str, Json] = {}
        self._call_ids: dict[str, str] = {}
        self._mirror: Stored | None = None
        self._last: Stored | None = None
        self._locked = ""
        self._upto = 0
        self._listed: list[Json] | None = None
        self.asked = False

    @asynccontextmanager
    async def ask(self) -> AsyncIterator[Answer]:
        """Asks the provider; one that has lost what it was to remember is told everything. Raises ProviderError."""
        params = frozenset(self._prepared.caller_params)
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(self._access.ask(self._prepared.body, caller_params=params))
            except ProviderRefusedSetup:
                if not await self._tell_all():
                    raise
                answer = await stack.enter_async_context(self._access.ask(self._prepared.body, caller_params=params))
            self.asked = True
            yield answer

    # --------------------------------------------------------------------------------------------------------- before

    async def begin(self) -> None:
        """Looks up what comes before, and completes the body."""
        prepared, body = self._prepared, self._prepared.body
        if self._upstream:
            body["store"] = prepared.store
        if prepared.previous:
            await self._after_response(prepared.previous)
        elif prepared.conversation:
            await self._in_conversation(prepared.conversation)
        elif special(prepared.items):
            body["input"] = await self._given([])
        if body.get("input") == []:  # nothing new, which is said by saying nothing
            del body["input"]

    async def _after_response(self, id: str) -> None:
        last = await self._objects.get(self._subscriber, "response", id)
        if last is None or not self._may_see(last):
            raise _no_previous(id)
        if last.data["response"]["status"] not in _ANSWERED:
            raise PreviousNotFound(
                f"Previous response {show(id[:100])} is {last.data['response']['status']}: only one that was answered "
                "can be continued.",
                param="previous_response_id",
            )
        body = self._prepared.body
        self._last = last
        if self._upstream and last.provider_id and last.data.get("account") == self._account:
            self._learn([*last.data["input"], *last.data["response"]["output"]])
            self._call_ids = last.data.get("calls", {})
            body["previous_response_id"] = last.provider_id
            body["input"] = await self._given(list(self._known.values()))
            return
        before = await self._line(last)
        body["input"] = await self._whole("previous_response_id", before)

    async def _tell_all(self) -> bool:
        """Makes the body one that needs nothing of the provider's memory; whether it needed something before."""
        body = self._prepared.body
        self._call_ids = {}
        if body.pop("previous_response_id", None) is not None and self._last is not None:
            body["input"] = await self._whole("previous_response_id", await self._line(self._last))
            return True
        if self._mirror is not None:
            self._mirror = None
            kept = await self._history.items(self._subscriber, self._prepared.conversation)
            self._mirror = await self._reflect(self._prepared.conversation, kept)
            body["conversation"] = self._mirror.provider_id
            body["input"] = await self._given(self._learn(item.data["item"] for item in kept))
            return True
        return False

    async def _line(self, last: Stored) -> list[Json]:
        """Everything that was said up to a response, oldest first."""
        line = await self._objects.lineage(self._subscriber, "response", last.id)
        if line and line[0].parent:
            why = "is gone" if len(line) < LONGEST_LINE else f"is more than {LONGEST_LINE} responses back"
            raise PreviousNotFound(
                f"{show(last.id[:100])} continues {show(line[0].parent[:100])}, which {why}.",
                param="previous_response_id",
            )
        items: list[Json] = []
        for one in line:
            if conversation := one.data.get("conversation"):
                kept = await self._history.items(self._subscriber, conversation["id"])
                items += [item.data["item"] for item in kept if item.position <= conversation["upto"]]
            items += [*one.data["input"], *one.data["response"]["output"]]
        return items

    async def _in_conversation(self, id: str) -> None:
        subscriber, objects = self._subscriber, self._objects
        await self._history.find_conversation(subscriber, id)
        if not await objects.lock(f"{subscriber}|{id}", objects.deleting_children(subscriber, "mirror", id)):
            raise locked()
        self._locked = f"{subscriber}|{id}"
        await self._history.find_conversation(subscriber, id)  # once more: now nobody deletes it
        if self._upstream:
            recent = (await objects.list(subscriber, "item", parent=id, limit=_RECENT)).objects[::-1]
            self._mirror = await objects.get(subscriber, "mirror", f"{id}.{self._account}")
            if self._mirror is None or self._mirror.data["upto"] != (recent[-1].id if recent else ""):
                recent = await self._history.items(subscriber, id)
                self._mirror = await self._reflect(id, recent)
            self._call_ids = _calls_at(self._mirror, recent)
            self._upto = recent[-1].position if recent else 0
            self._prepared.body["conversation"] = self._mirror.provider_id
            self._prepared.body["input"] = await self._given(self._learn(item.data["item"] for item in recent))
        else:
            kept = await self._history.items(subscriber, id)
            self._upto = kept[-1].position if kept else 0
            self._prepared.body["input"] = await self._whole("conversation", [item.data["item"] for item in kept])

    async def _reflect(self, id: str, items: list[Stored]) -> Stored:
        """The provider's conversation brought up to ours: what is missing is added, or a new one is begun."""
        upstream, mirror = self._upstream_client(), self._mirror
        upto = mirror.data["upto"] if mirror is not None else ""
        known = next((number for number, item in enumerate(items) if item.id == upto), None)
        if mirror is not None and (known is not None or not upto):
            missing = await self._sendable("conversation", items[0 if known is None else known + 1 :])
            await upstream.add_items(mirror.provider_id, _in_its_words(missing, _calls_at(mirror, items)))
        else:
            made = await upstream.new_conversation(await self._sendable("conversation", items))
            mirror = Stored(
                f"{id}.{self._account}", "mirror", self._subscriber, {}, str(self._access.did), id, made, position=1
            )
        return replace(mirror, data={"upto": items[-1].id if items else ""})

    async def _sendable(self, where: str, items: list[Stored]) -> list[Json]:
        given = check_items(where, [item.data["item"] for item in items], self._access.definition.policy, MAX_ITEMS)
        return await self._history.files.attach(self._access, given)

    async def _whole(self, where: str, before: list[Json]) -> list[Json]:
        """The history and the new input, as input."""
        if len(before) + len(self._prepared.items) > MAX_ITEMS:
            raise InvalidValue(f"`{where}`: the history has more than {MAX_ITEMS} items; begin a new one.", param=where)
        policy = self._access.definition.policy
        earlier = check_items(where, self._learn(before), policy, MAX_ITEMS)
        return await self._history.files.attach(self._access, earlier) + await self._given(before)

    def _learn(self, items: Iterable[Json]) -> list[Json]:
        """Notes items that may be referred to."""
        found = list(items)
        self._known |= {item["id"]: item for item in found if "id" in item}
        return found

    async def _given(self, before: list[Json]) -> list[Json]:
        """The new input for the provider: references resolved, files attached, its own ids of calls."""
        prepared = self._prepared
        if any(item["type"] == "item_reference" for item in prepared.items):
            prepared.items = [item for given in prepared.items if (item := await self._resolve(given)) is not None]
        check_answered(before, prepared.items, strict=not self._locked or len(before) < _RECENT)
        items = await self._history.files.attach(self._access, prepared.items)
        return _in_its_words(items, self._call_ids)

    async def _resolve(self, item: Json) -> Json | None:
        """The item that a reference means; None for one that isn't passed on."""
        if item["type"] != "item_reference":
            return item
        found = self._known.get(item["id"])
        if found is None:
            found = await self._look_up(item["id"])
        policy = self._access.definition.policy
        return next(iter(check_items("input", [found], policy, 1)), None)

    def _may_see(self, stored: Stored) -> bool:
        """Whether the key opens the assistant that it belongs to."""
        dids = self._access.key.dids
        return dids is None or not stored.did or any(str(did) == stored.did for did in dids)

    async def _look_up(self, id: str) -> Json:
        objects, subscriber = self._objects, self._subscriber
        pointer = await objects.get(subscriber, "item", id)
        if pointer is not None and not self._may_see(pointer):
            pointer = None
        if pointer is not None and "item" in pointer.data:
            found: Json = pointer.data["item"]
            return found
        source = None if pointer is None else await objects.get(subscriber, "response", pointer.parent)
        for one in () if source is None else source.data["response"]["output"]:
            if one.get("id") == id:
                return dict(one)
        raise ObjectNotFound(f"Item with id {show(id[:100])} not found.", param="input")

    # ---------------------------------------------------------------------------------------------------------- after

    async def keep(self, shown: Json, response: Json, *, more: Iterable[Step] = ()) -> bool:
        """Keeps the response and lets go of the conversation, all at once; durable when it returns True.

        shown: the Response as the caller sees it. response: as its provider made it. more: further steps of the same
        transaction. A failure is logged and not raised: the answer was paid for.
        """
        steps = [*self._keeping(shown, response), *more]
        try:
            if steps:
                await self._objects.write(*steps)
        except StorageFailed as error:
            log.error("history.not_kept", error=str(error))
            return False
        self._locked = ""
        return True

    def _keeping(self, shown: Json, response: Json) -> Iterator[Step]:
        prepared, objects, answered = self._prepared, self._objects, shown["status"] in _ANSWERED
        given = self._input()
        calls = self._calls_of(response)
        if prepared.conversation and answered:
            yield from self._adding(given, shown["output"], calls)
        elif self._mirror is not None:  # what its provider has now isn't known
            yield objects.deleting_children(self._subscriber, "mirror", prepared.conversation)
        if prepared.store:
            yield objects.putting(self._row(shown, given, response, calls))
            if not prepared.conversation:
                for item in shown["output"]:
                    yield objects.putting(self._item(item["id"], {}, shown["id"]))
        if prepared.previous:
            yield objects.keeping(self._subscriber, "response", prepared.previous, self._history.expiry())
        if self._locked:
            yield objects.unlocking(self._locked)

    def waiting(self, shown: Json, owner: int) -> Step:
        """The step that keeps a response which isn't answered yet. owner: the process that works on it."""
        row = self._row(shown, self._input(), {}, {})
        return self._objects.putting(replace(row, data={**row.data, "owner": owner}))

    def _input(self) -> list[Json]:
        if self._listed is None:
            self._listed = listed(self._prepared.items)
        return self._listed

    def _adding(self, given: list[Json], output: list[Json], calls: dict[str, str]) -> Iterator[Step]:
        objects, subscriber, conversation = self._objects, self._subscriber, self._prepared.conversation
        for item in [*given, *output]:
            data: Json = {"item": item}
            if self._mirror is not None and item["type"] in CALLS and item["call_id"] in calls:
                data |= {"mirror": self._mirror.provider_id, "call_id": calls[item["call_id"]]}
            yield objects.putting(self._item(item["id"], data, conversation))
        if self._mirror is not None:
            last = output or given
            upto = last[-1]["id"] if last else self._mirror.data["upto"]
            yield objects.putting(replace(self._mirror, data={"upto": upto}))
        yield objects.keeping(subscriber, "conversation", conversation, self._history.expiry())

    def _row(self, shown: Json, given: list[Json], response: Json, calls: dict[str, str]) -> Stored:
        prepared = self._prepared
        data: Json = {"response": shown, "input": given}
        provider_id = response.get("id") if self._upstream else None
        if isinstance(provider_id, str):
            data |= {"account": self._account, "calls": calls}
        if prepared.conversation:
            data["conversation"] = {"id": prepared.conversation, "upto": self._upto}
        return Stored(
            shown["id"],
            "response",
            self._subscriber,
            data,
            str(self._access.did),
            prepared.previous,
            provider_id if isinstance(provider_id, str) else "",
            created_at=int(shown["created_at"]),
            position=1,
            expires_at=self._history.expiry(),
        )

    def _item(self, id: str, data: Json, parent: str) -> Stored:
        return Stored(id, "item", self._subscriber, data, str(self._access.did), parent)

    def _calls_of(self, response: Json) -> dict[str, str]:
        """The provider's ids of the calls in an answer, by ours."""
        if not self._upstream:
            return {}
        output = response.get("output")
        theirs = [
            item["call_id"]
            for item in (output if isinstance(output, list) else ())
            if isinstance(item, dict) and item.get("type") in CALLS and isinstance(item.get("call_id"), str)
        ]
        return {self._access.ids.public(call_id, "call_"): call_id for call_id in theirs}

    async def end(self) -> None:
        """Lets go of a conversation whose response came to nothing. What its provider remembers isn't trusted then."""
        if not self._locked:
            return
        name, self._locked = self._locked, ""
        step = self._objects.deleting_children(self._subscriber, "mirror", self._prepared.conversation)
        if not self.asked and self._mirror is not None:
            step = self._objects.putting(self._mirror)
        try:
            await asyncio.shield(self._objects.unlock(name, step))
        except StorageFailed as error:
            log.error("history.not_unlocked", error=str(error))

    def _upstream_client(self) -> Upstream:
        return Upstream(self._history.calls.provider, self._access.definition)


def _calls_at(mirror: Stored, items: Iterable[Stored]) -> dict[str, str]:
    """The provider's ids of the calls that its conversation made, by ours."""
    made = (item.data for item in items if item.data.get("mirror") == mirror.provider_id)
    return {data["item"]["call_id"]: data["call_id"] for data in made}


def _in_its_words(items: list[Json], call_ids: dict[str, str]) -> list[Json]:
    """Items with the provider's ids of the calls that it knows."""
    if not call_ids:
        return items
    return [
        {**item, "call_id": call_ids[item["call_id"]]} if item.get("call_id") in call_ids else item for item in items
    ]


def _no_previous(id: str) -> PreviousNotFound:
    return PreviousNotFound(f"Previous response with id {show(id[:100])} not found.", param="previous_response_id")
