"""Orders about providers' own batches: parts are handed over, looked after, and collected row by row."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import orjson
from aiokafka import TopicPartition
from pydantic import BaseModel, ValidationError

from common.contracts.credentials_v1 import Lease
from common.contracts.provider_batches_v1 import ORDER, Cancel, Collect, Collected, Look, Order, PartLine, Submit
from common.contracts.runs_v1 import Cost, ReplyTo, RunCompleted, RunRequested
from common.contracts.topics import GENERATIONS
from common.errors import ProviderRejected, TallyrunError
from common.jsonl import lines
from runner.preview import preview
from runner.providers import Answer, CallFailed, Provider
from runner.providers.batching import Results, Sent, Unserved
from runner.rows import Ending, Row

AT_ONCE = 200
"""Ends that are published at a time."""

JOURNAL = GENERATIONS[-1].completed


class Contents(Protocol):
    """Where parts lie."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield a file in pieces."""


class Ends(Protocol):
    """Where ends are published."""

    async def publish(self, completed: RunCompleted, journal: TopicPartition, reply_to: ReplyTo | None) -> None:
        """Return once the broker has it."""


BatchPrice = Callable[[str, str, Answer, datetime], Cost]
"""What an answer to (provider, model) cost in a batch that ended at that time."""


class Orders:
    """Carries orders out. What is published twice is the same both times, so that an order may be repeated."""

    def __init__(self, contents: Callable[[], Contents], ends: Ends, price: BatchPrice, *, previews: bool) -> None:
        """`contents` is called when a part is read: a runner without such orders needs no file store."""
        self._contents = contents
        self._ends = ends
        self._price = price
        self._previews = previews

    async def carry_out(self, run: RunRequested, provider: Provider, lease: Lease) -> Answer:
        """Do as the run's body says and return what came of it, or raise `CallFailed` or why it cannot be done."""
        try:
            order = ORDER.validate_python(run.body)
        except ValidationError as error:
            raise ProviderRejected(f"this runner does not know such an order: {error.error_count()} faults") from error
        try:
            told = await self._do(run, order, provider, lease)
        except CallFailed:
            raise
        except TallyrunError as error:  # the file store's: nothing was sent yet, or it is collected anew
            raise CallFailed("runner_fault", f"the part cannot be read: {error.message}", retryable=True) from error
        return _answer(told)

    async def _do(self, run: RunRequested, order: Order, provider: Provider, lease: Lease) -> BaseModel:
        batches, secret = provider.batches, lease.secret
        match order:
            case Submit():
                return await batches.submit(self._sent(order), secret)
            case Look():
                if order.provider_batch is None:
                    return await batches.find(self._sent(order, order.since), secret)
                return await batches.look(order.provider_batch, secret)
            case Cancel():
                return await batches.cancel(order.provider_batch, secret)
            case Collect():
                found = None
                if order.provider_batch is not None:
                    found = await batches.results(order.provider_batch, secret)
                return await self._collect(run, order, found, lease)

    def _sent(self, order: Submit | Look, since: int = 0) -> Sent:
        return Sent(order.part.id, order.part.rows, lambda: self._lines(order.part.file), since)

    async def _lines(self, file: str) -> AsyncIterator[PartLine]:
        async for line in lines(self._contents().read(file)):
            yield PartLine(**orjson.loads(line))

    async def _collect(self, run: RunRequested, order: Collect, found: Results | None, lease: Lease) -> Collected:
        """Publish the end of each row, a few at a time."""
        rows = {line.run_id.hex: self._row(line) async for line in self._lines(order.part.file)}
        ending, count = Ending(run, order, lease, self._priced), len(rows)
        waiting: list[RunCompleted] = []
        async for end in _ends(rows, found, ending):
            waiting.append(end)
            if len(waiting) >= AT_ONCE:
                await self._publish(waiting)
        await self._publish(waiting)
        return Collected(rows=count)

    def _row(self, line: PartLine) -> Row:
        model = str(line.body.get("model", ""))
        return Row(line.run_id, line.custom_id, model, preview(line.body) if self._previews else "")

    def _priced(self, run: RunRequested, row: Row, answer: Answer, ended_at: int) -> Cost:
        return self._price(run.provider, row.model, answer, datetime.fromtimestamp(ended_at / 1000, UTC))

    async def _publish(self, waiting: list[RunCompleted]) -> None:
        """Publish to the partition that the run's id alone decides: an end that comes twice stands in one of them."""
        ended, waiting[:] = list(waiting), []
        await asyncio.gather(*(self._ends.publish(end, journal_of(end.run_id), None) for end in ended))


def journal_of(run_id: UUID) -> TopicPartition:
    """Return where the end of a row of a provider's batch stands, whoever collects it."""
    return TopicPartition(JOURNAL.name, run_id.int % JOURNAL.partitions)


async def _ends(rows: dict[str, Row], found: Results | None, ending: Ending) -> AsyncIterator[RunCompleted]:
    """Yield the end of each row once: as the provider tells it, then of those that it does not tell of."""
    if found is not None:
        async for told in found.ends:
            if (row := rows.pop(told.custom_id, None)) is not None:
                yield ending.of(row, told.end)
    rest: Unserved = "unknown" if found is None else found.rest
    for row in rows.values():
        yield ending.of(row, rest)


def _answer(told: BaseModel) -> Answer:
    return Answer(
        response="",
        output=told.model_dump_json(exclude_none=True),
        finish_reason=None,
        served_model=None,
        service_tier=None,
        usage=None,
    )
