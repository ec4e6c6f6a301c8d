"""Quotes of files: what their rows will cost, and what is wrong with them, before anything is sent."""

from dataclasses import dataclass
from uuid import UUID

from common.ids import now_ms
from gateway.batches.batch import LineError, Mode
from gateway.batches.files import Files
from gateway.batches.mode import chosen, refused
from gateway.batches.quote import History, Quote, Quoting
from gateway.batches.rows import RowReader
from gateway.batches.submit import FileShelf
from gateway.batches.validate import validate
from gateway.models import Models, Resolved


@dataclass(frozen=True)
class Quoted:
    """What the good rows will cost, and the faults of the others."""

    quote: Quote
    errors: list[LineError]


class Quotes:
    """Quotes a workspace's files."""

    def __init__(self, shelf: FileShelf, files: Files, models: Models, history: History) -> None:
        self._shelf = shelf
        self._files = files
        self._models = models
        self._history = history

    async def quote(self, workspace_id: UUID, file_id: str, model: str | None, mode: Mode, lifetime_ms: int) -> Quoted:
        """Read the file once; `model` is for rows that name none. Raises `NotFound`."""
        file = await self._shelf.get(workspace_id, file_id, now_ms())

        async def resolve(name: str) -> Resolved:
            return await self._models.resolve(workspace_id, name)

        reader, quoting = RowReader(resolve, None, model), Quoting(self._history, workspace_id)
        found = await validate(self._files.read(file.id), reader, quoting)
        how = chosen(mode, found.kinds, lifetime_ms)
        if (error := refused(mode, how)) is not None:
            found.add(error)
        return Quoted(quoting.quote(how), found.listed())
