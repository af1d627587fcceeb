"""DID URLs and what their parts mean."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_proxy.dids import EARLIER, RESOLUTION, _accepted
from nvm_chain.cid import Cid
from nvm_chain.did import Did
from nvm_chain.did_url import DidUrl
from nvm_chain.errors import InvalidInput
from nvm_chain.history import History, Version
from nvm_chain.resolver import ResolutionFailed, Resolver, _join, parse_time, utc

DID = Did(bytes(range(32)))


def test_a_did_url_comes_apart() -> None:
    url = DidUrl.parse(f"{DID}/a/b?versionId=2&relativeRef=%2Fx%3Fy#owner")
    assert url == DidUrl(DID, "/a/b", {"versionId": "2", "relativeRef": "/x?y"}, "owner")
    assert DidUrl.parse(str(DID)) == DidUrl(DID)
    assert DidUrl.parse(f"{DID}#") == DidUrl(DID, fragment="")


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("?a=1&a=2", "there twice"),
        ("?=1", "without a name"),
        ("?a=%ff", "not percent-encoded UTF-8"),
        ("?a=%f", "RFC 3986"),
        ("?a=<b>", "RFC 3986"),
        ("#a#b", "RFC 3986"),
        ("?a=\n", "RFC 3986"),
        ("?a=" + "x" * 3000, "2048"),
    ],
)
def test_other_texts_are_refused_with_the_reason(rest: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        DidUrl.parse(f"{DID}{rest}")


@given(st.text(alphabet=st.sampled_from("abc019:/?#&=%.-_~ é\n\x00[]"), max_size=60))
def test_any_rest_is_read_or_refused(rest: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert DidUrl.parse(f"{DID}{rest}").did == DID


@given(st.text(max_size=80))
async def test_a_resolver_refuses_any_text_by_a_known_code_without_asking_anybody(text: str) -> None:
    nobody = Resolver([], None)  # type: ignore[arg-type]
    with pytest.raises(ResolutionFailed) as failure:
        await nobody.dereference(text)
    assert failure.value.code in ("invalidDid", "invalidDidUrl", "methodNotSupported", "featureNotSupported")
    assert failure.value.to_json()["didDocument"] is None


@pytest.mark.parametrize(
    ("url", "code", "status"),
    [
        ("did:nv:12", "invalidDid", 400),
        ("did:nv:" + "A" * 64, "invalidDid", 400),
        ("nonsense", "invalidDid", 400),
        ("did:web:example.org", "methodNotSupported", 501),
        (f"{DID}?a=1&a=2", "invalidDidUrl", 400),
        (f"{DID}?hl=x", "featureNotSupported", 501),
        (f"{DID}/path", "notFound", 404),
        (f"{DID}?relativeRef=/x", "invalidDidUrl", 400),
        (f"{DID}?versionTime=yesterday", "invalidOptions", 400),
        (f"{DID}?versionTime=2026-11-23T10:00:00Z&versionId=1", "invalidOptions", 400),
        (str(DID), "notFound", 404),
    ],
)
async def test_what_is_wrong_has_its_w3c_code_and_status(url: str, code: str, status: int) -> None:
    with pytest.raises(ResolutionFailed) as failure:
        await Resolver([], None).dereference(url)  # type: ignore[arg-type]
    assert (failure.value.code, failure.value.status) == (code, status)
    assert failure.value.problem["type"].startswith("https://www.w3.org/ns/did#")


def test_error_names_become_those_of_the_candidate_recommendation() -> None:
    assert ResolutionFailed("invalidDid", "").problem["type"] == "https://www.w3.org/ns/did#INVALID_DID"
    not_supported = "https://www.w3.org/ns/did#REPRESENTATION_NOT_SUPPORTED"
    assert ResolutionFailed("representationNotSupported", "").problem["type"] == not_supported


def test_times_are_utc_in_whole_seconds() -> None:
    assert utc(parse_time("2026-11-23T10:00:00Z")) == "2026-11-23T10:00:00Z"
    for text in ("2026-11-23T10:00:00", "2026-11-23T10:00:00+01:00", "2026-11-23T10:00:00.5Z", "2026-13-01T00:00:00Z"):
        with pytest.raises(ResolutionFailed):
            parse_time(text)


@pytest.mark.parametrize(
    "reference",
    [
        "//evil.example/",
        "https://evil.example/",
        "javascript:alert(1)",
        "http://node.example/",
        "/a b",
        "\\\\evil",
        "https://node.example:444/",
        "https://x@node.example/",
        "/\r\nset-cookie: a",
    ],
)
def test_a_relative_reference_never_leads_to_another_host(reference: str) -> None:
    with pytest.raises(ResolutionFailed):
        _join("https://node.example", reference)


def test_a_relative_reference_is_joined() -> None:
    assert _join("https://node.example/base/", "v1/models?a=b") == "https://node.example/base/v1/models?a=b"
    assert _join("https://node.example/base/", "/v1") == "https://node.example/v1"


def test_a_history_answers_by_id_and_time() -> None:
    cid = Cid.of(b"1")
    first, second, third = (
        Version(name, "0x", cid, since, since) for name, since in (("1", 10), ("1.1", 20), ("2", 30))
    )
    history = History((first, second, third), ((15, False), (25, True)))
    assert [history.at(t) for t in (9, 10, 19, 20, 30, 99)] == [None, first, first, second, third, third]
    assert [history.active_at(t) for t in (10, 15, 24, 25)] == [True, False, False, True]
    assert history.by_id("1.1") is second
    assert history.by_id("3") is None
    assert history.after(first) is second
    assert history.after(third) is None


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "*/*"),
        ("*/*", "*/*"),
        ("application/did", "application/did"),
        (EARLIER, EARLIER),
        ('application/ld+json; profile="https://w3id.org/did-resolution"; q=0.9, text/html', EARLIER),
        ("application/ld+json", "application/ld+json"),
        ("application/did+ld+json;q=0.1, application/did-resolution;q=0.9", RESOLUTION),
        ("application/did;q=0, application/did+json", "application/did+json"),
        ("text/html", None),
        ("application/did+cbor", None),
        ("application/did;q=x", None),
    ],
)
def test_the_most_wanted_known_type_is_chosen(accept: str, kind: str | None) -> None:
    assert _accepted(accept) == kind


@given(st.text(max_size=200))
def test_any_accept_header_is_read(accept: str) -> None:
    _accepted(accept)
