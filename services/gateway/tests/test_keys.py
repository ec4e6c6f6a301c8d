"""Provider keys: connected only once their provider accepted them, listed without their secret."""

import secrets
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from services.gateway.tests.conftest import (
    Body,
    Gateway,
    PlayedAnalytics,
    PlayedRunner,
    PlayedVault,
    SettingsFor,
    completed,
    error_of,
    running,
)

from common.contracts.runs_v1 import RunError

KEYS = "/api/integrations/keys"


async def connect(gateway: Gateway, **fields: str) -> tuple[int, Body]:
    secret = fields.pop("apiKey", f"k-{secrets.token_hex(8)}")
    body = {"provider": "openai", "apiKey": secret, **fields}
    answer = await gateway.http.post("/api/integrations/connect", json=body)
    assert len(secret) < 3 or secret not in answer.text
    return answer.status_code, answer.json()


async def test_a_key_is_tried_then_active(gateway: Gateway, vault: PlayedVault, runner: PlayedRunner) -> None:
    assert await connect(gateway, apiKey="  a-word \n") == (
        200,
        {"success": True, "message": "API key connected successfully"},
    )
    (key_id, key), (admitted,) = next(iter(vault.keys.items())), runner.admitted
    assert (key["is_active"], key["verified"]) == (True, True)
    assert vault.secrets[key_id] == "a-word"
    check = admitted.request
    assert (check.operation, check.body, str(check.key_id)) == ("check", {}, key_id)
    assert str(admitted.grant.key_id) == key_id
    assert [body.get("actor") for method, _, body in vault.calls if method == "POST"] == ["admin", "admin"]


async def test_a_check_may_end_unverified(gateway: Gateway, vault: PlayedVault, runner: PlayedRunner) -> None:
    runner.script = lambda request: completed(request, finish_reason="unverified")
    assert (await connect(gateway, provider="local", name="spare"))[0] == 200
    (key,) = vault.keys.values()
    assert (key["is_active"], key["verified"], key["name"]) == (True, False, "spare")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("invalid_api_key", (400, "invalid_api_key", "Invalid API key")),
        ("provider_unavailable", (502, "provider_unavailable", "said by the runner")),
        ("provider_timeout", (504, "provider_timeout", "said by the runner")),
    ],
)
async def test_a_key_that_fails_is_not_saved(
    gateway: Gateway, vault: PlayedVault, runner: PlayedRunner, code: str, expected: tuple[int, str, str]
) -> None:
    error = RunError(code=code, message="said by the runner")
    runner.script = lambda request: completed(request, status="failed", error=error)
    status, body = await connect(gateway)
    assert (status, body["code"], body["error"]) == expected
    assert "runId" not in body
    assert vault.keys == {}
    assert vault.erased == list(vault.secrets)


async def test_a_check_that_does_not_end_is_not_saved(
    kafka: str, settings_for: SettingsFor, vault: PlayedVault, runner: PlayedRunner
) -> None:
    runner.script = lambda _: None
    async with running(settings_for(kafka_bootstrap_servers=kafka, sync_wait_seconds=0.3)) as gateway:
        status, body = await connect(gateway)
    assert (status, body["code"]) == (503, "unavailable")
    assert vault.keys == {}


async def test_a_key_in_use_is_tried_again(gateway: Gateway, vault: PlayedVault, runner: PlayedRunner) -> None:
    await connect(gateway)
    (key_id,) = vault.keys
    answer = await gateway.http.post(f"{KEYS}/{key_id}/check")
    assert answer.json()["data"].keys() == {"verified", "checkedAt"}
    again = runner.admitted[-1]
    assert (again.request.operation, str(again.request.key_id), str(again.grant.key_id)) == ("check", key_id, key_id)
    assert answer.json()["data"]["verified"] is True
    refused = RunError(code="invalid_api_key", message="said by the runner")
    runner.script = lambda request: completed(request, status="failed", error=refused)
    assert error_of(await gateway.http.post(f"{KEYS}/{key_id}/check")) == (400, "invalid_api_key")
    assert (vault.keys[key_id]["is_active"], vault.erased) == (True, [])


async def test_what_cannot_be_tried_again(gateway: Gateway, vault: PlayedVault, runner: PlayedRunner) -> None:
    assert error_of(await gateway.http.post(f"{KEYS}/{uuid4()}/check")) == (404, "not_found")
    await connect(gateway)
    (key_id,) = vault.keys
    refused = RunError(code="invalid_api_key", message="said by the runner")
    ends: list[dict[str, Any]] = [{}, {"status": "failed", "error": refused}]
    for end in ends:  # whatever is said of it: a rotation waits, and was tried
        runner.script = partial(completed, key_version=2, **end)
        assert error_of(await gateway.http.post(f"{KEYS}/{key_id}/check")) == (409, "conflict")
    await gateway.http.delete(f"{KEYS}/{key_id}")
    checks = len(runner.admitted)
    assert error_of(await gateway.http.post(f"{KEYS}/{key_id}/check")) == (409, "conflict")
    assert len(runner.admitted) == checks


