"""How a command line asks before it acts, and how it ends. Both programs use it.

Exit codes: 0 done · 1 something else failed · 2 invalid input, or nobody said yes · 3 refused (by a contract or a node,
or not found) · 4 unavailable (RPC, node, block store or database) · 130 interrupted.

With --json there is one JSON object on stdout whatever happens: the result, or {"error": {type, message, values}}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import click

from nvm_chain.cli.output import Output, visible
from nvm_chain.errors import (
    ChainUnavailable,
    InvalidInput,
    MetadataInvalid,
    NotFound,
    NvmError,
    StoreUnavailable,
    TransactionFailed,
)


class Declined(NvmError):
    """The person said no, or nobody was there to say yes."""


def confirm(question: str, *, yes: bool, look: bool = True) -> None:
    """Asks unless `yes`. look: whether there is a --dry-run. Raises Declined."""
    if yes:
        return
    if not sys.stdin.isatty():
        way_out = "add --yes to go on" + (", or --dry-run to look first" if look else "")
        raise Declined(f"{question} Nobody is there to answer: {way_out}")
    if not click.confirm(visible(question), err=True):
        raise Declined("nothing was done")


class Program(click.Group):
    """The root of a command line. failures: what ends it with a message instead of a traceback."""

    failures: ClassVar[tuple[type[Exception], ...]] = (NvmError,)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        words = sys.argv[1:] if args is None else list(args)
        output = Output(as_json="--json" in words[: words.index("--")] if "--" in words else "--json" in words)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            if not output.as_json:
                error.show()
            else:
                output.failure(type(error).__name__, error.format_message(), {})
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            output.failure("Interrupted", "interrupted", {})
            sys.exit(130)
        except self.failures as error:
            output.failure(type(error).__name__, str(error), getattr(error, "values", {}))
            sys.exit(self.exit_code(error))
        sys.exit(code if isinstance(code, int) else 0)

    def exit_code(self, error: Exception) -> int:
        """See the module's docstring."""
        return exit_code(error)


def exit_code(error: Exception) -> int:
    """See the module's docstring."""
    from nvm_chain.access_node import NodeRefused, NodeUnavailable  # takes a while to load, and isn't needed often

    if isinstance(error, ChainUnavailable | StoreUnavailable | NodeUnavailable):
        return 4
    if isinstance(error, TransactionFailed | NotFound | NodeRefused):
        return 3
    return 2 if isinstance(error, InvalidInput | MetadataInvalid | Declined) else 1
