"""docs/dependencies.md, pyproject.toml, package.json, the lock files and the imports say the same."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRA = [Requirement(line) for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
DEV = [Requirement(line) for line in PROJECT["dependency-groups"]["dev"]]
INPUTS = [
    Requirement(line)
    for file in sorted((ROOT / "requirements").glob("*.in"))
    for line in file.read_text().splitlines()
    if not line.startswith("#")
]
NODE = {
    name
    for file in ("package.json", "tests/peers/package.json", "web/package.json", "bench/lighthouse/package.json")
    for kind in ("dependencies", "devDependencies")
    for name in json.loads((ROOT / file).read_text()).get(kind, {})
}
# uvicorn loads these by name when they are there.
LOADED_BY_NAME = {"httptools", "uvloop"}


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def locked(name: str) -> dict[str, str]:
    """Returns the versions that requirements/<name>.lock pins, a package that has several as "1.0 2.0"."""
    versions: dict[str, str] = {}
    for package, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements" / f"{name}.lock").read_text(), re.MULTILINE
    ):
        key = canonicalize_name(package)
        versions[key] = f"{versions[key]} {version}" if key in versions else version
    return versions


def test_every_direct_dependency_is_explained_and_nothing_else_is() -> None:
    rows = re.findall(r"^\| (\S+) \| (.+?) \| (.+?) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    explained = [canonicalize_name(row[0]) for row in rows if row[0] != "package"]
    wanted = names(RUNTIME) | names(EXTRA) | names(DEV) | names(INPUTS) | {canonicalize_name(name) for name in NODE}
    assert len(explained) == len(set(explained)), "a package has two rows"
    assert set(explained) == wanted


def test_what_the_packages_import_is_what_they_declare() -> None:
    distributions = packages_distributions()
    imported: set[str] = set()
    for package in ("nvm_chain", "node_proxy"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imported.add(node.module.split(".")[0])
    modules = imported - set(sys.stdlib_module_names) - {"nvm_chain", "node_proxy"}
    declared = names(RUNTIME) | names(EXTRA)
    found: set[str] = set()
    for module in modules:
        owners = {canonicalize_name(owner) for owner in distributions[module]}
        # Several distributions share a namespace: those that are declared are the ones that are meant.
        found |= owners & declared or owners
    assert found | LOADED_BY_NAME == declared


def test_what_is_optional_is_tested() -> None:
    assert names(EXTRA) <= names(DEV)


@pytest.mark.parametrize(("lock", "requirements"), [("runtime", RUNTIME), ("dev", RUNTIME + DEV)])
def test_a_lock_file_satisfies_what_is_asked_for(lock: str, requirements: list[Requirement]) -> None:
    versions = locked(lock)
    for requirement in requirements:
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), (
            f"run make lock: {requirement}"
        )


def test_users_get_the_versions_that_were_tested() -> None:
    tested = locked("dev")
    assert {name: version for name, version in locked("runtime").items() if tested.get(name) != version} == {}


def test_every_locked_package_has_hashes() -> None:
    for file in (ROOT / "requirements").glob("*.lock"):
        entries = re.split(r"^(?=[A-Za-z0-9])", file.read_text(), flags=re.MULTILINE)[1:]
        assert entries
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("folder", [".", "tests/peers", "web", "bench/lighthouse"])
def test_the_npm_lock_file_belongs_to_its_package_file(folder: str) -> None:
    package, lock = (json.loads((ROOT / folder / name).read_text()) for name in ("package.json", "package-lock.json"))
    for kind in ("dependencies", "devDependencies"):
        assert lock["packages"][""].get(kind) == package.get(kind)
    for name, version in {**package.get("dependencies", {}), **package["devDependencies"]}.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version, "pin exactly, then run make lock"
