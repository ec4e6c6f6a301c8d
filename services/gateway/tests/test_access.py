"""Tokens, roles and workspaces."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from services.gateway.tests.conftest import PROMPT, Gateway, PlayedRunner, SettingsFor, error_of, running

from gateway import tokens

CONNECT = {"provider": "openai", "apiKey": "word"}
ANY_ID = str(uuid4())
ROUTES: list[tuple[str, str, Any, str]] = [
    ("GET", "/api/integrations/keys", None, "viewer"),
    ("GET", "/api/runs", None, "viewer"),
    ("GET", f"/api/runs/{ANY_ID}", None, "viewer"),
    ("GET", "/api/analytics/overview", None, "viewer"),
    ("GET", "/api/analytics/usage", None, "viewer"),
    ("GET", "/api/models", None, "viewer"),
    ("GET", "/api/providers", None, "viewer"),
    ("GET", "/api/analytics/latency", None, "viewer"),
    ("GET", "/api/workspaces", None, "viewer"),
    ("POST", "/api/integrations/run", PROMPT, "member"),
    ("POST", "/api/integrations/connect", {**CONNECT, "provider": "nobody"}, "admin"),
    ("DELETE", f"/api/integrations/keys/{ANY_ID}", None, "admin"),
    ("POST", f"/api/integrations/keys/{ANY_ID}/check", None, "admin"),
    ("POST", "/api/tokens", {"name": "x", "role": "viewer"}, "admin"),
    ("GET", "/api/tokens", None, "admin"),
    ("DELETE", f"/api/tokens/{ANY_ID}", None, "admin"),
    ("POST", "/api/grants", {"name": "x", "providers": ["nobody"], "expiresAt": "2020-01-01T00:00:00Z"}, "admin"),
    ("GET", "/api/grants", None, "admin"),
    ("DELETE", f"/api/grants/{ANY_ID}", None, "admin"),
]


async def test_every_role_may_do_its_part_and_no_more_and_each_denial_is_written_down(
    gateway: Gateway, runner: PlayedRunner, sql: asyncpg.Connection
) -> None:
    denied = []
    for role, rank in tokens.RANK.items():
        headers = gateway.calling(await gateway.token(role))
        for method, path, body, needed in ROUTES:
            answer = await gateway.http.request(method, path, json=body, headers=headers)
            refused = answer.status_code == 403
            assert refused == (rank < tokens.RANK[needed]), (role, method, path, answer.text)  # type: ignore[index] # a role
            if refused:
                assert error_of(answer) == (403, "forbidden")
                denied.append((f"a {role}", "forbidden", method, path))
    written = await sql.fetch("SELECT caller, code, method, path FROM denials ORDER BY id")
    assert [tuple(row) for row in written] == denied
    assert len(denied) == 19


async def test_an_operators_route_denies_an_admin_and_writes_it_down(gateway: Gateway, sql: asyncpg.Connection) -> None:
    admin = gateway.calling(await gateway.token("admin"))
    routes = [
        ("POST", "/api/workspaces", {"name": "x"}),
        ("GET", "/api/rejected", None),
        ("GET", "/api/rejected/0", None),
    ]
    for method, path, body in [*routes, ("POST", "/api/rejected/replay", {})]:
        answer = await gateway.http.request(method, path, json=body, headers=admin)
        assert error_of(answer) == (403, "forbidden"), path
    assert await sql.fetchval("SELECT count(*) FROM denials WHERE caller = 'a admin'") == 4


async def test_without_a_token_nobody_does_anything(
    kafka: str, settings_for: SettingsFor, sql: asyncpg.Connection
) -> None:
    values = ("", "Bearer", "Bearer wrong", "Basic wrong", "Bearer é")
    async with running(settings_for(kafka_bootstrap_servers=kafka, failed_tokens=1000)) as gateway:
        for value in values:
            for method, path, body, _ in ROUTES:
                headers = [(b"authorization", value.encode())]
                answer = await gateway.http.request(method, path, json=body, headers=headers)
                assert error_of(answer) == (401, "unauthenticated"), (path, value)
                assert answer.headers["www-authenticate"] == "Bearer"
    counted = await sql.fetchval("SELECT count(*) FROM denials WHERE code = 'unauthenticated' AND caller = ''")
    assert counted == len(values) * len(ROUTES)


async def test_guesses_are_cut_short_for_who_was_not_good_here_lately(
    gateway: Gateway, sql: asyncpg.Connection
) -> None:
    seen, unseen = gateway.calling(await gateway.token("viewer")), gateway.calling(await gateway.token("viewer"))
    assert (await gateway.http.get("/api/workspaces", headers=seen)).status_code == 200
    wrong = [await gateway.http.get("/api/workspaces", headers=gateway.calling(f"guess {n}")) for n in range(25)]
    assert [answer.status_code for answer in wrong] == [401] * 20 + [429] * 5
    assert error_of(wrong[-1]) == (429, "locked_out")
    assert 0 < int(wrong[-1].headers["retry-after"]) <= 60
    assert await sql.fetchval("SELECT count(*) FROM denials") == 20
    assert (await gateway.http.get("/api/workspaces", headers=seen)).status_code == 200
    assert error_of(await gateway.http.get("/api/workspaces", headers=unseen)) == (429, "locked_out")


async def test_a_new_token_and_every_other_answer_stay_out_of_caches(gateway: Gateway) -> None:
    issued = await gateway.http.post("/api/tokens", json={"name": "ann", "role": "viewer"})
    for answer in (issued, await gateway.http.get("/api/workspaces"), await gateway.http.get("/nowhere")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_token_comes_before_the_body(gateway: Gateway) -> None:
    wrong = gateway.calling("wrong")
    assert error_of(await gateway.http.post("/api/integrations/run", content=b"{", headers=wrong))[0] == 401


async def test_a_token_expires(gateway: Gateway) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    headers = gateway.calling(await gateway.token("viewer", expiresAt=soon))
    assert (await gateway.http.get("/api/workspaces", headers=headers)).status_code == 200
    async with asyncio.timeout(3):
        while (answer := await gateway.http.get("/api/workspaces", headers=headers)).status_code == 200:
            await asyncio.sleep(0.02)
    assert error_of(answer) == (401, "unauthenticated")
    assert datetime.now(UTC).isoformat() >= soon


async def test_a_revoked_token_ends_at_once_here_and_soon_elsewhere(
    gateway: Gateway, kafka: str, settings_for: SettingsFor
) -> None:
    issued = await gateway.http.post("/api/tokens", json={"name": "ann", "role": "viewer"})
    headers = gateway.calling(issued.json()["data"]["token"])
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as elsewhere:
        assert (await elsewhere.http.get("/api/workspaces", headers=headers)).status_code == 200
        revoked = await gateway.http.delete(f"/api/tokens/{issued.json()['data']['id']}")
        assert revoked.json() == {"success": True, "message": "token revoked"}
        assert (await gateway.http.get("/api/workspaces", headers=headers)).status_code == 401
        async with asyncio.timeout(tokens.CACHE_SECONDS + 2):
            while (await elsewhere.http.get("/api/workspaces", headers=headers)).status_code == 200:
                await asyncio.sleep(0.05)


async def test_a_token_is_shown_once(gateway: Gateway) -> None:
    secret = await gateway.token("member")
    listed = await gateway.http.get("/api/tokens")
    assert secret not in listed.text
    assert [(token["name"], token["role"]) for token in listed.json()["data"]] == [
        ("admin", "admin"),
        ("a member", "member"),
    ]


BAD_TOKENS: list[tuple[dict[str, Any], str]] = [
        ({"role": "owner"}, "role"), ({"name": ""}, "name"), ({"extra": 1}, "extra"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"), ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
]  # fmt: skip


async def test_a_bad_token_request_names_the_field(gateway: Gateway) -> None:
    for fields, said in BAD_TOKENS:
        answer = await gateway.http.post("/api/tokens", json={"name": "x", "role": "viewer", **fields})
        assert error_of(answer) == (422, "invalid_request"), fields
        assert answer.json()["error"].startswith(said)


async def test_workspaces_are_apart(gateway: Gateway, runner: PlayedRunner) -> None:
    created = (await gateway.http.post("/api/workspaces", json={"name": "blue"})).json()["data"]
    admin = gateway.calling(await gateway.token("admin", workspaceId=created["id"]))
    assert (await gateway.http.get("/api/workspaces", headers=admin)).json()["data"] == [created]
    assert [token["name"] for token in (await gateway.http.get("/api/tokens", headers=admin)).json()["data"]] == [
        "a admin"
    ]
    await gateway.run(admin)
    assert str(runner.requests[0].workspace_id) == created["id"]


async def test_an_admin_is_no_operator(gateway: Gateway) -> None:
    blue = (await gateway.http.post("/api/workspaces", json={"name": "blue"})).json()["data"]["id"]
    admin = gateway.calling(await gateway.token("admin"))
    theirs = await gateway.http.post("/api/tokens", json={"name": "t", "role": "viewer", "workspaceId": blue})
    token_path = f"/api/tokens/{theirs.json()['data']['id']}"
    for method, path, body in [
        ("POST", "/api/workspaces", {"name": "green"}),
        ("POST", "/api/tokens", {"name": "x", "role": "viewer", "workspaceId": blue}),
        ("GET", f"/api/tokens?workspaceId={blue}", None),
    ]:
        assert error_of(await gateway.http.request(method, path, json=body, headers=admin)) == (403, "forbidden")
    assert error_of(await gateway.http.delete(token_path, headers=admin)) == (404, "not_found")
    assert (await gateway.http.delete(token_path)).status_code == 200


async def test_names_and_workspaces_that_are_not(gateway: Gateway) -> None:
    assert error_of(await gateway.http.post("/api/workspaces", json={"name": "default"})) == (409, "conflict")
    nowhere = {"name": "x", "role": "viewer", "workspaceId": ANY_ID}
    assert error_of(await gateway.http.post("/api/tokens", json=nowhere)) == (404, "not_found")


async def test_the_operators_token_lives_in_its_file(gateway: Gateway, kafka: str, settings_for: SettingsFor) -> None:
    own = (await gateway.http.get("/api/tokens")).json()["data"][0]["id"]
    assert error_of(await gateway.http.delete(f"/api/tokens/{own}")) == (404, "not_found")
    settings = settings_for(kafka_bootstrap_servers=kafka)
    old = settings.admin_token_file.read_text().strip()
    settings.admin_token_file.write_text(secrets.token_hex(32))
    async with running(settings) as restarted:
        assert (await restarted.http.get("/api/tokens")).status_code == 200
        assert error_of(await restarted.http.get("/api/tokens", headers=restarted.calling(old)))[0] == 401


@pytest.mark.parametrize("content", ["", "short"])
async def test_a_weak_admin_token_refuses_to_start(kafka: str, settings_for: SettingsFor, content: str) -> None:
    settings = settings_for(kafka_bootstrap_servers=kafka)
    settings.admin_token_file.write_text(content)
    with pytest.raises(ValueError, match="openssl rand"):
        async with running(settings):
            pass
