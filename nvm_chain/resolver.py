"""DID resolution and dereferencing for `did:nv`, as https://www.w3.org/TR/did-resolution/ describes them.

    resolver = Resolver([Place(chain, deployment)], store)
    result = await resolver.resolve("did:nv:…", version_id="2")
    json.dumps(result.to_json())

The chain decides who controls a DID; the metadata block, checked against the digest on the chain, says the rest.
`docs/did-method.md` is the method's specification.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from urllib.parse import quote, urljoin, urlsplit

from nvm_chain.assets import Asset
from nvm_chain.canonical import JsonObject
from nvm_chain.chain import Chain
from nvm_chain.cid import Cid
from nvm_chain.contract_errors import AssetUnknown
from nvm_chain.deployments import Deployment
from nvm_chain.did import Did
from nvm_chain.did_document import did_document
from nvm_chain.did_url import FRAGMENT_CHARS, DidUrl
from nvm_chain.errors import (
    BlockTooLarge,
    ChainUnavailable,
    DigestMismatch,
    InvalidInput,
    MetadataInvalid,
    NotFound,
    NvmError,
    StoreUnavailable,
)
from nvm_chain.history import History, Version, read_history
from nvm_chain.ipfs import BlockSource
from nvm_chain.metadata import Metadata
from nvm_chain.text import show

DOCUMENT_TYPE = "application/did+ld+json"
RESOLUTION_CONTEXT = "https://w3id.org/did-resolution/v1"
_NAMESPACE = "https://www.w3.org/ns/did#"

Code = Literal[
    "invalidDid",
    "invalidDidUrl",
    "invalidOptions",
    "notFound",
    "representationNotSupported",
    "invalidDidDocument",
    "methodNotSupported",
    "featureNotSupported",
    "internalError",
]
STATUS: dict[Code, int] = {
    "invalidDid": 400,
    "invalidDidUrl": 400,
    "invalidOptions": 400,
    "notFound": 404,
    "representationNotSupported": 406,
    "invalidDidDocument": 500,
    "methodNotSupported": 501,
    "featureNotSupported": 501,
    "internalError": 500,
}
"""HTTP status of each error (DID Resolution, HTTP(S) binding)."""


class ResolutionFailed(NvmError):
    """A DID or DID URL does not resolve. code: the W3C error code; status: its HTTP status."""

    def __init__(self, code: Code, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.status = code, status or STATUS[code]

    @property
    def problem(self) -> JsonObject:
        """The error as an RFC 9457 object, as the Candidate Recommendation of 2026 has it."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", self.code).upper()
        return {"type": _NAMESPACE + name, "title": self.code, "detail": str(self)}

    def to_json(self) -> JsonObject:
        """The resolution result: no document, and why."""
        return {
            "@context": RESOLUTION_CONTEXT,
            "didDocument": None,
            "didResolutionMetadata": {"error": self.code, "errorMessage": str(self), "problem": self.problem},
            "didDocumentMetadata": {},
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where DIDs are registered: a chain and our contracts on it."""

    chain: Chain
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Resolution:
    """A resolved DID. document: None while the DID is deactivated. chain: its CAIP-2 id.

    created: unix seconds of the registration; updated: of this version. next: the version that replaced it.
    deactivated: now, or at the time that was asked for. A version that is asked for by its id has its document anyway.
    """

    did: Did
    chain: str
    document: JsonObject | None
    cid: Cid
    version_id: str
    created: int
    updated: int
    deactivated: bool = False
    next: Version | None = None

    @property
    def status(self) -> int:
        """HTTP status: 410 where a deactivated DID has no document."""
        return 410 if self.document is None else 200

    @property
    def document_metadata(self) -> JsonObject:
        """didDocumentMetadata; `chain` and `metadata` (the block's CID) are ours."""
        found: JsonObject = {
            "created": utc(self.created),
            "updated": utc(self.updated),
            "versionId": self.version_id,
            "deactivated": self.deactivated,
            "chain": self.chain,
            "metadata": str(self.cid),
        }
        if self.next is not None:
            found |= {"nextVersionId": self.next.id, "nextUpdate": utc(self.next.since)}
        return found

    def to_json(self) -> JsonObject:
        """The resolution result."""
        return {
            "@context": RESOLUTION_CONTEXT,
            "didDocument": self.document,
            "didResolutionMetadata": {"contentType": DOCUMENT_TYPE},
            "didDocumentMetadata": self.document_metadata,
        }


@dataclass(frozen=True, slots=True)
class Dereferenced:
    """What a DID URL stands for. content: a part of the document, or a URL (content type text/uri-list)."""

    content: JsonObject | str
    content_type: str
    metadata: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """The dereferencing result."""
        return {
            "@context": RESOLUTION_CONTEXT,
            "contentStream": self.content,
            "dereferencingMetadata": {"contentType": self.content_type},
            "contentMetadata": self.metadata,
        }


class Resolver:
    """Resolves DIDs of one or several chains. source: where metadata blocks are read."""

    def __init__(self, places: Sequence[Place], source: BlockSource) -> None:
        self._places, self._source = tuple(places), source

    async def resolve(self, did: str, *, version_id: str | None = None, version_time: str | None = None) -> Resolution:
        """The DID's document, now, as version `version_id`, or as of `version_time` (`2026-11-23T10:00:00Z`).

        Raises ResolutionFailed.
        """
        known = _parse_did(did)
        moment = None if version_time is None else parse_time(version_time)
        if version_id is not None and moment is not None:
            raise ResolutionFailed("invalidOptions", "versionId and versionTime exclude each other: name one of them")
        place, asset = await self._find(known)
        if version_id is None and moment is None:
            return await self._current(place, asset)
        past = await self._history(place, known)
        version = past.at(moment) if moment is not None else past.by_id(version_id or "")
        if version is None:
            ids = ", ".join(one.id for one in past.versions[-8:])
            wanted = f"no version {show(version_id)}" if moment is None else f"not registered before {version_time}"
            raise ResolutionFailed("notFound", f"{known} has {wanted}; its latest versions are {ids}")
        following = past.after(version)
        if moment is None:
            found = await self._describe(place, asset, version, following)
            return replace(found, deactivated=not asset.active)
        if not past.active_at(moment):
            return self._result(place, asset, version, following, None)
        return await self._describe(place, asset, version, following)

    async def dereference(self, url: str) -> Resolution | Dereferenced:
        """What a DID URL leads to: the document, a part of it (fragment), or a service's URL. Raises ResolutionFailed.

        Parameters: versionId, versionTime, service (the id's fragment) and relativeRef.
        """
        _parse_did(re.split(r"[/?#]", url, maxsplit=1)[0])
        try:
            parts = DidUrl.parse(url)
        except InvalidInput as error:
            raise ResolutionFailed("invalidDidUrl", str(error)) from None
        query = dict(parts.query)
        options = {name: query.pop(name, None) for name in ("versionId", "versionTime", "service", "relativeRef")}
        if query:
            raise ResolutionFailed(
                "featureNotSupported",
                f"parameter {show(min(query))} is not supported; known: versionId, versionTime, service, relativeRef",
            )
        if parts.path:
            raise ResolutionFailed("notFound", f"did:nv gives paths such as {show(parts.path)} no meaning")
        if options["relativeRef"] is not None and options["service"] is None:
            raise ResolutionFailed("invalidDidUrl", "relativeRef needs a service that it is relative to")
        found = await self.resolve(str(parts.did), version_id=options["versionId"], version_time=options["versionTime"])
        if found.document is None:
            return found
        if options["service"] is not None:
            return _service_url(found, options["service"], options["relativeRef"], parts.fragment)
        return found if parts.fragment is None else _part(found, parts.fragment)

    async def _find(self, did: Did) -> tuple[Place, Asset]:
        """A DID contains its chain's id, so that at most one chain has it."""
        silent: ChainUnavailable | None = None
        for place in self._places:
            try:
                return place, await place.chain.call(place.deployment.assets.asset(did))
            except AssetUnknown:
                continue
            except ChainUnavailable as error:
                silent = error
        if silent is not None:
            raise _unavailable(silent) from silent
        chains = ", ".join(f"eip155:{place.chain.chain_id}" for place in self._places)
        raise ResolutionFailed("notFound", f"no asset has the DID {did} on {chains or 'any chain'}")

    async def _current(self, place: Place, asset: Asset) -> Resolution:
        try:
            metadata = await self._metadata(place, asset.did, asset.metadata)
        except ResolutionFailed:
            if asset.active:
                raise
            metadata = None  # a builder who ends an assistant also takes its block away; the chain says that it is over
        if metadata is None or metadata.owner != asset.owner:
            # Handed over, or a false owner in the block, or nobody knows: the events tell.
            version = (await self._history(place, asset.did)).versions[-1]
            if asset.active:
                return await self._describe(place, asset, version, None)
        else:
            version = Version(str(asset.version), asset.owner, asset.metadata, asset.updated_at, 0)
        return self._result(place, asset, version, None, metadata if asset.active else None)

    async def _describe(self, place: Place, asset: Asset, version: Version, following: Version | None) -> Resolution:
        metadata = await self._metadata(place, asset.did, version.metadata)
        return self._result(place, asset, version, following, metadata)

    def _result(
        self, place: Place, asset: Asset, version: Version, following: Version | None, metadata: Metadata | None
    ) -> Resolution:
        """metadata: None where the DID is deactivated, so that it has no document."""
        document = None
        if metadata is not None:
            # What another account published about the asset is not the owner's word: no service of it is named.
            services = metadata.services if metadata.owner == version.owner else ()
            document = did_document(asset.did, place.chain.chain_id, version.owner, services)
        return Resolution(
            did=asset.did,
            chain=f"eip155:{place.chain.chain_id}",
            document=document,
            cid=version.metadata,
            version_id=version.id,
            created=asset.created_at,
            updated=version.since,
            deactivated=metadata is None,
            next=following,
        )

    async def _history(self, place: Place, did: Did) -> History:
        try:
            return await read_history(place.chain, place.deployment, did)
        except ChainUnavailable as error:
            raise _unavailable(error) from error

    async def _metadata(self, place: Place, did: Did, cid: Cid) -> Metadata:
        registry = place.deployment.asset_registry
        try:
            block = cid.verify(await self._source.get(cid), self._source.name)
            read = partial(Metadata.from_block, did=did, chain_id=place.chain.chain_id, registry=registry)
            return await asyncio.to_thread(read, block)
        except (NotFound, StoreUnavailable) as error:
            raise _unavailable(error) from error
        except (DigestMismatch, BlockTooLarge) as error:
            raise ResolutionFailed("internalError", f"{did}: {error}", status=502) from error
        except MetadataInvalid as error:
            raise ResolutionFailed("invalidDidDocument", f"{did}: its metadata {cid} is not valid: {error}") from error


def _unavailable(error: NvmError) -> ResolutionFailed:
    return ResolutionFailed("internalError", str(error), status=503)


def _parse_did(text: str) -> Did:
    method = re.fullmatch(r"did:([a-z0-9]+):[A-Za-z0-9._:%-]+", text) if isinstance(text, str) else None
    if method is not None and method[1] != "nv":
        raise ResolutionFailed(
            "methodNotSupported", f"the method of {show(text)} is not nv, the only one resolved here"
        )
    try:
        return Did.parse(text)
    except InvalidInput as error:
        raise ResolutionFailed("invalidDid", str(error)) from None


def parse_time(text: str) -> int:
    """Unix seconds of an XML dateTime in UTC without fractions. Raises ResolutionFailed."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII):
            return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        pass
    raise ResolutionFailed(
        "invalidOptions", f"versionTime {show(text)} is not a UTC time in whole seconds such as 2026-11-23T10:00:00Z"
    )


def utc(seconds: int) -> str:
    """Unix seconds as an XML dateTime in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _part(found: Resolution, fragment: str) -> Dereferenced:
    wanted, document = f"{found.did}#{fragment}", found.document or {}
    parts: list[Mapping[str, Any]] = [*document["verificationMethod"], *document["service"]]
    for part in parts:
        if part["id"] == wanted:
            return Dereferenced(dict(part), DOCUMENT_TYPE, found.document_metadata)
    raise ResolutionFailed("notFound", f"the document of {found.did} has no part {show('#' + fragment)}")


def _service_url(found: Resolution, service: str, relative: str | None, fragment: str | None) -> Dereferenced:
    document = found.document or {}
    endpoint = next((s["serviceEndpoint"] for s in document["service"] if s["id"] == f"{found.did}#{service}"), None)
    if endpoint is None:
        names = ", ".join(s["id"].partition("#")[2] for s in document["service"]) or "none"
        raise ResolutionFailed("notFound", f"{found.did} has no service {show(service)}; it has {names}")
    url = endpoint if relative is None else _join(endpoint, relative)
    if fragment is not None:
        if "#" in url:
            raise ResolutionFailed("invalidDidUrl", "both relativeRef and the DID URL have a fragment")
        # Encoded again: it was decoded, and a URL, or a header with one, has no place for what may be in it now.
        url = f"{url}#{quote(fragment, safe=FRAGMENT_CHARS)}"
    return Dereferenced(url, "text/uri-list", found.document_metadata)


def _join(endpoint: str, relative: str) -> str:
    """RFC 3986, section 5, but never to another host: a DID URL must not become anybody's redirect."""
    if not re.fullmatch(r"[A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]*", relative):
        raise ResolutionFailed("invalidDidUrl", f"relativeRef {show(relative)} is not a relative reference")
    url = urljoin(endpoint, relative)
    here, there = urlsplit(endpoint), urlsplit(url)
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise ResolutionFailed("invalidDidUrl", f"relativeRef {show(relative)} leads away from {endpoint}")
    return url
