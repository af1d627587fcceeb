"""The interfaces name every error and event of every function: exactly those that its code can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvm_chain.abi import artifact

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
SPECIFICATIONS = {
    "PlanRegistry": ("IPlanRegistry", "IERC1155"),
    "AssetRegistry": ("IAssetRegistry",),
    "NodeRegistry": ("INodeRegistry",),
}
NEVER = {
    "grant": {"PurchaseLimitReached"},  # counts nothing against the limit
    "purchaseWithAuthorisation": {"PriceAboveMaximum"},  # its bound is the largest number there is
    "settle": {"InvalidVoucher", "GasTooLow"},  # shows no vouchers to anybody
    "offers": {"OfferUnknown"},  # asks for those of its own list
}
"""What the code that a function calls could say, but not to it."""

LIBRARIES = ("Money", "Standing", "Till")


def functions(source: str) -> Iterator[tuple[str, str]]:
    """(name, signature and body) of each function and modifier at the top level of a contract or library."""
    for match in re.finditer(r"^    (?:function|modifier) (\w+)", source, re.MULTILINE):
        closed = re.compile(r"^    }$", re.MULTILINE).search(source, match.end())
        assert closed is not None, match[1]
        yield match[1], source[match.start() : closed.end()]


def reached(contract: str, function: str) -> tuple[set[str], set[str]]:
    """The errors and events in a function and whatever it calls in the contract and its libraries."""
    bodies = dict[str, str]()
    for library in LIBRARIES:
        bodies |= dict(functions((CONTRACTS / "libraries" / f"{library}.sol").read_text()))
    bodies |= dict(functions((CONTRACTS / f"{contract}.sol").read_text()))
    seen, todo, errors, events = set[str](), [function], set[str](), set[str]()
    while todo:
        name = todo.pop()
        if name in seen or name not in bodies:
            continue
        seen.add(name)
        body = re.sub(r"//.*", "", bodies[name])
        errors |= set(re.findall(r"revert (?:\w+\.)?(\w+)", body))
        events |= set(re.findall(r"emit (\w+)", body))
        # Not what is called on another contract, such as IToken(token).transfer(…).
        todo += re.findall(r"(?<![).])\b(\w+)\b\(", body)
        todo += re.findall(r"\b(?:Money|till|self|record\.till|standing)\.(\w+)\(", body)
        todo += [word for word in ("locked", "onlyOwner") if re.search(rf"\b{word}\b", body.partition("{")[0])]
    return errors, events


def documented(contract: str) -> Iterator[tuple[str, str]]:
    """(function, its comment in one line) in the contract's interfaces."""
    for interface in SPECIFICATIONS[contract]:
        source = (CONTRACTS / "interfaces" / f"{interface}.sol").read_text().split("interface IERC1155Receiver")[0]
        for match in re.finditer(r"((?:^    //.*\n)+)^    function (\w+)\(", source, re.MULTILINE):
            lines = [line.strip() for line in match[1].splitlines() if line.strip().startswith("///")]
            yield match[2], " ".join(line.removeprefix("///").strip() for line in lines)


CASES = [(contract, name, text) for contract in SPECIFICATIONS for name, text in documented(contract)]


@pytest.mark.parametrize(("contract", "function", "text"), CASES, ids=[f"{c}.{f}" for c, f, _ in CASES])
def test_a_functions_comment_names_its_errors_and_events(contract: str, function: str, text: str) -> None:
    kinds = {entry["name"]: entry["type"] for entry in artifact(contract)["abi"] if entry["type"] in ("error", "event")}
    reverts = text.partition("Reverts with")[2]
    emits = text.partition("Emits")[2].partition("Reverts with")[0]
    errors = {word for word in re.findall(r"\w+", reverts) if kinds.get(word) == "error"}
    events = {word for word in re.findall(r"\w+", emits) if kinds.get(word) == "event"}
    if "what `accrue` emits" in emits:
        events |= {"CreditsExpired", "RefundAnnounced", "TransferSingle"}
    in_code, emitted = reached(contract, function)
    assert (errors, events) == (in_code - NEVER.get(function, set()), emitted)


def test_every_function_of_the_contracts_is_in_an_interface() -> None:
    for contract in SPECIFICATIONS:
        abi = {entry["name"] for entry in artifact(contract)["abi"] if entry["type"] == "function"}
        assert abi == {name for one, name, _ in CASES if one == contract}
