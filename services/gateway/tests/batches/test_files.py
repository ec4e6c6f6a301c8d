"""Files: uploaded as they arrive, whole or not at all, and their own workspace's alone."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from services.gateway.tests.batches.conftest import Caller, PlayedLog, row
from services.gateway.tests.conftest import Gateway

from common.ids import now_ms
from common.objects import Objects
from gateway.batches import files as storing
from gateway.batches.files import Files, StoredFile
from gateway.routes import files as routes
from gateway.store import Store

CONTENT = bytes(range(256)) * 4096


class NoLimit:
    async def stored_bytes(self, workspace_id: UUID) -> int | None:
        return None


def stored(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "files").rglob("*") if path.is_file())


async def test_what_was_uploaded_comes_back(caller: Caller, tmp_path: Path) -> None:
    http = caller.gateway.http
    file_id = await caller.upload(CONTENT, "ü in.jsonl")
    content = await http.get(f"/v1/files/{file_id}/content")
    assert content.content == CONTENT
    assert content.headers["content-length"] == str(len(CONTENT))
    shown = (await http.get(f"/v1/files/{file_id}")).json()
    assert shown == {
        "id": file_id, "object": "file", "bytes": len(CONTENT), "created_at": shown["created_at"], "expires_at": None,
        "filename": "ü in.jsonl", "purpose": "batch", "status": "processed",
    }  # fmt: skip
    assert stored(tmp_path) == [file_id]
    deleted = await http.delete(f"/v1/files/{file_id}")
    assert deleted.json() == {"id": file_id, "object": "file", "deleted": True}
    assert stored(tmp_path) == []
    for path in ("", "/content"):
        assert (await http.get(f"/v1/files/{file_id}{path}")).status_code == 404
    assert (await http.delete(f"/v1/files/{file_id}")).status_code == 404


async def test_content_that_is_gone_is_an_error_and_no_answer_that_breaks_off(
    caller: Caller, log: PlayedLog, tmp_path: Path
) -> None:
    batch = await caller.ended(await caller.submit([row(0)]))
    file_id = batch["fileId"]
    for content in (tmp_path / "files").rglob(file_id):
        content.unlink()
    for path in (f"/v1/files/{file_id}/content", f"/api/batches/{batch['id']}/results?includeInputs=true"):
        assert (await caller.gateway.http.get(path)).status_code == 404


async def test_fields_may_come_after_the_file(caller: Caller) -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}\n\r\n'
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = await caller.gateway.http.post("/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.json()["bytes"], answer.json()["filename"]) == (200, 3, "a")


async def test_pages_of_files(caller: Caller) -> None:
    http = caller.gateway.http
    uploaded = [await caller.upload(b"{}\n") for _ in range(5)]
    newest = (await http.get("/v1/files", params={"limit": 2})).json()
    assert [file["id"] for file in newest["data"]] == uploaded[:-3:-1]
    assert (newest["has_more"], newest["first_id"], newest["last_id"]) == (True, uploaded[4], uploaded[3])
    rest = (await http.get("/v1/files", params={"after": uploaded[3], "purpose": "batch"})).json()
    assert [file["id"] for file in rest["data"]] == uploaded[2::-1]
    assert rest["has_more"] is False
    oldest = (await http.get("/v1/files", params={"order": "asc", "limit": 1})).json()
    assert [file["id"] for file in oldest["data"]] == uploaded[:1]
    none = (await http.get("/v1/files", params={"purpose": "batch_output"})).json()
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


FORMS: dict[str, tuple[dict[str, str], dict[str, Any], str | None]] = {
    "another purpose": ({"purpose": "assistants"}, {"file": ("a", b"x")}, "purpose"),
    "no purpose": ({}, {"file": ("a", b"x")}, "purpose"),
    "no file": ({"purpose": "batch"}, {"other": ("a", b"x")}, "file"),
    "an expiry without its anchor": (
        {"purpose": "batch", routes.SECONDS: "3600"}, {"file": ("a", b"x")}, routes.ANCHOR,
    ),
    "too short a life": (
        {"purpose": "batch", routes.ANCHOR: "created_at", routes.SECONDS: "60"}, {"file": ("a", b"x")}, routes.SECONDS,
    ),
    "a long field": ({"purpose": "batch" * 300}, {"file": ("a", b"x")}, None),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
async def test_a_wrong_form_leaves_nothing(form: str, caller: Caller, tmp_path: Path, sql: asyncpg.Connection) -> None:
    fields, files, param = FORMS[form]
    answer = await caller.gateway.http.post("/v1/files", data=fields, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
    assert stored(tmp_path) == []
    assert await sql.fetchval("SELECT count(*) FROM files") == 0


@pytest.mark.parametrize("body", [b"", b"--B\r\nnot a form", b"--B\r\n\r\n\r\n"], ids=["empty", "broken", "cut"])
async def test_a_body_that_is_no_form(body: bytes, caller: Caller, tmp_path: Path) -> None:
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = await caller.gateway.http.post("/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid_request_error")
    assert stored(tmp_path) == []
    plain = await caller.gateway.http.post("/v1/files", json={"purpose": "batch"})
    assert plain.status_code == 422


async def test_a_file_over_the_limit_leaves_nothing(
    caller: Caller, tmp_path: Path, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_FILE_BYTES", 12 * 2**20)  # over what the object store takes as one part
    form: dict[str, Any] = {"data": {"purpose": "batch"}, "files": {"file": ("a", bytes(12 * 2**20 + 1))}}
    answer = await caller.gateway.http.post("/v1/files", **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert stored(tmp_path) == []
    assert await sql.fetchval("SELECT count(*) FROM files") == 0
    form["files"] = {"file": ("a", bytes(12 * 2**20))}
    assert (await caller.gateway.http.post("/v1/files", **form)).status_code == 200


async def test_a_body_far_over_the_limit_is_refused_by_its_length(caller: Caller, tmp_path: Path) -> None:
    headers = {"content-type": "multipart/form-data; boundary=B", "content-length": str(300 * 2**20)}
    answer = await caller.gateway.http.post("/v1/files", content=b"", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert stored(tmp_path) == []


async def test_other_paths_keep_their_limit(gateway: Gateway) -> None:
    answer = await gateway.http.post("/api/batches", content=bytes(9 * 2**20))
    assert answer.status_code == 413


async def test_an_upload_that_breaks_off_leaves_nothing(
    caller: Caller, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async def broken() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(11 * 2**20)
        raise ConnectionResetError

    headers = {"content-type": "multipart/form-data; boundary=B"}
    with pytest.raises(ConnectionResetError):
        await caller.gateway.http.post("/v1/files", content=broken(), headers=headers)
    while await sql.fetchval("SELECT count(*) FROM files"):
        await asyncio.sleep(0.02)
    assert stored(tmp_path) == []


async def test_files_are_their_workspaces_alone(caller: Caller, gateway: Gateway) -> None:
    workspace = (await gateway.http.post("/api/workspaces", json={"name": "other"})).json()["data"]["id"]
    stranger = gateway.calling(await gateway.token("admin", workspaceId=workspace))
    file_id = await caller.upload(b"{}\n")
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await gateway.http.request(method, f"/v1/files/{file_id}{path}", headers=stranger)).status_code == 404
    assert (await gateway.http.get("/v1/files", headers=stranger)).json()["data"] == []
    asked = {"fileId": file_id}
    assert (await gateway.http.post("/api/batches", json=asked, headers=stranger)).status_code == 404
    viewer = gateway.calling(await gateway.token("viewer"))
    assert (await gateway.http.get(f"/v1/files/{file_id}", headers=viewer)).status_code == 200
    assert (await gateway.http.delete(f"/v1/files/{file_id}", headers=viewer)).status_code == 403
    form: dict[str, Any] = {"data": {"purpose": "batch"}, "files": {"file": ("a", b"x")}}
    assert (await gateway.http.post("/v1/files", **form, headers=viewer)).status_code == 403


async def test_an_input_stays_until_its_batch_has_ended(caller: Caller, log: PlayedLog) -> None:
    log.script = lambda _: None
    batch = await caller.submit([row(1)])
    path = f"/v1/files/{batch['fileId']}"
    refused = await caller.gateway.http.delete(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    await caller.until(batch, lambda told: told["inFlight"] == 1)
    await log.end_all()
    await caller.ended(batch)
    assert (await caller.gateway.http.delete(path)).status_code == 200


async def test_what_has_expired_is_gone_and_then_swept(
    caller: Caller, tmp_path: Path, sql: asyncpg.Connection, database: str
) -> None:
    after = {routes.ANCHOR: "created_at", routes.SECONDS: "3600"}
    expiring, staying = await caller.upload(b"{}\n", **after), await caller.upload(b"{}\n")
    shown = (await caller.gateway.http.get(f"/v1/files/{expiring}")).json()
    assert shown["expires_at"] == shown["created_at"] + 3600
    await sql.execute("UPDATE files SET expires_at = $1 WHERE id = $2", now_ms() - 1, expiring)
    assert (await caller.gateway.http.get(f"/v1/files/{expiring}")).status_code == 404
    listed = (await caller.gateway.http.get("/v1/files")).json()["data"]
    assert [file["id"] for file in listed] == [staying]
    store = Store(database)
    await Files(store.files, Objects(str(tmp_path / "files")), NoLimit()).sweep()
    await store.close()
    assert stored(tmp_path) == [staying]
    assert await sql.fetchval("SELECT count(*) FROM files") == 1


async def test_what_a_crash_left_half_written_is_swept(
    gateway: Gateway, tmp_path: Path, sql: asyncpg.Connection, database: str, workspace_id: UUID
) -> None:
    store, objects = Store(database), Objects(str(tmp_path / "files"))
    begun = now_ms() - storing.WRITING_MS
    left = StoredFile(f"file-{uuid4().hex}", workspace_id, "a", "batch", 0, begun, begun + storing.WRITING_MS)
    await store.files.reserve(left)
    async with objects.writing(left.id) as writer:
        await writer.write(b"{}")
    assert (await gateway.http.get(f"/v1/files/{left.id}")).status_code == 404
    await Files(store.files, objects, NoLimit()).sweep()
    await store.close()
    assert stored(tmp_path) == []
    assert await sql.fetchval("SELECT count(*) FROM files") == 0


async def test_a_workspace_keeps_so_many_bytes_and_no_more(
    caller: Caller, workspace_id: UUID, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    http = caller.gateway.http
    limits = f"/api/workspaces/{workspace_id}/limits"
    assert (await http.put(limits, json={"storedBytes": 3000})).status_code == 200

    async def upload() -> Any:
        return await http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", b"x" * 2000)})

    answers = await asyncio.gather(*(upload() for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 413, 413, 413]
    refused = next(answer for answer in answers if answer.status_code == 413)
    assert refused.json()["error"]["code"] == "storage_exceeded"
    assert "DELETE /v1/files/{id}" in refused.json()["error"]["message"]
    (kept,) = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert stored(tmp_path) == [kept]
    assert await sql.fetchval("SELECT count(*) FROM files") == 1
    assert (await http.get(limits)).json()["data"]["storedBytes"] == {"limit": 3000, "used": 2000, "default": False}
    await http.delete(f"/v1/files/{kept}")
    assert (await upload()).status_code == 200
