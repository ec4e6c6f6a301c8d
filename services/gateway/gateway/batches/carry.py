"""One part on its way: handed to its provider, looked after, collected. Each step is stored before it is taken."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from common.contracts.provider_batches_v1 import Cancel, Collect, Look, Order, Standing, Submit, Why
from common.contracts.runs_v1 import RunError
from common.errors import Unavailable
from common.ids import now_ms
from gateway.batches.again import KEY_REFUSED
from gateway.batches.batch import Batch
from gateway.batches.lease import Lease
from gateway.batches.orders import Orders, Told, handed_over_by
from gateway.batches.parts import FormedPart, Stage

log = logging.getLogger(__name__)

TURN_SECONDS = 0.25
"""How soon a part heeds what is asked of its batch."""

SOONEST_SECONDS, LATEST_SECONDS = 2.0, 60.0
"""Between two looks at a provider's batch: a tenth of its age, within these."""

AFTER_FAULT_SECONDS = 10.0
MOST_HAND_OVERS = 5
"""Of a row: one that was not served so often has failed."""

AGAIN_MS = 10_000
FULL_AGAIN_MS = 15 * 60_000
"""When a provider that has too much in hand may take more."""

PASSING = frozenset({
    "deadline_exceeded", "grant_refused", "provider_timeout", "provider_unavailable", "rate_limited", "runner_fault",
})  # fmt: skip
"""Errors of orders that say nothing against the order itself."""

MOST_REFUSALS = 5
"""Looks that a provider refuses in a row; then the batch is taken to be lost there."""

ABANDONED_MS = 60 * 60_000
"""When its batch is stopped, a part is cancelled at its provider; one that goes on so long afterwards is given up."""

Save = Callable[[], Awaitable[None]]
"""Stores every part as it stands; raises `LeaseLost`."""

Refused = Callable[[str, RunError], Awaitable[None]]
"""Pauses the batch, since a provider refuses the key."""


