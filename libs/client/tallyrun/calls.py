"""Every call that there is, as data: what is sent, and what its answer is read as."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote as quoted

from tallyrun import results as result
from tallyrun.batches import Again, BatchPage, BatchStatus, Mode, Only, Quote, State
from tallyrun.keys import Key, Workspace
from tallyrun.prompts import Answer, Delta, Model, Outcome, PricedModel, Run, delta
from tallyrun.rejected import RejectedFilter, RejectedPage, ReplayPage
from tallyrun.repricing import Days, Reprice, RepricePage
from tallyrun.results import Result
from tallyrun.upload import Upload
from tallyrun.usage import Period, Usage
from tallyrun.wire import Call, data, nothing, whole

REPLAYED_AT_ONCE = 50


@dataclass(frozen=True)
class Terms:
    """On which terms a batch is run: `model` for rows that name none, `max_cost` in US dollars.

    `mode` None is row by row, now.
    """

    model: str | None = None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    max_cost: Decimal | None = None
    deadline_seconds: int | None = None
    mode: Mode | None = None


def batch(batch_id: str) -> Call[BatchStatus]:
    """Ask for a batch as it stands."""
    return Call("GET", _batch(batch_id), data(BatchStatus))


def batches(state: State | None, label: str | None, cursor: str | None) -> Call[BatchPage]:
    """Ask for a page of batches."""
    return Call("GET", "/api/batches", data(BatchPage), {"state": state, "label": label, "cursor": cursor})


def upload(file: Upload) -> Call[str]:
    """Send a batch file; its id comes back."""
    headers = {"idempotency-key": file.sha256}
    return Call("POST", "/v1/files", _id, headers=headers, form={"purpose": "batch"}, file=file.part())


def forget_file(file_id: str) -> Call[None]:
    """Delete a file."""
    return Call("DELETE", f"/v1/files/{quoted(file_id, safe='')}", nothing)


def quote(file_id: str, terms: Terms) -> Call[Quote]:
    """Ask what a file would cost on these terms."""
    asked = _given(fileId=file_id, model=terms.model, deadlineSeconds=terms.deadline_seconds, mode=terms.mode)
    return Call("POST", "/api/batches/quote", data(Quote), body=asked)


def create(file_id: str, terms: Terms, key: str) -> Call[BatchStatus]:
    """Begin a batch; under the same key it is the same one."""
    body = _given(
        fileId=file_id,
        name=terms.name,
        model=terms.model,
        labels=dict(terms.labels) or None,
        maxCost=terms.max_cost,
        deadlineSeconds=terms.deadline_seconds,
        mode=terms.mode,
    )
    return Call("POST", "/api/batches", data(BatchStatus), body=body, headers={"idempotency-key": key})


def cancel(batch_id: str) -> Call[BatchStatus]:
    """Stop a batch: what was not called ends as cancelled, calls in flight finish."""
    return Call("POST", f"{_batch(batch_id)}/cancel", data(BatchStatus))


def retry(
    batch_id: str,
    *,
    only: Again | Iterable[Again] | None = None,
    custom_ids: Iterable[str] | None = None,
    max_cost: Decimal | float | None = None,
    name: str | None = None,
    key: str | None = None,
) -> Call[BatchStatus]:
    """Run rows of an ended batch again, as a batch of their own: those that did not succeed, or those named.

    `max_cost` in US dollars. Under the same `key` it is the same batch.
    """
    kinds = [only] if isinstance(only, str) else list(only or ())
    ids = None if custom_ids is None else list(custom_ids)
    body = _given(only=kinds or None, customIds=ids, maxCost=dollars(max_cost), name=name)
    return Call("POST", f"{_batch(batch_id)}/retry", data(BatchStatus), body=body, headers=_key(key))


def results(batch_id: str, only: Only | None, *, include_inputs: bool, follow: bool) -> Call[Result]:
    """Ask for a batch's rows that have ended; to follow is to stay until all have."""
    asked = {"only": only, "includeInputs": _flag(include_inputs), "follow": _flag(follow)}
    return Call("GET", f"{_batch(batch_id)}/results", result.read, asked)


def prompt(text: str, model: Model, key: str, more: Mapping[str, Any]) -> Call[Answer]:
    """Run one prompt."""
    name = model.id.removeprefix(f"{model.owned_by}/")
    body = {"provider": model.owned_by, "model": name, "input": text, **more}
    return Call("POST", "/api/integrations/run", data(Answer), body=body, headers=_key(key))


