"""Where the terminal keeps and finds IPFS blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nvm_chain.cli.profiles import default
from nvm_chain.ipfs import BlockStore, open_stores
from nvm_chain.ipfs.stores import Stores


def default_store() -> str:
    """A folder of the person's own: $XDG_DATA_HOME/nvm-chain/blocks."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return (Path(home).absolute() / "nvm-chain" / "blocks").as_uri()


def store_option(run: Callable[..., Any]) -> Callable[..., Any]:
    """--store and --gateway: the store as `store: Stores`."""
    gateways = click.option(
        "--gateway",
        "gateways",
        multiple=True,
        default=default("gateways", ()),
        envvar="NVM_GATEWAYS",
        metavar="URL",
        help="Also read from here. Repeat it.",
    )
    store = click.option(
        "--store",
        "store_url",
        default=default("store"),
        envvar="NVM_STORE",
        metavar="URL",
        help="Where IPFS blocks are kept: file:///folder or kubo:/ip4/127.0.0.1/tcp/5001; by default your folder.",
    )
    return store(gateways(run))


def open_blocks(store_url: str | None, gateways: tuple[str, ...] = ()) -> Stores:
    """The store to use in `async with`."""
    return open_stores(store_url or default_store(), gateways=gateways)


__all__ = ["BlockStore", "default_store", "open_blocks", "store_option"]
