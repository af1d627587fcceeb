"""nvm-chain assistant: register, look at and update assistants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from nvm_chain.abi import Event
from nvm_chain.address import address
from nvm_chain.assets import FOREVER, OfferInput
from nvm_chain.chain import Chain, event_topics, topic
from nvm_chain.cli import terms
from nvm_chain.cli.definition import definition_options, key_was_given, read_definition, was_given
from nvm_chain.cli.output import Moment
from nvm_chain.cli.reseal import reseal, seals
from nvm_chain.cli.session import Session, action, command, from_block_option
from nvm_chain.cli.stores import open_blocks, store_option
from nvm_chain.cli.transactions import submit, transaction
from nvm_chain.cli.types import ADDRESS, DID, OFFER, TEXT_FILE
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.errors import DigestMismatch, InvalidInput, MetadataInvalid, NotFound, NvmError, StoreUnavailable
from nvm_chain.lens import OfferView
from nvm_chain.metadata import Metadata
from nvm_chain.registration import (
    Draft,
    Prepared,
    find_asset,
    named_salt,
    pin,
    prepare_registration,
    prepare_update,
)
from nvm_chain.resolve import Resolved, resolve
from nvm_chain.wallet import Wallet


@click.group()
def assistant() -> None:
    """Register, look at and update assistants."""


for _command in (seals, reseal, terms.offer, terms.close_offer, terms.add_node, terms.remove_node, terms.switch,
                 terms.hand_over, terms.accept):  # fmt: skip
    assistant.add_command(_command)


@assistant.command()
@click.option("--title", required=True, help="A short title.")
@click.option("--description", default="", help="What it is about.")
@click.option("--tag", "tags", multiple=True, help="For search. Repeat it.")
@click.option("--notes-file", "notes", type=TEXT_FILE, help="Integration notes, Markdown.")
@click.option(
    "--plan",
    "offers",
    type=OFFER,
    multiple=True,
    required=True,
    metavar="PLAN[=MIN[-MAX]]",
    help="A plan that opens it, at so many credits per access (by default 1; 0 for time). Repeat it.",
)
@click.option("--node", "nodes", type=ADDRESS, multiple=True, required=True, help="An access node that serves it.")
@click.option("--name", help="What the DID follows from; by default the title. The same name is the same assistant.")
@definition_options
@store_option
@action
async def register(
    session: Session,
    /,
    title: str,
    description: str,
    tags: tuple[str, ...],
    notes: str | None,
    offers: tuple[OfferInput, ...],
    nodes: tuple[str, ...],
    name: str | None,
    store_url: str | None,
    gateways: tuple[str, ...],
    **definition: Any,
) -> None:
    """Register an assistant: seal its definition to the nodes, pin its metadata, put it on the chain.

    Repeating the command with the same name finds the assistant that is there.
    """
    draft = Draft(
        salt=named_salt(name or title),
        title=title,
        description=description,
        tags=tags,
        notes=notes or "",
        offers=offers,
        nodes=nodes,
        definition=read_definition(**definition),
    )
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        wallet, deployment = session.wallet(chain), session.deployment
        did = Did.derive(chain.chain_id, deployment.asset_registry, wallet.address, draft.salt)
        known = await find_asset(chain, deployment, did)
        if known is not None:
            session.output.note("this assistant is registered already: change it with `nvm-chain assistant update`")
            session.output.record({"did": str(did), "cid": str(known.metadata)})
            return
        note = session.output.note
        prepared = await prepare_registration(chain, deployment, store, wallet.address, draft, note)
        await _publish(session, chain, wallet, store, prepared, f"Register assistant {title!r}")


@assistant.command()
@click.argument("did", type=DID)
@click.option("--title")
@click.option("--description")
@click.option("--tag", "tags", multiple=True, help="Replaces all tags. Repeat it.")
@click.option("--notes-file", "notes", type=TEXT_FILE, help="Integration notes, Markdown.")
@definition_options
@store_option
@action
async def update(
    session: Session,
    /,
    did: Did,
    title: str | None,
    description: str | None,
    tags: tuple[str, ...],
    notes: str | None,
    store_url: str | None,
    gateways: tuple[str, ...],
    **definition: Any,
) -> None:
    """Publish a new version: other texts, or (with definition options) a newly sealed definition.

    Only nodes can open the definition that is there, so a new one is given as a whole, with the provider's key.
    """
    sealed_anew = was_given(**definition)
    if not sealed_anew and key_was_given(definition["api_key_file"]):
        raise InvalidInput(
            "the provider's key can't be changed alone, because only nodes can open what it is sealed with: give the "
            "whole definition with it, as it was given to register (--definition FILE, or --model … --instructions …)"
        )
    if not (sealed_anew or tags or any(text is not None for text in (title, description, notes))):
        raise InvalidInput("nothing to change: give --title, --description, --tag, --notes-file or a definition")
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        wallet = session.wallet(chain)
        prepared = await prepare_update(
            chain,
            session.deployment,
            store,
            wallet.address,
            did,
            title=title,
            description=description,
            tags=tags or None,
            notes=notes,
            definition=read_definition(**definition) if sealed_anew else None,
            on_step=session.output.note,
        )
        if not sealed_anew:
            old = (await resolve(chain, session.deployment, store, did)).metadata
            if replace(prepared.metadata, updated=old.updated) == old:
                raise InvalidInput(f"nothing to change: the texts of {did} are these already")
        await _publish(session, chain, wallet, store, prepared, f"Publish a new version of {did}")


@assistant.command()
@click.argument("did", type=DID)
@store_option
@command
async def show(session: Session, did: Did, store_url: str | None, gateways: tuple[str, ...]) -> None:
    """Show an assistant: its texts, the plans that open it, the nodes that serve it."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        found = await resolve(chain, session.deployment, store, did)
        view, metadata = found.view, found.metadata
        titles = {offer.plan_id: offer.title for offer in metadata.offers}
        for_ever = None if session.output.as_json else "for ever"
        session.output.record(
            {
                "did": str(did),
                "assistant_id": did.assistant_id,
                "title": metadata.title,
                "description": metadata.description,
                "tags": list(metadata.tags),
                "notes": metadata.notes,
                "owner": view.asset.owner,
                "active": view.asset.active,
                "version": view.asset.version,
                "cid": str(view.cid),
                "offers": [await _offer(session, chain, offer, titles) for offer in view.offers],
                "nodes": [
                    {
                        "node": entry.node.account,
                        "endpoint": entry.node.endpoint,
                        "until": for_ever if entry.until == FOREVER else entry.until,
                        "sealed": metadata.sealed_for(entry.node.account, entry.node.version) is not None,
                    }
                    for entry in view.nodes
                ],
            }
        )


