"""What meets everybody who calls, before anything of what they send is looked at."""

from uuid import UUID

import asyncpg
import httpx2
import pytest

from common.lockout import ALLOWED
from vault.routes import AUDIENCE


async def test_the_token_comes_before_the_body(anyone: httpx2.AsyncClient, workspace: UUID) -> None:
    for path in ("/leases", f"/workspaces/{workspace}/keys"):
        answer = await anyone.post(path, content=b"{")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_guesses_are_cut_short_and_cost_no_more_rows(
    anyone: httpx2.AsyncClient, runner: httpx2.AsyncClient, sql: asyncpg.Connection
) -> None:
    answers = [await anyone.post("/leases", json={}) for _ in range(ALLOWED + 5)]
    assert [answer.status_code for answer in answers] == [401] * ALLOWED + [429] * 5
    assert answers[-1].json()["code"] == "locked_out"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert await sql.fetchval("SELECT count(*) FROM audit WHERE action = 'deny'") == ALLOWED
    genuine = await runner.post("/leases", json={"provider": "openai", "operation": "chat"})
    assert genuine.json()["code"] == "grant_refused", "a genuine token from the same address is heard"


async def test_a_denial_says_who_was_refused_what(runner: httpx2.AsyncClient, sql: asyncpg.Connection) -> None:
    await runner.get(f"/workspaces/{UUID(int=1)}/keys")
    row = await sql.fetchrow("SELECT * FROM audit WHERE action = 'deny'")
    assert row is not None
    assert (row["actor"], row["outcome"]) == ("runner", "forbidden")
    assert row["operation"] == f"GET /workspaces/{UUID(int=1)}/keys"


async def test_without_the_audit_it_stays_denied(anyone: httpx2.AsyncClient, sql: asyncpg.Connection) -> None:
    await sql.execute("ALTER TABLE audit RENAME TO gone")
    assert (await anyone.post("/leases", json={})).status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/leases", "/nowhere", "/openapi.json", "/metrics"])
async def test_every_answer_carries_its_headers(anyone: httpx2.AsyncClient, path: str) -> None:
    headers = (await anyone.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_a_fault_of_ours_shows_no_trace(
    runner: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vault.leases.refusal", lambda *_: 1 / 0)
    monkeypatch.setattr("vault.leases.Leases._genuine", lambda *_: object())
    answer = await runner.post("/leases", json={"provider": "openai", "operation": "chat"})
    expected = {"success": False, "error": "internal error; it has been logged", "code": "internal_error"}
    assert (answer.status_code, answer.json()) == (500, expected)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in caplog.text
    assert AUDIENCE not in answer.text
