"""Parsers of text from strangers: a quick look at each here, a coverage-guided one in the long run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = int(os.environ.get("NVM_FUZZ_SECONDS", "30"))


def near(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a piece replaced, doubled or left out, or any bytes."""

    def change(seed: bytes, at: int, length: int, new: bytes, again: bool) -> bytes:
        at = min(at, len(seed))
        return seed[:at] + new + (seed[at:] if again else seed[at + length :])

    changed = st.builds(
        change,
        st.sampled_from(seeds),
        st.integers(0, max(map(len, seeds))),
        st.integers(0, 8),
        st.binary(max_size=8) | st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.booleans(),
    )
    return changed | st.binary(max_size=64)


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_or_keeps_its_promise(name: str) -> None:
    target = TARGETS[name]
    for seed in SEEDS[name]:
        target(seed)

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @example(b"\xed\xa0\x80")
    @example(b"\xff\x00")
    @given(near(SEEDS[name]))
    def fuzz(data: bytes) -> None:
        target(data)

    fuzz()


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(sys.platform != "linux", reason="atheris has wheels for Linux only")
@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_withstands_a_coverage_guided_fuzzer(name: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.fuzz.run", name, str(tmp_path / "corpus"), f"-max_total_time={SECONDS}")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 100, check=False)
    crashes = {path.name: path.read_bytes() for path in tmp_path.glob(f"{name}-*")}
    assert result.returncode == 0, f"{crashes}\n{(result.stdout + result.stderr)[-3000:]}"
    assert "Done " in result.stderr
