"""`Settings`: what the operator can set, by a TOML file and `NVM_NODE_*` variables; every mistake listed at once.

A field `rpc_url` is `NVM_NODE_RPC_URL` in the environment and `rpc_url` in the file; the environment wins. Lists are
separated by commas in the environment. Secrets never stand in the TOML file: name a file with `<field>_file` or set the
variable.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from nvm_chain.address import address
from nvm_chain.did_document import MAX_ENDPOINT
from nvm_chain.errors import InvalidInput
from nvm_chain.secret import Secret
from nvm_chain.urls import base_url, is_http, without_secrets

PREFIX = "NVM_NODE_"


class ConfigInvalid(InvalidInput):
    """The configuration can't be used. problems: one sentence per mistake, each naming the setting and its value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The node's configuration has to be corrected:\n" + "\n".join(f"  - {p}" for p in problems))


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name or address (IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# ------------------------------------------------------------------------------------------------------------ parsers
# Each takes the text (or the TOML value) and returns the typed value, or raises ValueError with "must be …".


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("must be a text that isn't empty")
    return raw.strip()


def _url(raw: object) -> str:
    text = _text(raw)
    if not is_http(text):
        raise ValueError("must be a URL such as http://host:port or https://host/path")
    return text.rstrip("/")


def _public_url(raw: object) -> str:
    try:
        return base_url(_text(raw), max_length=MAX_ENDPOINT)  # as who reads NodeRegistry takes it
    except InvalidInput as error:
        raise ValueError(f"can't be published in NodeRegistry: {error}") from None


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int | str):
            raise ValueError(f"must be a whole number from {low:,} to {high:,}")
        text = str(raw).strip().replace("_", "")
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low:,} to {high:,}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[object], float]:
    def parse(raw: object) -> float:
        try:
            value = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else float("nan")
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def _path(raw: object) -> Path:
    return Path(_text(raw)).expanduser()


