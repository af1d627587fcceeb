"""Base URLs in one form. Only the form is checked: which hosts may be reached is decided elsewhere."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from nvm_chain.errors import InvalidInput
from nvm_chain.text import show


def base_url(url: object, *, allow_http: bool = False, max_length: int = 500) -> str:
    """`url` without trailing slashes, if it is https (or http: this machine, or `allow_http`) and nothing but a base.

    Raises InvalidInput for credentials (not echoed), a query, a fragment, spaces, non-ASCII characters, bad ports.
    """
    if not isinstance(url, str) or not url:
        raise InvalidInput(f"{show(url)} is not a URL such as https://api.openai.com/v1")
    if len(url) > max_length:
        raise InvalidInput(f"{show(url)} has {len(url)} characters, at most {max_length}")
    if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise InvalidInput(
            "there are credentials before the host: leave them out"
        )  # not echoed: they may be a password
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise InvalidInput(
            f"{show(url)} has spaces, backslashes or non-ASCII characters; write the host as xn--…, the rest as %XX"
        )
    if "?" in url or "#" in url:
        raise InvalidInput(f"{show(re.split('[?#]', url)[0])} is followed by a query or fragment: leave it out")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"{show(url)} is not a URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise InvalidInput(f"{show(url)} must start with https:// and name a host")
    if not url.startswith(f"{parts.scheme}://{parts.netloc}") or parts.netloc != parts.netloc.lower():
        raise InvalidInput(f"{show(url)}: write the scheme and the host in lower case")
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise InvalidInput(f"{show(url)} would cross the network unencrypted: use https")
    return url.rstrip("/")


def is_http(url: str) -> bool:
    """Whether `url` is http or https and names a host, and a port, if any, that there can be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and port != 0 and not re.search(r"\s", url)


def without_secrets(url: str) -> str:
    """Scheme, host and port of a URL of any form, for messages: user names and paths often are credentials."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and "@" not in authority:
        authority = "…"  # a slash in a password, perhaps: where that ends, nobody can say
    return scheme + separator + authority.rpartition("@")[2]


def is_loopback(host: str) -> bool:
    """Whether `host`, as written in a URL, is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
