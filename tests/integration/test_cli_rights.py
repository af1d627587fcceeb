"""`nvm-chain`: renewing, giving, refunding; prices, nodes and ownership; profiles and completion."""

from __future__ import annotations

import asyncio
import json
import stat
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from nvm_chain.chain import Chain, open_chain
from nvm_chain.cli import main
from nvm_chain.cli.output import Moment
from nvm_chain.deployments import deploy
from nvm_chain.keys import generate_private_key, public_key_of
from nvm_chain.secret import Secret
from nvm_chain.wallet import LocalWallet
from tests.anvil import CHAIN_ID, KEYS, Anvil, anvil
from tests.integration.test_cli import Cli, answer, commands, make_assistant, make_plan

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDER, SUBSCRIBER, NODE, FRIEND = (LocalWallet(Secret(key)) for key in KEYS[:4])
DAY = 86_400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground() -> AsyncIterator[Anvil]:
    async with anvil() as process, open_chain(process.url, CHAIN_ID) as chain:
        deployment = await deploy(chain, BUILDER)
        for node in (NODE, FRIEND):
            key = public_key_of(generate_private_key())
            await chain.send(deployment.nodes.register(key, "https://node.example"), node)
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def chain(ground: Anvil) -> AsyncIterator[Chain]:
    async with open_chain(ground.url, CHAIN_ID) as chain:
        snapshot = await chain.rpc("evm_snapshot")
        yield chain
        assert await chain.rpc("evm_revert", [snapshot])


@pytest.fixture
def cli(ground: Anvil, chain: Chain, tmp_path: Path) -> Cli:
    return commands(
        NVM_RPC_URL=ground.url,
        NVM_STORE=(tmp_path / "blocks").as_uri(),
        NVM_PRIVATE_KEY=KEYS[0],
        NVM_CONFIG=str(tmp_path / "config.toml"),
        OPENAI_API_KEY="sk-proj-THIS-MUST-SHOW-NOWHERE-0123456789",
    )


async def pass_time(chain: Chain, seconds: int) -> None:
    await chain.rpc("evm_increaseTime", [seconds])
    await chain.rpc("evm_mine")


# ------------------------------------------------------------------------------------------------------- subscribers


async def test_a_renewal_adds_to_what_is_held_and_needs_something_to_renew(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli, "Monthly", "0.01 ETH", "--duration", "30d")
    never = await cli("plan", "renew", plan, "--yes", as_=KEYS[1])
    assert never.exit_code == 2
    assert f"nvm-chain plan buy {plan}" in never.stderr

    bought = await answer(cli("plan", "buy", plan, "--yes", "--json", as_=KEYS[1]))
    renewed = await answer(cli("plan", "renew", plan, "--yes", "--json", as_=KEYS[1]))
    assert renewed["expiry"] == bought["expiry"] + 30 * DAY
    assert renewed["spendable"] == 200


