"""Batches in the browser: quoted, submitted, watched, steered; figures equal the API's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.desk import PATIENCE_MS, Desk
from tests.stack import Client, Simulator, until

DeskOf = Callable[..., Desk]
ENDED_MS = 60_000


def line(number: int, text: str, **fields: Any) -> str:
    body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": f"{text} {number}"}]}
    row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps({**row, **fields})


FORM = "multipart/form-data; boundary=x"


def form(content: str) -> bytes:
    """Return an upload as a browser writes it."""
    parts = (("purpose", "", "batch"), ("file", '; filename="in.jsonl"', content))
    head = '--x\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    return ("".join(head.format(*part) for part in parts) + "--x--\r\n").encode()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[list[str]], Path]:
    """Write lines into a file."""

    def write(lines: list[str]) -> Path:
        path = tmp_path / "in.jsonl"
        path.write_text("\n".join(lines))
        return path

    return write


def choose(desk: Desk, path: Path) -> None:
    """Open the form and choose a file."""
    desk.go("batches")
    desk.page.locator("#new-batch").click()
    desk.page.get_by_label("Choose a file").set_input_files(str(path))


def submit(desk: Desk, **fields: str) -> str:
    """Fill in the terms, submit, and return the batch's id."""
    for label, value in fields.items():
        desk.page.locator(f"#{label.replace('_', '-')}").fill(value)
    desk.page.get_by_role("button", name="Submit").click()
    desk.page.wait_for_url("**/#batch?id=*", timeout=PATIENCE_MS)
    return desk.page.url.partition("id=")[2]


def state(desk: Desk, word: str) -> None:
    """Wait until the batch is shown in this state."""
    expect(desk.page.locator(".title .badge")).to_have_text(word, timeout=ENDED_MS)


def card(desk: Desk, name: str) -> str:
    """Return the figure under this name."""
    return desk.page.locator(".card", has=desk.page.locator("dt", has_text=name)).locator("dd").first.inner_text()


def test_lines_that_are_wrong_are_named_and_nothing_can_be_submitted(
    client: Client, desk_of: DeskOf, file: Callable[[list[str]], Path], unique: str
) -> None:
    desk = desk_of(client)
    choose(desk, file([line(1, unique), "nonsense", line(3, unique, method="GET"), line(1, unique)]))
    faults = desk.page.locator("table", has_text="What is wrong").locator("tbody tr")
    expect(faults).to_have_count(3, timeout=PATIENCE_MS)
    assert [row.locator("th").inner_text() for row in faults.all()] == ["2", "3", "4"]
    expect(desk.page.get_by_role("button", name="Submit")).to_have_count(0)
    desk.blameless()
    assert desk.get("/api/batches")["batches"] == []


def test_from_a_file_to_its_quote_its_figures_and_its_results(
    client: Client, desk_of: DeskOf, file: Callable[[list[str]], Path], simulator: Simulator, unique: str
) -> None:
    simulator.when(f"{unique} 3", kind="bad_request")
    desk = desk_of(client)
    choose(desk, file([line(n, unique) for n in range(30)]))
    expect(desk.page.locator(".figure")).to_contain_text("$", timeout=PATIENCE_MS)
    desk.blameless()
    quoted = desk.page.locator(".figure strong").inner_text()
    batch_id = submit(desk, name="nightly", labels="team=search env=prod", max_cost="1.50")
    state(desk, "completed")
    batch = desk.get(f"/api/batches/{batch_id}")
    assert (batch["name"], batch["labels"], batch["maxCost"]) == ("nightly", {"team": "search", "env": "prod"}, 1.5)
    assert (card(desk, "Done"), card(desk, "Failed")) == ("30", str(batch["failed"]))
    assert batch["failed"] == 1
    assert float(card(desk, "Cost").lstrip("$")) == pytest.approx(float(batch["cost"]), abs=5e-7)
    low, high = (float(part.lstrip("$")) for part in quoted.split(" – "))
    assert (low, high) == pytest.approx((float(batch["quote"]["low"]), float(batch["quote"]["high"])), abs=5e-7)
    desk.blameless()


