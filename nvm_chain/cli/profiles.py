"""Profiles: options that a person would otherwise repeat with every command, in one TOML file.

    profile = "work"                  # the one used without --profile

    [profiles.work]
    network = "base"
    keystore = "/home/ann/wallet.json"
    node_url = "https://node.example"

An option on the command line goes first, then its NVM_* variable, then the profile. Secrets never stand in the file.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nvm_chain.errors import InvalidInput
from nvm_chain.text import show

OPTIONS = frozenset(
    {
        *("network", "rpc_url", "deployment", "keystore", "password_file", "account"),
        *("node_url", "store", "gateways"),
    }
)
"""What a profile can hold."""

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Profiles:
    """The file's content. current: the profile used without --profile. profiles: by name, what each says."""

    current: str = DEFAULT
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def named(self, name: str | None) -> Mapping[str, Any]:
        """The values of a profile; of the current one for None, which may be missing. Raises InvalidInput."""
        wanted = name or self.current
        if wanted in self.profiles:
            return self.profiles[wanted]
        if name is None and not self.profiles:
            return {}
        raise InvalidInput(
            f"there is no profile {show(wanted)}{_near(wanted, self.profiles)}: "
            f"make it with `nvm-chain init --profile {wanted}`"
        )

    def to_toml(self) -> str:
        """As the file holds it."""
        lines = [f"profile = {_toml(self.current)}"]
        for name, values in self.profiles.items():
            lines += ["", f"[profiles.{_toml(name)}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        return "\n".join(lines) + "\n"


_META = "nvm_chain.profile"


def use(context: click.Context, values: Mapping[str, Any]) -> None:
    """Makes the values the options' defaults in this run."""
    context.meta[_META] = values


def default(name: str, otherwise: Any = None) -> Callable[[], Any]:
    """A click default: what the profile says, else `otherwise`."""

    def value() -> Any:
        context = click.get_current_context(silent=True)
        return otherwise if context is None else context.meta.get(_META, {}).get(name, otherwise)

    return value


def is_default(option: str) -> bool:
    """Whether an option of the running command was given neither as an argument nor by its variable."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT


def config_file() -> Path:
    """NVM_CONFIG, else $XDG_CONFIG_HOME/nvm-chain/config.toml."""
    if path := os.environ.get("NVM_CONFIG"):
        return Path(path).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "nvm-chain" / "config.toml"


def load(path: Path) -> Profiles:
    """The profiles in the file; none where it is missing. Raises InvalidInput."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise InvalidInput(f"the configuration file {path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the configuration file {path} isn't TOML: {error}") from error
    current, profiles = data.pop("profile", DEFAULT), data.pop("profiles", {})
    if data:
        raise InvalidInput(f"{show(next(iter(data)))} in {path} means nothing: it takes `profile` and [profiles.NAME]")
    if not isinstance(current, str) or not isinstance(profiles, dict):
        raise InvalidInput(f"{path}: `profile` must be a name and [profiles.NAME] a table")
    return Profiles(current, {name: _checked(name, values, path) for name, values in profiles.items()})


def save(path: Path, profiles: Profiles) -> None:
    """Replaces the file at once, readable by its owner only. Raises InvalidInput."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(profiles.to_toml())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise InvalidInput(f"the configuration file {path} can't be written: {error.strerror or error}") from error


def _checked(name: str, values: object, path: Path) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise InvalidInput(f"profile {show(name)} in {path} must be a table")
    for key, value in values.items():
        if key not in OPTIONS:
            raise InvalidInput(f"{show(key)} in profile {show(name)} of {path} is no option{_near(key, OPTIONS)}")
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if not (texts if key == "gateways" else isinstance(value, str)):
            wanted = "a list of texts" if key == "gateways" else "a text"
            raise InvalidInput(f"{key} in profile {show(name)} of {path} must be {wanted}")
    return values


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _toml(value: Any) -> str:
    # A JSON text or list of texts is a TOML one too, once the one control character that JSON leaves alone is escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
