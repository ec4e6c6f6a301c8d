"""Runs as their readers see them, made of rows of the database."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from analytics.hours import iso
from analytics.money import total
from common.contracts.answers_v1 import (
    AttemptView,
    ExecutionView,
    Outcome,
    Repriced,
    RunDetail,
    RunSummary,
    TokensUsed,
)
from common.contracts.runs_v1 import Attempt

Row = dict[str, Any]

NO_TEXT: Row = {"output": None, "response": None, "prompt_preview": ""}

_ATTEMPTS = TypeAdapter(list[Attempt])
_TOKENS = ("input", "output", "cached", "cache_writes", "reasoning")


def finished(executions: Sequence[Row]) -> RunSummary:
    """Return a run that ended: by its first execution, except that tokens and cost are those of all of them."""
    return RunSummary(**_ended(executions))


def finished_detail(
    executions: Sequence[Row], text: Row, outcome: Row | None, repricings: Sequence[Row] = ()
) -> RunDetail:
    """Return a run that ended, whole, with what was said of it; its repricings are the oldest first."""
    first = executions[0]
    return RunDetail(
        **_ended(executions),
        **_asked(first),
        output=text["output"],
        response=text["response"],
        truncated=first["truncated"],
        finish_reason=first["finish_reason"] or None,
        served_model=first["served_model"] or None,
        service_tier=first["service_tier"] or None,
        usage=_usage(executions),
        cost_components=_components(executions),
        cache_savings=_savings(executions),
        catalogue=first["catalogue"] or None,
        error=first["error"] or None,
        attempts=[view for execution in executions for view in _attempts(execution)],
        execution_details=[_execution(execution) for execution in executions],
        queued_ms=first["queued_ms"],
        prompt_preview=text["prompt_preview"],
        outcome=_outcome(outcome),
        repriced=_repriced(executions, repricings) if repricings else None,
    )


def accepted(row: Row) -> RunSummary:
    """Return a run that did not end yet."""
    return RunSummary(**_waiting(row))


def accepted_detail(row: Row, outcome: Row | None = None) -> RunDetail:
    """Return a run that did not end yet, with everything empty that its end will tell."""
    return RunDetail(
        **_waiting(row),
        **_asked(row),
        output=None,
        response=None,
        truncated=False,
        finish_reason=None,
        served_model=None,
        service_tier=None,
        usage=None,
        cost_components={},
        catalogue=None,
        error=None,
        attempts=[],
        execution_details=[],
        queued_ms=None,
        prompt_preview="",
        outcome=_outcome(outcome),
    )


def unknown_detail(run_id: UUID, accepted_at: int) -> RunDetail:
    """Return a run that was, or may have been, accepted, and of which nothing was read yet."""
    names = ("provider", "model", "prompt_id", "user", "operation", "batch_id", "custom_id")
    row = {**dict.fromkeys(names, ""), "labels": {}, "key_id": UUID(int=0), "run_id": run_id}
    return accepted_detail({**row, "accepted_at": accepted_at})


def _waiting(row: Row) -> Row:
    return {
        **_named(row),
        "status": "accepted",
        "completed_at": None,
        "total_tokens": 0,
        "cost": None,
        "latency": None,
        "error_code": None,
        "executions": 0,
    }


def _ended(executions: Sequence[Row]) -> Row:
    first = executions[0]
    return {
        **_named(first),
        "status": first["status"],
        "completed_at": iso(first["completed_at"]),
        "total_tokens": _usage(executions).total,
        "cost": _cost(executions),
        "latency": first["latency_ms"],
        "error_code": first["error_code"] or None,
        "executions": len(executions),
    }


def _named(row: Row) -> Row:
    """Return what a listing says of every run."""
    return {
        "run_id": str(row["run_id"]),
        "provider": row["provider"],
        "model": row["model"],
        "prompt_id": row["prompt_id"] or None,
        "user": row["user"],
        "accepted_at": iso(row["accepted_at"]) if row["accepted_at"] else "",
    }


def _asked(row: Row) -> Row:
    """Return what else was asked for."""
    return {
        "operation": row["operation"],
        "labels": row["labels"],
        "batch_id": row["batch_id"] or None,
        "custom_id": row["custom_id"] or None,
        "key_id": str(row["key_id"]) if row["key_id"].int else None,
    }


def _usage(executions: Sequence[Row]) -> TokensUsed:
    tokens = {name: sum(execution[name] for execution in executions) for name in _TOKENS}
    return TokensUsed(**tokens, total=tokens["input"] + tokens["output"])


def _cost(executions: Sequence[Row]) -> Decimal | None:
    """Return the sum; None where one of them has no price, since a part of the cost would pass for the whole."""
    if not all(execution["priced"] for execution in executions):
        return None
    return total(execution["cost"] for execution in executions)


def _repriced(executions: Sequence[Row], repricings: Sequence[Row]) -> Repriced:
    first: dict[UUID, Row] = {}
    for row in repricings:
        first.setdefault(row["execution_id"], {"priced": row["was_priced"], "cost": row["was_total"]})
    last = repricings[-1]
    return Repriced(
        from_=_cost([first.get(execution["execution_id"], execution) for execution in executions]),
        to=_cost(executions),
        at=iso(last["repriced_at"]),
        catalogue=last["catalogue"],
        reason=last["reason"],
    )


def _components(executions: Sequence[Row]) -> dict[str, Decimal]:
    amounts: defaultdict[str, list[Decimal]] = defaultdict(list)
    for execution in executions:
        for name, amount in execution["cost_components"].items():
            amounts[name].append(amount)
    return {name: total(parts) for name, parts in amounts.items()}


def _savings(executions: Sequence[Row]) -> Decimal | None:
    """Return the sum of what is known; None where nothing is."""
    known = [execution["cache_savings"] for execution in executions if execution["cache_savings"] is not None]
    return total(known) if known else None


def _outcome(row: Row | None) -> Outcome | None:
    if row is None:
        return None
    said = {"success": row["success"], "score": row["score"], "note": row["note"] or None}
    return Outcome(**said, recorded_at=iso(row["recorded_at"]))


def _execution(execution: Row) -> ExecutionView:
    return ExecutionView(
        execution_id=str(execution["execution_id"]),
        status=execution["status"],
        completed_at=iso(execution["completed_at"]),
        priced=execution["priced"],
        cost=_cost([execution]),
        error_code=execution["error_code"] or None,
        attempts=_attempts(execution),
    )


def _attempts(execution: Row) -> list[AttemptView]:
    try:
        attempts = _ATTEMPTS.validate_json(execution["attempts"] or "[]")
    except ValidationError:
        return []  # stored as received: what is no list of attempts must not hide the run
    return [_attempt(attempt) for attempt in attempts]


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        started_at=iso(attempt.started_at),
        latency_ms=attempt.latency_ms,
        outcome=attempt.outcome,
        status_code=attempt.status_code,
        error=attempt.error,
        cost=attempt.cost.total if attempt.cost else None,
    )
