"""The console's addresses: its files, what it has to know, public pages of assistants, embeds and badges."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from node_proxy.asgi import Exchange, Router
from node_proxy.errors import AccessDenied, AssetNotFound, KeyInvalid, RouteNotFound
from node_proxy.web.blocks import BlockPages
from node_proxy.web.catalogue import Catalogue, Entry
from node_proxy.web.files import File, Files, page_headers, send
from node_proxy.web.operator import OperatorPages
from node_proxy.web.provider_check import ProviderCheckPage
from node_proxy.web.rpc import RpcPages
from node_proxy.web.signed_in import session_of
from node_proxy.web.words import badge, price_line
from nvm_chain import __version__
from nvm_chain.deployments import network_of
from nvm_chain.did import Did
from nvm_chain.errors import InvalidInput
from nvm_chain.urls import is_loopback

if TYPE_CHECKING:
    from node_proxy.services import Services

_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")


class WebPages:
    """All that a browser opens."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._files = Files()
        self._console = File.of("index.html", self._files.text("index.html").encode())
        self._embed = self._files.text("embed.html")
        self.catalogue, self.blocks = Catalogue(services), BlockPages(services)
        self.rpc, self.operator = RpcPages(services), OperatorPages(services)
        self.provider_check = ProviderCheckPage(services)

    def add_to(self, router: Router) -> None:
        """Registers every address."""
        router.add("GET", "/", self.console)
        router.add("GET", "/favicon.svg", self.icon)
        router.add("GET", "/favicon.ico", self.icon)
        router.add("GET", "/card.png", self.picture)
        router.add("GET", "/assets/{name}", self.asset)
        router.add("GET", "/console.json", self.facts)
        router.add("GET", "/catalogue", self.catalogue.page)
        router.add("GET", "/blocks/{cid}", self.blocks.get)
        router.add("PUT", "/blocks", self.blocks.put)
        router.add("POST", "/rpc", self.rpc.answer)
        router.add("POST", "/provider-check", self.provider_check.check)
        router.add("GET", "/operator", self.operator.show)
        router.add("GET", "/a/{did}", self.public)
        router.add("GET", "/a/{did}/embed", self.embed)
        router.add("GET", "/a/{did}/badge.svg", self.badge)

    async def console(self, exchange: Exchange) -> None:
        """GET /: the console; what it shows stands behind the # of the address."""
        await send(exchange, self._console, page_headers())

    async def icon(self, exchange: Exchange) -> None:
        """GET /favicon.svg."""
        await self._send("favicon.svg", exchange)

    async def picture(self, exchange: Exchange) -> None:
        """GET /card.png: what other sites show beside a link to an assistant."""
        headers = [(b"cache-control", b"public, max-age=86400"), (b"access-control-allow-origin", b"*")]
        file = self._files.get("card.png")
        if file is None:
            raise RouteNotFound("The console's build has no picture: make it again with `make web`.")
        await send(exchange, file, headers)

    async def asset(self, exchange: Exchange) -> None:
        """GET /assets/{name}: named by their content, so they never change."""
        await self._send(f"assets/{exchange.params[0]}", exchange)

    async def _send(self, name: str, exchange: Exchange) -> None:
        file = self._files.get(name)
        if file is None:
            raise RouteNotFound(f"The console has no file {name[:100]!r}: load the page again.")
        await send(exchange, file, [_FOREVER] if name.startswith("assets/") else [(b"cache-control", b"no-cache")])

    async def facts(self, exchange: Exchange) -> None:
        """GET /console.json: which node, chain and contracts this is, and who is signed in."""
        services = self._services
        network = network_of(services.chain.chain_id)
        settings = services.settings
        providers = [*settings.allowed_hosts, *map(str, settings.allow_local_providers)]
        await exchange.respond_json(
            200,
            {
                "origin": services.origin,
                "node": services.identity.address,
                "version": __version__,
                "chain": {
                    "id": network.chain_id,
                    "title": network.title,
                    "currency": network.currency,
                    "rpc_url": _local(settings.rpc_url) or network.rpc_url,
                    "explorer": network.explorer,
                },
                "contracts": services.deployment.to_dict(),
                "from_block": services.records.from_block,
                "providers": providers,
                "session": await self._session(exchange),
            },
            headers=[(b"cache-control", b"no-store")],
        )

    async def _session(self, exchange: Exchange) -> dict[str, object] | None:
        """Asked for here, a session that has ended is no error; a token that was none is a guess, as elsewhere."""
        services = self._services
        try:
            return (await session_of(services, exchange)).public()
        except KeyInvalid:
            if services.sessions.token_of(exchange.header(b"cookie")):
                services.guessed(exchange)
        except AccessDenied:
            pass
        return None

    # ------------------------------------------------------------------------------------------------------ public

    async def public(self, exchange: Exchange) -> None:
        """GET /a/{did}: the assistant's page, with what other sites show of a link."""
        entry = await self._entry(exchange)
        page = self._files.text("index.html").replace('="./', '="../')
        # Named here, they needn't wait until the first script asks for them.
        ahead = [name for name in self._files.scripts("asset") if f"../{name}" not in page]
        links = [f'<link rel="modulepreload" crossorigin href="../{name}">' for name in ahead]
        page = page.replace("</head>", "".join([*links, "</head>"]), 1)
        if entry is None:
            await send(exchange, File.of("a.html", page.encode()), page_headers(), status=404)
            return
        head = _card(entry, self._services.origin, self._currency)
        title = f"<title>{escape(entry.title)}</title>"
        page = page.replace("<title>nvm</title>", f"{title}\n{head}", 1)
        await send(exchange, File.of("a.html", page.encode()), page_headers())

    async def embed(self, exchange: Exchange) -> None:
        """GET /a/{did}/embed: a card for a frame on any site. It has no script; buying happens in a tab of its own."""
        entry = await self._entry(exchange)
        if entry is None:
            raise AssetNotFound("This node serves no such assistant.")
        offers = [offer for offer in entry.public["offers"] if offer["on_sale"]]
        page = self._embed.replace('="./', '="../../')
        for name, value in {
            "{{title}}": entry.title,
            "{{description}}": entry.public["description"],
            "{{price}}": price_line(offers, self._currency),
            "{{link}}": f"{self._services.origin}/a/{entry.did}",
        }.items():
            page = page.replace(name, escape(value).replace("{{", "{&#123;"))
        headers = [pair for pair in page_headers(framed=True) if pair[0] != b"cross-origin-opener-policy"]
        await send(exchange, File.of("embed.html", page.encode()), headers)

    async def badge(self, exchange: Exchange) -> None:
        """GET /a/{did}/badge.svg: for a README."""
        entry = await self._entry(exchange)
        offers = [] if entry is None else [offer for offer in entry.public["offers"] if offer["on_sale"]]
        svg = badge("assistant", price_line(offers, self._currency) if entry else "not served")
        headers = [
            (b"cache-control", b"public, max-age=300"),
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
            (b"access-control-allow-origin", b"*"),
        ]
        await send(exchange, File.of("badge.svg", svg.encode()), headers)

    @property
    def _currency(self) -> str:
        return network_of(self._services.chain.chain_id).currency

    async def _entry(self, exchange: Exchange) -> Entry | None:
        try:
            return await self.catalogue.entry(Did.parse(exchange.params[0]))
        except InvalidInput:
            return None


