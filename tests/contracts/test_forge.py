"""The Solidity tests of the contracts, run by forge: units, fuzz, attacks and the stateful campaign."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.contracts.forge_binary import ROOT, forge
from tests.contracts.mutants.run import misfits


def run_forge(profile: str, seconds: int) -> dict[str, str]:
    """Runs every forge test; returns each test's name and why it failed ("" = it passed)."""
    result = subprocess.run(
        [forge(), "test", "--json", "--allow-failure"],
        cwd=ROOT,
        env=os.environ | {"FOUNDRY_PROFILE": profile},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    start = result.stdout.find('{"tests/')
    assert start >= 0, f"forge ran no test:\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    suites, _ = json.JSONDecoder().raw_decode(result.stdout[start:])
    return {
        f"{suite.rsplit(':', 1)[-1]}.{name.split('(')[0]}": (
            "" if test["status"] == "Success" else test["reason"] or test["status"]
        )
        for suite, content in suites.items()
        for name, test in content["test_results"].items()
    }


def failures(results: dict[str, str]) -> str:
    return "\n".join(f"{name}: {reason}" for name, reason in results.items() if reason)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_the_solidity_tests_pass_with_many_more_runs() -> None:
    """With the default number of runs scripts/test has them pass before pytest begins."""
    results = run_forge("long", 4 * 3600)
    assert not failures(results), failures(results)
    assert any(name.startswith("InvariantsTest.") for name in results), "the stateful campaign did not run"


def test_every_mutant_still_fits_the_source() -> None:
    wrong = misfits()
    assert not wrong, "update tests/contracts/mutants/table.py:\n" + "\n".join(wrong)