def test_results_are_filtered_followed_and_downloaded(
    client: Client, desk_of: DeskOf, file: Callable[[list[str]], Path], simulator: Simulator, unique: str
) -> None:
    simulator.when(f"{unique} 7", kind="bad_request")
    desk = desk_of(client)
    choose(desk, file([line(n, unique) for n in range(40)]))
    expect(desk.page.locator("#name")).to_be_visible(timeout=PATIENCE_MS)
    batch_id = submit(desk)
    state(desk, "completed")
    rows = desk.page.locator("table", has_text="Answer").locator("tbody tr")
    expect(rows).to_have_count(25, timeout=PATIENCE_MS)
    desk.page.locator("#more").focus()
    desk.page.keyboard.press("Enter")
    expect(rows).to_have_count(40)
    assert len({row.locator("th").inner_text() for row in rows.all()}) == 40
    desk.page.locator("#only").select_option("failed")
    expect(rows).to_have_count(1, timeout=PATIENCE_MS)
    expect(rows).to_contain_text("provider_rejected")
    with desk.page.expect_download() as download:
        desk.page.locator("#download").click()
    (failed,) = Path(download.value.path()).read_text().splitlines()
    assert (json.loads(failed)["customId"], download.value.suggested_filename) == ("row-7", f"{batch_id}-failed.jsonl")
    desk.page.locator("#retry").click()
    expect(desk.dialog().get_by_label("failed (1)")).to_be_checked()
    desk.blameless()
    desk.dialog().get_by_role("button", name="Run again").click()
    desk.page.wait_for_url(lambda url: batch_id not in url)
    assert desk.get(f"/api/batches/{desk.page.url.partition('id=')[2]}")["retryOf"] == batch_id


def test_a_batch_is_paused_resumed_and_cancelled_by_keyboard(
    client: Client, desk_of: DeskOf, file: Callable[[list[str]], Path], simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=800)
    desk = desk_of(client)
    choose(desk, file([line(n, unique) for n in range(400)]))
    expect(desk.page.locator("#name")).to_be_visible(timeout=PATIENCE_MS)
    path = f"/api/batches/{submit(desk)}"
    state(desk, "in progress")
    until(lambda: card(desk, "In flight") != "0", "rows are in flight")
    for verb, word in (("pause", "paused"), ("resume", "in progress")):
        desk.page.locator(f"#{verb}").focus()
        desk.page.keyboard.press("Enter")
        state(desk, word)
    desk.page.locator("#cancel").click()
    expect(desk.dialog()).to_contain_text("It cannot be resumed")
    desk.page.keyboard.press("Tab")
    desk.page.keyboard.press("Enter")
    state(desk, "cancelled")
    batch = desk.get(path)
    assert batch["succeeded"] + batch["cancelled"] == 400
    assert batch["cancelled"] > 0


def test_batches_are_found_by_state_and_label(client: Client, desk_of: DeskOf, unique: str) -> None:
    desk = desk_of(client, width=360)
    page = desk.go("batches")
    expect(page.get_by_role("heading", name="No batch yet")).to_be_visible()
    file = client.call("POST", "/v1/files", form(line(1, unique)), content_type=FORM).body["id"]
    for team in ("search", "shop"):
        client.call("POST", "/api/batches", {"fileId": file, "name": team, "labels": {"team": team}})
    page.reload()
    desk.shown()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_label("Labels").fill("team=shop")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_role("heading", name="No batch fits")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(2)
    desk.blameless()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.set_viewport_size({"width": 1280, "height": 800})
    content, table = (page.locator(part).bounding_box() for part in ("main", "main table"))
    assert content is not None
    assert table is not None
    assert table["width"] > 0.95 * content["width"]  # a wide page is not for nothing


def test_figures_that_stand_still_say_since_when(
    client: Client, desk_of: DeskOf, file: Callable[[list[str]], Path], simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=800)
    desk = desk_of(client)
    choose(desk, file([line(n, unique) for n in range(200)]))
    expect(desk.page.locator("#name")).to_be_visible(timeout=PATIENCE_MS)
    path = f"**/api/batches/{submit(desk)}"
    expect(desk.page.locator(".title .badge")).to_be_visible(timeout=PATIENCE_MS)  # a first look that fails says so
    desk.page.route(path, lambda route: route.abort())
    expect(desk.page.locator(".stale")).to_contain_text("The server cannot be reached.", timeout=PATIENCE_MS)
    desk.blameless()
    desk.page.unroute(path)
    expect(desk.page.locator(".stale")).to_be_hidden(timeout=PATIENCE_MS)
    state(desk, "completed")
    assert card(desk, "Done") == "200"
