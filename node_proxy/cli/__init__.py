"""`nvm-node`: what an operator types."""

from node_proxy.cli.main import main

__all__ = ["main"]
