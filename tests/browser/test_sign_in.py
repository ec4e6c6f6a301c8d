"""Who gets in, how, and what another site could do with their session."""

import re

from tests.browser.conftest import Opened, Shown
from tests.browser.dashboard import Dashboard
from tests.stack import Stack, request


def signed_in(dashboard: Dashboard, token: str) -> None:
    dashboard.page.fill("#token", token)
    dashboard.page.keyboard.press("Enter")


def test_a_token_opens_the_dashboard_and_is_in_no_address_and_no_storage(opened: Opened, shown: Shown) -> None:
    dashboard = opened(token=None)
    page = dashboard.page
    page.goto(dashboard.url)
    page.locator("#token").wait_for()
    assert page.evaluate("document.activeElement.id") == "token"
    signed_in(dashboard, shown.client.token)
    dashboard.settled()
    assert page.title() == "Overview · Tallyrun"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert shown.client.token not in kept
    assert not [answer.url for answer in dashboard.requested if shown.client.token in answer.url]
    [cookie] = dashboard.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert shown.client.token not in cookie["value"]


def test_a_wrong_token_is_refused_and_says_so(opened: Opened) -> None:
    dashboard = opened(token=None)
    dashboard.expected = {401}
    dashboard.page.goto(dashboard.url)
    dashboard.page.locator("#token").wait_for()
    signed_in(dashboard, "tally_of-nobody")
    refused = dashboard.page.get_by_role("alert")
    refused.filter(has_text=re.compile("wrong, revoked or expired")).wait_for()
    assert dashboard.context.cookies() == []


def test_signing_out_ends_it_here(dashboard: Dashboard) -> None:
    page = dashboard.open("runs")
    page.click("#sign-out")
    page.locator("#token").wait_for()
    assert dashboard.context.cookies() == []
    page.reload()
    page.locator("#token").wait_for()


def test_a_sign_out_that_fails_says_so_and_nobody_takes_it_for_done(dashboard: Dashboard) -> None:
    page = dashboard.open("runs")
    dashboard.expected = {503}
    away = {"success": False, "error": "The gateway is away.", "code": "unavailable"}
    page.route("**/api/session", lambda route: route.fulfill(status=503, json=away))
    page.click("#sign-out")
    page.get_by_role("status").filter(has_text="The gateway is away.").wait_for()
    assert page.locator("#token").count() == 0
    assert len(dashboard.context.cookies()) == 1


def test_a_session_that_ends_asks_again_and_goes_on_where_it_was(dashboard: Dashboard, shown: Shown) -> None:
    page = dashboard.open("runs", period="7d")
    dashboard.expected = {401}
    dashboard.context.clear_cookies()
    page.select_option("#period", "90d")
    page.locator("#token").wait_for()
    signed_in(dashboard, shown.client.token)
    dashboard.settled()
    assert "period=90d" in page.url
    assert page.locator("h1").inner_text() == "Runs"


def test_another_site_changes_nothing(opened: Opened, stack: Stack) -> None:
    dashboard = opened()
    page = dashboard.open("runs")
    [cookie] = dashboard.context.cookies()
    session = {"cookie": f"{cookie['name']}={cookie['value']}"}
    body = {"name": "x", "role": "viewer"}
    for headers in ({"origin": "http://evil.example"}, {"origin": stack.url, "sec-fetch-site": "same-site"}, {}):
        answer = request("POST", f"{stack.url}/api/tokens", body, {**session, **headers})
        assert (answer.status, answer.body["code"]) == (403, "forbidden"), headers
    by_page = (
        "fetch('/api/tokens', {method: 'POST', body: JSON.stringify({name: 'x', role: 'viewer'})}).then(a => a.status)"
    )
    assert page.evaluate(by_page) == 201


def test_a_viewer_sees_figures_and_no_administration(opened: Opened, shown: Shown) -> None:
    page = opened(token=shown.client.issued("viewer").token).open("overview")
    views = page.locator("nav[aria-label=Views] a").all_inner_texts()
    assert "Runs" in views
    assert not {"Members", "Grants", "Rejected"} & set(views)
    page.goto(f"{page.url.partition('#')[0]}#tokens")
    page.get_by_text("This page is not for your role").wait_for()


def test_the_theme_can_be_chosen_and_stays(dashboard: Dashboard) -> None:
    page = dashboard.open("runs")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.focus("#theme")
    for _ in range(2):
        page.keyboard.press("Enter")
    assert page.locator("#theme").inner_text() == "Theme: dark"
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    dashboard.settled()
    assert page.evaluate(background) == dark
