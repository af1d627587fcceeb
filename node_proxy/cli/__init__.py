"""`nvm-node`: what an operator types."""

from node_proxy.cli.commands import main

__all__ = ["main"]
