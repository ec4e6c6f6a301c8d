"""The canary: one secret through success and failure, every logger at DEBUG, and it is seen in its lease alone (V5)."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaConsumer

from common.contracts.credentials_v1 import KeyView, SaveKey

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture(autouse=True)
def _debug(caplog: pytest.LogCaptureFixture) -> None:
    """Set before the service is made: SQLAlchemy asks only then, and has a level of its own."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "sqlalchemy")


async def test_a_secret_leaves_only_in_its_lease(
    connect: Connect,
    lease: Lease,
    gateway: httpx2.AsyncClient,
    runner: httpx2.AsyncClient,
    anyone: httpx2.AsyncClient,
    evictions: AIOKafkaConsumer,
    sql: asyncpg.Connection,
    workspace: UUID,
    caplog: pytest.LogCaptureFixture,
) -> None:
    canary = "canary" + secrets.token_hex(16)
    keys = f"/workspaces/{workspace}/keys"
    saving = {"provider": "openai", "secret": canary, "actor": "ann"}

    first, key = await connect(canary), await connect(canary)
    assert (await lease()).json()["secret"] == canary
    stored = [str(row) for table in ("keys", "key_versions", "audit") for row in await sql.fetch(f"TABLE {table}")]
    answers = [
        await gateway.get(keys),
        await gateway.post(keys, json={**saving, "secret": canary * 200}),  # too long
        await gateway.post(keys, json={**saving, "secret": {"value": canary}}),  # not a string
        await gateway.post(keys, content=json.dumps({**saving, "secret": canary + "\ud800"})),  # not Unicode
        await gateway.post(keys, json={**saving, "name": "nul\0"}),
        await gateway.post(keys, content=f'{{"secret": "{canary}"'),  # not JSON
        await gateway.post(keys, json={**saving, "provider": "x" * 65_536}),  # over the limit
        await anyone.post(keys, json=saving),
        await runner.post(keys, json=saving),
        await lease(canary),  # a secret where a grant belongs
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 422, 422, 422, 422, 413, 401, 403, 403]
    await sql.execute("UPDATE key_versions SET sealed = set_byte(sealed, 80, 255 - get_byte(sealed, 80))")
    answers.append(await lease())
    assert answers[-1].status_code == 500
    await sql.execute("UPDATE key_versions SET sealed = NULL")
    await gateway.delete(f"{keys}/{key.id}", params={"actor": "ann"})
    await sql.execute("ALTER TABLE audit RENAME TO gone")
    answers.append(await gateway.post(keys, json=saving))
    assert answers[-1].status_code == 503

    announced = await evictions.getmany(timeout_ms=5_000)
    assert "Tampered" in caplog.text  # the logs were captured, the failing paths among them
    assert {"sqlalchemy.engine.Engine", "aiokafka.producer.producer"} <= {record.name for record in caplog.records}
    assert "SQL parameters hidden" in caplog.text
    seen = [
        caplog.text,
        *(str(vars(record)) for record in caplog.records),
        *(answer.text + str(answer.headers) for answer in answers),
        *(str(record) for records in announced.values() for record in records),
        *stored,
        repr(first),
        repr(SaveKey.model_validate(saving)),
    ]
    assert len(announced) == 1
    assert [text for text in seen if canary in text or canary.encode().hex() in text] == []
