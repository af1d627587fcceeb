"""Everything that a run leaves behind is searched for every secret that was used in it: sessions, keystores, services.

The node's calls at debug level with failures of every kind are searched in tests/integration/test_node_secrets.py.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import aiohttp
import pytest
from eth_account import Account

from nvm_chain.keys import generate_private_key
from nvm_chain.wallet import LocalWallet
from tests.world import PROVIDER_KEY, NodeProcess, World

PASSWORD = "Xylophone-2718 keystore"
INSTRUCTIONS = "The parrot is called Zebulon-3141."


def traces(secrets: dict[str, bytes], where: dict[str, bytes]) -> list[str]:
    """Which secret is where: as it is, in hex or in base64."""
    found = []
    for name, raw in secrets.items():
        for form in {raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw)[: 4 * (len(raw) // 3)]}:
            found += [f"{name} in {place}" for place, content in where.items() if form in content]
    return found


@pytest.mark.slow
async def test_a_run_with_sessions_and_a_keystore_leaves_no_secret_anywhere(tmp_path: Path) -> None:
    settlement, encryption = generate_private_key(), generate_private_key()
    keys = tmp_path / "keys"
    keys.mkdir()
    (tmp_path / "password").write_text(PASSWORD)
    for name, key in (("settlement", settlement), ("encryption-1", encryption)):
        text = json.dumps(Account.encrypt(key.reveal_bytes(), PASSWORD, kdf="scrypt", iterations=2))
        (keys / f"{name}.json").write_text(text)
    said: list[str] = []
    async with World(folder=tmp_path / "world", node={"log_level": "debug", "log_format": "json"}) as world:
        spare = await world.add_node(serve=False)
        wallet = LocalWallet(settlement)
        await world.fund(wallet.address)
        settings = {name: v for name, v in spare.settings.items() if name not in ("settlement_key", "encryption_key")}
        settings |= {"keystore": str(keys), "keystore_password_file": str(tmp_path / "password"), "log_level": "debug"}
        node = NodeProcess(spare.url, wallet, spare.registered, settings, spare.on_start)
        said.append(await node.run("register"))
        try:
            await node.start()
            plan = (await world.create_plan(price=1)).plan_id
            definition = world.definition(instructions=INSTRUCTIONS)
            did = (await world.register(plan, node=node, definition=definition)).did
            subscriber = await world.wallet()
            await world.buy(plan, subscriber)
            used = await use(world, node, subscriber, str(did), said)
            for command in (("assets",), ("check",), ("status",), ("settle",)):
                try:
                    said.append(await node.run(*command))
                except RuntimeError as error:
                    said.append(str(error))
        finally:
            await node.stop()
        where = {str(path): path.read_bytes() for path in (tmp_path / "world").rglob("*") if path.is_file()}
    where = {path: content for path, content in where.items() if not path.endswith("provider.log")}
    where |= {
        "what was said": "\n".join(said).encode(),
        "the keystore": b"".join(f.read_bytes() for f in keys.iterdir()),
    }
    secrets = {
        "the keystore's password": PASSWORD.encode(),
        "the settlement key": settlement.reveal_bytes(),
        "the encryption key": encryption.reveal_bytes(),
        "the provider key": PROVIDER_KEY.encode(),
        "the instructions": INSTRUCTIONS.encode(),
        **{name: value.encode() for name, value in used.items()},
    }
    assert sum(path.endswith("-access.db") for path in where) >= 1
    assert sum(path.endswith("node.log") for path in where) >= 1
    assert traces(secrets, where) == []
    assert traces({"the DID, which is public": str(did).encode()}, where), "the search itself finds what is there"


async def use(world: World, node: NodeProcess, wallet: LocalWallet, did: str, said: list[str]) -> dict[str, str]:
    """A login of each kind, a call, and some that go wrong. Returns the secrets; what was answered goes to `said`."""
    key = await world.login(wallet, node=node)
    async with aiohttp.ClientSession(node.url, cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def ask(method: str, path: str, body: object = None, **headers: str) -> str:
            async with http.request(method, path, json=body, headers=headers) as answer:
                shown = await answer.text()
                cookies = answer.headers.get("set-cookie", "")
                said.append(shown if path not in ("/auth/session", "/auth/keys") else f"HTTP {answer.status}")
                return shown if not cookies else f"{cookies}\n{shown}"

        message = json.loads(await ask("GET", f"/auth/nonce?address={wallet.address}"))["message"]
        signature = "0x" + (await wallet.sign_message(message)).hex()
        cookie, _, body = (await ask("POST", "/auth/session", {"message": message, "signature": signature})).partition(
            "\n"
        )
        session, csrf = cookie.partition(";")[0], json.loads(body)["csrf_token"]
        made = json.loads(await ask("POST", "/auth/keys", {"name": "x"}, cookie=session, **{"x-csrf-token": csrf}))
        bearer = f"Bearer {key}"
        answer = await ask("POST", "/v1/responses", {"model": did, "input": "hello"}, authorization=bearer)
        assert json.loads(answer)["status"] == "completed", "the secrets are really in use"
        await ask("POST", "/v1/responses", {"model": did, "input": "[[fail 401]]"}, authorization=bearer)
        await ask("GET", "/v1/account", authorization=bearer + "x")
        await ask("GET", "/v1/account", cookie=session + "x")
        await ask("POST", "/auth/keys", {"name": "y"}, cookie=session)
        await ask("POST", "/auth/login", {"message": message, "signature": signature})
        await ask("GET", "/metrics")
        await ask("GET", f"/1.0/identifiers/{did}")
    return {
        "an API key": key,
        "another API key": made["key"],
        "a session": session.partition("=")[2],
        "a session's token": csrf,
        "a signature": signature[2:],
    }
