"""Creating a plan: id → metadata block → pin → create on the chain. Safe to repeat: the same salt is the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvm_chain.abi import Call
from nvm_chain.chain import Chain, Receipt
from nvm_chain.cid import Cid
from nvm_chain.contract_errors import PlanUnknown
from nvm_chain.deployments import Deployment
from nvm_chain.errors import InvalidInput
from nvm_chain.ipfs import BlockStore
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.plans import Payee, PlanId, Terms
from nvm_chain.registration import pin
from nvm_chain.wallet import Wallet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDraft:
    """A plan before it is created. salt: 32 bytes of the owner's choice; the plan's id follows from it."""

    salt: bytes
    metadata: PlanMetadata
    terms: Terms
    payees: Sequence[Payee] = ()


@dataclass(frozen=True, slots=True)
class PreparedPlan:
    """Everything but the pinning and the transaction. call: None when the plan exists already."""

    plan_id: PlanId
    block: bytes
    cid: Cid
    call: Call[PlanId] | None


@dataclass(frozen=True, slots=True)
class CreatedPlan:
    """A plan on the chain. receipt: None when it had been created before."""

    plan_id: PlanId
    cid: Cid
    receipt: Receipt | None


async def prepare_plan(chain: Chain, deployment: Deployment, owner: str, draft: PlanDraft) -> PreparedPlan:
    """Finds out what is to be done; changes nothing anywhere.

    Raises InvalidInput when the owner has a plan of this salt with other terms, which never change; the contract's
    refusals (InvalidTerms, InvalidSplit).
    """
    plans = deployment.plans
    plan_id = PlanId.derive(chain.chain_id, plans.address, owner, draft.salt)
    block = draft.metadata.to_block()
    try:
        known = await chain.call(plans.plan(plan_id))
    except PlanUnknown:
        call = plans.create(draft.salt, draft.terms, draft.payees, Cid.of(block).digest)
        await chain.call(call, sender=owner)
        return PreparedPlan(plan_id, block, Cid.of(block), call)
    if known.terms != draft.terms:
        raise InvalidInput(
            f"you have plan {plan_id} under this name with other terms, and terms never change: choose another name"
        )
    cid = Cid.of(block) if known.metadata is None else Cid.from_digest(known.metadata)
    return PreparedPlan(plan_id, block, cid, None)


async def create_plan(
    chain: Chain, deployment: Deployment, store: BlockStore, wallet: Wallet, draft: PlanDraft
) -> CreatedPlan:
    """Creates the plan, or finds it created. Raises what `prepare_plan` raises, StoreUnavailable, InsufficientFunds."""
    prepared = await prepare_plan(chain, deployment, wallet.address, draft)
    if prepared.call is None:
        return CreatedPlan(prepared.plan_id, prepared.cid, None)
    await pin(store, prepared.block)
    return CreatedPlan(prepared.plan_id, prepared.cid, await chain.send(prepared.call, wallet))
