"""`nvm-chain`: the builder's and the subscriber's command line. Each group has its own file."""

from __future__ import annotations

from importlib import import_module

import click

from nvm_chain.cli.program import Program

# Name: module, object, help. Modules are imported when they are asked for: the chain's packages take seconds to load.
_COMMANDS = {
    "init": ("init", "init", "Write down network, wallet and node once, so that commands needn't be told."),
    "profiles": ("init", "list_profiles", "List what `init` wrote down, or choose one."),
    "networks": ("network", "networks", "List the networks that can be named with --network."),
    "network": ("network", "network", "Show a network's contracts, and whether they are there."),
    "deploy": ("network", "deploy_contracts", "Deploy the contracts that are missing."),
    "wallet": ("wallet", "wallet", "Make a wallet, look at it."),
    "plan": ("plan", "plan", "Create, look at, buy and run plans."),
    "assistant": ("assistant", "assistant", "Register, look at and update assistants."),
    "did": ("did", "did", "Resolve DIDs."),
    "ipfs": ("ipfs", "ipfs", "See who holds metadata blocks, and pin them again."),
    "key": ("key", "key", "Get, list and revoke API keys of an access node."),
    "chat": ("chat", "chat", "Talk to an assistant through its access node."),
    "balance": ("money", "balance", "Show what an account has left under a plan."),
    "usage": ("usage", "usage", "Show what a wallet has used through an access node, and what is left."),
    "receipts": ("receipt", "receipts", "List what calls have cost, as the access node signed it."),
    "receipt": ("receipt", "receipt", "List, show and check receipts against the chain."),
    "earnings": ("money", "earnings", "Show what an account can withdraw from a plan."),
    "withdraw": ("money", "withdraw", "Withdraw earnings from a plan."),
    "completion": ("init", "completion", "Make the shell complete commands."),
}

_WITHOUT_PROFILE = frozenset({"init", "profiles", "completion", "networks"})


class _Commands(Program):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        found: click.Command = getattr(import_module(f"nvm_chain.cli.{module}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="nvm-chain", prog_name="nvm-chain")
@click.option("--profile", envvar="NVM_PROFILE", help="Which settings of `nvm-chain init` to use.")
@click.pass_context
def main(context: click.Context, profile: str | None) -> None:
    """Sell and buy access to AI assistants: plans and credits on a chain, no middleman."""
    if context.invoked_subcommand in _WITHOUT_PROFILE:
        return
    from nvm_chain.cli import profiles

    profiles.use(context, profiles.load(profiles.config_file()).named(profile))
