"""`nvm-chain` against a real chain and a real access node: what it prints, what it sends, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from nvm_chain.chain import Chain, open_chain
from nvm_chain.cli import main
from nvm_chain.deployments import Deployment, deploy
from nvm_chain.did import Did
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.plans import PlanId
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID, KEYS, Anvil, anvil
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDER, SUBSCRIBER, NODE = (LocalWallet(Secret(key)) for key in KEYS[:3])
PROVIDER_KEY = "sk-proj-THIS-MUST-SHOW-NOWHERE-0123456789"
NO_NODE = {"NVM_NODE_URL": "http://127.0.0.1:9", "NVM_API_KEY": "nvm_x"}
UNKNOWN_PLAN = "0x" + "01" * 32
Cli = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground() -> AsyncIterator[Anvil]:
    async with anvil() as process, open_chain(process.url, CHAIN_ID) as chain:
        deployment = await deploy(chain, BUILDER)
        key = public_key_of(generate_private_key())
        await chain.send(deployment.nodes.register(key, "https://node.example"), NODE)
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def chain(ground: Anvil) -> AsyncIterator[Chain]:
    async with open_chain(ground.url, CHAIN_ID) as chain:
        snapshot = await chain.rpc("evm_snapshot")
        yield chain
        assert await chain.rpc("evm_revert", [snapshot])


@pytest.fixture
def cli(ground: Anvil, chain: Chain, tmp_path: Path) -> Cli:
    """Runs a command as the builder, unless `as_` says otherwise; variables by keyword."""
    return commands(
        NVM_RPC_URL=ground.url,
        NVM_STORE=(tmp_path / "blocks").as_uri(),
        NVM_PRIVATE_KEY=KEYS[0],
        OPENAI_API_KEY=PROVIDER_KEY,
    )


def commands(**fixed: str) -> Cli:
    async def run(
        *arguments: object, as_: str | None = None, typed: str | None = None, **variables: str | None
    ) -> Result:
        env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("NVM_", "OPENAI_"))}
        env |= fixed | variables
        if as_ is not None:
            env["NVM_PRIVATE_KEY"] = as_
        # A command has an event loop of its own, so it runs in a thread of its own.
        words = [str(a) for a in arguments]
        result = await asyncio.to_thread(CliRunner(mix_stderr=False).invoke, main, words, input=typed, env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


async def answer(result: Awaitable[Result]) -> dict[str, Any]:
    """The JSON of a command that must succeed."""
    done = await result
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def make_plan(cli: Cli, title: str = "Math tutor", price: str = "0.001 ETH", *more: str) -> PlanId:
    made = await answer(
        cli("plan", "create", "--title", title, "--price", price, "--credits", 100, *more, "--yes", "--json")
    )
    return PlanId.parse(made["plan"])


async def make_assistant(cli: Cli, plan: PlanId, *more: str, **variables: str) -> Did:
    made = await answer(
        cli("assistant", "register", "--title", "Tutor", "--plan", f"{plan}=1-5", "--node", NODE.address,
            "--model", "gpt-5", "--instructions", "SECRET INSTRUCTIONS", *more, "--yes", "--json", **variables)
    )  # fmt: skip
    return Did.parse(made["did"])


# ------------------------------------------------------------------------------------------------------------- flows


async def test_a_plan_is_created_bought_and_paid_out(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    shown = await answer(cli("plan", "show", plan, "--json"))
    assert (shown["title"], shown["price"], shown["credits_per_unit"]) == ("Math tutor", str(10**15), 100)

    bought = await answer(cli("plan", "buy", plan, "--units", 2, "--yes", "--json", as_=KEYS[1]))
    assert (bought["subscriber"], bought["paid"], bought["spendable"]) == (SUBSCRIBER.address, str(2 * 10**15), 200)
    balance = await answer(cli("balance", plan, "--of", SUBSCRIBER.address, "--json"))
    assert (balance["spendable"], balance["consumed"]) == (200, 0)

    earned = await answer(cli("earnings", plan, "--json"))
    assert earned["withdrawable"] == str(2 * 10**15)
    paid = await answer(cli("withdraw", plan, "--to", NODE.address, "--yes", "--json"))
    assert (paid["to"], paid["amount"]) == (NODE.address, str(2 * 10**15))
    assert await chain.call(Deployment.standard().plans.earnings(plan, BUILDER.address)) == 0


async def test_a_gift_and_a_grant_reach_the_other_account(cli: Cli) -> None:
    plan = await make_plan(cli)
    await answer(cli("plan", "buy", plan, "--for", SUBSCRIBER.address, "--yes", "--json"))
    await answer(cli("plan", "grant", plan, SUBSCRIBER.address, "--units", 3, "--yes", "--json"))
    assert (await answer(cli("balance", plan, "--json", as_=KEYS[1])))["spendable"] == 400


async def test_sales_pause_resume_and_end(cli: Cli) -> None:
    plan = await make_plan(cli)
    await answer(cli("plan", "pause", plan, "--yes", "--json"))
    refused = await cli("plan", "buy", plan, "--yes")
    assert (refused.exit_code, "its owner has paused sales" in refused.stderr) == (3, True)
    await answer(cli("plan", "pause", plan, "--resume", "--yes", "--json"))
    await answer(cli("plan", "buy", plan, "--yes", "--json"))
    await answer(cli("plan", "retire", plan, "--yes", "--json"))
    refused = await cli("plan", "buy", plan, "--yes")
    assert (refused.exit_code, "retired for good" in refused.stderr) == (3, True)


async def test_a_plan_that_is_sold_out_says_how_many_units_are_left(cli: Cli) -> None:
    plan = await make_plan(cli, "Few", "0.001 ETH", "--supply", "3")
    await answer(cli("plan", "buy", plan, "--units", 2, "--yes", "--json"))
    refused = await cli("plan", "buy", plan, "--units", 2, "--yes")
    assert (refused.exit_code, "has 1 units left, 2 were asked for" in refused.stderr) == (3, True)
    await answer(cli("plan", "buy", plan, "--yes", "--json"))
    refused = await cli("plan", "buy", plan, "--yes")
    assert (refused.exit_code, "has 0 units left, 1 were asked for" in refused.stderr) == (3, True)


async def test_lists_show_what_is_there(cli: Cli) -> None:
    assert "No plans yet" in (await cli("plan", "list")).stdout
    plan = await make_plan(cli)
    await make_plan(cli, "Second", "0")
    listed = (await answer(cli("plan", "list", "--owner", BUILDER.address, "--json")))["items"]
    assert [row["title"] for row in listed] == ["Math tutor", "Second"]
    assert (await answer(cli("plan", "list", "--owner", NODE.address, "--json")))["items"] == []
    did = await make_assistant(cli, plan, "--tag", "math")
    [row] = (await answer(cli("assistant", "list", "--json")))["items"]
    assert row == {"did": str(did), "title": "Tutor", "tags": ["math"], "plans": 1}


async def test_an_assistant_is_registered_shown_updated_and_resolved(cli: Cli) -> None:
    plan = await make_plan(cli)
    did = await make_assistant(cli, plan)
    shown = await answer(cli("assistant", "show", did, "--json"))
    assert shown["offers"][0]["credits_per_access"] == "1-5"
    assert shown["nodes"] == [{"node": NODE.address, "endpoint": "https://node.example", "until": None, "sealed": True}]
    assert "until for ever" in (await cli("assistant", "show", did)).stdout
    await answer(cli("assistant", "update", did, "--title", "Better tutor", "--yes", "--json"))
    shown = await answer(cli("assistant", "show", did, "--json"))
    assert (shown["title"], shown["version"]) == ("Better tutor", 2)
    resolved = await answer(cli("did", "resolve", did, "--json"))
    assert resolved["didDocument"]["id"] == str(did)
    assert resolved["didDocumentMetadata"]["versionId"] == "2"


async def test_an_update_that_changes_nothing_or_only_the_key_is_refused(
    cli: Cli, chain: Chain, tmp_path: Path
) -> None:
    did = await make_assistant(cli, await make_plan(cli), "--description", "Sums")
    key = tmp_path / "key"
    key.write_text(PROVIDER_KEY)
    before = await chain.block_number()
    for options, says in (
        ([], "--title"),
        (["--api-key-file", key], "whole definition with it"),
        (["--api-key-file", key, "--title", "Other"], "whole definition with it"),
        (["--api-key-env", "OTHER_KEY"], "whole definition with it"),
        (["--title", "Tutor", "--description", "Sums"], "nothing to change"),
    ):
        done = await cli("assistant", "update", did, *options, "--yes")
        assert (done.exit_code, says in done.stderr) == (2, True), (options, done.output)
    assert await chain.block_number() == before


async def test_notes_that_are_not_utf8_are_refused_by_name(cli: Cli, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_bytes("Grüße".encode("latin-1"))
    did = await make_assistant(cli, await make_plan(cli))
    for command in (
        ("assistant", "update", did),
        ("assistant", "register", "--title", "x", "--plan", UNKNOWN_PLAN, "--node", NODE.address),
    ):
        done = await cli(*command, "--notes-file", notes, "--yes")
        assert (done.exit_code, "notes.md" in done.stderr, "UTF-8" in done.stderr) == (2, True, True), done.output
    notes.write_text("Grüße", encoding="utf-8")
    await answer(cli("assistant", "update", did, "--notes-file", notes, "--yes", "--json"))
    assert (await answer(cli("assistant", "show", did, "--json")))["notes"] == "Grüße"


async def test_repeating_a_command_finds_what_is_there_and_sends_nothing(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    did = await make_assistant(cli, plan)
    before = await chain.block_number()
    assert await make_plan(cli) == plan
    assert await make_assistant(cli, plan) == did
    assert await chain.block_number() == before
    other = await cli("plan", "create", "--title", "Math tutor", "--price", "1 ETH", "--credits", 5, "--yes")
    assert (other.exit_code, "choose another name" in other.stderr) == (2, True)


async def test_the_providers_key_and_the_instructions_leave_the_machine_sealed_or_not_at_all(
    cli: Cli, tmp_path: Path
) -> None:
    plan = await make_plan(cli)
    command = ("assistant", "register", "--title", "Tutor", "--plan", plan, "--node", NODE.address, "--model", "gpt-5")
    said = await cli(*command, "--instructions", "SECRET INSTRUCTIONS", "--yes")
    assert said.exit_code == 0
    blocks = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert len(blocks) >= 2
    for secret in (PROVIDER_KEY, "SECRET INSTRUCTIONS"):
        assert secret not in said.output
        assert not any(secret.encode() in block for block in blocks)


async def test_a_wallet_is_made_and_opened_with_its_password(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    made = await answer(cli("wallet", "new", file, "--json", NVM_KEYSTORE_PASSWORD="long enough"))
    shown = await answer(cli("wallet", "show", "--keystore", file, "--json", NVM_KEYSTORE_PASSWORD="long enough"))
    assert shown == {"address": made["address"], "chain_id": CHAIN_ID, "balance": "0"}
    wrong = await cli("wallet", "show", "--keystore", file, NVM_KEYSTORE_PASSWORD="not this one")
    assert (wrong.exit_code, "password is wrong" in wrong.stderr) == (2, True)


# ---------------------------------------------------------------------------------------------------- before sending


async def test_a_dry_run_shows_the_transaction_and_sends_nothing(cli: Cli, chain: Chain) -> None:
    plan, before = await make_plan(cli), await chain.block_number()
    shown = await answer(cli("plan", "buy", plan, "--dry-run", "--json"))
    plans = Deployment.standard().plans
    call = plans.purchase(plan, BUILDER.address, 1, 10**15, 10**15)
    assert (shown["to"], shown["data"], shown["value"]) == (call.to, "0x" + call.data.hex(), str(10**15))
    assert shown["function"] == "PlanRegistry.purchase"
    assert await chain.block_number() == before


async def test_a_dry_run_pins_nothing(cli: Cli, tmp_path: Path) -> None:
    shown = await cli("plan", "create", "--title", "Draft", "--credits", 5, "--dry-run")
    assert "nothing was sent" in shown.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240


async def test_a_dry_run_of_deploy_shows_every_transaction_and_sends_none() -> None:
    async with anvil() as process, open_chain(process.url, CHAIN_ID) as chain:
        run = commands(NVM_RPC_URL=process.url, NVM_PRIVATE_KEY=KEYS[0])
        shown = await answer(
            run("deploy", "--fee-recipient", NODE.address, "--fee-basis-points", 100, "--dry-run", "--json")
        )
        would = Deployment.standard(NODE.address, 100)
        assert {name: shown[name] for name in would.to_dict()} == would.to_dict()
        contracts = [one["contract"] for one in shown["transactions"]]
        assert contracts == ["NodeRegistry", "SignatureValidator", "PlanRegistry", "Lens"]
        assert shown["transactions"][0]["gas"] > 100_000
        assert await chain.block_number() == 0
        await deploy(chain, BUILDER, fee_recipient=NODE.address, fee_basis_points=100)
        sent = [
            (await chain.rpc("eth_getBlockByNumber", [hex(n), True]))["transactions"][0]["input"] for n in range(1, 5)
        ]
        assert sent == [one["data"] for one in shown["transactions"]]
        assert (await answer(run("deploy", "--dry-run", "--fee-recipient", NODE.address, "--fee-basis-points", 100,
                                 "--json")))["transactions"] == []  # fmt: skip


async def test_a_dry_run_of_a_voucher_signs_nothing(cli: Cli) -> None:
    plan = await make_plan(cli, "Bounded", "0.001 ETH", "--vouchers")
    command = ("plan", "voucher", plan, "--credits", 10, "--dry-run", "--json")
    shown = await answer(cli(*command, NVM_NODE_URL="http://127.0.0.1:9", NVM_API_KEY="nvm_x"))
    assert (shown["ceiling"], shown["signature"], shown["would_go_to"]) == ("10", None, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "words",
    [
        ["wallet", "new", "wallet.json"],
        ["key", "create"],
        ["chat", "did:nv:" + "01" * 32, "hi"],
        ["plan", "show", UNKNOWN_PLAN],
    ],
)
async def test_a_command_without_a_dry_run_refuses_the_option(cli: Cli, words: list[str], tmp_path: Path) -> None:
    words = [str(tmp_path / one) if one == "wallet.json" else one for one in words]
    done = await cli(*words, "--dry-run", NVM_KEYSTORE_PASSWORD="long enough", **NO_NODE)
    assert (done.exit_code, "No such option: --dry-run" in done.stderr) == (2, True), done.output
    assert not (tmp_path / "wallet.json").exists()


async def test_without_a_person_and_without_yes_nothing_is_sent(cli: Cli, chain: Chain) -> None:
    plan, before = await make_plan(cli), await chain.block_number()
    declined = await cli("plan", "buy", plan)
    assert (declined.exit_code, "--yes" in declined.stderr) == (2, True)
    assert await chain.block_number() == before


# -------------------------------------------------------------------------------------------------- how things end


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (["plan", "show", "0x12"], {}, 2, "write 0x and 64 hex digits"),
        (["plan", "show", UNKNOWN_PLAN], {}, 3, "no plan 0x0101"),
        (["plan", "create", "--title", "x", "--price", "5"], {}, 2, "has no unit"),
        (["plan", "create", "--title", "x", "--credits", "0"], {}, 3, "terms are not valid"),
        (["plan", "create", "--title", "x", "--payee", "0x12=100%"], {}, 2, "40 hex digits"),
        (["plan", "create", "--title", "x", "--duration", "30"], {}, 2, "like 30d"),
        (["plan", "create", "--title", "", "--credits", "1"], {}, 2, "title"),
        (["plan", "create", "--title", "x", "--credits", "1", "--token", NODE.address], {}, 2, "ERC-20"),
        (["did", "resolve", "did:web:example.org"], {}, 2, "not nv"),
        (["did", "resolve", "did:nv:" + "01" * 32], {}, 3, "no asset"),
        (["balance", UNKNOWN_PLAN], {}, 3, "no plan"),
        (["balance", UNKNOWN_PLAN], {"NVM_PRIVATE_KEY": None}, 2, "no wallet"),
        (["balance", UNKNOWN_PLAN], {"NVM_PRIVATE_KEY": "hunter2"}, 2, "NVM_PRIVATE_KEY"),
        (["withdraw", UNKNOWN_PLAN, "--of", NODE.address, "--to", NODE.address], {}, 2, "not both"),
        (["network", "--network", "base"], {}, 4, "is chain 31337, expected 8453"),
        (["network", "--network", "sepolia"], {"NVM_RPC_URL": None}, 2, "--rpc-url"),
        (["network"], {"NVM_RPC_URL": "http://127.0.0.1:9"}, 4, "nothing answers"),
        (["network"], {"NVM_RPC_URL": "nonsense"}, 2, "http://host:port"),
        (["plan", "list"], {"NVM_STORE": "nonsense"}, 2, "block store"),
        (["key", "list"], {"NVM_NODE_URL": "http://127.0.0.1:9"}, 2, "NVM_API_KEY"),
        (["key", "list"], NO_NODE, 4, "no access node"),
        (["key", "list"], {}, 2, "--node-url"),
        (["chat", "did:nv:" + "01" * 32, "hi"], NO_NODE, 4, "no access node"),
        (["did", "resolve", "nonsense"], {"NVM_RPC_URL": "http://127.0.0.1:9"}, 2, "not a DID"),
        (["receipt", "verify", "chg_12"], {}, 2, "chg_ and 28 hex digits"),
        (["nonsense"], {}, 2, "No such command"),
    ],
)  # fmt: skip
async def test_errors_say_what_to_do_and_end_with_their_code(
    cli: Cli, arguments: list[str], variables: dict[str, str | None], code: int, says: str
) -> None:
    done = await cli(*arguments, **variables)
    assert (done.exit_code, says in done.stderr) == (code, True), done.output
    assert "Traceback" not in done.output
    as_json = await cli(*arguments, "--json", **variables)
    told = json.loads(as_json.stdout)
    said = told["error"]["message"] if "error" in told else told["didResolutionMetadata"]["errorMessage"]
    assert (as_json.exit_code, says in said) == (code, True), as_json.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--assistant-id", "asst_abc123"], "shut the Assistants API down"),
        (["--model", "asst_abc123"], "shut the Assistants API down"),
        (["--model", "gpt 5"], "not a model's name"),
        (["--model", "gpt-5", "--base-url", "http://provider.example"], "https"),
        ([], "model"),
    ],
)
async def test_a_definition_that_cannot_work_is_refused_before_anything_is_sealed(
    cli: Cli, chain: Chain, options: list[str], says: str
) -> None:
    plan = await make_plan(cli)
    before = await chain.block_number()
    done = await cli("assistant", "register", "--title", "T", "--plan", plan, "--node", NODE.address, *options, "--yes")
    assert (done.exit_code, says in done.stderr) == (2, True), done.output
    assert await chain.block_number() == before


async def test_a_missing_provider_key_is_named(cli: Cli) -> None:
    plan = await make_plan(cli)
    command = ("assistant", "register", "--title", "T", "--plan", plan, "--node", NODE.address, "--model", "gpt-5")
    done = await cli(*command, "--yes", OPENAI_API_KEY=None)
    assert (done.exit_code, "set OPENAI_API_KEY" in done.stderr) == (2, True)


async def test_an_error_in_json_names_its_class_and_its_values(cli: Cli) -> None:
    plan = await make_plan(cli)
    done = await cli("plan", "buy", plan, "--max-price", "5 wei", "--yes", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["type"]) == (3, "PriceAboveMaximum")
    assert error["values"] == {"due": 10**15, "maxPrice": 5}


async def test_every_command_explains_itself() -> None:
    run = commands()
    for words in ([], ["plan"], ["plan", "create"], ["assistant", "register"], ["key", "create"], ["chat"], ["deploy"]):
        done = await run(*words, "--help")
        assert done.exit_code == 0
        assert "Usage: " in done.stdout


# ---------------------------------------------------------------------------------------------------- with a node


@pytest.mark.slow
async def test_a_subscriber_gets_a_key_chats_and_gives_the_key_back() -> None:
    async with World() as world:
        plan = (await world.create_plan(price=10**15, credits=100)).plan_id
        did = (await world.register(plan)).did
        cli = commands(NVM_RPC_URL=world.rpc_url, NVM_NODE_URL=world.node.url, NVM_PRIVATE_KEY=KEYS[4])
        await answer(cli("plan", "buy", plan, "--yes", "--json"))
        made = await answer(cli("key", "create", "--name", "terminal", "--budget", 50, "--assistant", did, "--json"))
        key = made["key"]

        said = await cli("chat", did, "hello there", NVM_API_KEY=key)
        assert (said.exit_code, "hello there" in said.stdout) == (0, True)
        full = await answer(cli("chat", did, "hello there", "--json", NVM_API_KEY=key))
        assert full["text"] == said.stdout.rstrip("\n")
        assert full["usage"]["total_tokens"] > 0

        [row] = (await answer(cli("key", "list", "--json", NVM_API_KEY=key)))["items"]
        assert (row["name"], row["spent"], row["budget"], row["assistants"]) == ("terminal", 2, 50, [str(did)])

        kept = await answer(cli("key", "revoke", made["id"], "--dry-run", "--json", NVM_API_KEY=key))
        assert (kept["id"], kept["revoked_at"]) == (made["id"], None)
        unknown = await cli("key", "revoke", "key_none", "--dry-run", NVM_API_KEY=key)
        assert (unknown.exit_code, "key list" in unknown.stderr) == (3, True)

        garbled = await cli("chat", did, "hello", NVM_API_KEY=key[:-1])
        assert (garbled.exit_code, "garbled" in garbled.stderr) == (3, True)
        await answer(cli("key", "revoke", made["id"], "--yes", "--json", NVM_API_KEY=key))
        revoked = await cli("chat", did, "hello", NVM_API_KEY=key)
        assert (revoked.exit_code, "revoked" in revoked.stderr) == (3, True)


@pytest.mark.slow
async def test_a_conversation_in_json_is_one_object_for_each_turn_and_one_for_the_error() -> None:
    async with World() as world:
        plan = (await world.create_plan(price=10**15, credits=1)).plan_id
        did = (await world.register(plan)).did
        cli = commands(NVM_RPC_URL=world.rpc_url, NVM_NODE_URL=world.node.url, NVM_PRIVATE_KEY=KEYS[4])
        await answer(cli("plan", "buy", plan, "--yes", "--json"))
        key = (await answer(cli("key", "create", "--json")))["key"]
        done = await cli("chat", did, "--json", NVM_API_KEY=key, typed="one\ntwo\n")
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        assert (done.exit_code, first["status"]) == (3, "completed")
        assert second["error"]["values"]["code"] == "credits_exhausted"


@pytest.mark.slow
async def test_chat_without_credits_says_which_plan_to_buy() -> None:
    async with World() as world:
        plan = (await world.create_plan(price=10**15, credits=100)).plan_id
        did = (await world.register(plan)).did
        cli = commands(NVM_RPC_URL=world.rpc_url, NVM_NODE_URL=world.node.url, NVM_PRIVATE_KEY=KEYS[4])
        key = (await answer(cli("key", "create", "--json")))["key"]
        refused = await cli("chat", did, "hello", NVM_API_KEY=key)
        assert refused.exit_code == 3
        assert f"nvm-chain plan buy {plan}    0.001 ETH" in refused.stderr
        refused = await cli("chat", did, "hello", "--json", NVM_API_KEY=key)
        values = json.loads(refused.stdout)["error"]["values"]
        assert (refused.exit_code, values["status"], values["code"]) == (3, 402, "plan_required")
        way_in = {"plan": str(plan), "price": str(10**15), "token": None, "credits": 100}
        assert values["plans"] == [{**way_in, "buy": f"nvm-chain plan buy {plan}"}]