async def test_providers_are_listed_to_choose_from(gateway: Gateway) -> None:
    answer = await gateway.http.get("/api/providers")
    assert answer.json()["data"] == [
        {"name": "openai", "wire": "openai", "priced": True},
        {"name": "anthropic", "wire": "anthropic", "priced": True},
        {"name": "local", "wire": "openai", "priced": False},
    ]


BAD_KEYS = [
    ({"provider": "nobody"}, "anthropic, local, openai"), ({"apiKey": " "}, "apiKey"),
    ({"apiKey": "two words"}, "apiKey"), ({"apiKey": "schlüssel"}, "apiKey"), ({"apiKey": "a\r\nb"}, "apiKey"),
    ({"expiresAt": "tomorrow"}, "expiresAt"), ({"expiresAt": "2030-01-01T00:00:00"}, "expiresAt"),
    ({"expiresAt": "2100-01-01T00:00:00Z"}, "2100"), ({"expiresAt": "1969-01-01T00:00:00Z"}, "1970"),
    ({"name": ""}, "name"), ({"api_key": "x"}, "api_key"), ({"apiKey": "x" * 5000}, "apiKey"),
]  # fmt: skip


async def test_a_bad_request_saves_nothing(gateway: Gateway, vault: PlayedVault) -> None:
    for fields, said in BAD_KEYS:
        status, body = await connect(gateway, **fields)
        assert (status, body["code"]) == (422, "invalid_request"), fields
        assert said in body["error"]
    assert vault.calls == []


async def test_the_vault_is_away(gateway: Gateway, vault: PlayedVault) -> None:
    vault.away = True
    status, body = await connect(gateway)
    assert (status, body["code"]) == (503, "unavailable")
    assert error_of(await gateway.http.get(KEYS)) == (503, "unavailable")


async def test_keys_are_listed_with_their_use(
    gateway: Gateway, vault: PlayedVault, analytics: PlayedAnalytics, runner: PlayedRunner
) -> None:
    await connect(gateway)
    await connect(gateway, name="spare")
    used, spare = vault.keys
    last = "2026-01-02T03:04:05+00:00"
    analytics.answers["key-usage"] = (
        f'{{"success":true,"data":[{{"keyId":"{used}","usageCount":7,"lastUsedAt":"{last}"}}]}}'.encode()
    )
    answer = await gateway.http.get(KEYS)
    shown = {key["id"]: key for key in answer.json()["data"]}
    assert shown[used] == {
        "id": used, "provider": "openai", "name": "default", "preview": vault.secrets[used][-4:], "isActive": True,
        "verified": True, "state": "active", "createdAt": "2023-11-14T22:13:20.123Z", "expiresAt": None,
        "lastUsedAt": last, "usageCount": 7,
    }  # fmt: skip
    assert (shown[spare]["usageCount"], shown[spare]["lastUsedAt"]) == (0, None)


async def test_keys_are_listed_while_analytics_is_away(
    gateway: Gateway, analytics: PlayedAnalytics, runner: PlayedRunner
) -> None:
    await connect(gateway)
    analytics.away = True
    (key,) = (await gateway.http.get(KEYS)).json()["data"]
    assert (key["isActive"], key["usageCount"], key["lastUsedAt"]) == (True, None, None)


async def test_a_key_is_shown_with_its_expiry_and_its_versions(
    gateway: Gateway, vault: PlayedVault, analytics: PlayedAnalytics, runner: PlayedRunner
) -> None:
    analytics.answers["key-usage"] = b'{"success":true,"data":[]}'
    await connect(gateway, expiresAt="2030-01-02T03:04:05.678+01:00")
    (key_id, kept), expires = next(iter(vault.keys.items())), "2030-01-02T02:04:05.678Z"
    assert kept["expires_at"] == 1_893_549_845_678
    kept["state"] = "expiring"
    (listed,) = (await gateway.http.get(KEYS)).json()["data"]
    shown = (await gateway.http.get(f"{KEYS}/{key_id}")).json()["data"]
    assert (shown["state"], shown["expiresAt"]) == ("expiring", expires)
    assert shown.pop("versions") == [
        {
            "version": 1, "preview": kept["preview"], "state": "active", "verified": True, "expiresAt": expires,
            "createdAt": "2023-11-14T22:13:20.123Z", "activatedAt": "2023-11-14T22:13:21.000Z", "retiredAt": None,
        }
    ]  # fmt: skip
    assert shown == listed
    assert error_of(await gateway.http.get(f"{KEYS}/{uuid4()}")) == (404, "not_found")


async def test_a_key_is_deactivated(gateway: Gateway, vault: PlayedVault, runner: PlayedRunner) -> None:
    await connect(gateway)
    (key_id,) = vault.keys
    answer = await gateway.http.delete(f"{KEYS}/{key_id}")
    assert answer.json() == {"success": True, "message": "API key deactivated"}
    assert vault.keys[key_id]["is_active"] is False
    assert vault.calls[-1][2] == {"actor": "admin"}
    assert error_of(await gateway.http.delete(f"{KEYS}/{uuid4()}")) == (404, "not_found")
