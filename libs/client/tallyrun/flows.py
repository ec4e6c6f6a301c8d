"""What takes several calls, written once: a flow yields calls and is sent their answers, by either client."""

import hashlib
import json
import uuid
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from tallyrun import calls
from tallyrun.batches import BatchStatus, Quote
from tallyrun.calls import Terms
from tallyrun.errors import Declined, TallyrunError
from tallyrun.prepare import Prepared
from tallyrun.prompts import Answer, Model
from tallyrun.upload import Sent, Upload
from tallyrun.wire import Call

SUBMISSION = "submission"
"""The label that carries a batch's submission key."""

STILL_RUNNING = "still_running"
"""What a prompt is answered that takes longer than a gateway waits: sent again under its key, it is waited for on."""

T = TypeVar("T")
Flow = Generator[Call[Any], Any, T]
Approve = Callable[[Quote], bool]


class Submitted(NamedTuple):
    """A batch, and whether it existed before."""

    status: BatchStatus
    attached: bool


def submission_key(prepared: Prepared, terms: Terms) -> str:
    """Return what makes two submissions the same: the rows to the byte, their model, the name, the mode."""
    said = [prepared.sha256, terms.model, terms.name, *([] if terms.mode in (None, "online") else [terms.mode])]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def submit(prepared: Prepared, terms: Terms, approve: Approve | None, sent: Sent) -> Flow[Submitted]:
    """Return the batch of these rows: the one that exists, or a new one once its quote is approved."""
    label = submission_key(prepared, terms)
    before = yield from _before(label)
    if standing := _standing(before):
        return Submitted(standing, attached=True)
    file_id = yield calls.upload(Upload(prepared, sent))
    if approve is not None:
        yield from _approved(file_id, terms, approve)
    labelled = replace(terms, labels={**terms.labels, SUBMISSION: label})
    try:
        return Submitted((yield calls.create(file_id, labelled, f"{label}-{len(before)}")), attached=False)
    except TallyrunError as error:
        if not 400 <= error.status < 500:
            raise  # it may have been created, and need its file
        yield calls.forget_file(file_id)
        if error.code != "idempotency_conflict" or not (standing := _standing((yield from _before(label)))):
            raise
        return Submitted(standing, attached=True)  # somebody else was submitting the same


def quote(prepared: Prepared, terms: Terms, sent: Sent) -> Flow[Quote]:
    """Return what the rows would cost; nothing stays at the gateway."""
    file_id = yield calls.upload(Upload(prepared, sent))
    quoted = yield from _quoted(file_id, terms)
    yield calls.forget_file(file_id)
    return quoted


def prompt(text: str, model: str, key: str | None = None, **more: Any) -> Flow[Answer]:
    """Run one prompt and return its answer; `model` is `provider/model`, or a name that one connected provider has.

    Under the same `key` it is the same run. `more`: system, temperature, maxTokens, promptId, labels.
    """
    named = yield from _meant(model)
    asked = calls.prompt(text, named, key or uuid.uuid4().hex, more)
    while True:
        try:
            answer: Answer = yield asked
        except TallyrunError as error:
            if error.code != STILL_RUNNING:
                raise
        else:
            return answer


def _meant(model: str) -> Flow[Model]:
    """Return what the name means; a model that no catalogue knows is not listed, and has its provider before it."""
    try:
        listed: Model = yield calls.model(model)
    except TallyrunError as error:
        provider, slash, _ = model.partition("/")
        if error.status != 404 or not slash:
            raise
        return Model(id=model, owned_by=provider)
    return listed


def _approved(file_id: str, terms: Terms, approve: Approve) -> Flow[None]:
    """Go on if the quote is approved; else the file does not stay."""
    quoted = yield from _quoted(file_id, terms)
    try:
        if not approve(quoted):
            raise Declined
    except TallyrunError:
        yield calls.forget_file(file_id)
        raise


def _quoted(file_id: str, terms: Terms) -> Flow[Quote]:
    try:
        quoted: Quote = yield calls.quote(file_id, terms)
    except TallyrunError:
        yield calls.forget_file(file_id)
        raise
    return quoted


def _before(label: str) -> Flow[list[BatchStatus]]:
    """Return the batches that were submitted so, newest first; their retries have the same label, and are not meant."""
    page = yield calls.batches(None, f"{SUBMISSION}={label}", None)
    return [batch for batch in page.batches if batch.retry_of is None]


def _standing(before: list[BatchStatus]) -> BatchStatus | None:
    """Return the batch to attach to: one that failed ran nothing, and is submitted anew."""
    return next((batch for batch in before if batch.state != "failed"), None)
