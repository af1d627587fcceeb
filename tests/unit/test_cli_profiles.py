"""The terminal's profiles and completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvm_chain.cli import main
from nvm_chain.cli.profiles import Profiles, load, save


def run(*arguments: str, config: Path, **variables: str) -> Result:
    env: dict[str, str | None] = {"NVM_CONFIG": str(config), "NVM_PRIVATE_KEY": None, "NVM_RPC_URL": None, **variables}
    return CliRunner(mix_stderr=False).invoke(main, list(arguments), env=env)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("profile = ", "isn't TOML"),
        ("a = " + "[" * 100_000, "isn't TOML"),
        ("a = " + "9" * 5_000, "isn't TOML"),
        ("colour = 'red'", "means nothing"),
        ("[profiles.default]\nnetwrok = 'base'", "did you mean network?"),
        ("[profiles.default]\nnetwork = 5", "must be a text"),
        ("[profiles.default]\ngateways = 'https://x'", "must be a list of texts"),
        ("profile = 'home'\n[profiles.work]\n", 'no profile "home"'),
    ],
)
def test_a_broken_configuration_file_is_named_with_the_way_out(tmp_path: Path, content: str, said: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(content)
    result = run("wallet", "show", config=config)
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_unknown_profile_says_how_to_make_it(tmp_path: Path) -> None:
    result = run("--profile", "work", "wallet", "show", config=tmp_path / "config.toml")
    assert (result.exit_code, "nvm-chain init --profile work" in result.stderr) == (2, True)


def test_a_failure_in_json_is_one_object_too(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    for words, kind in (
        (["--profile", "work", "wallet", "show", "--json"], "InvalidInput"),
        (["wallet", "show", "--jsno", "--json"], "NoSuchOption"),
        (["wallet", "--json"], "NoSuchOption"),
        (["plan", "show", "--json"], "MissingParameter"),
        (["nonsense", "--json"], "UsageError"),
    ):
        result = run(*words, config=config)
        error = json.loads(result.stdout)["error"]
        assert (result.exit_code, error["type"]) == (2, kind), words
        assert error["message"]


@pytest.mark.parametrize("how", ["before", "variable", "after"])
def test_init_writes_the_profile_that_was_named_wherever_it_was_named(tmp_path: Path, how: str) -> None:
    config = tmp_path / "config.toml"
    words = {"before": ["--profile", "work", "init"], "variable": ["init"], "after": ["init", "--profile", "work"]}[how]
    variables = {"NVM_PROFILE": "work"} if how == "variable" else {}
    made = run(*words, "--json", config=config, **{"NVM_PRIVATE_KEY": "0x" + "01" * 32, **variables})
    assert (made.exit_code, json.loads(made.stdout)["profile"]) == (0, "work"), made.stderr
    assert set(load(config).profiles) == {"work"}


def test_names_with_quotes_and_controls_survive_the_file(tmp_path: Path) -> None:
    known = Profiles('a "b"\\', {'a "b"\\': {"keystore": "C:\\x\n\x7f\t'é"}, "c.d": {"gateways": ["https://x"]}})
    save(tmp_path / "config.toml", known)
    assert load(tmp_path / "config.toml") == known


def test_the_shell_completes_commands() -> None:
    script = CliRunner(mix_stderr=False).invoke(main, ["completion", "bash"])
    assert script.exit_code == 0
    assert "_NVM_CHAIN_COMPLETE=bash_complete" in script.stdout
    words = subprocess.run(
        [sys.executable, "-c", "from nvm_chain.cli import main; main(prog_name='nvm-chain')"],
        env={"_NVM_CHAIN_COMPLETE": "bash_complete", "COMP_WORDS": "nvm-chain plan re", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    assert words.split() == ["plain,refund", "plain,renew", "plain,retire"]
