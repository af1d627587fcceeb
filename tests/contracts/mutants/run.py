"""Breaks the contracts on purpose, one mistake at a time, and shows that the tests notice.

    python -m tests.contracts.mutants.run               all mutants, about 8 s each on one core
    python -m tests.contracts.mutants.run --only I4     those whose description contains a text
    python -m tests.contracts.mutants.run --check       only checks that each patch still fits the source

Each mutant meets first the tests that should notice it, then, if they don't, all the others but the campaign. Works in
a temporary copy; the checkout is not touched. Writes build/mutants.md, and each outcome to build/mutants.json as it
comes: a run that was interrupted goes on where it stopped, as long as contracts and tests are the same. Exits 1 if
fewer than 95 % are killed or a patch does not fit or compile.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from queue import Queue
from threading import Lock

from tests.contracts.forge_binary import ROOT, forge
from tests.contracts.mutants.table import LEDGER, MUTANTS, Mutant

ENOUGH = 0.95
SECONDS = 900
KNOWN = ROOT / "build" / "mutants.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one mutant: "killed", "survived", or "broken" (it does not fit or compile)."""

    mutant: Mutant
    verdict: str
    by: str
    seconds: float


def misfits(mutants: tuple[Mutant, ...] = MUTANTS) -> list[str]:
    """The mutants whose `old` does not occur exactly once in their file, with the number of times that it does."""
    found = ((m, (ROOT / "contracts" / m.file).read_text().count(m.old)) for m in mutants)
    return [f"{m.breaks}: {count} times in contracts/{m.file}: {m.old!r}" for m, count in found if count != 1]


def workshop(folder: Path) -> Path:
    """A copy of what forge needs, and of what it has built. The packages and the compiler are linked."""
    shutil.copytree(ROOT / "contracts", folder / "contracts")
    shutil.copytree(ROOT / "tests/contracts/forge", folder / "tests/contracts/forge")
    shutil.copy(ROOT / "foundry.toml", folder)
    for built in ("build/plain", "build/plain-cache"):
        if (ROOT / built).is_dir():
            shutil.copytree(ROOT / built, folder / built)
    (folder / ".tools").mkdir()
    (folder / ".tools/solcx").symlink_to(ROOT / ".tools/solcx")
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    return folder