class Carrier:
    """Carries one part on, from wherever it stands."""

    def __init__(self, lease: Lease, part: FormedPart, orders: Orders, save: Save, refused: Refused) -> None:
        self._lease = lease
        self._record = part.record
        self._round = max((number for _, number in part.rows), default=0)
        self._orders = orders
        self._save = save
        self._refused = refused
        self._cancel_told = False
        self._hurried = False
        self._refusals = 0

    async def run(self) -> None:
        """Return once the part is collected, or dropped before it was handed over."""
        while self._record.stage not in ("collected", "done"):
            wait = await self._step()
            if self._record.stage == "written" and self._stopped() is not None:
                return
            await self._rest(wait)

    async def _step(self) -> float:
        """Take the next step; return how long to wait before the one after it, in seconds."""
        if self._waits():
            return TURN_SECONDS
        try:
            match self._record.stage:
                case "written":
                    return await self._submit()
                case "submitting":
                    return await self._resolve()
                case "submitted":
                    return await self._look()
                case _:
                    return await self._collect()
        except (Unavailable, TimeoutError) as error:
            log.warning("an order about a provider's batch is given again: %s", error or "no answer came")
            return AFTER_FAULT_SECONDS

    def _waits(self) -> bool:
        """Whether somebody has to resume the batch first; what is at the provider already goes on where it can."""
        batch = self._lease.batch
        if batch.state != "paused":
            return False
        return self._record.stage == "written" or batch.paused_for == self._record.provider

    def _stopped(self) -> Why | None:
        batch = self._lease.batch
        if batch.state == "cancelling":
            return "cancelled"
        return "deadline" if now_ms() >= batch.deadline else None

    async def _rest(self, seconds: float) -> None:
        until = now_ms() + seconds * 1000
        while now_ms() < until:
            await asyncio.sleep(min(TURN_SECONDS, seconds))
            if self._stopped() is not None and not self._hurried:
                self._hurried = True
                return

    async def _submit(self) -> float:
        if self._stopped() is not None:
            return 0
        publish_by, now = self._orders.publish_by(self._lease.publish_by), now_ms()
        order = Submit(part=self._record.contract(self._lease.batch))
        # A part that is handed over again is looked for since the first time.
        await self._become("submitting", tried_at=self._record.tried_at or now, tried_until=None)
        try:
            told = await self._give(order, publish_by)
        except TimeoutError:
            await self._become("submitting", tried_until=handed_over_by())
            return 0
        except Unavailable:
            await self._become("written")
            raise
        return await self._submitted(told)

    async def _submitted(self, told: Told) -> float:
        if told.standing is not None and told.standing.provider_batch is not None:
            return await self._found(told.standing, told)
        if told.error is None or told.unknown:
            await self._become("submitting", tried_until=handed_over_by())
            return SOONEST_SECONDS
        if told.error.code in KEY_REFUSED:
            await self._become("written")
            return await self._key_refused(told.error)
        if _may_pass(told.error):
            await self._become("written")
            return AFTER_FAULT_SECONDS
        await self._ended(Standing(ended_at=now_ms(), fault=told.error))
        return 0

    async def _resolve(self) -> float:
        """Find out whether the part was handed over; only what surely was not is handed over again."""
        if self._record.tried_until is None:  # by an owner before: its order may have been given just now
            self._record.tried_until = handed_over_by()
            await self._save()
        overdue = now_ms() > self._record.tried_until
        part, since = self._record.contract(self._lease.batch), self._record.tried_at or 0
        told = await self._give(Look(part=part, provider_batch=None, since=since))
        if told.standing is None:
            return await self._not_told(told)
        if told.standing.provider_batch is not None:
            return await self._found(told.standing, told)
        if overdue and told.standing.certain:
            await self._become("written")
            return 0
        await self._give_up_if_abandoned()
        return SOONEST_SECONDS if not overdue else LATEST_SECONDS

    async def _found(self, standing: Standing, told: Told) -> float:
        self._record.key_id = told.key_id
        await self._become("submitted", provider_batch=standing.provider_batch, submitted_at=now_ms())
        return await self._noted(standing)

    async def _look(self) -> float:
        part, batch_id = self._record.contract(self._lease.batch), self._record.provider_batch or ""
        order: Order = Look(part=part, provider_batch=batch_id, since=0)
        if stopping := self._stopped() is not None and not self._cancel_told:
            order = Cancel(part=part, provider_batch=batch_id)
        told = await self._give(order)
        if told.standing is None:
            return await self._not_told(told)
        self._cancel_told = self._cancel_told or stopping
        self._refusals = 0
        return await self._noted(told.standing)

    async def _not_told(self, told: Told) -> float:
        """The provider says nothing of the batch: for want of a key, for a while, or for good."""
        assert told.error is not None
        if told.error.code in KEY_REFUSED:
            return await self._key_refused(told.error)
        self._refusals += not _may_pass(told.error)
        if self._refusals >= MOST_REFUSALS:
            await self._lost(told.error.message)
        await self._give_up_if_abandoned()
        return AFTER_FAULT_SECONDS

    async def _key_refused(self, error: RunError) -> float:
        """Go on with the newest key, which opens what is at the provider if it is of the same account; else pause."""
        if self._record.key_id is None:
            await self._refused(self._record.provider, error)
            return AFTER_FAULT_SECONDS
        self._record.key_id = None
        return TURN_SECONDS

    async def _noted(self, standing: Standing) -> float:
        """Take in how the batch stands."""
        counts = {"state": standing.state, "completed": standing.completed, "failed": standing.failed}
        if standing.ended_at is not None:
            await self._ended(standing, **counts)
            return 0
        if any(getattr(self._record, name) != value for name, value in counts.items()):
            await self._become("submitted", **counts)
        await self._give_up_if_abandoned()
        age = (now_ms() - (self._record.submitted_at or 0)) / 1000
        return min(LATEST_SECONDS, max(SOONEST_SECONDS, age / 10))

    async def _ended(self, standing: Standing, **fields: Any) -> None:
        """Decide once and for all what its rows' ends depend on."""
        now, fault = now_ms(), standing.fault
        full = fault is not None and fault.code == "not_served"
        again_at = self._again_at(now + (FULL_AGAIN_MS if full else AGAIN_MS))
        if fault is not None and full:
            fault = fault.model_copy(update={"retry_at": again_at})
        # Within our own clock: a provider's may be behind, or tell seconds only.
        ended_at = min(now, max(standing.ended_at or now, self._record.submitted_at or now))
        why = self._stopped()
        await self._become("ended", ended_at=ended_at, why=why, again_at=again_at, failure=fault, **fields)

    def _again_at(self, soonest: int) -> int | None:
        """Return when what was not served may go into another part; None: never."""
        last = self._stopped() is not None or self._round + 1 >= MOST_HAND_OVERS
        return None if last or soonest >= self._lease.batch.deadline else soonest

    async def _lost(self, why: str) -> None:
        message = f"what became of this row at {self._record.provider} cannot be found out: {why}"
        await self._ended(Standing(ended_at=now_ms(), fault=RunError(code="outcome_unknown", message=message[:500])))

    async def _give_up_if_abandoned(self) -> None:
        if now_ms() > stops_at(self._lease.batch) + ABANDONED_MS:
            await self._lost("its batch did not end within an hour of being cancelled there")

    async def _collect(self) -> float:
        record = self._record
        order = Collect(
            part=record.contract(self._lease.batch),
            provider_batch=None if record.failure is not None else record.provider_batch,
            ended_at=record.ended_at or now_ms(),
            why=record.why,
            again_at=record.again_at,
            failure=record.failure,
        )
        told = await self._give(order)
        if told.error is None:
            await self._become("collected")
            return 0
        if told.error.code in KEY_REFUSED:
            return await self._key_refused(told.error)
        self._refusals += not _may_pass(told.error) and record.failure is None
        if self._refusals >= MOST_REFUSALS:  # as when its results have expired there
            await self._lost(told.error.message)
        return AFTER_FAULT_SECONDS

    async def _give(self, order: Order, publish_by: int | None = None) -> Told:
        until = self._orders.publish_by(self._lease.publish_by) if publish_by is None else publish_by
        return await self._orders.give(self._lease.batch, self._record, order, until)

    async def _become(self, stage: Stage, **fields: Any) -> None:
        self._record.stage = stage
        for name, value in fields.items():
            setattr(self._record, name, value)
        await self._save()


def stops_at(batch: Batch) -> int:
    """Return when nothing of the batch is to go on (UTC ms)."""
    return batch.deadline if batch.cancelling_at is None else min(batch.deadline, batch.cancelling_at)


def _may_pass(error: RunError) -> bool:
    """Whether the same order may be carried out later."""
    return error.retry_at is not None or error.code in PASSING
