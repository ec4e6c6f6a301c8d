"""Members, grants and rejected records in the browser."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.desk import Desk, elsewhere
from tests.stack import Client, Stack, until

from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import DAY_MS, REQUESTED
from common.ids import new_id, now_ms
from common.kafka import Publisher

DeskOf = Callable[..., Desk]


def test_a_token_is_shown_once_and_revoked(stranger: Client, desk_of: DeskOf, unique: str) -> None:
    desk = desk_of(stranger)
    page = desk.go("tokens")
    page.locator("#new-token").click()
    desk.dialog().get_by_label("Name").fill(unique)
    desk.dialog().get_by_label("Role").select_option("viewer")
    desk.blameless()
    page.keyboard.press("Tab")
    desk.dialog().get_by_role("button", name="Create").click()
    shown = desk.dialog().locator(".secret")
    expect(shown).to_be_visible(timeout=20_000)
    token = shown.input_value()
    holder = Client(stranger.url, token)
    assert holder.call("GET", "/api/integrations/keys").status == 200
    desk.dialog().get_by_role("button", name="I have kept it").click()
    row = page.get_by_role("row", name=unique)
    expect(row).to_contain_text("viewer")
    assert not desk.holds(token)
    row.get_by_role("button", name="Revoke").focus()
    page.keyboard.press("Enter")
    desk.dialog().get_by_role("button", name="Revoke").click()
    desk.says("is revoked")
    assert holder.call("GET", "/api/integrations/keys").status == 401
    desk.blameless()


def test_the_operator_creates_a_workspace_and_its_first_admin(admin: Client, desk_of: DeskOf, unique: str) -> None:
    desk = desk_of(admin)
    page = desk.go("tokens")
    page.locator("#new-workspace").click()
    desk.dialog().get_by_label("Name").fill(unique)
    page.keyboard.press("Enter")
    expect(page.locator("#workspace option:checked")).to_have_text(unique, timeout=20_000)
    expect(page.get_by_role("heading", name="No token yet")).to_be_visible()
    page.locator("#new-token").click()
    desk.dialog().get_by_label("Name").fill("ann")
    desk.dialog().get_by_label("Role").select_option("admin")
    desk.dialog().get_by_role("button", name="Create").click()
    token = desk.dialog().locator(".secret").input_value()
    (workspace,) = Client(admin.url, token).call("GET", "/api/workspaces").data
    assert workspace["name"] == unique


def test_a_grant_is_issued_and_revoked(stranger: Client, desk_of: DeskOf, unique: str) -> None:
    desk = desk_of(stranger)
    page = desk.go("grants")
    expect(page.get_by_role("heading", name="No grant is in force")).to_be_visible()
    page.locator("#new-grant").click()
    desk.dialog().get_by_label("Service").fill(unique)
    page.keyboard.press("Enter")
    expect(desk.dialog().get_by_role("alert")).to_have_text("Choose at least one provider.")
    desk.dialog().get_by_label("openai").check()
    desk.dialog().get_by_label("It holds for").select_option("30")
    desk.blameless()
    desk.dialog().get_by_role("button", name="Create").click()
    grant = desk.dialog().locator(".secret").input_value()
    assert grant.count(".") == 2
    page.keyboard.press("Escape")
    row = page.get_by_role("row", name=unique)
    expect(row).to_contain_text("openai")
    assert not desk.holds(grant)
    row.get_by_role("button", name="Revoke").click()
    desk.dialog().get_by_role("button", name="Revoke").click()
    desk.says("is revoked")
    assert [one["state"] for one in desk.get("/api/grants")] == ["revoked"]
    desk.blameless()


def test_a_member_is_not_shown_what_is_an_admins(stranger: Client, desk_of: DeskOf) -> None:
    desk = desk_of(stranger.issued("member"))
    for view in ("tokens", "grants", "rejected"):
        desk.page.goto(f"/#{view}")
        expect(desk.page.get_by_role("heading", name="This page is not for your role")).to_be_visible()
        expect(desk.page.get_by_role("navigation").get_by_role("link", name=view)).to_have_count(0)


@pytest.fixture
def aside(stack: Stack, admin: Client) -> Callable[[str, str], str]:
    """Publish a run without a grant, and bytes that are no run; return the run's id once both were set aside."""

    def publish(workspace_id: str, text: str) -> str:
        now = now_ms()
        run = RunRequested(
            run_id=new_id(), workspace_id=uuid.UUID(workspace_id), user="nightly", operation="chat", provider="openai",
            model="gpt-4o-mini", body={"messages": [{"role": "user", "content": text}]}, deadline=now + DAY_MS,
            publish_by=now + 60_000, accepted_at=now,
        )  # fmt: skip
        records = [(run.run_id.bytes, run.encode()), (b"x", text.encode())]
        elsewhere(lambda: asyncio.run(_published(stack.kafka, records)))
        found = f"/api/rejected?workspaceId={workspace_id}"
        until(lambda: bool(admin.call("GET", found).data["records"]), "the run is set aside")
        return str(run.run_id)

    return publish


async def _published(bootstrap: str, records: list[tuple[bytes, bytes]]) -> None:
    publisher = Publisher(bootstrap)
    await publisher.start()
    for key, value in records:
        await publisher.send(REQUESTED.name, value, key=key, partition=0)
    await publisher.close()


def test_a_rejected_record_is_looked_into_tried_and_replayed(
    admin: Client, client: Client, desk_of: DeskOf, aside: Callable[[str, str], str], unique: str
) -> None:
    (workspace,) = client.call("GET", "/api/workspaces").data
    run_id = aside(workspace["id"], unique)
    desk = desk_of(admin)
    page = desk.go("rejected")
    page.get_by_label("Workspace").select_option(workspace["id"])
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1, timeout=20_000)
    expect(rows).to_contain_text("not signed")
    desk.blameless()
    rows.get_by_role("button", name="Look").focus()
    page.keyboard.press("Enter")
    expect(desk.dialog()).to_contain_text(run_id)
    expect(desk.dialog()).to_contain_text("withheld")
    assert not desk.holds(unique)
    desk.blameless()
    desk.dialog().get_by_role("button", name="Try it").click()
    expect(desk.dialog()).to_contain_text("nothing was published: 1 would be replayed", timeout=20_000)
    assert client.call("GET", f"/api/runs/{run_id}").status == 404
    page.keyboard.press("Escape")
    replayed = page.get_by_role("button", name="Replay")
    replayed.click()
    desk.dialog().get_by_role("button", name="Replay").click()
    desk.says("1 replayed")
    ended: Any = client.ended(run_id)
    assert ended["status"] == "succeeded"
    page.get_by_label("Reason contains").fill("no such reason")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No record fits")).to_be_visible()
