"""Every control by mouse and by keyboard, every view without a fault that keeps somebody out, and fast."""

import time
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.browser.conftest import Opened, Shown
from tests.browser.dashboard import Dashboard
from tests.stack import Client, Simulator

VIEWS = ("overview", "explore", "runs", "run", "latency")
FIRST_VIEW_SECONDS = 3
"""Of a page that is asked for the first time, with two cores that other tests use as well."""


def choose(page: Page, control: str, value: str, by: str) -> None:
    """Choose an option: by mouse as a browser does it, by keyboard with the option's first letters."""
    if by == "mouse":
        page.select_option(control, value)
        return
    text = page.locator(f'{control} option[value="{value}"]').inner_text()
    page.focus(control)
    page.keyboard.type(text)
    if page.input_value(control) != value:
        page.keyboard.press("Enter")


def press(page: Page, control: str, by: str) -> None:
    if by == "mouse":
        page.click(control)
    else:
        page.focus(control)
        page.keyboard.press("Enter")


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_period_and_zone_are_in_the_address(dashboard: Dashboard, by: str) -> None:
    page = dashboard.open("overview")
    assert "tz=Europe%2FBerlin" in page.url
    assert "period=30d" in page.url
    choose(page, "#period", "90d", by)
    page.wait_for_url("**period=90d**")
    dashboard.settled()
    assert page.evaluate("document.activeElement.id") == (
        "period" if by == "keyboard" else page.evaluate("document.activeElement.id")
    )
    choose(page, "#tz", "UTC", by)
    page.wait_for_url("**tz=UTC**")
    dashboard.settled()
    page.go_back()
    page.wait_for_url("**tz=Europe**")
    dashboard.settled()
    assert page.input_value("#tz") == "Europe/Berlin"


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_filter_is_added_and_taken_out(dashboard: Dashboard, shown: Shown, by: str) -> None:
    page = dashboard.open("explore", period="30d", tz="UTC", by="model")
    press(page, ".adder summary", by)
    choose(page, "#filter-by", "user", by)
    page.fill("#filter-value", "ada")
    if by == "mouse":
        page.click("text=Add filter >> visible=true")
    else:
        page.keyboard.press("Enter")
    page.wait_for_url("**user=ada**")
    dashboard.settled()
    totals = shown.usage(period="30d", tz="UTC", user="ada", by="model")
    assert len(dashboard.rows("#groups")) == len(totals["groups"])
    press(page, ".chip button", by)
    page.wait_for_function("() => !location.hash.includes('user=')")
    dashboard.settled()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_what_is_explored_can_be_changed(dashboard: Dashboard, by: str) -> None:
    page = dashboard.open("explore", period="30d", tz="UTC")
    for control, value in (("#by-0", "provider"), ("#by-1", "day"), ("#measure", "totalTokens"), ("#top", "25")):
        choose(page, control, value, by)
        page.wait_for_function("value => location.hash.includes('=' + value)", arg=value)
        dashboard.settled()
    press(page, "label.tick" if by == "mouse" else "#compare", by) if by == "mouse" else page.locator("#compare").press(
        "Space"
    )
    page.wait_for_url("**compare=true**")
    dashboard.settled()
    dashboard.drawn("Tokens")


