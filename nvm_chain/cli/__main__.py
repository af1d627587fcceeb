"""`python -m nvm_chain.cli` is `nvm-chain`."""

from nvm_chain.cli import main

main(prog_name="nvm-chain")
