"""An assistant's private definition from the command line: a file, single options, and the key from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nvm_chain.cli.profiles import is_default
from nvm_chain.cli.types import read_text
from nvm_chain.definition import DIALECTS, Definition
from nvm_chain.errors import InvalidInput
from nvm_chain.secret import Secret

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--definition", "file", type=_FILE, help="JSON file with the private definition; options win over it."
    ),
    click.option("--base-url", help="The provider's base URL.  [default: https://api.openai.com/v1]"),
    click.option("--model", help="As the provider names it."),
    click.option("--instructions", help="System text; callers never see it."),
    click.option("--instructions-file", type=_FILE, help="The same from a file."),
    click.option("--tools-file", type=_FILE, help="JSON list of the provider's tool objects."),
    click.option("--dialect", type=click.Choice(DIALECTS), help="How the provider is spoken to.  [default: responses]"),
    click.option("--assistant-id", metavar="asst_…", help="A stored assistant, where the provider still has such."),
    click.option("--allow-http", is_flag=True, help="The provider is in a private network and speaks plain HTTP."),
    click.option(
        "--api-key-env",
        default="OPENAI_API_KEY",
        show_default=True,
        metavar="NAME",
        help="Environment variable with the provider's key.",
    ),
    click.option("--api-key-file", type=_FILE, help="File with the provider's key."),
)


def definition_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `read_definition` takes, as keyword arguments of the same names."""
    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def read_definition(
    *,
    file: Path | None,
    base_url: str | None,
    model: str | None,
    instructions: str | None,
    instructions_file: Path | None,
    tools_file: Path | None,
    dialect: str | None,
    assistant_id: str | None,
    allow_http: bool,
    api_key_env: str,
    api_key_file: Path | None,
) -> Definition:
    """The definition. Raises DefinitionInvalid, or InvalidInput for a file that can't be read or a missing key."""
    data: dict[str, Any] = {"base_url": "https://api.openai.com/v1"}
    if file is not None:
        loaded = _json(file)
        if not isinstance(loaded, dict):
            raise InvalidInput(f"{file} must hold a JSON object")
        data |= loaded
    if instructions_file is not None:
        if instructions is not None:
            raise InvalidInput("give --instructions or --instructions-file, not both")
        instructions = read_text(instructions_file)
    given = {
        "base_url": base_url,
        "model": model,
        "instructions": instructions,
        "dialect": dialect,
        "assistant_id": assistant_id,
        "allow_http": allow_http or None,
        "tools": None if tools_file is None else _json(tools_file),
    }
    data |= {name: value for name, value in given.items() if value is not None}
    return Definition.from_json(data, None if "api_key" in data else _key(api_key_env, api_key_file))


def was_given(**options: Any) -> bool:
    """Whether any option asks for a new definition."""
    return any(value for name, value in options.items() if name not in ("api_key_env", "api_key_file"))


def key_was_given(file: Path | None) -> bool:
    """Whether an option of the running command names the provider's key; the variable's default name doesn't count."""
    return file is not None or not is_default("api_key_env")


def _key(variable: str, file: Path | None) -> Secret:
    if file is not None:
        return Secret(read_text(file).strip())
    if value := os.environ.get(variable):
        return Secret(value.strip())
    raise InvalidInput(
        f"no key of the provider: set {variable}, or give --api-key-file FILE (it is sealed on this machine)"
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise InvalidInput(f"{path} is nested too deeply") from None
    except ValueError:
        # The decoder's message can quote the file, and the file can hold a key.
        raise InvalidInput(f"{path} is not valid JSON") from None
