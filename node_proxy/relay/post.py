"""A POST over aiohttp's connections, without what its session does besides.

`ClientSession.request` looks after cookies, redirects, proxies, retries, middlewares and a timer, none of which a node
uses, and starts a task for the body. The connector (addresses, TLS, the pool), the parser and the answer are aiohttp's
as ever. It is written for one series of aiohttp, whose inside it knows; with another one `KNOWN` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import TimerNoop
from aiohttp.http_writer import StreamWriter
from yarl import URL

MOST = 64 * 1024
"""Bytes of a body that is sent like this: it goes into one piece with the head, whether or not there is room."""

KNOWN = aiohttp.__version__.startswith("3.14.")
"""Whether this is the aiohttp that `send` was written for."""

_NO_TIMER = TimerNoop()


class _Post(aiohttp.ClientRequest):
    """A request with all of its headers given. What isn't set here is a default of the class."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes) -> None:
        self._session = session
        self.url = self.original_url = url
        self.method = hdrs.METH_POST
        self.loop = session._loop
        self.headers = session.headers.copy()
        self.headers.update(headers)
        self.headers[hdrs.HOST] = url.host_port_subcomponent or ""
        self.headers[hdrs.CONTENT_LENGTH] = str(len(body))
        self.proxy = self.proxy_auth = self.proxy_headers = self.server_hostname = None
        self._ssl = True
        self._whole = body

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol: ResponseHandler = conn.protocol
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"POST {self.url.raw_path_qs} HTTP/1.1", self.headers)
        protocol.start_timeout()
        await writer.write_eof(self._whole)
        return aiohttp.ClientResponse(
            self.method,
            self.url,
            writer=None,
            continue100=None,
            timer=_NO_TIMER,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )


async def send(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes
) -> aiohttp.ClientResponse:
    """The answer, as `session.post(url, data=body, headers=headers, allow_redirects=False)` would give it.

    headers: besides the session's; host and content-length are added. body: at most MOST bytes, and one at least.
    Raises as aiohttp does.
    """
    connector = session.connector
    assert connector is not None
    request = _Post(session, url, headers, body)
    try:
        connection = await connector.connect(request, traces=[], timeout=session.timeout)
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                timer=_NO_TIMER,
                read_until_eof=True,
                auto_decompress=session.auto_decompress,
                read_bufsize=session._read_bufsize,
                timeout_ceil_threshold=connector._timeout_ceil_threshold,
                max_line_size=session._max_line_size,
                max_field_size=session._max_field_size,
                max_headers=session._max_headers,
            )
            response = await request.send(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise
    except (TimeoutError, aiohttp.ClientError):
        raise
    except OSError as error:
        raise aiohttp.ClientOSError(*error.args) from error