@assistant.command(name="list")
@click.option("--owner", type=ADDRESS, help="Only assistants that this account registered.")
@from_block_option
@store_option
@command
async def list_assistants(
    session: Session, owner: str | None, from_block: int | None, store_url: str | None, gateways: tuple[str, ...]
) -> None:
    """List the assistants that were registered on this chain."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        topics: list[Any] = [event_topics("AssetRegistered"), None, None if owner is None else topic(address(owner))]
        registry = session.deployment.asset_registry
        rows: list[Mapping[str, Any]] = []
        events: list[Event] = []
        async with session.output.waiting(lambda: f"{len(rows)} of {len(events)} assistants read"):
            head = await chain.block_number()
            events += await chain.logs([registry], await session.first_block(chain, head, from_block), head, topics)
            for event in events:
                rows.append(await _row(chain, session.deployment, store, Did(event.args["did"])))
        session.output.table(rows, "No assistants yet: register one with `nvm-chain assistant register`.")


@assistant.command()
@click.argument("words", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="Only with this tag. Repeat it.")
@from_block_option
@store_option
@command
async def search(
    session: Session,
    words: tuple[str, ...],
    tags: tuple[str, ...],
    from_block: int | None,
    store_url: str | None,
    gateways: tuple[str, ...],
) -> None:
    """Find assistants whose title, description, tags or notes hold all WORDS, and that can be bought now."""
    async with session.chain() as chain, open_blocks(store_url, gateways) as store:
        registry = session.deployment.asset_registry
        topics: list[Any] = [event_topics("AssetRegistered")]
        events: list[Event] = []
        found: list[Resolved] = []
        missing: list[NvmError] = []
        number = 0
        async with session.output.waiting(lambda: f"{number} of {len(events)} assistants read, {len(found)} fit"):
            head = await chain.block_number()
            events += await chain.logs([registry], await session.first_block(chain, head, from_block), head, topics)
            for number, event in enumerate(events, 1):  # noqa: B007  # the line above shows it
                try:
                    one = await resolve(chain, session.deployment, store, Did(event.args["did"]))
                except (NotFound, StoreUnavailable) as error:
                    missing.append(error)
                    continue
                except (DigestMismatch, MetadataInvalid, InvalidInput):
                    continue  # nothing to show of what can't be read
                if one.view.asset.active and _matches(one.metadata, words, tags):
                    found.append(one)
        unread = ""
        if missing:
            unread = (
                f"{len(missing)} of {len(events)} assistants weren't searched, whose descriptions can't be read from "
                f"here; name another --store or --gateway: {missing[-1]}"
            )
            if len(missing) == len(events):
                raise type(missing[-1])(unread)
        rows = [
            {
                "did": str(one.metadata.did),
                "title": one.metadata.title,
                "tags": list(one.metadata.tags),
                "plan": str(view.offer.plan_id),
                "credits_per_access": _credits(view),
                "price": (await session.currency(chain, view.plan.terms.token)).format(view.plan.terms.price),
            }
            for one in found
            for view in one.view.offers
            if view.plan.on_sale and not view.offer.closes_at
        ]
        session.output.table(rows, "Nothing fits: use fewer words, or look at `nvm-chain assistant list`.")
        if unread:
            session.output.note(unread)


def _matches(metadata: Metadata, words: tuple[str, ...], tags: tuple[str, ...]) -> bool:
    text = "\n".join((metadata.title, metadata.description, *metadata.tags, metadata.notes)).casefold()
    own = {tag.casefold() for tag in metadata.tags}
    return all(word.casefold() in text for word in words) and all(tag.casefold() in own for tag in tags)


def _credits(view: OfferView) -> str:
    low, high = view.offer.min_credits, view.offer.max_credits
    if view.plan.terms.is_time_plan:
        return "any number of accesses"
    return str(low) if low == high else f"{low}-{high}"


async def _publish(session: Session, chain: Chain, wallet: Wallet, store: Any, prepared: Prepared, what: str) -> None:
    if not session.dry_run:
        await pin(store, prepared.block)
        session.output.note(f"metadata is pinned as {prepared.cid}")
    receipt = await submit(session, chain, wallet, prepared.call, what)
    if receipt is not None:
        did = prepared.metadata.did
        session.output.record(
            {
                "did": str(did),
                "assistant_id": did.assistant_id,
                "cid": str(prepared.cid),
                **transaction(session, receipt),
            }
        )


async def _offer(session: Session, chain: Chain, view: OfferView, titles: Mapping[bytes, str]) -> Mapping[str, Any]:
    offer, terms = view.offer, view.plan.terms
    currency = await session.currency(chain, terms.token)
    then = Moment.of(offer.effective_at)
    return {
        "plan": str(offer.plan_id),
        "title": titles.get(offer.plan_id.value, ""),
        "credits_per_access": _credits(view),
        "changes": f"{offer.next_min}-{offer.next_max} from {then}" if then else None,
        "price": currency.format(terms.price),
        "on_sale": view.plan.on_sale,
        "closes_at": Moment.of(offer.closes_at),
    }


async def _row(chain: Chain, deployment: Deployment, store: Any, did: Did) -> Mapping[str, Any]:
    try:
        found = await resolve(chain, deployment, store, did)
    except (NotFound, StoreUnavailable, DigestMismatch, MetadataInvalid, InvalidInput) as error:
        return {"did": str(did), "title": f"({type(error).__name__})", "tags": [], "plans": None}
    return {
        "did": str(did),
        "title": found.metadata.title,
        "tags": list(found.metadata.tags),
        "plans": len(found.view.offers),
    }
