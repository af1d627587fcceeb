#!/usr/bin/env python3
"""Compiles contracts/ with py-solc-x and writes the ABI and bytecode that ship in nvm_chain/artifacts/.

    scripts/compile_contracts.py            writes the artifacts
    scripts/compile_contracts.py --check    writes nothing; exits 1 if a committed artifact differs

The compiler is looked for in $SOLCX_BINARY_PATH, by default .tools/solcx/, as `solc-v0.8.30`. When there is none, a
link to scripts/solc-js (the official build on npm, run by Node) is made there. A native solc 0.8.30 gives identical
bytecode.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import solcx

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts"
ARTIFACTS = ROOT / "nvm_chain" / "artifacts"
CONTRACTS = ("PlanRegistry", "AssetRegistry", "NodeRegistry", "SignatureValidator", "Lens")
VERSION = "0.8.30"
# The same as in foundry.toml.
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 2_000},
    "viaIR": True,
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none"},
}


def compiler() -> None:
    """Points py-solc-x at solc 0.8.30, making the link to scripts/solc-js when the folder has no compiler."""
    folder = Path(os.environ.setdefault("SOLCX_BINARY_PATH", str(ROOT / ".tools" / "solcx")))
    binary = folder / f"solc-v{VERSION}"
    if not binary.exists():
        if not (ROOT / "node_modules" / "solc").is_dir():
            sys.exit(f"no {binary} and no node_modules/solc: run `make setup`, or install solc {VERSION} there")
        folder.mkdir(parents=True, exist_ok=True)
        binary.unlink(missing_ok=True)
        binary.symlink_to(os.path.relpath(ROOT / "scripts" / "solc-js", folder))
    solcx.set_solc_version(VERSION, silent=True)


def compile_contracts() -> dict[str, dict[str, Any]]:
    """Returns the artifact of each of CONTRACTS. Exits with the compiler's messages if there is an error."""
    compiler()
    files = sorted(SOURCES.rglob("*.sol"))
    standard_json = {
        "language": "Solidity",
        "sources": {str(file.relative_to(ROOT)): {"content": file.read_text()} for file in files},
        "settings": SETTINGS
        | {"outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}}},
    }
    try:
        output = solcx.compile_standard(standard_json, base_path=str(ROOT))
    except solcx.exceptions.SolcError as error:
        sys.exit(error.message or str(error))
    for message in output.get("errors", []):
        print(message["formattedMessage"], file=sys.stderr)
    compiled = {name: contract for file in output["contracts"].values() for name, contract in file.items()}
    return {
        name: {
            "contractName": name,
            "compiler": {"version": VERSION, "settings": SETTINGS},
            "abi": compiled[name]["abi"],
            "bytecode": "0x" + compiled[name]["evm"]["bytecode"]["object"],
            "deployedBytecode": "0x" + compiled[name]["evm"]["deployedBytecode"]["object"],
        }
        for name in CONTRACTS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed artifacts, write nothing")
    check = parser.parse_args().check
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, artifact in compile_contracts().items():
        path = ARTIFACTS / f"{name}.json"
        text = json.dumps(artifact, indent=1) + "\n"
        size, init = (len(artifact[key]) // 2 - 1 for key in ("deployedBytecode", "bytecode"))
        if size > 24_576 or init > 49_152:
            sys.exit(f"{name} is too large: {size} bytes at most 24,576, init code {init} at most 49,152")
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not check:
                path.write_text(text)
        print(f"{name:20} {size:6,} bytes, init code {init:6,}")
    if check and stale:
        names = ", ".join(path.name for path in stale)
        sys.exit(f"differs from contracts/: {names}; run scripts/compile_contracts.py and commit the result")


if __name__ == "__main__":
    main()
