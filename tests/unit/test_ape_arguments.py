"""The arguments of the scripts that `ape run` runs: what is mistyped pays from no other account."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nvm_chain.errors import InvalidInput
from scripts import _ape, settle

SUBSCRIBER = "0x" + "11" * 20


@pytest.fixture
def _accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [SimpleNamespace(address=f"account {number}") for number in range(10)]
    monkeypatch.setattr(_ape, "accounts", SimpleNamespace(test_accounts=made))
    monkeypatch.delenv("NVM_PRIVATE_KEY", raising=False)


@pytest.mark.usefixtures("_accounts")
@pytest.mark.parametrize(("name", "number"), [(None, 0), ("TEST::0", 0), ("TEST::9", 9), ("TEST::03", 3)])
def test_a_test_account_is_named_by_its_number(name: str | None, number: int) -> None:
    assert _ape._wallet(None, name).address == f"account {number}"


@pytest.mark.usefixtures("_accounts")
@pytest.mark.parametrize(
    "name", ["TEST::abc", "TEST::10", "TEST::99", "TEST::-1", "TEST::", "TEST::١", "TEST::²", f"TEST::{'9' * 5_000}"]
)
def test_what_is_no_number_of_a_test_account_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"no test account .* write TEST::0 to TEST::9"):
        _ape._wallet(None, name)


def test_an_entry_is_a_subscriber_with_calls_and_credits() -> None:
    entry = settle._entry(f"{SUBSCRIBER}=3:7")
    assert (entry.calls, entry.credits) == (3, 7)


@pytest.mark.parametrize("used", ["", "3", "3:", ":7", "²:7", "3:١", "-1:7", f"{'9' * 5_000}:7", f"3:{'9' * 5_000}"])
def test_what_is_no_entry_is_refused(used: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not an entry|digits"):
        settle._entry(f"{SUBSCRIBER}={used}")
