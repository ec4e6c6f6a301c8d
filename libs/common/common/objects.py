"""The object store: a folder, or a bucket of any S3-compatible service. Objects appear whole or not at all."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from common.errors import NotFound, Unavailable

log = logging.getLogger(__name__)

PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

PARTS_AT_ONCE = 2
READ_BYTES = 256 * 1024


class Writer(Protocol):
    """Takes an object's content piece by piece."""

    async def write(self, buffer: bytes, /) -> int:
        """Take the next piece, once there is room for it."""


class Objects:
    """Named contents. Raises `Unavailable` while the store does not answer."""

    def __init__(self, url: str) -> None:
        """Open the folder, which is created if need be, or the bucket: `s3://bucket/prefix`, with AWS_… set."""
        folder = url.removeprefix("file://")
        self._store: ObjectStore = from_url(url) if "://" in folder else LocalStore(folder, mkdir=True)

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[Writer]:
        """Yield a writer whose object exists from the end of the block on; if that raises, nothing is left."""
        writer = obstore.open_writer_async(self._store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        await writer.__aenter__()
        try:
            yield _Pieces(writer)
        except BaseException as error:
            await writer.__aexit__(type(error), error, error.__traceback__)  # which gives the upload up
            raise
        with _translated():
            await writer.close()

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the object's content in pieces; raise `NotFound`."""
        with _translated():
            found = await obstore.get_async(self._store, name)
            async for piece in found.stream(min_chunk_size=READ_BYTES):
                yield bytes(piece)

    async def spans(self, name: str, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Return pieces of an object by their first byte and the one behind their last; raise `NotFound`."""
        with _translated():
            return [
                bytes(piece) for piece in await obstore.get_ranges_async(self._store, name, starts=starts, ends=ends)
            ]

    async def delete(self, name: str) -> None:
        """Remove the object, if it is there."""
        try:
            with _translated():
                await obstore.delete_async(self._store, name)
        except NotFound:
            pass


class _Pieces:
    """A writer that raises our own errors."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write(self, buffer: bytes, /) -> int:
        """Take the next piece, once there is room for it."""
        with _translated():
            return await self._writer.write(buffer)


class _translated:  # noqa: N801 - reads as what it does
    """Raises our own errors in the place of the object store's."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise NotFound("the file's content is gone") from error
        if isinstance(error, BaseError | OSError):
            log.error("the object store failed: %s", type(error).__name__)
            raise Unavailable("the file store does not answer", retry_after=5) from error