def stream(text: str, model: str, *, key: str | None = None, **more: Any) -> Call[Delta]:
    """Run one prompt and yield its answer as it is written."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **more}
    return Call("POST", "/v1/chat/completions", delta, body=body, headers=_key(key))


def run(run_id: str) -> Call[Run]:
    """Return a run."""
    return Call("GET", f"/api/runs/{quoted(run_id, safe='')}", data(Run))


def outcome(
    run_id: str, *, success: bool | None = None, score: float | None = None, note: str | None = None
) -> Call[Outcome]:
    """Record what became of a run's answer, in place of what was recorded before; `score` is from 0 to 1."""
    path = f"/api/runs/{quoted(run_id, safe='')}/outcome"
    return Call("POST", path, data(Outcome), body=_given(success=success, score=score, note=note))


def model(name: str) -> Call[Model]:
    """Return the model that this name means: `provider/model`, or a name of one connected provider's alone."""
    return Call("GET", f"/v1/models/{quoted(name)}", whole(Model))


def models() -> Call[list[Model]]:
    """Return the models of the connected providers that the gateway knows prices of."""
    return Call("GET", "/v1/models", lambda body: whole(list[Model])(body["data"]))


def prices() -> Call[list[PricedModel]]:
    """Return the same models with what they cost."""
    return Call("GET", "/api/models", data(list[PricedModel]))


def keys() -> Call[list[Key]]:
    """Return the workspace's provider keys."""
    return Call("GET", "/api/integrations/keys", data(list[Key]))


def connect(provider: str, api_key: str, *, name: str | None = None, expires_at: datetime | None = None) -> Call[None]:
    """Try a provider key at its provider, and keep it if that accepts it; the same `name` rotates it."""
    until = None if expires_at is None else expires_at.isoformat()
    body = _given(provider=provider, apiKey=api_key, name=name, expiresAt=until)
    return Call("POST", "/api/integrations/connect", nothing, body=body)


def deactivate(key_id: str) -> Call[None]:
    """Stop every use of a provider key."""
    return Call("DELETE", f"/api/integrations/keys/{quoted(key_id, safe='')}", nothing)


def costs(
    period: Period | str | None = "30d",
    *,
    start: date | None = None,
    end: date | None = None,
    by: Sequence[str] = ("model",),
    tz: str = "UTC",
    top: int = 100,
) -> Call[Usage]:
    """Return what runs cost: `period`, so many days that end today, or the days from `start` to `end`, both included.

    `by`: at most two of hour, day, week, month, time, model, provider, key, prompt, user, batch, status, tier, error,
    label:NAME.
    """
    asked = {"period": None if start else period, "from": start, "to": end, "by": list(by), "tz": tz, "top": top}
    return Call("GET", "/api/analytics/usage", data(Usage), asked)


def export(
    kind: str, days: Days, *, texts: bool = False, filters: Mapping[str, Sequence[str]] | None = None
) -> Call[None]:
    """Ask for runs as a file: csv, parquet or focus. The filters are those of usage: model, user, label and so on."""
    asked = {**days.asked(), "format": kind, "texts": _flag(texts)}
    given = {name: list(values) for name, values in (filters or {}).items() if values}
    return Call("GET", "/api/analytics/export", nothing, {**asked, **given})


def reprice(which: Reprice, cursor: int | None, *, apply: bool) -> Call[RepricePage]:
    """Price a page of runs again, or see what that would change."""
    body = {**which.asked(), **_given(cursor=cursor), "apply": apply}
    return Call("POST", "/api/analytics/reprice", data(RepricePage), body=body)


def workspaces() -> Call[list[Workspace]]:
    """Return the token's workspace; all of them to the operator."""
    return Call("GET", "/api/workspaces", data(list[Workspace]))


def rejected(which: RejectedFilter, cursor: str | None) -> Call[RejectedPage]:
    """Ask for a page of rejected records."""
    return Call("GET", "/api/rejected", data(RejectedPage), {**which.asked(), "cursor": cursor})


def replay(which: RejectedFilter, cursor: str | None, *, dry_run: bool) -> Call[ReplayPage]:
    """Replay a page of rejected records."""
    body = _given(**which.asked(), dryRun=dry_run, limit=REPLAYED_AT_ONCE, cursor=cursor)
    return Call("POST", "/api/rejected/replay", data(ReplayPage), body=body)


def _batch(batch_id: str) -> str:
    return f"/api/batches/{quoted(batch_id, safe='')}"


def _given(**fields: Any) -> dict[str, Any]:
    """Leave out what is not given; amounts are text, so that no digit is lost."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in given.items()}


def dollars(amount: Decimal | float | None) -> Decimal | None:
    """Return an amount as it was written, not as a float is stored."""
    return None if amount is None else Decimal(str(amount))


def _key(given: str | None) -> dict[str, str]:
    """Name the request, so that it may be sent again and is carried out once."""
    return {"idempotency-key": given or uuid.uuid4().hex}


def _flag(given: bool) -> str | None:
    return "true" if given else None


def _id(body: Any) -> str:
    return str(body["id"])
