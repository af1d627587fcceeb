"""What is fuzzed. A target takes bytes; it fails by raising anything but the errors that its parser declares.

What is accepted must also hold what the parser promises: read, written and read again, it is the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from node_proxy.access.keys import check_shape
from node_proxy.access.siwe import SiweMessage
from node_proxy.config import ConfigInvalid, HostPort, load
from node_proxy.errors import BadRequest, KeyInvalid, NodeError
from node_proxy.openai.face import Face
from node_proxy.openai.ids import IdMap
from node_proxy.openai.metering import read_usage
from node_proxy.openai.request import prepare
from node_proxy.relay import sse
from node_proxy.relay.target import Allowed, is_public
from nvm_chain import amounts, canonical
from nvm_chain.cid import Cid
from nvm_chain.definition import Definition
from nvm_chain.did import Did
from nvm_chain.did_url import DidUrl, parameters
from nvm_chain.errors import InvalidInput, NvmError
from nvm_chain.keys import generate_private_key
from nvm_chain.metadata import Metadata
from nvm_chain.plan_metadata import PlanMetadata
from nvm_chain.policy import Policy
from nvm_chain.pricing import Pricing
from nvm_chain.sealing import Binding, Sealed, unseal
from nvm_chain.secret import Secret
from nvm_chain.text import many_lines, one_line, show, tag
from nvm_chain.urls import base_url

Target = Callable[[bytes], None]

_KEY = generate_private_key()
_BINDING = Binding(
    did=Did(b"\x01" * 32),
    owner="0x" + "11" * 20,
    chain_id=1,
    registry="0x" + "22" * 20,
    node="0x" + "33" * 20,
    key_version=1,
)
_DEFINITION = Definition(
    base_url="https://api.openai.com/v1",
    api_key=Secret("sk-fuzz"),
    model="gpt-5",
    instructions="INSTRUCTIONS-OF-THE-BUILDER",
    tools=({"type": "web_search"},),
    policy=Policy(function_tools=True, temperature=True, images=True, files=True, structured_output=True),
)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass") if _decodes(data) else data.decode("latin-1")


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def did(data: bytes) -> None:
    """DIDs."""
    try:
        found = Did.parse(_text(data))
    except InvalidInput:
        return
    assert Did.parse(str(found)) == found


def did_url(data: bytes) -> None:
    """DID URLs and their parameters."""
    text = _text(data)
    try:
        found = DidUrl.parse(text)
        parameters(text.partition("?")[2])
    except InvalidInput:
        return
    assert str(found.did) in text.lower()


def cid(data: bytes) -> None:
    """CIDs: the one form that is taken is the one that is written."""
    text = _text(data)
    try:
        found = Cid.parse(text)
    except InvalidInput:
        return
    assert str(found) == text


def strict_json(data: bytes) -> None:
    """Canonical JSON."""
    try:
        value = canonical.loads(data, max_bytes=100_000)
    except InvalidInput:
        return
    written = canonical.dumps(value)
    assert canonical.loads(written, max_bytes=10**7) == value
    assert canonical.dumps(canonical.loads(written, max_bytes=10**7)) == written


def metadata(data: bytes) -> None:
    """Metadata blocks of assistants and plans: only what our own writer could have written is taken."""
    for kind in (Metadata, PlanMetadata):
        try:
            found = kind.from_block(data)
        except NvmError:
            continue
        assert found.to_block() == data


def definition(data: bytes) -> None:
    """Definitions, policies and prices, as JSON."""
    value = _json(data)
    for read in (Definition.from_json, Policy.from_json, Pricing.from_json, Sealed.from_json):
        try:
            read(value)
        except NvmError:
            continue


def sealed(data: bytes) -> None:
    """Ciphertexts: nothing opens that was not sealed."""
    for text in (_text(data), base64.b64encode(data).decode()):
        try:
            unseal(text, _KEY, _BINDING)
        except NvmError:
            continue
        raise AssertionError("opened what nobody sealed")


def sign_in(data: bytes) -> None:
    """Sign-in messages: what is read is what was signed."""
    text = _text(data)
    try:
        found = SiweMessage.parse(text)
    except InvalidInput:
        return
    assert found.text == text
    assert isinstance(found.issued_at, datetime)
    assert text.startswith((f"{found.domain} wants", f"{found.scheme}://{found.domain} wants"))


def words(data: bytes) -> None:
    """Amounts, durations, shares, URLs, titles and tags."""
    text = _text(data)
    parsers: list[Callable[[str], object]] = [
        amounts.parse_duration,
        amounts.parse_share,
        lambda t: amounts.parse_units(t, 18),
        lambda t: amounts.parse_amount(t, amounts.Currency("ETH", 18)),
        base_url,
        tag,
        lambda t: one_line(t, 120),
        lambda t: many_lines(t, 1000),
    ]
    for parse in parsers:
        try:
            parse(text)
        except NvmError as error:
            str(error).encode()
    show(text).encode()


def units(data: bytes) -> None:
    """Amounts: written and read again, exactly the same."""
    number = int.from_bytes(data[:32])
    for decimals in (0, 6, 18, 36):
        assert amounts.parse_units(amounts.format_units(number, decimals), decimals) == number


def api_key(data: bytes) -> None:
    """API keys, by their form; no error repeats one."""
    text = _text(data)
    try:
        check_shape(text)
    except KeyInvalid as error:
        if len(text) >= 12 and text in error.message:
            raise AssertionError("the error repeats the key") from None
    except NodeError:
        return


def events(data: bytes) -> None:
    """Event streams: however they are cut, the same events come out."""
    whole = _feed([data])
    step = data[0] % 7 + 1 if data else 1
    assert _feed([data[i : i + step] for i in range(0, len(data), step)]) == whole


def _feed(chunks: list[bytes]) -> list[sse.Event] | None:
    parser = sse.Parser(10_000)
    found: list[sse.Event] = []
    try:
        for chunk in chunks:
            found += parser.feed(chunk)
    except sse.EventTooLong:
        return None
    return found


def request(data: bytes) -> None:
    """Requests of callers: refused by name, or turned into a request that is the builder's own."""
    value = _json(data)
    if not isinstance(value, dict):
        return
    try:
        found = prepare(value, _DEFINITION, name="asst", safety_identifier="nvm-x")
    except BadRequest as error:
        error.body()
        return
    assert found.body["model"] == "gpt-5"
    assert found.body["instructions"] == "INSTRUCTIONS-OF-THE-BUILDER"
    assert found.body["tools"][0] == {"type": "web_search"}
    assert found.body["safety_identifier"] == "nvm-x"


