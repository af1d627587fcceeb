"""The least HTTP/1.1 that a benchmark needs: find the end of a message on a keep-alive connection."""

from __future__ import annotations

import re

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Framer:
    """Feed it bytes; it says when one message with Content-Length or chunked framing is complete.

    A chunked body is complete when it ends with the zero chunk: the benchmark's bodies never contain that sequence.
    """

    __slots__ = ("buffer", "chunked", "need", "status")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.need = 0
        self.chunked = False
        self.status = 0

    def feed(self, data: bytes) -> bytes | None:
        """The whole message when `data` completes it, else None."""
        self.buffer += data
        if not self.need and not self.chunked:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self.buffer[: end + 4])
            self.status = int(head[9:12]) if head.startswith(b"HTTP/") else 0
            if _CHUNKED.search(head):
                self.chunked = True
            else:
                length = _LENGTH.search(head)
                self.need = end + 4 + (int(length[1]) if length else 0)
        if self.chunked:
            if not self.buffer.endswith(b"0\r\n\r\n"):
                return None
        elif len(self.buffer) < self.need:
            return None
        message = bytes(self.buffer)
        self.buffer.clear()
        self.need, self.chunked = 0, False
        return message
