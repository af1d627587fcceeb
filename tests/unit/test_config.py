"""The node's settings: what is accepted, and that all mistakes are told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node_proxy import identity as identities
from node_proxy.config import ConfigInvalid, HostPort, describe, load
from nvm_chain.did_document import Service
from nvm_chain.errors import InvalidInput

KEY = "0x" + "11" * 32
OTHER = "0x" + "22" * 32
GOOD = {"NVM_NODE_RPC_URL": "http://127.0.0.1:8545", "NVM_NODE_SETTLEMENT_KEY": KEY, "NVM_NODE_ENCRYPTION_KEY": OTHER}


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load({**GOOD, **environ})
    return caught.value.problems


def test_an_rpc_url_and_two_keys_are_enough() -> None:
    settings = load(GOOD)
    assert settings.bind == HostPort("127.0.0.1", 8402)
    assert settings.origin == "http://127.0.0.1:8402"
    assert settings.allowed_hosts == ("api.openai.com",)
    assert settings.allow_local_providers == ()


def test_every_mistake_is_named_in_one_go() -> None:
    found = problems(
        NVM_NODE_BIND="localhost",
        NVM_NODE_CHAIN_ID="mainnet",
        NVM_NODE_MAX_CHAIN_AGE="0",
        NVM_NODE_ALLOWED_HOSTS="api.openai.com,10.0.0.1",
        NVM_NODE_RPC="x",
    )
    assert len(found) == 5
    for name in ("BIND", "CHAIN_ID", "MAX_CHAIN_AGE", "ALLOWED_HOSTS", "NVM_NODE_RPC:"):
        assert any(name in line for line in found), name


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    assert problems(NVM_NODE_ALOWED_HOSTS="a.b") == [
        "NVM_NODE_ALOWED_HOSTS: there is no such setting; did you mean NVM_NODE_ALLOWED_HOSTS?"
    ]


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('rpc_url = "http://file:1"\nbind = "127.0.0.1:1"\nallow_local_providers = ["localhost:11434"]\n')
    settings = load({**GOOD, "NVM_NODE_BIND": "127.0.0.1:2"}, file)
    assert settings.bind.port == 2
    assert settings.rpc_url == GOOD["NVM_NODE_RPC_URL"]
    assert settings.allow_local_providers == (HostPort("localhost", 11434),)


def test_a_secret_in_the_file_is_refused_without_being_shown(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f'settlement_key = "{KEY}"\nunknown = 1\n')
    with pytest.raises(ConfigInvalid) as caught:
        load(GOOD, file)
    assert "settlement_key_file" in str(caught.value)
    assert "unknown" in str(caught.value)
    assert KEY not in str(caught.value)


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    environ = {name: value for name, value in GOOD.items() if name != "NVM_NODE_SETTLEMENT_KEY"}
    settings = load({**environ, "NVM_NODE_SETTLEMENT_KEY_FILE": str(file)})
    assert settings.settlement_key is not None
    assert settings.settlement_key.reveal() == KEY
    assert KEY not in repr(settings)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_or_missing_secret_file_is_a_mistake(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    assert "empty" in problems(NVM_NODE_SECRET_FILE=str(file))[0]
    assert "No such file" in problems(NVM_NODE_SECRET_FILE=str(tmp_path / "none"))[0]


def test_a_broken_or_missing_file_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    for content in ("rpc_url = ", "rpc_url = " + "[" * 100_000, "chain_id = " + "9" * 5_000):
        file.write_text(content)
        with pytest.raises(ConfigInvalid, match="isn't TOML"):
            load(GOOD, file)
    with pytest.raises(ConfigInvalid, match="can't be read"):
        load(GOOD, tmp_path / "none.toml")


@pytest.mark.parametrize(
    "url",
    [
        *("http://node.example.org", "https://u:p@node.example.org", "https://n.example/?a=b", "ftp://x"),
        *("http://a:99999", "https://exa mple.org", "https://Node.example.org", "http://192.168.1.2", "https://[::1"),
        *("https://nöde.example", "https://n.example/#x", "https://n.example/" + 200 * "x"),
    ],
)
def test_a_public_url_is_https_and_bare(url: str) -> None:
    """What NodeRegistry holds is written into metadata, which takes no other."""
    assert "NVM_NODE_PUBLIC_URL" in problems(NVM_NODE_PUBLIC_URL=url)[0]
    with pytest.raises(InvalidInput):
        Service("0x" + 20 * "11", url)


@pytest.mark.parametrize(
    "url",
    ["https://node.example.org", "https://n.example/ai", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]"],
)
def test_a_local_public_url_may_be_http(url: str) -> None:
    assert load({**GOOD, "NVM_NODE_PUBLIC_URL": url + "/"}).origin == Service("0x" + 20 * "11", url).endpoint == url


@pytest.mark.parametrize("url", ["http://127.0.0.1:85450", "http://[::1", "http://a:x", "http://", "localhost:8545"])
def test_a_malformed_rpc_url_is_a_mistake_that_names_it(url: str) -> None:
    assert problems(NVM_NODE_RPC_URL=url) == [
        f"NVM_NODE_RPC_URL is '{url}': it must be a URL such as http://host:port or https://host/path"
    ]
    assert f"'{url}'" in problems(NVM_NODE_GATEWAYS=url)[0]


@pytest.mark.parametrize(
    "url", ["https://rpc.example:99999/v2/hunter2", "http://user:hunter2@rpc.example:x", "http://user:hunter2/x@h:1"]
)
def test_a_malformed_rpc_url_is_named_without_its_credentials(url: str) -> None:
    assert "hunter2" not in problems(NVM_NODE_RPC_URL=url)[0]


def test_a_key_that_is_none_is_refused_without_being_shown() -> None:
    for bad in ("0x12", "zz" * 32, KEY + "00"):
        line = problems(NVM_NODE_ENCRYPTION_KEY=bad)[0]
        assert "64 hex digits" in line
        assert bad not in line


@pytest.mark.parametrize("spelling", [str, str.upper, "0x{}".format], ids=["same", "upper case", "0x"])
@pytest.mark.parametrize("name", ["NVM_NODE_ENCRYPTION_KEY", "NVM_NODE_PREVIOUS_ENCRYPTION_KEY"])
def test_the_settlement_key_is_no_encryption_key_however_it_is_written(
    name: str, spelling: Callable[[str], str]
) -> None:
    key = "ab" * 32
    with pytest.raises(ConfigInvalid, match="use separate keys") as caught:
        identities.load(load({**GOOD, "NVM_NODE_SETTLEMENT_KEY": key, name: spelling(key)}))
    assert key not in str(caught.value)


def test_a_keystore_and_keys_exclude_each_other() -> None:
    assert any("both set" in line for line in problems(NVM_NODE_KEYSTORE="/tmp/x", NVM_NODE_KEYSTORE_PASSWORD="y"))


def test_credentials_of_an_rpc_url_do_not_show() -> None:
    line = problems(NVM_NODE_RPC_URL="ftp://user:hunter2@host/")[0]
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:8402", "::1", 8402), ("Example.org:1", "example.org", 1)],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert load({**GOOD, "NVM_NODE_BIND": text}).bind == HostPort(host, port)


@pytest.mark.parametrize("text", ["127.0.0.1", ":80", "a:b:80", "host:99999", "::1:80", "http://h:80", "h:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert "NVM_NODE_BIND" in problems(NVM_NODE_BIND=text)[0]


def test_every_setting_says_what_it_is_for() -> None:
    rows = describe()
    assert len({name for name, _, _ in rows}) == len(rows)
    assert all(meaning for _, _, meaning in rows)


def test_keys_are_kept_beside_the_ledger_and_a_databases_password_names_no_folder() -> None:
    assert load({**GOOD, "NVM_NODE_LEDGER": "/var/x/books.db"}).access_file == Path("/var/x/books-access.db")
    settings = load({**GOOD, "NVM_NODE_LEDGER": "postgresql://nvm:hunter2@db/nvm"})
    assert settings.ledger_file is None
    assert settings.access_file == Path("nvm-node/ledger-access.db")
    assert "hunter2" not in repr(settings)
    assert load({**GOOD, "NVM_NODE_ACCESS": "/srv/keys.db"}).access_file == Path("/srv/keys.db")


def test_a_postgresql_ledger_holds_everything_and_a_file_has_another_beside_it() -> None:
    assert load({**GOOD, "NVM_NODE_LEDGER": "/var/x/books.db"}).database == "/var/x/books-access.db"
    url = "postgresql://node@db/books"
    shared = load({**GOOD, "NVM_NODE_LEDGER": url})
    assert (shared.database, shared.ledger_file) == (url, None)
    earlier = load({**GOOD, "NVM_NODE_LEDGER": url, "NVM_NODE_ACCESS": "/srv/keys.db"})
    assert (earlier.database, earlier.access_file) == (url, Path("/srv/keys.db"))
