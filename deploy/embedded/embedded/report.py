"""The overview as a picture for the terminal."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from embedded.books import Books, Sums

BAR_COLUMNS = 18
DAYS_SHOWN = 7
PROMPTS_SHOWN = 5


def show_overview(console: Console, data: Mapping[str, Any], caption: str) -> None:
    """Print totals, models, the latest days and the costliest prompts."""
    console.rule(caption)
    console.print(_totals(data["overview"]))
    console.print(_models(data["modelBreakdown"]))
    console.print(_days(data["timeSeries"][-DAYS_SHOWN:]))
    console.print(_prompts(data["expensivePrompts"][:PROMPTS_SHOWN]))


def show_agreement(console: Console, answers: Books, overview: Books) -> bool:
    """Say whether the overview equals the sum of the runs' own answers, to the last digit; if not, show where."""
    told, shown = _total(answers), _total(overview)
    if answers == overview:
        console.print(
            f"[green]The books agree[/]: {shown.runs} runs, {shown.tokens:,} tokens and ${shown.cost:f} in the "
            "overview equal the sum of the runs' own answers, to the last digit, model by model.\n",
            highlight=False,
        )
        return True
    console.print(_differences(answers, overview))
    console.print(f"[red]The books differ[/]: the answers add up to {told}, the overview has {shown}.\n")
    return False


def dollars(amount: Decimal) -> str:
    """Return an amount for reading: cents, or as many digits as a small amount needs."""
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.6f}"


def _total(books: Books) -> Sums:
    return sum(books.values(), start=Sums())


def _totals(totals: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 4))
    table.add_row(
        "[b]runs", "[b]cost", "[b]tokens", "[b]cost per run", "[b]succeeded", "[b]latency", "[b]unpriced runs"
    )
    table.add_row(
        f"{totals['totalRuns']:,}",
        dollars(Decimal(totals["totalCost"])),
        f"{totals['totalTokens']:,}",
        dollars(Decimal(totals["avgCostPerRun"])),
        f"{totals['successRate']:.1f} %",
        f"{totals['avgLatency']:.0f} ms",
        f"{totals['unpricedRuns']:,}",
    )
    return table


def _models(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("By model", "model", "runs", "tokens", "cost")
    highest = max((Decimal(row["cost"]) for row in rows), default=Decimal(0))
    for row in rows:
        cost = Decimal(row["cost"])
        shown = "unpriced" if row["unpricedRuns"] == row["runs"] else dollars(cost)
        table.add_row(row["model"], f"{row['runs']:,}", f"{row['tokens']:,}", shown, _bar(cost, highest))
    return table


def _days(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("By day (UTC)", "day", "runs", "tokens", "cost")
    highest = max((Decimal(row["cost"]) for row in rows), default=Decimal(0))
    for row in rows:
        cost = Decimal(row["cost"])
        table.add_row(row["date"], f"{row['runs']:,}", f"{row['tokens']:,}", dollars(cost), _bar(cost, highest))
    return table


def _prompts(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Costliest prompts", "prompt", "runs", "each", "cost")
    highest = max((Decimal(row["totalCost"]) for row in rows), default=Decimal(0))
    for row in rows:
        cost = Decimal(row["totalCost"])
        table.add_row(
            row["promptId"], f"{row['runs']:,}", dollars(Decimal(row["avgCost"])), dollars(cost), _bar(cost, highest)
        )
    return table


def _differences(answers: Books, overview: Books) -> Table:
    table = Table("model", "the answers say", "the overview says", title="Where the books differ")
    for model in sorted(answers.keys() | overview.keys()):
        told, shown = answers.get(model), overview.get(model)
        if told != shown:
            table.add_row(model, str(told), str(shown))
    return table


def _table(title: str, name: str, *figures: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(name)
    for figure in figures:
        table.add_column(figure, justify="right")
    table.add_column("", width=BAR_COLUMNS)
    return table


def _bar(amount: Decimal, highest: Decimal) -> Bar:
    return Bar(float(highest) or 1, 0, float(amount), width=BAR_COLUMNS, color="cyan")
