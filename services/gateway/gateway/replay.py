"""Replaying what was set aside: a run under its own id with a fresh grant, a completion byte for byte."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args
from uuid import UUID

from pydantic import ValidationError

from common.admission import NEWEST_MS, OLDEST_MS
from common.contracts.answers_v1 import Answer, RunDetail
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import DAY_MS, is_completions, is_requests
from common.errors import NotFound, TooLarge, Unavailable
from common.ids import named_run_id, now_ms
from gateway import metrics
from gateway.grants import Grants
from gateway.publish import CompletedLog, RequestLog
from gateway.rejected import Asked, RejectedLog, SetAside, picked

log = logging.getLogger(__name__)

LONGEST_MS = 7 * DAY_MS
"""A replayed run's deadline is at most so far ahead: as long as its topic keeps it, and its grant no longer valid."""

Outcome = Literal["replayed", "already_replayed", "already_accepted", "cannot_be_replayed"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a record, and why."""

    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class ReplayClaim:
    """A replay, stored before it is published. `subject` names the run, or the one execution of it.

    It settles every rejection of its subject below the offset `below` of the rejected topic, where that topic ended
    when the replay began. A later one is a rejection of the replay itself, and may be replayed in turn.
    """

    subject: UUID
    below: int
    accepted_at: int
    published: bool = False

    def settles(self, record: SetAside) -> bool:
        """Whether this replay was this record's."""
        return self.published and record.offset < self.below


class ReplayStore(Protocol):
    """Where claims are kept, and workspaces."""

    async def replay_of(self, subject: UUID) -> ReplayClaim | None:
        """Return the last replay of this subject."""

    async def claim_replay(self, claim: ReplayClaim, offset: int) -> ReplayClaim:
        """Store the claim and return it, or return the earlier one that this offset of the topic belongs to."""

    async def mark_replayed(self, claim: ReplayClaim) -> None:
        """Note that the broker acknowledged the replay."""

    async def forget_replays(self, begin: int) -> None:
        """Forget the claims that settle nothing any more: on records before this offset alone."""

    async def workspaces(self, only: UUID | None) -> Sequence[object]:
        """Return every workspace, or only this one."""


class StoredRuns(Protocol):
    """What analytics has read."""

    async def detail(self, workspace_id: UUID, run_id: UUID, accepted_at: int) -> RunDetail:
        """Return the run as far as it got, or raise `NotFound`."""


class ReplayedRecord(Answer):
    """What became of one record, by its offset in the rejected topic."""

    offset: int
    run_id: UUID | None
    outcome: Outcome
    why: str


class ReplayPage(Answer):
    """What became of some records, or would; `counts` by outcome. More follow unless `next_cursor` is None."""

    dry_run: bool
    records: list[ReplayedRecord]
    counts: dict[Outcome, int]
    next_cursor: str | None


class Replays:
    """Carries out an operator's word that what was set aside shall count after all. Repeating it changes nothing."""

    def __init__(
        self,
        *,
        rejected: RejectedLog,
        requests: RequestLog,
        completions: CompletedLog,
        grants: Grants,
        store: ReplayStore,
        stored: StoredRuns,
    ) -> None:
        self._rejected = rejected
        self._requests = requests
        self._completions = completions
        self._grants = grants
        self._store = store
        self._stored = stored

    async def replay(self, asked: Asked, *, dry_run: bool) -> ReplayPage:
        """Replay the records that fit, or say what would become of them; one after the other, oldest first."""
        async with self._rejected.reading(asked.span(), asked.since) as reading:
            end = reading.span.end
            records = [await self._one(record, end, dry_run=dry_run) async for record in picked(reading, asked)]
            await self._store.forget_replays(reading.begin)
            return ReplayPage(
                dry_run=dry_run,
                records=records,
                counts=dict.fromkeys(get_args(Outcome), 0) | Counter(record.outcome for record in records),
                next_cursor=reading.span.cursor(),
            )

    async def _one(self, record: SetAside, end: int, *, dry_run: bool) -> ReplayedRecord:
        what = replayable(record)
        verdict = what if isinstance(what, Verdict) else await self._judged(record, what, end, dry_run=dry_run)
        run_id = None if isinstance(what, Verdict) else what.run_id
        if not dry_run:
            metrics.REPLAYS.labels(verdict.outcome).inc()
        return ReplayedRecord(offset=record.offset, run_id=run_id, outcome=verdict.outcome, why=verdict.why)

    async def _judged(self, record: SetAside, what: RunRequested | RunCompleted, end: int, *, dry_run: bool) -> Verdict:
        earlier = await self._store.replay_of(_subject(what))
        if earlier is not None and earlier.settles(record):
            return Verdict("already_replayed")
        if isinstance(what, RunRequested) and (obstacle := await self._obstacle(what)):
            return obstacle
        return Verdict("replayed") if dry_run else await self._replayed(record, what, end)

    async def _obstacle(self, request: RunRequested) -> Verdict | None:
        """Return why the run must not be published, if it must not."""
        if not await self._store.workspaces(request.workspace_id):
            return Verdict("cannot_be_replayed", f"there is no workspace {request.workspace_id}")
        try:
            run = await self._stored.detail(request.workspace_id, request.run_id, request.accepted_at)
        except NotFound:
            return None
        if not run.provider:  # analytics has not read far enough to say
            raise Unavailable("whether a run was accepted meanwhile is not known yet", retry_after=5)
        return Verdict("already_accepted", f"a run of this id was accepted: {run.status}")

    async def _replayed(self, record: SetAside, what: RunRequested | RunCompleted, end: int) -> Verdict:
        """Claim, publish, note: killed in between, the next replay publishes the same run at the same time."""
        mine = ReplayClaim(_subject(what), end, accepted_at(what, now_ms(), self._requests.publish_by()))
        claim = await self._store.claim_replay(mine, record.offset)
        if claim.settles(record):
            return Verdict("already_replayed")
        try:
            await self._publish(record, what, claim)
        except TooLarge as error:
            return Verdict("cannot_be_replayed", error.message)
        await self._store.mark_replayed(claim)
        log.warning("a rejected record was replayed", extra={"offset": record.offset, "run_id": str(what.run_id)})
        return Verdict("replayed")

    async def _publish(self, record: SetAside, what: RunRequested | RunCompleted, claim: ReplayClaim) -> None:
        origin = record.origin
        if isinstance(what, RunCompleted):
            await self._completions.append(record.value, record.key, what.headers(), origin.topic, origin.partition)
            return
        request = renewed(what, claim.accepted_at, now_ms(), self._requests.publish_by())
        grant = self._grants.shared(request.workspace_id, request.provider, request.deadline, LONGEST_MS)
        await self._requests.append(request, grant, origin.topic, origin.partition)


def replayable(record: SetAside) -> RunRequested | RunCompleted | Verdict:
    """Return what the record would be, or why it can be nothing."""
    topic, service = record.origin.topic, record.origin.service
    if is_requests(topic) and service == "analytics":
        return Verdict("cannot_be_replayed", "the run itself went on: only its acceptance was not recorded")
    try:
        if is_requests(topic) and service == "runner":
            return _unless_order(RunRequested.model_validate_json(record.value))
        if is_completions(topic) and service == "analytics":
            return _unless_order(RunCompleted.model_validate_json(record.value))
    except ValidationError as error:
        return Verdict("cannot_be_replayed", f"malformed: {_fault(error)}")
    return Verdict("cannot_be_replayed", "it is from no topic that is replayed")


def accepted_at(what: RunRequested | RunCompleted, now: int, appended_by: int) -> int:
    """Return the run's own place in time (UTC ms), or now where admission would not take that any more."""
    return what.accepted_at if appended_by - OLDEST_MS <= what.accepted_at <= now + NEWEST_MS else now


def renewed(request: RunRequested, accepted_at: int, now: int, publish_by: int) -> RunRequested:
    """Return the run as it is published again: nobody waits for it any more, and it needs time. Times in UTC ms."""
    deadline = request.deadline if request.deadline > now else now + DAY_MS
    return request.model_copy(
        update={
            "reply_to": None,
            "deadline": min(deadline, now + LONGEST_MS),
            "publish_by": publish_by,
            "accepted_at": accepted_at,
        }
    )


def _unless_order(what: RunRequested | RunCompleted) -> RunRequested | RunCompleted | Verdict:
    if what.operation == "check":
        return Verdict("cannot_be_replayed", "it tried a key that was being connected: connect it again")
    if what.operation == "batch":
        return Verdict("cannot_be_replayed", "it was about a provider's batch: its owner asks again by itself")
    return what


def _subject(what: RunRequested | RunCompleted) -> UUID:
    execution = str(what.execution_id) if isinstance(what, RunCompleted) else ""
    return named_run_id("replay", str(what.workspace_id), str(what.run_id), execution)


def _fault(error: ValidationError) -> str:
    """Return the first fault's place and kind: never the input, which may hold a prompt."""
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}"
