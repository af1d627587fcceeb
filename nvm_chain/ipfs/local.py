"""Blocks in a folder: the default store. Gives the same CIDs as an IPFS node and needs none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from nvm_chain.cid import MAX_BLOCK, Cid
from nvm_chain.errors import DigestMismatch, InvalidInput, NotFound, StoreUnavailable
from nvm_chain.ipfs.store import Closing, check_size


class LocalStore(Closing):
    """A folder of blocks, in subfolders by the two characters before the CID's last one (flatfs `next-to-last/2`).

    path: the folder; made at the first put. Several processes may share it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @property
    def name(self) -> str:
        return self.path.absolute().as_uri()

    def __repr__(self) -> str:
        return f"LocalStore({str(self.path)!r})"

    async def put(self, block: bytes) -> Cid:
        check_size(len(block), "the block")
        cid = Cid.of(block)
        await asyncio.to_thread(self._write, cid, bytes(block))
        return cid

    async def get(self, cid: Cid) -> bytes:
        return await asyncio.to_thread(self._read, cid)

    async def has(self, cid: Cid) -> bool:
        try:
            await self.get(cid)
        except NotFound:
            return False
        return True

    async def cids(self) -> AsyncIterator[Cid]:
        """The CIDs of all blocks here, in no order. Their bytes are not read."""
        for name in await asyncio.to_thread(self._names):
            with contextlib.suppress(InvalidInput):  # other people's files, and what a crash left half written
                yield Cid.parse(name)

    def _file(self, cid: Cid) -> Path:
        name = str(cid)
        return self.path / name[-3:-1] / name

    def _names(self) -> list[str]:
        try:
            return [file.name for file in self.path.glob("??/*")]
        except OSError as error:
            raise _failed(error, self.path) from error

    def _read(self, cid: Cid) -> bytes:
        file = self._file(cid)
        try:
            with file.open("rb") as stream:
                block = stream.read(MAX_BLOCK + 1)
        except FileNotFoundError:
            raise NotFound(f"{self.name} holds no block {cid}: put it there, or name a gateway that has it") from None
        except OSError as error:
            raise _failed(error, file) from error
        check_size(len(block), f"the file {file}")
        return cid.verify(block, f"the file {file}")

    def _write(self, cid: Cid, block: bytes) -> None:
        with contextlib.suppress(NotFound, DigestMismatch):  # a damaged file is replaced
            self._read(cid)
            return
        file = self._file(cid)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".put-", dir=file.parent)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(block)
                    stream.flush()
                    os.fchmod(stream.fileno(), 0o644)
                    os.fsync(stream.fileno())
                os.replace(temporary, file)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            for folder in (file.parent, self.path):
                _sync(folder)
        except OSError as error:
            raise _failed(error, file) from error


def _sync(folder: Path) -> None:
    """The name is as durable as the bytes only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _failed(error: OSError, path: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"the block store can't use {path}: {error.strerror or error}; check the disk and its rights"
    )
