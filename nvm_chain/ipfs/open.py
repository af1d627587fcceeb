"""Stores by address."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

from nvm_chain.errors import InvalidInput
from nvm_chain.ipfs.gateway import Gateway
from nvm_chain.ipfs.kubo import KuboStore
from nvm_chain.ipfs.local import LocalStore
from nvm_chain.ipfs.store import BlockStore
from nvm_chain.ipfs.stores import Stores
from nvm_chain.secret import Secret
from nvm_chain.text import show

_FORMS = "file:///folder, kubo:/ip4/127.0.0.1/tcp/5001, kubo+http://host:5001, or https://gateway (read only)"


def open_store(url: str) -> LocalStore | KuboStore | Gateway:
    """The store at `url`; nothing is connected to or made yet. Close it, or use it in `async with`.

    Forms: file:///folder, kubo:<multiaddr>, kubo+http(s)://[user:password@]host:port, http(s)://gateway.
    Raises InvalidInput that lists them.
    """
    if isinstance(url, str):
        if url.startswith("file:///"):
            return LocalStore(unquote(url.removeprefix("file://")))
        if url.startswith("kubo:/"):
            return KuboStore(url.removeprefix("kubo:"))
        if url.startswith(("kubo+http://", "kubo+https://")):
            return _kubo(url.removeprefix("kubo+"))
        if url.startswith(("https://", "http://")):
            return Gateway(url)
        if url.startswith(("/", "./", "~")):
            raise InvalidInput(f"{show(url)} is a path; write it as file:///absolute/folder")
    raise InvalidInput(f"{show(url)} is not the address of a block store; expected {_FORMS}")


def open_stores(primary: str, pins: Iterable[str] = (), gateways: Iterable[str] = ()) -> Stores:
    """Several places as one store, see `Stores`. Raises InvalidInput; a gateway can't be primary or pin."""
    return Stores(_writable(primary), [_writable(url) for url in pins], [open_store(url) for url in gateways])


def _writable(url: str) -> BlockStore:
    store = open_store(url)
    if isinstance(store, Gateway):
        raise InvalidInput(
            f"{show(url)} is a gateway, which can only be read from: give it as one, beside a folder or an IPFS node"
        )
    return store


def _kubo(url: str) -> KuboStore:
    try:
        parts = urlsplit(url)
        username, password = parts.username, parts.password
    except ValueError:
        raise InvalidInput(f"not the address of an IPFS node; expected {_FORMS}") from None
    if username is None:
        return KuboStore(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return KuboStore(bare, username=unquote(username), password=Secret(unquote(password or "")))
