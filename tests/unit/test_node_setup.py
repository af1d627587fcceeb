"""`nvm-node init` and `export`: a folder to start from, and the books as a table."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node_proxy import identity as identities
from node_proxy.cli.commands import main
from node_proxy.config import load
from node_proxy.ledger import open_ledger
from tests.unit.test_ledger import ALICE, BOB, DID, NODE, PLAN, applied, attempt, charge, checkpoint, reserve, snapshot

RPC = "http://127.0.0.1:8545"


def node(*arguments: str, **env: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, list(arguments), env=env)


# ---------------------------------------------------------------------------------------------------------------- init


def test_init_makes_a_folder_that_the_node_can_use(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    made = node(
        "init", str(folder), "--rpc-url", RPC, "--public-url", "https://node.example", "--allow-host", "a.example"
    )
    assert made.exit_code == 0, made.stderr
    settings = load({}, folder / "node.toml")
    assert (settings.rpc_url, settings.public_url) == (RPC, "https://node.example")
    assert settings.allowed_hosts == ("a.example",)
    assert settings.ledger_file == folder / "ledger.db"
    assert identities.load(settings).address in made.stdout
    assert stat.S_IMODE((folder / "keystore-password").stat().st_mode) == 0o600
    assert f"nvm-node --config {folder / 'node.toml'} check" in made.stdout


def test_init_writes_every_setting_with_its_meaning(tmp_path: Path) -> None:
    assert node("init", str(tmp_path / "node"), "--rpc-url", RPC).exit_code == 0
    text = (tmp_path / "node" / "node.toml").read_text()
    assert "# poll_interval = 2.0" in text
    assert "# settle_max_entries = 200" in text
    uncommented = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if " = " in line and not line.endswith("=")
    )
    (tmp_path / "all.toml").write_text(uncommented)
    given, default = load({}, tmp_path / "all.toml"), load({}, tmp_path / "node" / "node.toml")
    networks = tuple(f"{one}/{128 if ':' in one else 32}" for one in default.trusted_proxies)
    assert given == replace(default, trusted_proxies=networks)


def test_init_never_overwrites_and_leaves_nothing_behind_after_a_mistake(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    wrong = node("init", str(folder), "--rpc-url", "ftp://x", "--bind", "nowhere")
    assert wrong.exit_code == 2
    assert "rpc_url" in wrong.stderr
    assert "bind" in wrong.stderr
    assert str(folder) not in wrong.stderr, "nobody has to know of a file that is gone again"
    assert list(folder.iterdir()) == []
    malformed = node("init", str(folder), "--rpc-url", "http://127.0.0.1:85450")
    assert (malformed.exit_code, "'http://127.0.0.1:85450'" in malformed.stderr) == (2, True)
    nowhere = node("init", str(folder), "--rpc-url", RPC, "--store", "nonsense")
    assert (nowhere.exit_code, "not the address of a block store" in nowhere.stderr) == (2, True)
    assert list(folder.iterdir()) == []

    assert node("init", str(folder), "--rpc-url", RPC).exit_code == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = node("init", str(folder), "--rpc-url", RPC)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_init_uses_a_password_of_the_operators_own(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    made = node("init", str(tmp_path / "node"), "--rpc-url", RPC, "--password-file", str(password))
    assert made.exit_code == 0, made.stderr
    assert not (tmp_path / "node" / "keystore-password").exists()
    assert identities.load(load({}, tmp_path / "node" / "node.toml")).address in made.stdout


def test_what_is_made_can_be_read_by_a_program(tmp_path: Path) -> None:
    made = node("init", str(tmp_path / "node"), "--rpc-url", RPC, "--json")
    assert made.exit_code == 0, made.stderr
    shown = json.loads(made.stdout)
    assert shown == {
        "node": identities.load(load({}, tmp_path / "node" / "node.toml")).address,
        "config": str(tmp_path / "node" / "node.toml"),
    }


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["init", "FOLDER"], 2, "MissingParameter"),
        (["init", "FOLDER", "--rpc-url", "ftp://x"], 2, "ConfigInvalid"),
        (["key", "new", "FOLDER"], 2, "MissingParameter"),
        (["status"], 2, "ConfigInvalid"),
        (["settle", "--timeout", "x"], 2, "BadParameter"),
        (["key", "rotate", "--overlap", "7"], 2, "BadParameter"),
        (["nonsense"], 2, "UsageError"),
        (["register"], 2, "ConfigInvalid"),
        (["serve"], 2, "ConfigInvalid"),
        (["export"], 2, "ConfigInvalid"),
    ],
)
def test_a_failure_in_json_is_one_object(tmp_path: Path, words: list[str], code: int, kind: str) -> None:
    words = [str(tmp_path / "made") if word == "FOLDER" else word for word in words]
    failed = node(*words, "--json")
    error = json.loads(failed.stdout)["error"]
    assert (failed.exit_code, error["type"]) == (code, kind), failed.output
    assert error["message"]


def test_a_chain_or_a_node_that_is_away_ends_with_4(tmp_path: Path) -> None:
    keys = {"NVM_NODE_SETTLEMENT_KEY": "0x" + "01" * 32, "NVM_NODE_ENCRYPTION_KEY": "0x" + "02" * 32}
    env = {"NVM_NODE_RPC_URL": "http://127.0.0.1:9", "NVM_NODE_BIND": "127.0.0.1:9", **keys}
    for words in (["reconcile"], ["status"], ["settle", "--yes"], ["assets"]):
        failed = node(*words, "--json", **env, NVM_NODE_LEDGER=str(tmp_path / "ledger.db"))
        assert (failed.exit_code, "error" in json.loads(failed.stdout)) == (4, True), failed.output


@pytest.mark.parametrize("ledger", ["postgresql://127.0.0.1:9/ledger", "/dev/null/ledger.db"])
def test_a_ledger_that_is_away_ends_with_4(ledger: str) -> None:
    for words in (["audit"], ["export"]):
        failed = node(*words, "--json", NVM_NODE_RPC_URL=RPC, NVM_NODE_LEDGER=ledger)
        assert (failed.exit_code, json.loads(failed.stdout)["error"]["type"]) == (4, "LedgerFailed"), failed.output


def test_without_a_configuration_the_way_to_one_is_named() -> None:
    failed = node("check")
    assert (failed.exit_code, "--config or NVM_NODE_CONFIG" in failed.stderr) == (2, True), failed.output


def test_a_password_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    failed = node("key", "new", str(tmp_path / "keys"), "--password-file", str(tmp_path / "password"))
    assert (failed.exit_code, "UTF-8" in failed.stderr) == (2, True), failed.output


def test_the_shell_completes_commands() -> None:
    script = node("completion", "bash")
    assert (script.exit_code, "_NVM_NODE_COMPLETE=bash_complete" in script.stdout) == (0, True)
    words = subprocess.run(
        [sys.executable, "-c", "from node_proxy.cli import main; main(prog_name='nvm-node')"],
        env={**os.environ, "_NVM_NODE_COMPLETE": "bash_complete", "COMP_WORDS": "nvm-node key r", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    assert words.split() == ["plain,retire", "plain,rotate"]


# -------------------------------------------------------------------------------------------------------------- export


async def test_export_lists_every_charge_with_its_batch(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    async with open_ledger(path, serving=True) as ledger:
        await ledger.advance(checkpoint(1), [snapshot(ALICE, 100), snapshot(BOB, 100)])
        settled = await charge(ledger, ALICE, 3)
        batch = await ledger.prepare(DID, PLAN, NODE, 1, max_entries=9, now=1)
        assert batch is not None
        await ledger.attempt(batch.id, attempt())
        await ledger.advance(checkpoint(2), [], [applied(1, 2)])
        waiting = (await ledger.capture(await reserve(ledger, BOB, 5), 5, None, frozenset({"usage_missing"}))).id

    from node_proxy.cli.export import export

    settings = load({"NVM_NODE_RPC_URL": RPC, "NVM_NODE_LEDGER": path}, None)
    out = io.StringIO()
    assert await export(settings, out, "csv", None, None) == 2
    first, second = csv.DictReader(io.StringIO(out.getvalue()))
    assert (first["charge"], first["credits"], first["input_tokens"], first["output_tokens"]) == (
        settled,
        "3",
        "7",
        "0",
    )
    assert (first["batch"], first["state"], first["block"]) == ("1", "mined", "2")
    assert first["transaction"] == "0x" + "07" * 32
    assert (second["charge"], second["state"], second["transaction"]) == (waiting, "waiting", "")
    assert (second["flags"], second["input_tokens"]) == ("usage_missing", "")

    lines = io.StringIO()
    assert await export(settings, lines, "jsonl", 0, 2**40) == 2
    assert [json.loads(line)["subscriber"] for line in lines.getvalue().splitlines()] == [
        "0x" + "0a" * 20,
        "0x" + "0b" * 20,
    ]
    variables = {"NVM_NODE_RPC_URL": RPC, "NVM_NODE_LEDGER": path}
    shown = await asyncio.to_thread(node, "export", "--json", **variables)
    assert [one["charge"] for one in json.loads(shown.stdout)["charges"]] == [settled, waiting], shown.output
    told = await asyncio.to_thread(node, "export", "--json", "--out", str(tmp_path / "charges.csv"), **variables)
    assert json.loads(told.stdout) == {"written": 2, "format": "csv", "out": str(tmp_path / "charges.csv")}
    assert (tmp_path / "charges.csv").read_text() == out.getvalue()

    assert await export(settings, io.StringIO(), "csv", 2**40, None) == 0
    assert await export(settings, io.StringIO(), "csv", None, 1) == 0
