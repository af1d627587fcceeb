"""What the commands of `nvm-node` have in common: who is asked before something is sent, and how they end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from node_proxy.ledger.base import LedgerError, LedgerFailed
from node_proxy.storage import StorageFailed
from nvm_chain.chain import Chain
from nvm_chain.cli.output import Output
from nvm_chain.cli.program import Program, confirm
from nvm_chain.deployments import NETWORKS, Network, network_of
from nvm_chain.errors import NvmError


class NodeProgram(Program):
    """Exit codes as `nvm-chain` has them; 4 is a database that can't be reached, too."""

    failures = (NvmError, LedgerError, StorageFailed)

    def exit_code(self, error: Exception) -> int:
        return 4 if isinstance(error, StorageFailed | LedgerFailed) else super().exit_code(error)


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever runs a command that changes something. network: whose currency gas is told in, see `on`."""

    output: Output
    yes: bool = False
    dry_run: bool = False
    network: Network = NETWORKS["local"]

    def on(self, chain: Chain) -> Operator:
        """The same on that chain."""
        return replace(self, network=network_of(chain.chain_id))

    def confirm(self, question: str, *, look: bool = True) -> None:
        """Asks unless --yes. Raises Declined."""
        confirm(question, yes=self.yes, look=look)
