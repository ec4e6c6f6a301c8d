"""Feeding a batch to its providers' own batches: its rows go in parts, and come back when those have ended."""

import asyncio
import logging
from collections.abc import Iterable

from common.contracts.runs_v1 import RunError
from common.ids import now_ms
from gateway import metrics
from gateway.batches.batch import State
from gateway.batches.carry import ABANDONED_MS, TURN_SECONDS, Carrier, stops_at
from gateway.batches.course import Course, Refusal
from gateway.batches.feeder import AT_ONCE, LOST_MS, Feeding
from gateway.batches.lease import Lease
from gateway.batches.mode import Kind, Kinds
from gateway.batches.parts import FormedPart, PartRecord, is_full, new_part, part_file, part_line, rows_in
from gateway.batches.rounds import round_of
from gateway.batches.rows import LineFault, RowReader, pinned
from gateway.batches.states import RowState
from gateway.batches.truth import Truth

log = logging.getLogger(__name__)

OWNED: tuple[State, ...] = ("in_progress", "paused", "cancelling")


class ProviderFeeder:
    """Feeds one batch for as long as its lease holds."""

    def __init__(self, lease: Lease, course: Course, feeding: Feeding, kinds: Kinds) -> None:
        self.stopping = False
        """Set where this replica goes: what is under way is another one's to follow."""

        self._lease = lease
        self._course = course
        self._feeding = feeding
        self._kinds = kinds
        self._reader: RowReader = pinned(lease.batch, feeding.providers)
        self._truth = Truth(lease, course, feeding.analytics)
        self._under_way: list[FormedPart] = []
        self._done: list[PartRecord] = []
        self._carried: dict[asyncio.Task[None], FormedPart] = {}
        self._saving = asyncio.Lock()

    async def run(self, *, after_crash: bool) -> bool:
        """Return True once every row is final, False if told to stop before."""
        if after_crash:
            await self._truth.recover()
            await self._recover()
        self._lease.told = self._course.stored
        try:
            async with self._truth.followed() as check:
                while not self.stopping and not self._over():
                    check()
                    await self._step()
                    await asyncio.sleep(TURN_SECONDS)
        finally:
            for task in self._carried:
                task.cancel()
            await asyncio.gather(*self._carried, return_exceptions=True)
        return not self.stopping

    def _over(self) -> bool:
        return not self._course.states.open and not self._course.budget.unconfirmed and not self._under_way

    async def _step(self) -> None:
        self._heed()
        await self._settle()
        if self._lease.batch.state == "in_progress" and not any(_shown_soon(part) for part in self._under_way):
            await self._form()
        for part in self._under_way:
            if part not in self._carried.values() and part.record.stage != "collected":
                self._carry(part)

    def _heed(self) -> None:
        """Do as the batch's owner or its deadline says; what was not handed over ends."""
        batch, states, now = self._lease.batch, self._course.states, now_ms()
        if batch.state == "cancelling":
            states.give_up_all(RowState.CANCELLED)
        elif now >= batch.deadline:
            states.give_up_all(RowState.EXPIRED)
        if now >= stops_at(batch) + ABANDONED_MS + LOST_MS:
            self._abandon()

    def _abandon(self) -> None:
        """Let everything go: without a key nobody can ask the provider, nor tell of its rows."""
        for task in self._carried:
            task.cancel()
        self._carried.clear()
        self._under_way.clear()
        self._course.states.lose_all()

    def _carry(self, part: FormedPart) -> None:
        carrier = Carrier(self._lease, part, self._feeding.orders, self._save, self._refused)
        self._carried[asyncio.create_task(carrier.run(), name=f"part {part.record.id}")] = part

    async def _settle(self) -> None:
        """Let go of what has ended: parts that were dropped, and those of which every row's end is known."""
        for task in [task for task in self._carried if task.done()]:
            part = self._carried.pop(task)
            task.result()
            if part.record.stage == "written":
                await self._drop(part)
        for part in [part for part in self._under_way if part.record.stage == "collected"]:
            if not any(self._flies(row, number) for row, number in part.rows):
                part.record.stage = "done"
                self._under_way.remove(part)
                self._done.append(part.record)
                await self._save()

    def _flies(self, row: int, number: int) -> bool:
        states = self._course.states
        return row in states.flights and states.round(row) == number

    async def _drop(self, part: FormedPart) -> None:
        """Forget a part that was never handed over."""
        self._under_way.remove(part)
        for row, _ in part.rows:
            self._course.unsent(row, now_ms())
        await self._save()
        await self._feeding.objects.delete(part_file(self._lease.batch, part.record))

    async def _form(self) -> None:
        """Make parts of every row that is due and fits the spend limit."""
        by_kind: dict[Kind, list[int]] = {}
        now = now_ms()
        while (row := self._course.next(now)) is not None:
            self._course.start(row, now)
            by_kind.setdefault(self._kinds.of(row), []).append(row)
        try:
            for kind, rows in by_kind.items():
                while rows:
                    rows = await self._write(kind, rows)  # noqa: PLW2901 - what did not fit into one part
        finally:
            self._unsend(row for rows in by_kind.values() for row in rows)

    def _unsend(self, rows: Iterable[int]) -> None:
        """Take back what is in no part."""
        placed = {row for part in self._under_way for row, _ in part.rows}
        for row in rows:
            if row not in placed:
                self._course.unsent(row, now_ms())

    async def _write(self, kind: Kind, rows: list[int]) -> list[int]:
        """Write a part of these rows and return those that it has no room for. Its record is stored first."""
        part = FormedPart(new_part(kind))
        self._under_way.append(part)
        try:
            await self._save()
            left = await self._fill(part, rows)
        except BaseException:
            self._under_way.remove(part)
            raise
        part.record.rows, part.record.stage = len(part.rows), "written"
        if not part.rows:
            self._under_way.remove(part)
        await self._save()
        metrics.FED.inc(len(part.rows))
        return left

    async def _fill(self, part: FormedPart, rows: list[int]) -> list[int]:
        size = 0
        async with self._feeding.objects.writing(part_file(self._lease.batch, part.record)) as writer:
            for begin in range(0, len(rows), AT_ONCE):
                for row, line in await self._lines(rows[begin : begin + AT_ONCE]):
                    if is_full(len(part.rows), size, len(line)):
                        return rows[rows.index(row, begin) :]
                    await writer.write(line)
                    part.rows.append((row, self._course.states.round(row)))
                    size += len(line)
        return []

    async def _lines(self, rows: list[int]) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        lines = await self._feeding.files.lines(self._lease.batch.file_id, *self._course.index.spans(rows))
        for row, line in zip(rows, lines, strict=True):
            try:
                request = await self._reader.read(line)
            except LineFault as error:  # validation lets none of these through, unless a provider was removed
                log.error("a row cannot be fed: %s", error)  # noqa: TRY400 - the reason is enough
                self._course.give_up(row, now_ms())
            else:
                found.append((row, part_line(self._course.run_id(row, request.custom_id), request)))
        return found

    async def _recover(self) -> None:
        """Take up every part that an earlier owner left; one whose file was not whole was never handed over."""
        batch = self._lease.batch
        for record in map(PartRecord.model_validate, batch.parts):
            if record.stage == "new":
                await self._feeding.objects.delete(part_file(batch, record))
                continue
            part = FormedPart(record)
            async for run_id, custom_id in rows_in(self._feeding.objects, part_file(batch, record)):
                row = self._course.index.find(custom_id)
                number = round_of(batch.id, custom_id, run_id)
                if row is not None and number is not None:
                    self._course.accepted(run_id, custom_id)
                    part.rows.append((row, number))
            if record.stage == "done":
                self._done.append(record)
            else:
                self._under_way.append(part)

    async def _save(self) -> None:
        """Store every part as it stands."""
        async with self._saving:
            records = [*self._done, *(part.record for part in self._under_way)]
            await self._lease.advance(OWNED, parts=[record.stored() for record in records])

    async def _refused(self, provider: str, error: RunError) -> None:
        """Pause the batch until there is a key."""
        await self._lease.advance(("in_progress",), **Refusal(provider, error.code, error.message).paused())


def _shown_soon(part: FormedPart) -> bool:
    """Whether rows of the part are about to end: some may be due again, and go together."""
    return part.record.stage in ("ended", "collected")
