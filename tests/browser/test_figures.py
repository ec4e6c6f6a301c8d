"""The page's figures are the API's: card = chart = table = CSV, to the micro-dollar, in any time zone."""

import csv
import io
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.browser.conftest import Shown
from tests.browser.dashboard import Dashboard

MICRO = Decimal("0.000001")
QUESTION = {"period": "30d", "tz": "Europe/Berlin"}


def dollars(text: str) -> Decimal:
    """Read an amount as the page writes it."""
    return Decimal(text.replace("US$", "").replace("$", "").replace(",", ""))


def number(text: str) -> int:
    return int(text.replace(",", ""))


def saved(page: Page) -> list[dict[str, str]]:
    """Return the rows of the view's own CSV."""
    page.click("#export")
    with page.expect_download() as waiting:
        page.click("#save-csv")
    return list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))


def drawn(page: Page, title: str, trace: int = 0) -> list[float]:
    """Return the numbers that a chart has drawn."""
    chart = page.locator("figure", has_text=title).locator(".chart")
    values: list[float] = chart.evaluate(f"chart => Array.from(chart.data[{trace}].y)")
    return values


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata"])
def test_card_chart_table_and_csv_are_the_apis(dashboard: Dashboard, shown: Shown, zone: str) -> None:
    page = dashboard.open("overview", period="30d", tz=zone)
    dashboard.drawn("Cost over time")
    answer = shown.usage(period="30d", tz=zone, by="day", compare="true")
    totals = answer["totals"]
    exact = Decimal(page.locator("[data-exact]").get_attribute("data-exact") or "")
    assert exact == pytest.approx(totals["cost"], rel=Decimal("1e-15"))
    cost = dollars(dashboard.card("Cost"))
    assert cost == totals["cost"].quantize(cost, ROUND_HALF_UP)
    assert number(dashboard.card("Runs")) == totals["runs"]
    assert number(dashboard.card("Unpriced runs")) == totals["unpricedRuns"] > 0
    assert number(dashboard.card("Repeats")) == totals["repeatedExecutions"] > 0
    by_day = {group["by"]["day"]: group["cost"] for group in answer["groups"]}
    rows = saved(page)
    assert len(rows) == 30
    assert {row["day"]: Decimal(row["cost_usd"]) for row in rows if Decimal(row["cost_usd"])} == pytest.approx(
        {day: cost for day, cost in by_day.items() if cost}
    )
    assert sum(Decimal(row["cost_usd"]) for row in rows) == pytest.approx(totals["cost"], rel=Decimal("1e-14"))
    assert sum(int(row["runs"]) for row in rows) == totals["runs"]
    bars = drawn(page, "Cost over time")
    assert bars == pytest.approx([float(row["cost_usd"]) for row in rows])
    page.locator("figure", has_text="Cost over time").locator("summary").click()
    table = dashboard.rows("figure:has-text('Cost over time') details")
    assert [dollars(row[1]) for row in table] == [
        Decimal(row["cost_usd"]).quantize(MICRO, ROUND_HALF_UP) for row in rows
    ]


def test_missing_sums_are_zeros_and_missing_means_are_gaps(dashboard: Dashboard, shown: Shown) -> None:
    page = dashboard.open("overview", period="7d", tz="UTC")
    dashboard.drawn("Mean latency over time")
    of_day = {group["by"]["day"]: group for group in shown.usage(period="7d", tz="UTC", by="day")["groups"]}
    rows = saved(page)
    quiet = [place for place, row in enumerate(rows) if row["day"] not in of_day]
    assert quiet, "the history has days on which nothing ran"
    latencies = drawn(page, "Mean latency over time")
    assert [latencies[place] for place in quiet] == [None] * len(quiet)
    assert [drawn(page, "Runs over time")[place] for place in quiet] == [0] * len(quiet)
    assert [rows[place]["runs"] for place in quiet] == ["0"] * len(quiet)
    assert [rows[place]["avg_latency_ms"] for place in quiet] == [""] * len(quiet)


