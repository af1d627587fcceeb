"""What ships is what the sources say: ABI, bytecode and compiler settings, to the byte."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "compile_contracts.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=550)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_shipped_artifacts_are_what_the_sources_compile_to() -> None:
    done = check(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_changed_byte_of_an_artifact_is_noticed(tmp_path: Path) -> None:
    for part in ("contracts", "nvm_chain/artifacts", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for part in ("node_modules", ".tools"):
        (tmp_path / part).symlink_to(ROOT / part)
    lens = tmp_path / "nvm_chain" / "artifacts" / "Lens.json"
    lens.write_text(lens.read_text().replace('"bytecode": "0x60', '"bytecode": "0x61', 1))
    done = check(tmp_path)
    assert done.returncode == 1
    assert "differs from contracts/: Lens.json" in done.stderr
