"""What a user installs: the wheel and requirements/runtime.lock, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.prefix) / "bin" / "uv"
DEVELOPMENT_ONLY = {"ape", "numpy", "pandas", "solcx", "pytest", "hypothesis", "mypy", "IPython"}
MOST_MEGABYTES = 125

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    constraints = ROOT / "requirements" / "build.lock"
    run(UV, "build", "--quiet", "--wheel", "--build-constraints", constraints, "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel and what it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    install = (UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--link-mode", "hardlink")
    build = ("--build-constraints", ROOT / "requirements" / "build.lock")
    run(*install, "--require-hashes", "--no-deps", *build, "-r", ROOT / "requirements" / "runtime.lock")
    run(*install, "--no-deps", wheel)
    return folder


def test_the_wheel_holds_both_packages_their_types_and_the_artifacts(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    artifacts = {f"nvm_chain/artifacts/{path.name}" for path in (ROOT / "nvm_chain" / "artifacts").glob("*.json")}
    assert {"nvm_chain/py.typed", "node_proxy/py.typed", "nvm_chain/artifacts/PlanRegistry.json"} <= names
    assert artifacts <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"nvm_chain", "node_proxy"}
    assert not [name for name in names if "__pycache__" in name]
    console = ROOT / "node_proxy" / "web" / "static"
    assert {str(path.relative_to(ROOT)) for path in console.rglob("*") if path.is_file()} <= names
    schemas = {str(path.relative_to(ROOT)) for path in (ROOT / "nvm_chain" / "schemas").glob("*.json")}
    assert {"nvm_chain/schemas/metadata-v1.json"} <= schemas <= names
    sources = {str(p.relative_to(ROOT)) for top in ("nvm_chain", "node_proxy") for p in (ROOT / top).rglob("*.py")}
    assert sources <= names


def test_every_requirement_of_the_wheel_is_locked_at_a_version_that_fits(installed: Path) -> None:
    run(UV, "pip", "check", "--python", installed / "bin" / "python")


@pytest.mark.parametrize("command", ["nvm-chain", "nvm-node"])
def test_the_console_scripts_run(installed: Path, command: str, tmp_path: Path) -> None:
    assert run(installed / "bin" / command, "--help", cwd=tmp_path).startswith("Usage: ")


def test_every_module_imports_without_development_packages(installed: Path, tmp_path: Path) -> None:
    program = """
import importlib, importlib.util, json, pkgutil, sys
for name in ("nvm_chain", "node_proxy"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name != "psycopg":  # the extra [postgresql]
                    raise
print(json.dumps([package.__file__, *(n for n in sys.argv[1:] if importlib.util.find_spec(n))]))
"""
    found = json.loads(run(installed / "bin" / "python", "-c", program, *sorted(DEVELOPMENT_ONLY), cwd=tmp_path))
    assert Path(found[0]).is_relative_to(installed)
    assert found[1:] == []


def test_the_installation_stays_small(installed: Path) -> None:
    site = next((installed / "lib").glob("python*/site-packages"))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert size / 1e6 < MOST_MEGABYTES, f"{size / 1e6:.1f} MB"
