"""Every command of both programs takes the options that all of them have."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from node_proxy.cli import main as node
from nvm_chain.cli import main as chain


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, set[str]]]:
    """Each command below a group, with its options."""
    context = click.Context(group)
    for name in group.list_commands(context):  # some groups load their commands when they are asked for
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            options = {option for parameter in command.params for option in parameter.opts}
            yield " ".join([*names, name]), options


CHAIN, NODE = dict(commands(chain)), dict(commands(node))

READS = {
    *("init", "profiles", "completion", "networks", "network", "wallet new", "wallet show"),  # this machine alone
    *("plan list", "plan show", "balance", "earnings"),
    *("assistant list", "assistant search", "assistant seals", "assistant show"),
    *("did history", "did resolve", "ipfs doctor"),
    *("chat", "key create", "key list", "usage", "receipts", "receipt list", "receipt show", "receipt verify"),
}
"""Commands of `nvm-chain` that change nothing on a chain, in a store or of what is there at a node."""

NODE_READS = {
    *("assets", "audit", "check", "completion", "export", "reconcile", "settings", "status"),
    *("init", "key new", "key show"),
    *("recover", "serve"),  # look at the chain and do what it says
}


@pytest.mark.parametrize("name", sorted(CHAIN.keys() - {"completion", "init", "profiles"}))
def test_a_command_of_the_wallet_can_be_told_its_network_and_not_to_ask(name: str) -> None:
    assert CHAIN[name] >= {"--json", "--network", "--yes", "--rpc-url", "--keystore", "--deployment"}


@pytest.mark.parametrize("name", sorted(NODE.keys() - {"completion"}))
def test_a_command_of_the_node_answers_programs(name: str) -> None:
    assert "--json" in NODE[name]


def test_what_changes_something_can_be_looked_at_first() -> None:
    assert {name for name, options in CHAIN.items() if "--dry-run" not in options} == READS
    assert {name for name, options in NODE.items() if not {"--dry-run", "--yes"} <= options} == NODE_READS
    assert "--yes" in NODE["recover"]
    assert "--yes" in CHAIN["init"], "tests/integration/test_terminal.py takes it at its word"