def _list(item: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    def parse(raw: object) -> tuple[Any, ...]:
        values = [part for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
        if not isinstance(values, list):
            raise ValueError("must be a list, or a text with commas")
        return tuple(item(value) for value in values)

    return parse


def host_port(raw: object, *, lowest_port: int = 1) -> HostPort:
    """`host:port`, `[v6]:port`. Raises ValueError with the reason."""
    text = _text(raw)
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\]:([0-9]{1,5})|([^:\[\]/@\s]+):([0-9]{1,5})", text)
    if match is None:
        raise ValueError("must be host:port, for example 127.0.0.1:8402")
    host, port = match[1] or match[3], int(match[2] or match[4])
    if not lowest_port <= port <= 65535:
        raise ValueError(f"must have a port from {lowest_port} to 65535")
    return HostPort(host.lower(), port)


def _bind(raw: object) -> HostPort:
    return host_port(raw, lowest_port=0)


def _hostname(raw: object) -> str:
    host = _text(raw).lower().rstrip(".")
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if not re.fullmatch(rf"(\*\.)?{label}(\.{label})+", host) or re.fullmatch(r"[0-9.]+", host):
        raise ValueError("must be a host name such as api.openai.com, or *.example.org for all names below it")
    return host


def _network(raw: object) -> str:
    try:
        return str(ipaddress.ip_network(_text(raw)))
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.5 or 172.17.0.0/16") from None


def _address(raw: object) -> str:
    try:
        return address(_text(raw))
    except InvalidInput:
        raise ValueError("must be addresses: 0x and 40 hex digits") from None


def _choice(*names: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        text = _text(raw).lower()
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return parse


def _by(parse: Callable[[object], Any], doc: str) -> dict[str, Any]:
    return {"parse": parse, "doc": doc}


def _secret(doc: str) -> dict[str, Any]:
    return {"secret": True, "doc": doc}


# ----------------------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The node's settings. Durations are seconds, sizes are bytes."""

    # chain
    rpc_url: str = field(repr=False, metadata=_by(_url, "JSON-RPC endpoint of the chain"))
    chain_id: int | None = field(default=None, metadata=_by(_whole(1, 2**63), "refuse any other chain"))
    deployment: Path | None = field(
        default=None, metadata=_by(_path, "JSON file with the contracts' addresses; default: the standard ones")
    )
    max_chain_age: float = field(
        default=60.0, metadata=_by(_seconds(1, 86_400), "oldest look at the chain on which calls are admitted")
    )
    max_head_age: float | None = field(
        default=None,
        metadata=_by(
            _seconds(1, 86_400), "an endpoint whose newest block is older has stopped; set it on public chains"
        ),
    )
    poll_interval: float = field(default=2.0, metadata=_by(_seconds(0.05, 3_600), "seconds between looks at the chain"))
    from_block: int = field(
        default=0,
        metadata=_by(
            _whole(0, 2**63),
            "block from which the registries' logs are searched for own assistants; 0: where they were deployed",
        ),
    )
    confirmations: int = field(
        default=3, metadata=_by(_whole(0, 1_000), "blocks, its own included, after which one counts as final")
    )

    # storage
    ledger: str = field(
        default="nvm-node/ledger.db", repr=False, metadata=_by(_text, "ledger: a file, or postgresql://…")
    )
    access: Path | None = field(
        default=None,
        metadata=_by(
            _path, "file for everything but the ledger's books (keys, answers, …); default: beside the ledger"
        ),
    )
    store: str | None = field(
        default=None,
        metadata=_by(_text, "metadata blocks: file:///folder, kubo:…, or a gateway; default: beside the ledger"),
    )
    gateways: tuple[str, ...] = field(
        default=(), metadata=_by(_list(_url), "IPFS gateways to ask where the store lacks a block")
    )

    # listening
    bind: HostPort = field(
        default=HostPort("127.0.0.1", 8402), metadata=_by(_bind, "address to listen on; port 0 takes a free one")
    )
    trusted_proxies: tuple[str, ...] = field(
        default=("127.0.0.1", "::1"),
        metadata=_by(_list(_network), "reverse proxies whose X-Forwarded-For names the client: addresses or networks"),
    )
    public_url: str | None = field(
        default=None, metadata=_by(_public_url, "base URL for clients, without /v1; wallets sign its host")
    )

    operators: tuple[str, ...] = field(
        default=(),
        metadata=_by(_list(_address), "wallets that see the operator's page, besides the node's own account"),
    )

    # keys
    keystore: Path | None = field(
        default=None, metadata=_by(_path, "folder with settlement.json and encryption-N.json (eth-account V3)")
    )
    keystore_password: Secret | None = field(default=None, metadata=_secret("password of the keystore"))
    settlement_key: Secret | None = field(
        default=None, metadata=_secret("private key of the node's account (instead of the keystore)")
    )
    encryption_key: Secret | None = field(
        default=None, metadata=_secret("secp256k1 private key that opens builders' secrets")
    )
    previous_encryption_key: Secret | None = field(
        default=None, metadata=_secret("the encryption key before, while the overlap lasts")
    )
    secret: Secret | None = field(
        default=None, metadata=_secret("what API keys are hashed with; default: derived from the settlement key")
    )

    # providers
    allowed_hosts: tuple[str, ...] = field(
        default=("api.openai.com",), metadata=_by(_list(_hostname), "provider hosts, https on port 443")
    )
    allow_local_providers: tuple[HostPort, ...] = field(
        default=(), metadata=_by(_list(host_port), "host:port of providers that may be private and plain http")
    )
    provider_connect_timeout: float = field(
        default=10.0, metadata=_by(_seconds(0.1, 120), "until the provider accepts the connection")
    )
    provider_idle_timeout: float = field(
        default=120.0, metadata=_by(_seconds(0.1, 3_600), "longest silence of a provider")
    )
    provider_total_timeout: float = field(default=900.0, metadata=_by(_seconds(0.1, 86_400), "longest call"))
    max_answer_bytes: int = field(
        default=32 * 2**20, metadata=_by(_whole(1_024, 2**30), "longest answer of a provider")
    )
    drain_timeout: float = field(
        default=120.0, metadata=_by(_seconds(0, 3_600), "how long to read on after a client hung up")
    )

    # callers
    max_body_bytes: int = field(default=4 * 2**20, metadata=_by(_whole(1_024, 2**30), "longest request body"))
    max_file_bytes: int = field(
        default=32 * 2**20, metadata=_by(_whole(1_024, 2**30), "largest file that a subscriber may upload")
    )
    max_kept_bytes: int = field(
        default=2**30, metadata=_by(_whole(2**16, 2**50), "bytes that all objects of one subscriber may take")
    )
    keep_days: int = field(
        default=30,
        metadata=_by(_whole(1, 36_500), "days that responses, conversations and files are kept after their last use"),
    )
    body_timeout: float = field(default=30.0, metadata=_by(_seconds(0.1, 600), "until the whole request body is here"))
    max_calls: int = field(default=2_000, metadata=_by(_whole(1, 1_000_000), "calls in flight"))
    run_lifetime: float = field(
        default=600.0, metadata=_by(_seconds(1, 86_400), "until a run of the Assistants API expires")
    )
    max_calls_per_key: int = field(default=64, metadata=_by(_whole(1, 1_000_000), "calls in flight for one API key"))
    max_calls_per_subscriber: int = field(
        default=256, metadata=_by(_whole(1, 1_000_000), "calls in flight for one subscriber, over all of its keys")
    )
    calls_per_minute: int | None = field(
        default=None,
        metadata=_by(_whole(1, 10_000_000), "calls that one subscriber may begin in a minute, all at once if it likes"),
    )
    max_rereads: int = field(
        default=1_000,
        metadata=_by(_whole(1, 100_000), "calls that may wait for the chain at once, to be let in or refused"),
    )
    answer_keep: float = field(
        default=86_400.0,
        metadata=_by(_seconds(1, 30 * 86_400), "how long the answer to an Idempotency-Key is kept"),
    )
    answer_bytes: int = field(
        default=8 * 2**20, metadata=_by(_whole(1_024, 2**28), "longest answer that is kept for an Idempotency-Key")
    )
    login_window: float = field(default=300.0, metadata=_by(_seconds(10, 3_600), "how long a login nonce lives"))

    # settlement
    settle_interval: float = field(
        default=30.0, metadata=_by(_seconds(0.1, 86_400), "seconds between looks at what is to settle")
    )
    settle_min_calls: int = field(
        default=100, metadata=_by(_whole(1, 1_000_000), "settle as soon as so many calls wait")
    )
    settle_max_age: float = field(
        default=3_600.0, metadata=_by(_seconds(0.1, 86_400), "settle when the oldest charge is this old")
    )
    settle_min_credits: int | None = field(
        default=None, metadata=_by(_whole(1, 2**63 - 1), "settle as soon as so many credits wait")
    )
    settle_stuck_after: float = field(
        default=60.0, metadata=_by(_seconds(1, 86_400), "age of a transaction that is replaced by one with higher fees")
    )
    settle_max_entries: int = field(default=200, metadata=_by(_whole(1, 1_000), "subscribers per batch at most"))

    # process
    asset_ttl: float = field(
        default=600.0, metadata=_by(_seconds(1, 86_400), "how long an opened definition stays in memory unused")
    )
    asset_cache: int = field(default=1_000, metadata=_by(_whole(1, 1_000_000), "opened definitions in memory at most"))
    shutdown_grace: float = field(
        default=30.0, metadata=_by(_seconds(0, 3_600), "how long running calls may take after Ctrl-C")
    )
    telemetry: str | None = field(
        default=None,
        metadata=_by(_url, "base URL of an OpenTelemetry collector (OTLP/HTTP); needs nvm-chain[otel]"),
    )
    log_level: str = field(
        default="info", metadata=_by(_choice("debug", "info", "warning", "error"), "least serious event that is logged")
    )
    log_format: str = field(default="json", metadata=_by(_choice("json", "text"), "json for machines, text for people"))

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's SQLite file; None where it is in a database server."""
        if self.ledger.startswith(("postgresql://", "postgres://")):
            return None
        return Path(self.ledger.removeprefix("sqlite:///")).expanduser()

    @property
    def folder(self) -> Path:
        """Where what has no place of its own is kept: beside the ledger's file, else `nvm-node` here."""
        return Path("nvm-node") if self.ledger_file is None else self.ledger_file.parent

    @property
    def database(self) -> str:
        """Where everything but the ledger's books is kept: the access file, or the ledger's PostgreSQL."""
        return self.ledger if self.ledger_file is None else str(self.access_file)

    @property
    def access_file(self) -> Path:
        """The SQLite file with the hashes of API keys; beside a PostgreSQL ledger one that an earlier version wrote."""
        if self.access is not None:
            return self.access
        return self.folder / f"{'ledger' if self.ledger_file is None else self.ledger_file.stem}-access.db"

    @property
    def origin(self) -> str:
        """Base URL by which clients reach the node: `public_url`, else what it is bound to."""
        return self.public_url or f"http://{self.bind}"


def load(environ: Mapping[str, str] | None = None, path: Path | None = None) -> Settings:
    """Settings from `path` (else `NVM_NODE_CONFIG`) and the environment. Raises ConfigInvalid with every mistake."""
    env = os.environ if environ is None else environ
    problems: list[str] = []
    given: dict[str, tuple[str, object]] = {}  # name -> (where, raw value)

    if path is None and env.get(PREFIX + "CONFIG"):
        path = Path(env[PREFIX + "CONFIG"])
    secrets = {f.name for f in fields(Settings) if f.metadata.get("secret")}
    plain = {f.name for f in fields(Settings)} - secrets
    known = plain | secrets | {f"{name}_file" for name in secrets}

    for name, raw in _read_toml(path, problems).items():
        if name in secrets:
            problems.append(f"{name} in {path}: secrets don't belong into this file; write {name}_file = a path")
        elif name not in known:
            problems.append(f"{name} in {path}: there is no such setting{_nearest(name, known)}")
        else:
            given[name] = (f"{name} in {path}", raw)
    for variable, text in env.items():
        name = variable.removeprefix(PREFIX).lower()
        # NVM_NODE_URL is nvm-chain's: which node to talk to.
        if not variable.startswith(PREFIX) or name in ("config", "url") or not text:
            continue
        if name not in known:
            problems.append(f"{variable}: there is no such setting{_nearest(name, known, PREFIX)}")
        else:
            given[name] = (variable, text)
            if name in secrets:
                given.pop(f"{name}_file", None)

    values: dict[str, Any] = {}
    for setting in fields(Settings):
        if setting.name in secrets:
            secret = _read_secret(setting.name, given, problems)
            if secret is not None:
                values[setting.name] = secret
        elif setting.name in given:
            where, raw = given[setting.name]
            try:
                values[setting.name] = setting.metadata["parse"](raw)
            except ValueError as error:
                problems.append(f"{where} is {_show(raw) if setting.repr else _show_url(raw)}: it {error}")
        elif setting.default is MISSING:
            way = "" if path else "; or name the file that `nvm-node init` made, with --config or NVM_NODE_CONFIG"
            problems.append(f"{PREFIX}{setting.name.upper()} is not set: {setting.metadata['doc']}{way}")
    _cross_check(values, problems)
    if problems:
        raise ConfigInvalid(problems)
    return Settings(**values)


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the documentation and `nvm-node check`."""
    rows = []
    for setting in fields(Settings):
        default = "required" if setting.default is MISSING else _show_value(setting.default)
        rows.append((PREFIX + setting.name.upper(), default, str(setting.metadata["doc"])))
    return rows


def _show_value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show(raw: object) -> str:
    """The value as the operator wrote it, shortened; user info of URLs (tokens of RPC providers) is left out."""
    text = re.sub(r"//\S*@", "//…@", str(raw))
    return repr(text if len(text) <= 80 else text[:77] + "…")


def _show_url(raw: object) -> str:
    """The same of a setting whose whole value may be a credential: of a URL scheme, host and port."""
    return _show(without_secrets(raw) if isinstance(raw, str) else raw)


def _nearest(name: str, known: set[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    if not near:
        return ""
    return f"; did you mean {prefix}{near[0].upper() if prefix else near[0]}?"


def _read_toml(path: Path | None, problems: list[str]) -> dict[str, object]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(f"the configuration file {path} can't be read: {error.strerror or error}")
    except (ValueError, RecursionError) as error:
        problems.append(f"the configuration file {path} isn't TOML: {error}")
    return {}


def _read_secret(name: str, given: Mapping[str, tuple[str, object]], problems: list[str]) -> Secret | None:
    if name in given:
        return Secret(str(given[name][1]).strip())
    if f"{name}_file" not in given:
        return None
    where, raw = given[f"{name}_file"]
    try:
        text = Path(_text(raw)).expanduser().read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it can't be read"
        problems.append(f"{where} is {_show(raw)}: {reason}")
        return None
    if not text:
        problems.append(f"{where} is {_show(raw)}: the file is empty")
        return None
    return Secret(text)


def _cross_check(values: Mapping[str, Any], problems: list[str]) -> None:
    has = values.keys()
    if "keystore" in has and ("settlement_key" in has or "encryption_key" in has):
        problems.append(f"{PREFIX}KEYSTORE and {PREFIX}SETTLEMENT_KEY/{PREFIX}ENCRYPTION_KEY are both set: choose one")
    if "keystore" in has and "keystore_password" not in has:
        problems.append(f"{PREFIX}KEYSTORE is set without {PREFIX}KEYSTORE_PASSWORD or {PREFIX}KEYSTORE_PASSWORD_FILE")
    for name in ("settlement_key", "encryption_key", "previous_encryption_key"):
        if name in has and not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", values[name].reveal()):
            problems.append(f"{PREFIX}{name.upper()}: a private key is 64 hex digits, with or without 0x")
    if "secret" in has and len(values["secret"].reveal()) < 32:
        problems.append(f"{PREFIX}SECRET: needs at least 32 characters; `openssl rand -hex 32` makes one")
    for one in values.get("allow_local_providers", ()):
        if one.host in ("0.0.0.0", "::"):
            problems.append(f"{PREFIX}ALLOW_LOCAL_PROVIDERS: {one} names no server; write its own address")
