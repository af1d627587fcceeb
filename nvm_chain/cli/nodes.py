"""Options of the commands that talk to an access node."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from nvm_chain.cli.profiles import default
from nvm_chain.errors import InvalidInput
from nvm_chain.secret import Secret


def node_option(run: Callable[..., Any]) -> Callable[..., Any]:
    """--node-url as `node_url: str`."""
    return click.option(
        "--node-url",
        required=True,
        default=default("node_url"),
        envvar="NVM_NODE_URL",
        metavar="URL",
        help="The access node. Or set NVM_NODE_URL.",
    )(run)


def api_key() -> Secret:
    """The API key in NVM_API_KEY; never an option, because options show in the process list."""
    if value := os.environ.get("NVM_API_KEY"):
        return Secret(value.strip())
    raise InvalidInput("no API key: set NVM_API_KEY to one that `nvm-chain key create` gave you")
