"""The requests of a batch's rows, for those who want them beside their results."""

from typing import Any

import orjson

from common.contracts.topics import MAX_BODY_BYTES
from gateway.batches.batch import Batch
from gateway.batches.files import Files
from gateway.batches.index import RowIndex
from gateway.batches.lines import lines
from gateway.batches.results import custom_id_in


class Inputs:
    """Finds requests in input files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def of(self, batch: Batch) -> "InputFile":
        """Return the batch's input, once it is known where each row lies."""
        index = RowIndex()
        async for line in lines(self._files.read(batch.file_id), MAX_BODY_BYTES):
            if (custom_id := custom_id_in(line.content)) is not None:
                index.add(custom_id, line)
        return InputFile(batch.file_id, index, self._files)


class InputFile:
    """One batch's input."""

    def __init__(self, file_id: str, index: RowIndex, files: Files) -> None:
        self._file_id = file_id
        self._index = index
        self._files = files

    async def find(self, custom_id: str) -> tuple[int | None, Any]:
        """Return the row's line, counted from 1, and its request's body; None for an unknown row."""
        row = self._index.find(custom_id)
        if row is None:
            return None, None
        (content,) = await self._files.lines(self._file_id, *self._index.spans([row]))
        return self._index.lines[row], orjson.loads(content)["body"]
