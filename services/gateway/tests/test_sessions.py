"""Sessions of browsers: a cookie stands for a token, from our own page alone, and no longer than the token holds."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from services.gateway.tests.conftest import Gateway, SettingsFor, error_of, running

from gateway import cookies

HERE = {"origin": "http://gateway", "sec-fetch-site": "same-origin", "authorization": ""}
OVER_TLS = {**HERE, "origin": "https://gateway"}
ELSEWHERE = [
    {"origin": "http://gateway", "sec-fetch-site": "cross-site"},
    {"origin": "http://gateway", "sec-fetch-site": "same-site"},
    {"origin": "http://other"},
    {"origin": "http://gateway:81"},
    {"origin": "null"},
    {},
]
"""Other sites, other ports, sandboxed frames, and what says nothing."""


async def signed_in(gateway: Gateway, token: str, headers: dict[str, str] = HERE) -> httpx2.Response:
    gateway.http.cookies.clear()
    return await gateway.http.post("/api/session", json={"token": token}, headers=headers)


async def test_a_session_does_what_its_token_may_and_no_more(gateway: Gateway) -> None:
    answer = await signed_in(gateway, await gateway.token("viewer"))
    assert answer.status_code == 200, answer.text
    told = answer.json()["data"]
    assert (told["name"], told["role"], told["operator"], told["workspaceName"]) == (
        "a viewer", "viewer", False, "default",
    )  # fmt: skip
    assert told["simulated"] is False
    seconds = (datetime.fromisoformat(told["expiresAt"]) - datetime.now(UTC)).total_seconds()
    assert cookies.SECONDS - 10 < seconds <= cookies.SECONDS
    shown = await gateway.http.get("/api/session", headers=HERE)
    assert shown.json()["data"] == {**told, "expiresAt": shown.json()["data"]["expiresAt"]}
    assert (await gateway.http.get("/api/workspaces", headers=HERE)).status_code == 200
    assert error_of(await gateway.http.get("/api/tokens", headers=HERE)) == (403, "forbidden")


async def test_the_cookie_is_out_of_reach_and_is_not_the_token(gateway: Gateway) -> None:
    token = await gateway.token("member")
    for headers, name, secure in ((HERE, "tallyrun", False), (OVER_TLS, "__Host-tallyrun", True)):
        cookie = (await signed_in(gateway, token, headers)).headers["set-cookie"]
        assert cookie.startswith(f"{name}=")
        assert token not in cookie
        said = cookie.lower()
        assert "httponly" in said
        assert "samesite=strict" in said
        assert "path=/" in said
        assert ("secure" in said) is secure


async def test_two_stacks_on_one_host_have_each_their_cookie(gateway: Gateway) -> None:
    headers = {**HERE, "host": "localhost:8443", "origin": "https://localhost:8443"}
    cookie = (await signed_in(gateway, await gateway.token("viewer"), headers)).headers["set-cookie"]
    assert cookie.startswith("__Host-tallyrun-8443=")


async def test_nothing_is_changed_from_elsewhere(gateway: Gateway) -> None:
    token = await gateway.token("admin")
    await signed_in(gateway, token)
    body = {"name": "x", "role": "viewer"}
    for headers in ELSEWHERE:
        from_there = {"authorization": "", **headers}
        for method, path in (("POST", "/api/tokens"), ("DELETE", "/api/session")):
            answer = await gateway.http.request(method, path, json=body, headers=from_there)
            assert error_of(answer) == (403, "forbidden"), headers
        answer = await gateway.http.post("/api/session", json={"token": token}, headers=from_there)
        assert error_of(answer) == (403, "forbidden"), headers
        assert "set-cookie" not in answer.headers
    assert (await gateway.http.post("/api/tokens", json=body, headers=HERE)).status_code == 201
    assert (await gateway.http.post("/api/tokens", json=body, headers=gateway.calling(token))).status_code == 201


async def test_a_browser_says_where_it_is_with_and_without_tls(gateway: Gateway) -> None:
    token = await gateway.token("admin")
    behind_a_proxy = {"origin": "https://tallyrun.example", "sec-fetch-site": "same-origin"}
    for headers in ({"origin": "http://gateway"}, behind_a_proxy):
        here = {"authorization": "", **headers}
        assert (await signed_in(gateway, token, here)).status_code == 200
        assert (await gateway.http.delete("/api/session", headers=here)).status_code == 200


async def test_a_wrong_token_starts_nothing_and_guesses_are_cut_short(gateway: Gateway) -> None:
    for status in [401] * 20 + [429] * 2:
        answer = await signed_in(gateway, "guess")
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
    assert error_of(answer) == (429, "locked_out")


async def test_a_session_that_is_over_locks_nobody_out(gateway: Gateway) -> None:
    seen = gateway.calling(await gateway.token("viewer"))
    gateway.http.cookies.set("tallyrun", "not a session")
    for _ in range(30):
        assert error_of(await gateway.http.get("/api/runs", headers=HERE)) == (401, "unauthenticated")
    gateway.http.cookies.clear()
    assert (await gateway.http.get("/api/workspaces", headers=seen)).status_code == 200


async def test_signing_out_drops_both_cookies(gateway: Gateway) -> None:
    await signed_in(gateway, await gateway.token("viewer"))
    answer = await gateway.http.delete("/api/session", headers=HERE)
    assert answer.json() == {"success": True, "message": "signed out"}
    dropped = answer.headers.get_list("set-cookie")
    assert [cookie.split("=")[0] for cookie in dropped] == ["__Host-tallyrun", "tallyrun"]
    assert all("max-age=0" in cookie.lower() for cookie in dropped)
    shown = await gateway.http.get("/api/session", headers=HERE)
    assert shown.json() == {"success": True, "data": None}


async def test_it_ends_with_its_token(gateway: Gateway) -> None:
    issued = (await gateway.http.post("/api/tokens", json={"name": "ann", "role": "viewer"})).json()["data"]
    await signed_in(gateway, issued["token"])
    assert (await gateway.http.get("/api/workspaces", headers=HERE)).status_code == 200
    operator = gateway.calling(gateway.http.headers["authorization"].removeprefix("Bearer "))
    assert (await gateway.http.delete(f"/api/tokens/{issued['id']}", headers=operator)).status_code == 200
    assert error_of(await gateway.http.get("/api/workspaces", headers=HERE)) == (401, "unauthenticated")


async def test_it_ends_when_its_token_expires(gateway: Gateway) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    answer = await signed_in(gateway, await gateway.token("viewer", expiresAt=soon))
    assert answer.json()["data"]["expiresAt"][:19] <= soon[:19]
    async with asyncio.timeout(4):
        while (answer := await gateway.http.get("/api/workspaces", headers=HERE)).status_code == 200:
            await asyncio.sleep(0.02)
    assert error_of(answer) == (401, "unauthenticated")


async def test_it_ends_after_its_time(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await signed_in(gateway, await gateway.token("viewer"))
    later = time.time() + cookies.SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert error_of(await gateway.http.get("/api/workspaces", headers=HERE)) == (401, "unauthenticated")


async def test_a_played_provider_is_said(kafka: str, settings_for: SettingsFor) -> None:
    async with running(settings_for(kafka_bootstrap_servers=kafka, simulated=True)) as gateway:
        assert (await gateway.http.get("/api/session")).json()["data"]["simulated"] is True