def _local(rpc_url: str) -> str | None:
    """An endpoint on this machine, which a wallet on it can use, too; others may hold the operator's credentials."""
    parts = urlsplit(rpc_url)
    plain = parts.username is None and not parts.query and parts.path in ("", "/")
    return rpc_url if plain and is_loopback(parts.hostname or "") else None


def _card(entry: Entry, origin: str, currency: str) -> str:
    """Open Graph and the like."""
    url, picture = f"{origin}/a/{entry.did}", f"{origin}/card.png"
    offers = [offer for offer in entry.public["offers"] if offer["on_sale"]]
    text = " ".join(entry.public["description"].split()) or price_line(offers, currency)
    properties = {
        "og:type": "website",
        "og:title": entry.title,
        "og:description": text,
        "og:url": url,
        "og:site_name": "nvm-chain",
        "og:image": picture,
        "og:image:type": "image/png",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "nvm-chain: access to AI assistants, sold on-chain",
    }
    lines = [f'<meta property="{name}" content="{escape(value)}">' for name, value in properties.items()]
    lines += [
        f'<meta name="twitter:image" content="{escape(picture)}">',
        '<meta name="twitter:card" content="summary_large_image">',
        f'<meta name="description" content="{escape(text)}">',
        f'<link rel="canonical" href="{escape(url)}">',
    ]
    return "\n".join(lines)
