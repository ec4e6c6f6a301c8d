"""Owning batches: this replica's share of them, each carried from where it stands to its end."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Protocol

from common.errors import NotFound, TallyrunError, Unavailable
from common.ids import new_id, now_ms
from gateway import metrics
from gateway.batches.batch import CANCELLABLE, Batch, Claimed, LineError, Progress, change_of
from gateway.batches.course import Course
from gateway.batches.feeder import Feeder, Feeding
from gateway.batches.finish import Finishing
from gateway.batches.lease import LEASE_MS, Lease, LeaseLost, Owned
from gateway.batches.mode import Chosen, chosen, refused
from gateway.batches.parts import remove_parts
from gateway.batches.provider_feeder import ProviderFeeder
from gateway.batches.quote import Quoting
from gateway.batches.rows import RowReader, pinned
from gateway.batches.validate import Limited, Validated, validate
from gateway.models import Models, Resolved

log = logging.getLogger(__name__)

CLAIM_SECONDS = 1.0
MOST_OWNED = 100
"""More wait for this replica to finish some, or for others: each takes memory for its rows."""

UNPAUSED: dict[str, Any] = {"paused_reason": None, "paused_for": None}

STOP_SECONDS = 1.5
"""For sends under way when the replica stops; after that their lease runs out by itself."""


class Claims(Owned, Protocol):
    """Where batches are kept, as far as owning goes."""

    async def claim(self, owner: str, lease_ms: int) -> Claimed | None:
        """Own a batch that nobody owns now, and return it."""

    async def release(self, batch_id: str, owner: str) -> None:
        """Let another replica own the batch at once."""


class Owners:
    """Claims batches and carries them on, for as long as the replica runs."""

    def __init__(self, records: Claims, models: Models, feeding: Feeding, finishing: Finishing) -> None:
        self._records = records
        self._models = models
        self._feeding = feeding
        self._finishing = finishing
        self._carried: dict[asyncio.Task[None], Carrying] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to claim."""
        self._claiming = asyncio.create_task(self._claim_for_ever(), name="batch claims")

    def wake(self) -> None:
        """Look for a batch to own now: one was just submitted."""
        self._wake.set()

    async def stop(self) -> None:
        """Feed nothing more, and let other replicas go on."""
        self._stopping = True
        if self._claiming is not None:
            self._claiming.cancel()
            with suppress(asyncio.CancelledError):
                await self._claiming
        for carrying in self._carried.values():
            carrying.stop()
        if self._carried:
            _, late = await asyncio.wait(self._carried, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                while len(self._carried) < MOST_OWNED and await self._claim():
                    pass
            except Unavailable as error:
                log.warning("batches cannot be claimed: %s", error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLAIM_SECONDS):
                    await self._wake.wait()

    async def _claim(self) -> bool:
        """Own a free batch, under a name of this claim alone: an earlier one of this replica's may still go about."""
        owner = new_id().hex
        claimed = await self._records.claim(owner, LEASE_MS)
        if claimed is not None:
            self._carry(Lease(claimed, owner, self._records))
        return claimed is not None

    def _carry(self, lease: Lease) -> None:
        carrying = Carrying(lease, self._models, self._feeding, self._finishing)
        task = asyncio.create_task(self._carried_on(carrying), name=lease.batch.id)
        self._carried[task] = carrying
        metrics.OWNED.set(len(self._carried))
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._carried[task]
        metrics.OWNED.set(len(self._carried))

    async def _carried_on(self, carrying: "Carrying") -> None:
        """Carry a batch on. After any fault its lease runs out, and whoever owns it next begins with what is known."""
        batch = carrying.lease.batch
        try:
            await carrying.run()
            await self._records.release(batch.id, carrying.lease.owner)
        except LeaseLost:
            log.warning("the lease on a batch was lost", extra={"batch": batch.id})
        except TallyrunError as error:
            log.warning("a batch is taken up again when its lease is over: %s", error.message)
        except Exception:
            log.exception("a batch met a fault of ours", extra={"batch": batch.id})


class Carrying:
    """One owned batch on its way: validated, fed, finished."""

    def __init__(self, lease: Lease, models: Models, feeding: Feeding, finishing: Finishing) -> None:
        self.lease = lease
        self._models = models
        self._feeding = feeding
        self._finishing = finishing
        self._fresh = lease.batch.started_at is None
        self._feeder: Feeder | ProviderFeeder | None = None
        self._work: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Feed nothing more. What is done beside feeding is begun anew by the next owner."""
        if self._feeder is not None:
            self._feeder.stopping = True
        elif self._work is not None:
            self._work.cancel()

    async def run(self) -> None:
        """Carry the batch on until its end, or `stop`; raise `LeaseLost`, or whatever went wrong."""
        self._work = asyncio.create_task(self._carry_on())
        heartbeat = asyncio.create_task(self.lease.keep())
        try:
            await asyncio.wait({self._work, heartbeat}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (self._work, heartbeat):
                task.cancel()
            outcomes = await asyncio.gather(self._work, heartbeat, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _carry_on(self) -> None:
        try:
            index = await self._validated()
        except NotFound as error:
            await self._fail([LineError(None, "file_not_found", error.message)])
            return
        if index is not None and await self._fed(index):
            await self._finish()

    async def _validated(self) -> Validated | None:
        """Return where the rows lie; None where the batch has failed."""
        batch = self.lease.batch
        pin = pinned(batch, self._feeding.providers)
        reader = RowReader(self._resolve, batch.endpoint, batch.model) if self._fresh else pin
        content = self._feeding.files.read(batch.file_id)
        quoting = Quoting(self._feeding.analytics, batch.workspace_id) if self._fresh else None
        found = await validate(content, reader, quoting, limited=_limited(batch))
        how = chosen(batch.mode, found.kinds, batch.deadline - batch.created_at)
        if (error := refused(batch.mode, how)) is not None:
            found.add(error)
        if self._fresh and found.errors:
            await self._fail(found.listed())
        elif quoting is not None:
            known = {**_known(reader, found), **_quoted(quoting, how)}
            await self.lease.advance(("validating",), state="in_progress", started_at=now_ms(), **known)
        return None if self.lease.batch.state == "failed" else found

    async def _resolve(self, name: str) -> Resolved:
        return await self._models.resolve(self.lease.batch.workspace_id, name)

    async def _fail(self, errors: list[LineError]) -> None:
        listed = [vars(error) for error in errors]
        await self.lease.advance((*CANCELLABLE, "finalizing"), state="failed", errors=listed, ended_at=now_ms())
        metrics.BATCHES.labels("failed").inc()

    async def _fed(self, found: Validated) -> bool:
        """Feed until nothing is left; False if told to stop before."""
        batch = self.lease.batch
        if batch.state == "finalizing":
            return True
        course = Course(batch, found.index)
        self._feeder = self._feeder_of(course, found)
        if not await self._feeder.run(after_crash=not self._fresh):
            return False
        self._feeder = None
        self.lease.told = dict
        ended: dict[str, Any] = {"finalizing_at": now_ms(), **UNPAUSED, **course.stored()}
        await self.lease.advance(("in_progress", "paused", "cancelling"), state="finalizing", **ended)
        return True

    def _feeder_of(self, course: Course, found: Validated) -> Feeder | ProviderFeeder:
        if self.lease.batch.runs_as == "provider":
            return ProviderFeeder(self.lease, course, self._feeding, found.kinds)
        return Feeder(self.lease, course, self._feeding)

    async def _finish(self) -> None:
        await remove_parts(self.lease.batch, self._feeding.objects)
        known = await self._finishing.finish(self.lease.batch)
        progress = known.pop("progress")
        assert isinstance(progress, Progress)
        await self.lease.advance(("finalizing",), progress=change_of(progress), **known)
        metrics.BATCHES.labels(str(known["state"])).inc()


def _limited(batch: Batch) -> Limited:
    if batch.max_cost is None:
        return None
    return "discounted" if batch.mode == "provider" else "listed"


def _known(reader: RowReader, found: Validated) -> dict[str, Any]:
    models = {name: [meant.spec.name, meant.model] for name, meant in reader.found.items()}
    progress = Progress(rows=len(found.index))
    return {"endpoint": reader.endpoint, "models": models, "progress": change_of(progress)}


def _quoted(quoting: Quoting, how: Chosen) -> dict[str, Any]:
    quote = quoting.quote(how)
    expected = {"quoted_low": quote.low, "quoted_high": quote.high, "quoted_unpriced": quote.unpriced_rows}
    return {**expected, "runs_as": how.runs_as, "runs_as_why": how.why}