async def test_a_gift_is_paid_by_one_and_held_by_another(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    given = await answer(cli("plan", "gift", plan, FRIEND.address, "--units", 3, "--yes", "--json", as_=KEYS[1]))
    assert (given["subscriber"], given["spendable"]) == (FRIEND.address, 300)
    own = await answer(cli("balance", plan, "--of", SUBSCRIBER.address, "--json"))
    assert own["spendable"] == 0


async def test_a_refund_is_announced_waited_for_and_paid(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli, "Refundable", "1 ETH", "--refundable", "1d")
    await answer(cli("plan", "buy", plan, "--yes", "--json", as_=KEYS[1]))
    announced = await answer(cli("plan", "refund", plan, "--yes", "--json", as_=KEYS[1]))
    assert (announced["state"], announced["amount_now"]) == ("announced", str(10**18))

    waiting = await cli("plan", "refund", plan, "--yes", as_=KEYS[1])
    assert waiting.exit_code == 0
    assert "run this again after" in waiting.stderr

    await answer(cli("plan", "refund", plan, "--cancel", "--yes", "--json", as_=KEYS[1]))
    assert (await answer(cli("balance", plan, "--json", as_=KEYS[1])))["refund_available_at"] is None
    again = await cli("plan", "refund", plan, "--cancel", "--yes", as_=KEYS[1])
    assert (again.exit_code, "announced no refund" in again.stderr) == (2, True)

    await answer(cli("plan", "refund", plan, "--yes", "--json", as_=KEYS[1]))
    await pass_time(chain, DAY + 1)
    paid = await answer(cli("plan", "refund", plan, "--to", FRIEND.address, "--yes", "--json", as_=KEYS[1]))
    assert (paid["state"], paid["to"], paid["amount"]) == ("paid", FRIEND.address, str(10**18))


async def test_a_plan_that_is_not_refundable_says_so(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    refused = await cli("plan", "refund", plan, "--yes", as_=KEYS[1])
    assert (refused.exit_code, "isn't refundable" in refused.stderr) == (2, True)


# ------------------------------------------------------------------------------------------------------------ builders


async def test_a_plan_and_an_assistant_change_hands_in_two_steps(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    did = await make_assistant(cli, plan)
    for group, name in (("plan", plan), ("assistant", did)):
        early = await cli(group, "accept", name, "--yes", as_=KEYS[3])
        assert early.exit_code == 3
        await answer(cli(group, "hand-over", name, FRIEND.address, "--yes", "--json"))
        await answer(cli(group, "accept", name, "--yes", "--json", as_=KEYS[3]))
        shown = await answer(cli(group, "show", name, "--json"))
        assert shown["owner"] == FRIEND.address


async def test_an_offer_is_added_at_once_and_changed_after_notice(cli: Cli, chain: Chain) -> None:
    plan = await make_plan(cli)
    did = await make_assistant(cli, plan)
    other = await make_plan(cli, "Another")
    added = await answer(cli("assistant", "offer", did, f"{other}=2", "--yes", "--json"))
    assert (added["credits_per_access"], added["effective_at"]) == ("2-2", None)

    changed = await answer(cli("assistant", "offer", did, f"{plan}=7-9", "--yes", "--json"))
    assert (changed["credits_per_access"], changed["from_then_on"]) == ("1-5", "7-9")
    shown = await answer(cli("assistant", "show", did, "--json"))
    assert [one["changes"] for one in shown["offers"]] == [f"7-9 from {Moment(changed['effective_at'])}", None]

    await answer(cli("assistant", "close-offer", did, other, "--yes", "--json"))
    shown = await answer(cli("assistant", "show", did, "--json"))
    assert shown["offers"][1]["closes_at"] is not None


async def test_a_time_plan_opens_an_assistant_for_no_credits_and_the_refusal_says_how(cli: Cli) -> None:
    did = await make_assistant(cli, await make_plan(cli))
    monthly = await make_plan(cli, "Monthly", "0.01 ETH", "--duration", "30d", "--credits", "0")
    refused = await cli("assistant", "offer", did, monthly, "--yes")
    assert (refused.exit_code, "(PLAN=0)" in refused.stderr) == (3, True), refused.output
    added = await answer(cli("assistant", "offer", did, f"{monthly}=0", "--yes", "--json"))
    assert added["credits_per_access"] == "0-0"


async def test_nodes_come_and_go_and_an_assistant_can_rest(cli: Cli, chain: Chain) -> None:
    did = await make_assistant(cli, await make_plan(cli))
    added = await cli("assistant", "add-node", did, FRIEND.address, "--yes", "--json")
    assert f"nvm-chain assistant reseal {did}" in added.stderr
    shown = await answer(cli("assistant", "show", did, "--json"))
    assert [(one["node"], one["sealed"]) for one in shown["nodes"]] == [(NODE.address, True), (FRIEND.address, False)]
    gone = await answer(cli("assistant", "remove-node", did, FRIEND.address, "--yes", "--json"))
    assert gone["may_settle_until"] > 0

    await answer(cli("assistant", "activate", did, "--off", "--yes", "--json"))
    assert (await answer(cli("assistant", "show", did, "--json")))["active"] is False
    await answer(cli("assistant", "activate", did, "--yes", "--json"))
    assert (await answer(cli("assistant", "show", did, "--json")))["active"] is True


async def test_search_finds_by_words_and_tags_what_can_be_bought(cli: Cli, chain: Chain, tmp_path: Path) -> None:
    plan = await make_plan(cli)
    did = await make_assistant(cli, plan, "--description", "Explains algebra", "--tag", "Maths")
    rows = (await answer(cli("assistant", "search", "ALGEBRA", "tutor", "--tag", "maths", "--json")))["items"]
    assert [(row["did"], row["credits_per_access"], row["price"]) for row in rows] == [(str(did), "1-5", "0.001 ETH")]
    assert (await answer(cli("assistant", "search", "poetry", "--json")))["items"] == []
    assert (await answer(cli("assistant", "search", "--tag", "math", "--json")))["items"] == []

    nowhere = await cli("assistant", "search", "algebra", "--json", NVM_STORE=(tmp_path / "empty").as_uri())
    error = json.loads(nowhere.stdout)["error"]
    assert (nowhere.exit_code, error["type"], "--gateway" in error["message"]) == (3, "NotFound", True)
    await make_assistant(cli, plan, "--name", "elsewhere", NVM_STORE=(tmp_path / "elsewhere").as_uri())
    some = await cli("assistant", "search", "algebra")
    assert (some.exit_code, str(did) in some.stdout) == (0, True)
    assert "1 of 2 assistants weren't searched" in some.stderr

    await answer(cli("plan", "pause", plan, "--yes", "--json"))
    assert (await answer(cli("assistant", "search", "algebra", "--json")))["items"] == []


# ------------------------------------------------------------------------------------------------------------ profiles


def run(*arguments: str, config: Path, **variables: str) -> Result:
    env: dict[str, str | None] = {"NVM_CONFIG": str(config), "NVM_PRIVATE_KEY": None, "NVM_RPC_URL": None, **variables}
    return CliRunner(mix_stderr=False).invoke(main, list(arguments), env=env)


async def test_init_makes_a_wallet_and_a_profile_that_commands_then_use(ground: Anvil, tmp_path: Path) -> None:
    config, password = tmp_path / "own" / "config.toml", tmp_path / "password"
    password.write_text("correct horse")
    made = run(
        *("init", "--rpc-url", ground.url, "--node-url", "http://127.0.0.1:8402"),
        *("--password-file", str(password), "--json"),
        config=config,
    )
    assert made.exit_code == 0, made.stderr
    shown = json.loads(made.stdout)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert tomllib.loads(config.read_text())["profiles"]["default"]["rpc_url"] == ground.url

    address = await answer(_thread("wallet", "show", "--json", config=config))
    assert address["address"] == shown["address"]
    nearer = await answer(_thread("wallet", "show", "--json", config=config, NVM_PRIVATE_KEY=KEYS[1]))
    assert nearer["address"] == SUBSCRIBER.address

    again = run("init", "--profile", "work", "--network", "base", "--json", config=config, NVM_PRIVATE_KEY=KEYS[0])
    assert again.exit_code == 0, again.stderr
    listed = json.loads(run("profiles", "--json", config=config).stdout)["items"]
    assert [(row["profile"], row["used"], row["network"]) for row in listed] == [
        ("default", True, "local"),
        ("work", False, "base"),
    ]
    chosen = json.loads(run("profiles", "--use", "work", "--json", config=config).stdout)["items"]
    assert [row["used"] for row in chosen] == [False, True]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--rpc-url", "nonsense", "http://host:port"),
        ("--store", "nonsense", "not the address of a block store"),
        ("--store", "https://ipfs.io", "is a gateway"),
        ("--gateway", "nonsense", "not the address of a block store"),
    ],
)
async def test_init_refuses_an_address_that_no_command_could_use(
    tmp_path: Path, option: str, value: str, says: str
) -> None:
    config = tmp_path / "config.toml"
    made = run("init", option, value, config=config, NVM_PRIVATE_KEY=KEYS[0])
    assert (made.exit_code, says in made.stderr, config.exists()) == (2, True, False), made.output
    kept = run("init", "--gateway", "https://ipfs.io", config=config, NVM_PRIVATE_KEY=KEYS[0])
    assert kept.exit_code == 0, kept.output
    assert tomllib.loads(config.read_text())["profiles"]["default"]["gateways"] == ["https://ipfs.io"]


async def _thread(*arguments: str, config: Path, **variables: str) -> Result:
    return await asyncio.to_thread(run, *arguments, config=config, **variables)