def run_forge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs forge in the copy. The campaign is shorter than by default: most mutants die in its first runs."""
    environment = os.environ | {
        "FOUNDRY_PROFILE": "plain",
        "SOLC_JS_BRIEF": "yes",
        "FOUNDRY_INVARIANT_RUNS": "16",
        "FOUNDRY_FUZZ_RUNS": "64",
        "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0",
    }
    return subprocess.run(
        [forge(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def first_failure(output: str) -> str:
    """The name of the first test that failed; for a campaign its reason; "" if there is none."""
    for line in output.splitlines():
        if line.startswith("[FAIL"):
            reason = line[1:].split("]")[0].removeprefix("FAIL").removeprefix(": ").split("; counterexample")[0]
            name = line.rsplit("] ", 1)[-1].split("(")[0].strip()
            return name or f"campaign: {reason}"
    return ""


def try_mutant(folder: Path, mutant: Mutant) -> Outcome:
    """Applies the mutant in the copy, runs its tests, and puts the source back."""
    started = time.monotonic()
    source = folder / "contracts" / mutant.file
    original = source.read_text()
    if original.count(mutant.old) != 1:
        return Outcome(mutant, "broken", "the patch does not fit", 0.0)
    try:
        source.write_text(original.replace(mutant.old, mutant.new))
        result = run_forge(folder, "test", "--match-contract", f"^({mutant.tests})$", "--fail-fast")
        if result.returncode == 0:
            result = run_forge(folder, "test", "--no-match-contract", f"^({mutant.tests}|{LEDGER})$", "--fail-fast")
    finally:
        source.write_text(original)
    seconds = time.monotonic() - started
    if result.returncode == 0:
        return Outcome(mutant, "survived", "all tests passed", seconds)
    if "Compiler run failed" in result.stdout + result.stderr:
        return Outcome(mutant, "broken", "it does not compile", seconds)
    failure = first_failure(result.stdout)
    return Outcome(mutant, "killed" if failure else "broken", failure or "forge itself failed", seconds)


def subject() -> str:
    """Names what is tested, and by what: an outcome holds as long as it is the same."""
    hashed = hashlib.sha256()
    for folder in ("contracts", "tests/contracts/forge"):
        for path in sorted((ROOT / folder).rglob("*.sol")):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()


class Notebook:
    """The outcomes of earlier runs on the same contracts and tests."""

    def __init__(self) -> None:
        self.subject = subject()
        content = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
        self.outcomes: dict[str, list[str]] = content.get(self.subject, {})

    def find(self, mutant: Mutant) -> Outcome | None:
        known = self.outcomes.get(repr(astuple(mutant)))
        return Outcome(mutant, known[0], known[1], 0.0) if known else None

    def add(self, outcome: Outcome) -> None:
        self.outcomes[repr(astuple(outcome.mutant))] = [outcome.verdict, outcome.by]
        KNOWN.parent.mkdir(exist_ok=True)
        KNOWN.write_text(json.dumps({self.subject: self.outcomes}, indent=1))


def try_all(mutants: list[Mutant], jobs: int) -> list[Outcome]:
    """Tries the mutants, `jobs` at a time, each job in its own copy; prints each outcome as it comes."""
    notebook = Notebook()
    known = {mutant: outcome for mutant in mutants if (outcome := notebook.find(mutant))}
    if known:
        print(f"{len(known)} outcomes are known from an earlier run (build/mutants.json)")
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        first = workshop(Path(scratch) / "0")
        baseline = run_forge(first, "test")
        if baseline.returncode != 0:
            sys.exit(f"the tests fail without a mutant:\n{baseline.stdout[-3000:]}{baseline.stderr[-1000:]}")
        free: Queue[Path] = Queue()
        writing = Lock()
        free.put(first)
        for job in range(1, jobs):
            free.put(Path(shutil.copytree(first, Path(scratch) / str(job), symlinks=True)))

        def work(mutant: Mutant) -> Outcome:
            folder = free.get()
            try:
                outcome = try_mutant(folder, mutant)
            finally:
                free.put(folder)
            print(f"{outcome.verdict:8} {outcome.seconds:5.0f} s  {mutant.breaks}  ({outcome.by})", flush=True)
            with writing:
                notebook.add(outcome)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(lambda mutant: known.get(mutant) or work(mutant), mutants))


def table(outcomes: list[Outcome]) -> str:
    """The outcomes in Markdown, with the share that was killed."""
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    rows = [f"| {o.mutant.breaks} | contracts/{o.mutant.file} | {o.verdict} | {o.by} |" for o in outcomes]
    head = f"{killed} of {len(outcomes)} mutants killed ({killed / len(outcomes):.1%}).\n"
    return "\n".join([head, "| mistake | file | verdict | by |", "|---|---|---|---|", *rows, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose description contains this text")
    parser.add_argument("--check", action="store_true", help="only check that the patches fit")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    arguments = parser.parse_args()
    wrong = misfits()
    if wrong:
        sys.exit(
            "\n".join(["These patches no longer fit the source; update tests/contracts/mutants/table.py:", *wrong])
        )
    if arguments.check:
        print(f"{len(MUTANTS)} patches fit")
        return
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.breaks]
    if not chosen:
        sys.exit(f"no mutant's description contains {arguments.only!r}")
    outcomes = try_all(chosen, max(1, arguments.jobs))
    report = table(outcomes)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "mutants.md").write_text(report)
    print("\n" + report)
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    if killed < ENOUGH * len(outcomes) or any(outcome.verdict == "broken" for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
