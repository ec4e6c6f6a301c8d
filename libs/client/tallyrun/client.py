"""The gateway's API as Python, blocking."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from tallyrun import calls, credentials, flows
from tallyrun.batches import Again, BatchStatus, Mode, Only, Quote, State
from tallyrun.calls import Terms, dollars
from tallyrun.errors import TallyrunError
from tallyrun.handles import POLL_SECONDS, Batch
from tallyrun.lines import Source
from tallyrun.prepare import prepare
from tallyrun.prompts import Answer, Delta
from tallyrun.rejected import EVERYTHING, RejectedFilter, RejectedRecord, ReplayedRecord
from tallyrun.repricing import THIRTY_DAYS, Days, Kind, Reprice, RepricePage
from tallyrun.results import Result
from tallyrun.retries import PATIENCE_SECONDS, Waiting, say_nothing
from tallyrun.transport import Transport
from tallyrun.upload import Sent, send_silently
from tallyrun.wire import Call

P = ParamSpec("P")
T = TypeVar("T")


def _sent(call: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """Return the method that sends this call."""

    @wraps(call)
    def method(client: "Client", /, *given: P.args, **named: P.kwargs) -> T:
        return client.transport.send(call(*given, **named))

    return method


class Client:
    """Calls one gateway with one token; by default the environment's, a profile's, the keyring's. Close it after use.

    Every call may be sent again, and is: for `patience` seconds of no answer or a passing one; `waiting` is told.
    Amounts are US dollars. What the gateway refuses raises `TallyrunError`; no answer, `Unreachable`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        profile: str | None = None,
        patience: float = PATIENCE_SECONDS,
        waiting: Waiting = say_nothing,
    ) -> None:
        found = credentials.find(url, token, profile)
        self.url = found.url
        self.transport = Transport(found, patience, waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    run = _sent(calls.run)
    outcome = _sent(calls.outcome)
    models = _sent(calls.models)
    prices = _sent(calls.prices)
    costs = _sent(calls.costs)
    keys = _sent(calls.keys)
    connect = _sent(calls.connect)
    deactivate = _sent(calls.deactivate)
    workspaces = _sent(calls.workspaces)
    cancel = _sent(calls.cancel)

    def prompt(self, text: str, model: str, *, key: str | None = None, **more: Any) -> Answer:
        """Run one prompt and return its answer; `model` is `provider/model`, or a name that one provider has alone.

        Under the same `key` it is the same run. `more`: system, temperature, maxTokens, promptId, labels.
        """
        return self._run(flows.prompt(text, model, key, **more))

    def stream(self, text: str, model: str, *, key: str | None = None, **more: Any) -> Iterator[Delta]:
        """Run one prompt and yield its answer as it is written; `more` are fields of a chat completion."""
        begun, retries, asked = False, self.transport.retries(), calls.stream(text, model, key=key, **more)
        while True:
            try:
                for piece in self.transport.events(asked):
                    begun = True
                    yield piece
            except TallyrunError as error:
                if begun:
                    raise
                self.transport.sleep(retries.wait(error))
            else:
                return

    def quote(
        self, source: Source, *, model: str | None = None, mode: Mode | None = None, sent: Sent = send_silently
    ) -> Quote:
        """Return what these rows would cost, as a range. Nothing is run, and nothing is kept."""
        with prepare(source, model) as prepared:
            return self._run(flows.quote(prepared, Terms(model, mode=mode), sent))

    def submit(
        self,
        source: Source,
        *,
        model: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        max_cost: Decimal | float | None = None,
        deadline_seconds: int | None = None,
        mode: Mode | None = None,
        approve: flows.Approve | None = None,
        sent: Sent = send_silently,
    ) -> Batch:
        """Run these rows as a batch, and return it; the same rows, model and name return the batch that exists.

        `mode`: "provider" runs them through the providers' own batches, cheaper and within a day; "auto" where
        that suits them; "online" (as None) row by row, now.

        `model` is for rows that name none. `approve` is shown the quote first; its False raises `Declined`. `sent` is
        told the bytes sent, of how many. Raises `InvalidRows`, before anything is sent, with the lines that are wrong.
        """
        terms = Terms(model, name, labels or {}, dollars(max_cost), deadline_seconds, mode)
        with prepare(source, model) as prepared:
            submitted = self._run(flows.submit(prepared, terms, approve, sent))
        return self._handle(submitted.status, attached=submitted.attached)

    def get(self, batch_id: str) -> Batch:
        """Return a batch as it stands."""
        return self._handle(self.transport.send(calls.batch(batch_id)))

    def list(self, *, state: State | None = None, label: str | None = None) -> Iterator[Batch]:
        """Yield the batches, newest first; `label` is `name=value`."""
        cursor = None
        while True:
            page = self.transport.send(calls.batches(state, label, cursor))
            yield from map(self._handle, page.batches)
            if (cursor := page.next_cursor) is None:
                return

    def watch(self, batch_id: str, *, every: float = POLL_SECONDS) -> Iterator[BatchStatus]:
        """Yield how a batch stands, every so many seconds until it has ended."""
        while True:
            status = self.transport.send(calls.batch(batch_id))
            yield status
            if status.ended:
                return
            self.transport.sleep(every)

    def wait(self, batch_id: str, *, every: float = POLL_SECONDS) -> BatchStatus:
        """Return how a batch ended, once it has."""
        return deque(self.watch(batch_id, every=every), maxlen=1).pop()

    def results(
        self, batch_id: str, *, only: Only | None = None, include_inputs: bool = False, follow: bool = False
    ) -> Iterator[Result]:
        """Yield how the rows ended, each once, as they are read; to `follow` is to stay until the batch has ended."""
        seen: set[str] = set()
        retries = self.transport.retries()
        asked = calls.results(batch_id, only, include_inputs=include_inputs, follow=follow)
        while True:
            try:
                for result in self.transport.lines(asked):
                    retries.succeeded()
                    if result.custom_id not in seen:
                        seen.add(result.custom_id)
                        yield result
            except TallyrunError as error:  # cut off: from the start again, without those that were seen
                self.transport.sleep(retries.wait(error))
                continue
            if not follow or self.transport.send(calls.batch(batch_id)).ended:
                return

    def retry(
        self,
        batch_id: str,
        *,
        only: Again | Iterable[Again] | None = None,
        custom_ids: Iterable[str] | None = None,
        max_cost: Decimal | float | None = None,
        name: str | None = None,
        key: str | None = None,
    ) -> Batch:
        """Run rows of an ended batch again, as a batch of their own: those that did not succeed, or those named.

        Under the same `key` it is the same batch.
        """
        asked = calls.retry(batch_id, only=only, custom_ids=custom_ids, max_cost=max_cost, name=name, key=key)
        return self._handle(self.transport.send(asked))

    def rejected(self, which: RejectedFilter = EVERYTHING) -> Iterator[RejectedRecord]:
        """Yield the rejected records that fit, oldest first (the operator alone)."""
        cursor = None
        while True:
            page = self.transport.send(calls.rejected(which, cursor))
            yield from page.records
            if (cursor := page.next_cursor) is None:
                return

    def replay_rejected(self, which: RejectedFilter = EVERYTHING, *, dry_run: bool = False) -> Iterator[ReplayedRecord]:
        """Replay the rejected records that fit, and yield what became of each (the operator alone).

        Each is replayed before it is yielded, some of those after it too. Repeating this replays nothing twice.
        """
        cursor = None
        while True:
            page = self.transport.send(calls.replay(which, cursor, dry_run=dry_run))
            yield from page.records
            if (cursor := page.next_cursor) is None:
                return

    def export(
        self, kind: Kind | str = "csv", days: Days = THIRTY_DAYS, *, texts: bool = False, **filters: Sequence[str]
    ) -> Iterator[bytes]:
        """Yield the runs of some days as a file, in pieces; what is cut off raises `Unreachable`.

        `csv` and `parquet` have a row for each execution, `focus` one for each charge. `texts`: also what was said. The
        filters are those of usage: model, provider, key, prompt, user, batch, status, tier, error, label.
        """
        return self.transport.pieces(calls.export(kind, days, texts=texts, filters=filters))

    def reprice(self, which: Reprice, *, apply: bool = False) -> Iterator[RepricePage]:
        """Price runs again, and yield what became of them a page at a time (admins); without `apply` only compare.

        Each page is done before it is yielded. Repeating this changes nothing twice.
        """
        cursor = None
        while True:
            page = self.transport.send(calls.reprice(which, cursor, apply=apply))
            yield page
            if (cursor := page.next_cursor) is None:
                return

    def _run(self, flow: flows.Flow[T]) -> T:
        """Send what the flow asks for until it returns."""
        try:
            call = next(flow)
            while True:
                try:
                    answer = self.transport.send(call)
                except TallyrunError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(answer)
        except StopIteration as returned:
            return cast("T", returned.value)

    def _handle(self, status: BatchStatus, *, attached: bool = False) -> Batch:
        return Batch(self, **dict(status), attached=attached)
