"""How amounts and batches read in a line."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tallyrun.batches import BatchFault, BatchStatus, Expected, Quote
from tallyrun.command import wording


@pytest.mark.parametrize(
    ("amount", "read"),
    [
        ("0", "$0.00"),
        ("0.0000001", "<$0.000001"),
        ("0.00001005", "$0.00001"),
        ("0.0402394", "$0.0402"),
        ("0.75", "$0.75"),
        ("0.5", "$0.50"),
        ("1.005", "$1.01"),
        ("38.1", "$38.10"),
        ("1234567.891", "$1,234,567.89"),
    ],
)
def test_money_is_as_fine_as_it_is_small(amount: str, read: str) -> None:
    assert wording.money(Decimal(amount)) == read


def test_time_and_numbers_are_short() -> None:
    assert [wording.span(timedelta(seconds=seconds)) for seconds in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
    assert [wording.amount(number) for number in (999, 61_200, 61_200_000)] == ["999", "61.2k", "61.2M"]


def status(**more: object) -> BatchStatus:
    known = {"id": "b", "state": "in_progress", "created_at": datetime(2026, 1, 2, tzinfo=UTC), "rows": 48_210}
    counts = {"succeeded": 34_188, "failed": 41, "expired": 0, "cancelled": 0, "cost": Decimal("27.04")}
    return BatchStatus.model_validate({**known, **counts, **more})


def test_a_batch_reads_in_a_line() -> None:
    expected = Expected(low=Decimal("38.10"), high=Decimal("52.40"))
    running = status(quote=expected, rate_per_second=312.4, seconds_left=45)
    assert wording.progress(running) == " 70% 34,229/48,210 · 41 failed · $27.04 of $38–$52 · 312/s · 0:45 left"
    paused = status(state="paused", paused_reason="the openai key was refused", rate_per_second=1.0)
    assert wording.progress(paused).endswith("· $27.04 · paused: the openai key was refused")
    assert wording.progress(status(rows=0, succeeded=0, failed=0)).startswith("  0% 0/0 ·")


def test_a_batch_at_its_providers_tells_how_those_stand() -> None:
    known = {"model": "m", "rows": 100, "stage": "submitted", "submitted_at": datetime.now(UTC) - timedelta(seconds=65)}
    parts = [
        {**known, "provider": "openai", "state": "in_progress", "completed": 40, "failed": 2},
        {**known, "provider": "anthropic", "state": "in_progress"},
        {**known, "provider": "openai", "stage": "done"},
    ]
    told = wording.progress(status(runs_as="provider", parts=parts))
    assert told.endswith("· $27.04 · openai: in progress 42/100 since 1:05 · anthropic: in progress since 1:05")


def test_a_quote_says_how_its_rows_would_be_run() -> None:
    quote = Quote(rows=2, unpriced_rows=0, low=Decimal(1), high=Decimal(2))
    assert wording.quoted(quote) == "2 rows · 0 tokens in · $1.00–$2.00 · 0 unpriced"
    cheap = quote.model_copy(update={"runs_as": "provider"})
    assert wording.quoted(cheap).endswith("· through the providers' batches, within 24 hours")
    now = quote.model_copy(update={"runs_as_why": "it has fewer than 100 rows"})
    assert wording.quoted(now).endswith("· run now: it has fewer than 100 rows")


def test_an_end_says_what_failed() -> None:
    ended = status(state="completed", succeeded=48_169, unpriced=2)
    failures = {"invalid": 3, "rate_limited": 38}
    assert wording.ended(ended, failures) == (
        "done: 48,169 ok, 41 failed (38 rate_limited, 3 invalid) · $27.04, 2 unpriced"
    )
    assert wording.ended(status(state="cancelled", cancelled=9), {}).startswith("cancelled: 34,188 ok, 41 failed, 9")


def test_a_fault_names_its_line_unless_it_is_the_files() -> None:
    faults = [BatchFault(line=line, code="unsupported", message="not this") for line in (3, None)]
    assert [wording.fault(fault) for fault in faults] == ["line 3: not this", "not this"]
