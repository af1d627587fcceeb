"""`python -m node_proxy`."""

from node_proxy.cli.commands import main

main(prog_name="nvm-node")
