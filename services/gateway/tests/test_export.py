"""Exports pass through as they are, to those who may have them; and only admins price runs again."""

import gzip
from uuid import UUID

import pytest
from services.gateway.tests.conftest import Gateway, PlayedAnalytics, error_of

ROWS = b"run_id,cost\r\n1,0.100000000000000001\r\n" * 5000
ODD = b'{"success":true,  "data":{"was":0.1000000000000000055511151231257827}}'


@pytest.mark.parametrize(
    ("kind", "name", "media_type"),
    [
        ("csv", "runs.csv", "text/csv; charset=utf-8"),
        ("parquet", "runs.parquet", "application/vnd.apache.parquet"),
        ("focus", "focus.csv", "text/csv; charset=utf-8"),
    ],
)
async def test_an_export_is_a_file_of_the_caller_s_own_workspace(
    gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID, kind: str, name: str, media_type: str
) -> None:
    analytics.answers["export"] = ROWS
    answer = await gateway.http.get(
        f"/api/analytics/export?format={kind}&period=7d&label=team=a%26b&model=a&model=b",
        headers={"accept-encoding": "identity"},
    )
    assert (answer.status_code, answer.content) == (200, ROWS)
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["content-type"] == media_type
    asked = {"format": kind, "period": "7d", "label": "team=a&b", "model": ["a", "b"]}
    assert analytics.calls[-1] == ("GET", f"/workspaces/{workspace_id}/export", asked)


async def test_text_is_packed_where_that_is_taken_and_parquet_never(
    gateway: Gateway, analytics: PlayedAnalytics
) -> None:
    analytics.answers["export"] = ROWS
    for offered, packed in (("gzip, br", True), ("br;q=1, gzip;q=0", False), ("", False)):
        async with gateway.http.stream("GET", "/api/analytics/export", headers={"accept-encoding": offered}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
            assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
            assert answer.headers["vary"] == "accept-encoding"
        assert (gzip.decompress(raw) if packed else raw) == ROWS
        assert packed == (len(raw) < len(ROWS) / 10)
    answer = await gateway.http.get("/api/analytics/export?format=parquet", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


async def test_viewers_export_figures_and_no_texts(gateway: Gateway, analytics: PlayedAnalytics) -> None:
    analytics.answers["export"] = ROWS
    viewer, member = [gateway.calling(await gateway.token(role)) for role in ("viewer", "member")]
    assert (await gateway.http.get("/api/analytics/export", headers=viewer)).status_code == 200
    assert (await gateway.http.get("/api/analytics/export?texts=true", headers=member)).status_code == 200
    asked = len(analytics.calls)
    refused = await gateway.http.get("/api/analytics/export?texts=true", headers=viewer)
    assert error_of(refused) == (403, "forbidden")
    assert len(analytics.calls) == asked


async def test_what_is_wrong_is_an_error_and_no_file(gateway: Gateway, analytics: PlayedAnalytics) -> None:
    assert error_of(await gateway.http.get("/api/analytics/export?format=xls")) == (422, "invalid_request")
    assert error_of(await gateway.http.get("/api/analytics/export?workspace_id=1")) == (422, "invalid_request")
    assert error_of(await gateway.http.get("/api/analytics/export")) == (404, "not_found")
    analytics.away = True
    assert error_of(await gateway.http.get("/api/analytics/export")) == (503, "unavailable")


async def test_runs_are_priced_again_by_admins_alone(
    gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID
) -> None:
    analytics.answers["reprice"] = ODD
    asked = {"from": "2026-11-01", "to": "2026-11-24", "discounts": {"gpt-4o": "12.5"}, "apply": True, "cursor": 5}
    answer = await gateway.http.post("/api/analytics/reprice", json=asked)
    assert (answer.status_code, answer.content) == (200, ODD)
    method, path, body = analytics.calls[-1]
    assert (method, path) == ("POST", f"/workspaces/{workspace_id}/reprice")
    assert {name: body[name] for name in asked} == asked
    member = gateway.calling(await gateway.token("member"))
    assert error_of(await gateway.http.post("/api/analytics/reprice", json={}, headers=member)) == (403, "forbidden")


@pytest.mark.parametrize(
    "wrong", [{"discounts": {"gpt-4o": 101}}, {"discounts": {"gpt-4o": -1}}, {"catalogue": "none"}, {"workspace": "x"}]
)
async def test_a_repricing_that_cannot_be_is_refused_here(
    gateway: Gateway, analytics: PlayedAnalytics, wrong: dict[str, object]
) -> None:
    assert error_of(await gateway.http.post("/api/analytics/reprice", json=wrong)) == (422, "invalid_request")
    assert analytics.calls == []
