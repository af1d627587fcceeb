from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nvm_chain.errors import InvalidInput, StoreUnavailable
from nvm_chain.ipfs import (
    BlockSource,
    BlockStore,
    Gateway,
    KuboStore,
    LocalStore,
    open_store,
    open_stores,
)
from tests.unit.gateways import CID


async def test_stores_open_by_address(tmp_path: Path) -> None:
    url = (tmp_path / "my blocks").as_uri()
    async with open_store(url) as store:
        assert isinstance(store, LocalStore)
        assert store.path == tmp_path / "my blocks"
        assert store.name == url
    for address, kind in {
        "kubo:/ip4/127.0.0.1/tcp/5001": KuboStore,
        "kubo:/dns/ipfs/tcp/5001/https": KuboStore,
        "kubo+http://127.0.0.1:5001": KuboStore,
        "kubo+http://[::1]:5001": KuboStore,
        "kubo+https://ipfs.example/node/api/v0": KuboStore,
        "https://gateway.example": Gateway,
        "http://127.0.0.1:8080": Gateway,
    }.items():
        async with open_store(address) as other:
            assert type(other) is kind
            assert other.name == address
            assert isinstance(other, BlockSource)
            assert isinstance(other, BlockStore) == (kind is not Gateway)


async def test_credentials_in_an_address_are_used_and_never_shown() -> None:
    async with open_store("kubo+http://me:hunt%23er2@127.0.0.1:1") as store:
        assert store.name == "kubo+http://127.0.0.1:1"
        assert "hunt" not in repr(store)
        with pytest.raises(StoreUnavailable) as caught:
            await store.get(CID)
        assert "hunt" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/var/blocks",
        "~/blocks",
        "file:blocks",
        "file://host/blocks",
        "ipfs://x",
        "kubo:127.0.0.1:5001",
        "kubo:/ip4/1.2.3.4",
        "kubo:/nonsense",
        "kubo+http://",
        "kubo+http://h?x=1",
        "https://",
        "https://user:hunter2@gateway.example",
        "ftp://x",
        None,
    ],
)
def test_other_addresses_are_refused_with_the_forms(address: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(address)
    assert "hunter2" not in str(caught.value)


def test_a_gateway_can_t_be_written_to() -> None:
    with pytest.raises(InvalidInput, match="only be read from"):
        open_stores("https://gateway.example")
    with pytest.raises(InvalidInput, match="only be read from"):
        open_stores("file:///tmp/x", pins=["https://gateway.example"])