def test_a_table_is_sorted_by_its_headings(dashboard: Dashboard) -> None:
    page = dashboard.open("explore", period="30d", tz="UTC", by="model")

    def runs() -> list[int]:
        return [int(row[3].replace(",", "")) for row in dashboard.rows("#groups")]

    heading = page.locator("#groups thead").get_by_role("button", name="Runs", exact=True)
    heading.focus()
    page.keyboard.press("Enter")
    assert runs() == sorted(runs(), reverse=True)
    assert page.locator("#groups th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.locator("#groups th[aria-sort] button").click()
    assert runs() == sorted(runs())


def test_days_of_ones_own(dashboard: Dashboard, shown: Shown) -> None:
    page = dashboard.open("overview", tz="UTC")
    page.select_option("#period", "custom")
    dashboard.settled()
    start, end = shown.usage(period="7d", tz="UTC")["start"], shown.usage(period="7d", tz="UTC")["end"]
    page.fill("#from", start)
    page.locator("#from").press("Tab")
    page.wait_for_url(f"**from={start}**")
    dashboard.settled()
    page.fill("#to", end)
    page.locator("#to").press("Tab")
    page.wait_for_url(f"**to={end}**")
    dashboard.settled()
    assert int(dashboard.card("Runs").replace(",", "")) == shown.usage(period="7d", tz="UTC")["totals"]["runs"]


def test_a_bar_leads_to_its_runs(dashboard: Dashboard) -> None:
    page = dashboard.open("overview", period="30d", tz="UTC")
    dashboard.drawn("Cost over time")
    bar = page.locator("figure", has_text="Cost over time").locator(".bars .point path").nth(20)
    box = bar.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**#runs?**from=**")
    dashboard.settled()


def test_a_run_is_rated_and_the_rating_stays(opened: Opened, client: Client, unique: str) -> None:
    run = client.run("openai", "gpt-4o-mini", unique).data["runId"]
    client.ended(run)
    dashboard = opened(token=client.token)
    page = dashboard.open("run", id=run)
    page.fill("#note", "helped")
    page.locator("#rate-good").press("Enter")
    page.locator("#outcome .badge.good").wait_for()
    page.locator("#rate-bad").click()
    page.locator("#outcome .badge.bad").wait_for()
    assert client.call("GET", f"/api/runs/{run}").data["outcome"]["success"] is False


def test_figures_follow_what_happens(opened: Opened, client: Client, simulator: Simulator, unique: str) -> None:
    dashboard = opened(token=client.token)
    page = dashboard.open("overview", period="7d")
    page.get_by_text("No runs on these days").wait_for()
    client.run("openai", "gpt-4o-mini", unique)
    page.locator(".card .figure").first.wait_for(timeout=25_000)
    assert dashboard.card("Runs") == "1"
    assert "Data through" in page.locator(".completeness").inner_text()


def test_figures_that_cannot_be_renewed_are_said_to_be_old(dashboard: Dashboard) -> None:
    page = dashboard.open("overview", period="7d")
    shown = dashboard.card("Runs")
    page.route(
        "**/api/analytics/**",
        lambda route: route.fulfill(status=503, json={"success": False, "error": "away.", "code": "unavailable"}),
    )
    dashboard.expected = {503}
    page.locator(".stale", has_text="These figures are of").wait_for(timeout=20_000)
    assert dashboard.card("Runs") == shown
    page.unroute("**/api/analytics/**")
    page.locator(".stale").wait_for(state="detached", timeout=20_000)


def test_an_error_says_what_happened_and_is_tried_again(dashboard: Dashboard) -> None:
    away: dict[str, Any] = {
        "status": 503,
        "json": {"success": False, "error": "analytics is away.", "code": "unavailable"},
    }
    page = dashboard.open("runs")
    dashboard.expected = {503}
    page.route("**/api/analytics/**", lambda route: route.fulfill(**away))
    page.click("nav a:text-is('Explore')")
    page.get_by_role("alert").filter(has_text="analytics is away.").wait_for()
    page.unroute("**/api/analytics/**")
    page.click("text=Try again")
    page.locator("#groups").wait_for()


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("dark", 1440),
        ("light", 360),
        pytest.param("light", 1440, marks=pytest.mark.soak),
        pytest.param("dark", 360, marks=pytest.mark.soak),
    ],
)
def test_nothing_keeps_anybody_out_of_any_view(opened: Opened, shown: Shown, theme: str, width: int) -> None:
    dashboard = opened(
        color_scheme=theme, viewport={"width": width, "height": 800}, bypass_csp=True
    )  # axe is a script put in
    found = {}
    for view in VIEWS:
        params = {"id": str(shown.events[3].run_id)} if view == "run" else {"period": "30d"}
        page = dashboard.open(view, **params)
        for title in ("Cost over time",) if view == "overview" else ():
            dashboard.drawn(title)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
        serious = [
            fault for fault in Axe().run(page).response["violations"] if fault["impact"] in ("serious", "critical")
        ]
        found.update({f"{view}: {fault['id']}": [node["html"] for node in fault["nodes"]][:3] for fault in serious})
    assert found == {}


def test_everything_can_be_reached_by_the_tab_key_and_is_seen_to_be(dashboard: Dashboard) -> None:
    page = dashboard.open("overview", period="30d")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width != "0px", page.evaluate("document.activeElement.outerHTML")
    assert {"period", "tz", "export"} <= reached


def test_the_first_view_waits_for_no_chart(opened: Opened) -> None:
    dashboard = opened()
    began = time.monotonic()
    page = dashboard.open("overview", period="30d")
    seconds = time.monotonic() - began
    dashboard.drawn("Cost over time")
    sizes = page.evaluate("performance.getEntriesByType('resource').map(r => [r.name, r.transferSize, r.startTime])")
    [charts] = [entry for entry in sizes if "/assets/charts-" in entry[0]]
    before = sum(entry[1] for entry in sizes if entry[2] < charts[2] and "/api/" not in entry[0])
    print(f"first view {seconds:.2f} s, {before:,} bytes before charts, {charts[1]:,} for charts")
    assert seconds < FIRST_VIEW_SECONDS
    assert before < 100_000
    assert charts[1] < 1_700_000