def test_the_day_that_is_not_over_is_pale_and_the_period_before_dotted(dashboard: Dashboard) -> None:
    page = dashboard.open("overview", **QUESTION)
    dashboard.drawn("Cost over time")
    chart = page.locator("figure", has_text="Cost over time").locator(".chart")
    opacity = chart.evaluate("chart => Array.from(chart.data[0].marker.opacity)")
    assert opacity[-1] < 1
    assert set(opacity[:-1]) == {1}
    assert chart.evaluate("chart => chart.data[1].line.dash") == "dot"


def test_models_and_explore_agree_and_say_how_many_are_shown(dashboard: Dashboard, shown: Shown) -> None:
    dashboard.open("explore", **QUESTION, by="model", top=3)
    answer = shown.usage(**QUESTION, by="model", top=3)
    page = dashboard.page
    page.get_by_text(f"3 of {answer['values']}, the costliest").wait_for()
    rows = dashboard.rows("#groups")
    assert [row[0] for row in rows] == [group["by"]["model"] or "Other" for group in answer["groups"]]
    csv_rows = saved(page)
    assert [Decimal(row["cost_usd"]) for row in csv_rows] == [pytest.approx(g["cost"]) for g in answer["groups"]]
    assert sum(Decimal(row["cost_usd"]) for row in csv_rows) == pytest.approx(answer["totals"]["cost"])


def test_two_dimensions_and_the_period_before(dashboard: Dashboard, shown: Shown) -> None:
    dashboard.open("explore", **QUESTION, by=["label:team", "model"], top=100, compare="true")
    answer = shown.usage(**QUESTION, by=["label:team", "model"], top=100)
    rows = dashboard.rows("#groups")
    assert [row[:2] for row in rows] == [
        [g["by"]["label:team"] or "(none)", g["by"]["model"]] for g in answer["groups"]
    ]
    assert any(row[-1].endswith("%") for row in rows)


def test_a_figure_leads_to_its_runs_and_to_one_run_in_two_clicks(dashboard: Dashboard, shown: Shown) -> None:
    page = dashboard.open("overview", **QUESTION)
    model = page.locator("#models tbody a").first
    name = model.inner_text()
    model.click()
    page.locator("h1", has_text="Runs").wait_for()
    dashboard.settled()
    rows = dashboard.rows("#runs")
    assert rows
    assert {row[2].split()[0] for row in rows} == {name}
    page.locator("#runs tbody a").first.click()
    page.locator("h1:text-is('Run')").wait_for()
    dashboard.settled()
    run = shown.client.call("GET", f"/api/runs/{page.locator('h2.mono').inner_text()}").data
    assert run["model"] == name
    assert len(dashboard.rows("#attempts")) == len(run["attempts"])


def test_pages_of_runs_hold_every_run_once(dashboard: Dashboard, shown: Shown) -> None:
    page = dashboard.open("runs", **QUESTION, status="failed")
    total = shown.usage(**QUESTION, status="failed")["totals"]["runs"]
    seen: list[str] = []
    while True:
        seen += page.locator("#runs tbody a").evaluate_all(
            "links => links.map(link => link.href.match(/id=([^&]+)/)[1])"
        )
        older = page.locator("#older")
        if not older.count():
            break
        first = page.locator("#runs tbody a").first.get_attribute("href")
        older.click()
        page.wait_for_function(
            "first => document.querySelector('#runs tbody a').getAttribute('href') !== first", arg=first
        )
        dashboard.settled()
    assert len(seen) == len(set(seen)) == total > 0


def test_percentiles_and_errors_are_the_apis(dashboard: Dashboard, shown: Shown) -> None:
    dashboard.open("latency", **QUESTION)
    answer: Any = shown.client.call("GET", "/api/analytics/latency?period=30d&tz=Europe/Berlin&by=model").data
    assert [number(row[1]) for row in dashboard.rows("#percentiles")] == [group["runs"] for group in answer["groups"]]
    errors = shown.usage(**QUESTION, by="error", status=["failed", "expired", "cancelled"])["groups"]
    counted = {row[0]: number(row[1]) for row in dashboard.rows("#errors")}
    assert counted == {group["by"]["error"]: group["runs"] for group in errors}
    assert len(counted) > 1