def face(data: bytes) -> None:
    """Answers of providers: whatever one sends, what is shown is JSON without what is the builder's."""
    value = _json(data)
    if not isinstance(value, dict):
        return
    value |= {"instructions": "INSTRUCTIONS-OF-THE-BUILDER", "model": "MODEL-OF-THE-BUILDER"}
    shown = Face(IdMap(b"k" * 32, "0x1", "0x2"), "asst", {})
    for seen in (
        shown.response(value),
        shown.event(value),
        shown.event({"type": "response.completed", "response": value}),
    ):
        assert "OF-THE-BUILDER" not in json.dumps(seen)
    read_usage(value)


def addresses(data: bytes) -> None:
    """Providers' URLs and addresses: nothing private is let through."""
    text = _text(data)
    try:
        found = Allowed(("*.example.org",), (HostPort("127.0.0.1", 1),)).url(text)
    except NodeError:
        return
    assert ".example.org" in found or found.startswith("http://127.0.0.1:1")
    if text.replace(".", "").isdigit():
        is_public(text)


def settings(data: bytes) -> None:
    """The node's settings: every mistake becomes a sentence."""
    parts = _text(data).replace("\0", "").split("\n")
    env = {f"NVM_NODE_{one.partition('=')[0]}": one.partition("=")[2] for one in parts}
    try:
        load({**env, "NVM_NODE_CONFIG": ""})
    except ConfigInvalid as error:
        if not error.problems:
            raise AssertionError("refused without a reason") from None


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        *(did, did_url, cid, strict_json, metadata, definition, sealed, sign_in, words, units),
        *(api_key, events, request, face, addresses, settings),
    )
}
