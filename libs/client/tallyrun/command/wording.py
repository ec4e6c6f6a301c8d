"""How amounts, counts and batches read in a line."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from tallyrun.batches import BatchFault, BatchPart, BatchStatus, Quote

CENTS, FOUR, FINE = Decimal("0.01"), Decimal("0.0001"), Decimal("0.000001")


def money(amount: Decimal | float) -> str:
    """Return dollars to the cent; less than one to the hundredth of a cent, and less than that to the micro-dollar."""
    exact = Decimal(str(amount))
    if 0 < exact < FINE:
        return "<$0.000001"
    digits = CENTS if exact >= 1 else FINE if exact < FOUR else FOUR
    whole, _, decimals = f"{exact.quantize(digits, ROUND_HALF_UP):,f}".partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"


def roughly(amount: Decimal | float) -> str:
    """Return dollars without cents, where there are some."""
    return f"${amount:,.0f}" if amount >= 10 else money(amount)


def range_of(low: Decimal, high: Decimal, write: Callable[[Decimal], str]) -> str:
    """Return a range of dollars, or one amount where its ends read alike."""
    return write(low) if write(low) == write(high) else f"{write(low)}–{write(high)}"


def counted(number: int, what: str) -> str:
    """Return a count of things."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def amount(number: int) -> str:
    """Return a large number, short."""
    for size, sign in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f}{sign}"
    return str(number)


def span(time: timedelta) -> str:
    """Return hours, minutes and seconds."""
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def quoted(quote: Quote) -> str:
    """Return a quote in a line."""
    tokens = sum(model.input_high for model in quote.models)
    dollars = range_of(quote.low, quote.high, money)
    told = [counted(quote.rows, "row"), f"{amount(tokens)} tokens in", dollars, f"{quote.unpriced_rows:,} unpriced"]
    return " · ".join([*told, *_how(quote)])


def _how(quote: Quote) -> list[str]:
    if quote.runs_as == "provider":
        return ["through the providers' batches, within 24 hours"]
    return [f"run now: {quote.runs_as_why}"] if quote.runs_as_why else []


def fault(told: BatchFault) -> str:
    """Return what is wrong with a line, or with the file."""
    return f"line {told.line}: {told.message}" if told.line else told.message


def progress(status: BatchStatus) -> str:
    """Return how a batch stands, in a line."""
    parts = [
        f"{status.done * 100 // max(1, status.rows):3}% {status.done:,}/{status.rows:,}",
        f"{status.failed:,} failed",
        _spent(status),
        *_pace(status),
    ]
    return " · ".join(parts)


def _pace(status: BatchStatus) -> list[str]:
    if status.state != "in_progress":
        return [_state(status)]
    if status.runs_as == "provider":
        return [_at_provider(part) for part in status.parts if part.stage != "done"]
    rate = [f"{status.rate_per_second:,.0f}/s"] if status.rate_per_second else []
    return rate if status.eta is None else [*rate, f"{span(status.eta)} left"]


def _at_provider(part: BatchPart) -> str:
    """Return how a provider's own batch stands; one that tells no counts, how long it has taken."""
    if part.submitted_at is None:
        return f"{part.provider}: {part.stage}"
    since = span(datetime.now(UTC) - part.submitted_at)
    counts = f" {part.completed + (part.failed or 0):,}/{part.rows:,}" if part.completed is not None else ""
    return f"{part.provider}: {(part.state or part.stage).replace('_', ' ')}{counts} since {since}"


def _spent(status: BatchStatus) -> str:
    cost, quote = money(status.cost), status.quote
    return cost if quote is None else f"{cost} of {range_of(quote.low, quote.high, roughly)}"


def _state(status: BatchStatus) -> str:
    state = status.state.replace("_", " ")
    return f"{state}: {status.paused_reason}" if status.paused_reason else state


def ended(status: BatchStatus, failures: Mapping[str, int]) -> str:
    """Return how a batch ended; `failures` counts its rows' error codes."""
    codes = ", ".join(f"{count:,} {code}" for code, count in sorted(failures.items(), key=lambda pair: -pair[1]))
    counts = {"failed": status.failed, "expired": status.expired, "cancelled": status.cancelled}
    told = [f"{status.succeeded:,} ok", *(f"{count:,} {what}" for what, count in counts.items() if count)]
    cost = f"{money(status.cost)}{f', {status.unpriced:,} unpriced' if status.unpriced else ''}"
    first = "done" if status.state == "completed" else status.state
    return f"{first}: {', '.join(told)}{f' ({codes})' if codes else ''} · {cost}"
