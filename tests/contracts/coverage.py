"""Line and branch coverage of contracts/ by the Solidity tests.

    python -m tests.contracts.coverage       prints a table; exits 1 below 98 % of lines or branches

The contracts are compiled without IR and optimizer (profile "plain"), so that every line is where it was written. The
stateful campaign is left out: what it reaches is chance.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field

from tests.contracts.forge_binary import ROOT, forge

ENOUGH = 0.98
REPORT = ROOT / "build" / "lcov.info"
SECONDS = 1800


@dataclass(slots=True)
class Coverage:
    """How often each line and each branch of one file was executed."""

    lines: dict[int, int] = field(default_factory=dict)
    branches: dict[tuple[str, ...], int] = field(default_factory=dict)


def measure() -> str:
    """Runs the tests and returns forge's report in the LCOV format. Exits with forge's output if a test fails."""
    REPORT.parent.mkdir(exist_ok=True)
    result = subprocess.run(
        [forge(), "coverage", "--report=lcov", f"--report-file={REPORT}", "--no-match-contract=^InvariantsTest$"],
        cwd=ROOT,
        env=os.environ | {"FOUNDRY_PROFILE": "plain"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"forge coverage failed:\n{result.stdout[-3000:]}{result.stderr[-1000:]}")
    return REPORT.read_text()


def parse(report: str) -> dict[str, Coverage]:
    """What an LCOV report says of the files in contracts/."""
    files: dict[str, Coverage] = defaultdict(Coverage)
    name = ""
    for line in report.splitlines():
        key, _, value = line.partition(":")
        if key == "SF":
            name = value
        elif key == "DA" and name.startswith("contracts/"):
            number, count = map(int, value.split(",")[:2])
            files[name].lines[number] = max(files[name].lines.get(number, 0), count)
        elif key == "BRDA" and name.startswith("contracts/"):
            *branch, hits = value.split(",")
            where = tuple(branch)
            taken = 0 if hits == "-" else int(hits)
            files[name].branches[where] = max(files[name].branches.get(where, 0), taken)
    return dict(files)


def main() -> None:
    total = Coverage()
    print(f"{'file':40} {'lines':>11} {'branches':>11}  not executed")
    for name, file in sorted(parse(measure()).items()):
        total.lines |= {len(total.lines) + i: count for i, count in enumerate(file.lines.values())}
        total.branches |= {(name, *where): count for where, count in file.branches.items()}
        unseen = {number for number, count in file.lines.items() if not count}
        unseen |= {int(where[0]) for where, count in file.branches.items() if not count}
        print(f"{name:40} {share(file.lines)} {share(file.branches)}  {', '.join(map(str, sorted(unseen)))}")
    print(f"{'all':40} {share(total.lines)} {share(total.branches)}")
    if not total.lines or min(ratio(total.lines), ratio(total.branches)) < ENOUGH:
        sys.exit(f"less than {ENOUGH:.0%} of the lines or branches is executed")


def ratio(counts: dict[int, int] | dict[tuple[str, ...], int]) -> float:
    return sum(count > 0 for count in counts.values()) / len(counts) if counts else 1.0


def share(counts: dict[int, int] | dict[tuple[str, ...], int]) -> str:
    return f"{sum(count > 0 for count in counts.values()):4}/{len(counts):<4} {ratio(counts):4.0%}".rjust(11)


if __name__ == "__main__":
    main()
