"""Provider keys in the browser: connected without a trace, tested, rotated, deactivated, by mouse and by keyboard."""

import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect
from tests.browser.desk import Desk
from tests.stack import Client

KEYS = "/api/integrations/keys"
DeskOf = Callable[..., Desk]


@pytest.fixture
def secret() -> str:
    return f"key-{uuid.uuid4().hex}"


def connect(desk: Desk, secret: str) -> None:
    """Fill the open form in by keyboard alone, and send it."""
    field = desk.dialog().get_by_label("API key")
    field.focus()
    desk.page.keyboard.type(secret)
    assert field.get_attribute("type") == "password"
    desk.page.keyboard.press("Enter")


def test_a_key_is_connected_and_leaves_no_trace_in_the_page(stranger: Client, desk_of: DeskOf, secret: str) -> None:
    desk = desk_of(stranger)
    page = desk.go("keys")
    expect(page.get_by_role("heading", name="No key is connected")).to_be_visible()
    page.get_by_role("button", name="Connect a key").click()
    desk.dialog().get_by_label("Provider").select_option("openai")
    desk.blameless()
    connect(desk, secret)
    desk.says("openai accepted the key")
    (key,) = desk.get(KEYS)
    row = page.get_by_role("row").nth(1)
    for text in ("openai", "default", f"…{secret[-4:]}", "active", "never"):
        expect(row).to_contain_text(text)
    assert not desk.holds(secret)
    assert key["verified"] is True
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_refused_key_is_said_and_gone_from_the_field(stranger: Client, desk_of: DeskOf, secret: str) -> None:
    desk = desk_of(stranger)
    page = desk.go("keys")
    page.locator("#connect").focus()
    page.keyboard.press("Enter")
    connect(desk, f"refused-{secret}")
    expect(desk.dialog().get_by_role("alert")).to_have_text("Invalid API key", timeout=20_000)
    expect(desk.dialog().get_by_label("API key")).to_have_value("")
    assert not desk.holds(secret)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#connect")).to_be_focused()
    assert desk.get(KEYS) == []


def test_a_key_is_tested_rotated_looked_into_and_deactivated(stranger: Client, desk_of: DeskOf, secret: str) -> None:
    assert stranger.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
    desk = desk_of(stranger)
    page = desk.go("keys")
    page.get_by_role("button", name="Test openai key “default”").click()
    expect(page.get_by_text("accepted just now")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Rotate openai key “default”").click()
    expect(desk.dialog().get_by_label("Provider")).to_be_disabled()
    connect(desk, secret)
    expect(page.get_by_role("row").nth(1)).to_contain_text(secret[-4:], timeout=20_000)
    versions = page.get_by_role("button", name="Versions of openai key “default”")
    versions.focus()
    page.keyboard.press("Enter")
    expect(desk.dialog().get_by_role("row")).to_have_count(3)
    desk.blameless()
    page.keyboard.press("Escape")
    off = page.get_by_role("button", name="Deactivate openai key “default”")
    off.click()
    page.keyboard.press("Enter")  # the button that has the focus is the one that changes nothing
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [key["isActive"] for key in desk.get(KEYS)] == [True]
    off.click()
    desk.dialog().get_by_role("button", name="Deactivate").click()
    desk.says("is deactivated")
    expect(page.get_by_text("1 deactivated")).to_be_visible()
    assert [key["isActive"] for key in desk.get(KEYS)] == [False]


def test_a_viewer_sees_keys_and_changes_none(client: Client, desk_of: DeskOf) -> None:
    desk = desk_of(client.issued("viewer"))
    page = desk.go("keys")
    expect(page.get_by_role("row")).to_have_count(3)
    for name in ("Connect a key", "Test", "Rotate", "Deactivate"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    desk.blameless()


def test_loading_and_an_error_are_shown_and_tried_again(stranger: Client, desk_of: DeskOf) -> None:
    desk = desk_of(stranger)
    held: list[Route] = []
    desk.page.route(f"**{KEYS}", held.append)
    desk.page.goto("/#keys")
    expect(desk.page.get_by_text("Loading…")).to_be_visible()
    desk.page.wait_for_function("() => true")
    body = '{"success": false, "error": "the vault does not answer", "code": "unavailable"}'
    held[0].fulfill(status=503, content_type="application/json", body=body)
    expect(desk.page.get_by_role("alert")).to_contain_text("the vault does not answer")
    desk.blameless()
    desk.page.unroute(f"**{KEYS}")
    desk.page.get_by_role("button", name="Try again").click()
    expect(desk.page.get_by_role("heading", name="No key is connected")).to_be_visible()


def test_the_first_steps_lead_from_no_key_to_a_run_and_its_cost(
    stranger: Client, desk_of: DeskOf, secret: str, unique: str
) -> None:
    desk = desk_of(stranger)
    page = desk.go("start")
    expect(page.get_by_text("Once a key is connected")).to_be_visible()
    desk.blameless()
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Connected: anthropic").or_(page.get_by_text("Connected: openai"))).to_be_visible(
        timeout=20_000
    )
    assert not desk.holds(secret)
    model = page.get_by_label("Model")
    assert len(model.locator("option").all()) == len(desk.get("/api/models"))
    page.get_by_label("Prompt").fill(f"{unique} first")
    page.get_by_role("button", name="Run it").focus()
    page.keyboard.press("Enter")
    answer = page.locator(".answer")
    expect(answer).to_contain_text(unique, timeout=20_000)
    expect(answer).to_contain_text("It cost")
    run_id = answer.get_by_role("link", name="See this run").get_attribute("href")
    assert run_id is not None
    run = stranger.ended(run_id.partition("id=")[2])
    assert run["cost"] > 0
    shown = answer.locator("dd").first.inner_text()
    assert float(shown.lstrip("$")) == pytest.approx(float(run["cost"]), abs=5e-7)
    desk.blameless()
