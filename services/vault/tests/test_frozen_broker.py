"""A deactivation holds without the broker, and is confirmed only by it."""

import secrets
import signal
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx2
import pytest

from common.contracts.credentials_v1 import CredentialsChanged, KeyView
from common.contracts.topics import CREDENTIALS_CHANGED
from common.ids import new_id
from common.kafka import partition_news
from common.testing import Broker

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]
NewGrant = Callable[..., str]


@pytest.fixture
def kafka(own_broker: Broker) -> str:
    """Take this file's vault to a broker that can be frozen."""
    return own_broker.bootstrap


async def test_a_frozen_broker_leaves_a_deactivation_unconfirmed_until_it_is_repeated(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, own_broker: Broker, workspace: UUID
) -> None:
    key = await connect(secrets.token_urlsafe())
    path = f"/workspaces/{workspace}/keys/{key.id}"
    own_broker.process.send_signal(signal.SIGSTOP)
    unconfirmed = await gateway.delete(path, params={"actor": "ann"})
    assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (503, "unavailable")
    assert "retry-after" in unconfirmed.headers
    assert (await lease()).json()["code"] == "no_api_key"
    own_broker.process.send_signal(signal.SIGCONT)
    assert (await gateway.delete(path, params={"actor": "ann"})).status_code == 204
    async with partition_news(own_broker.bootstrap, CREDENTIALS_CHANGED.name, [0]) as consumer:
        await consumer.seek_to_beginning()
        event = CredentialsChanged.model_validate_json((await consumer.getone()).value or b"")
    assert (event.key_id, event.reason) == (key.id, "deactivated")


async def test_and_so_it_does_a_revocation(
    connect: Connect,
    lease: Lease,
    new_grant: NewGrant,
    gateway: httpx2.AsyncClient,
    own_broker: Broker,
    workspace: UUID,
) -> None:
    await connect(secrets.token_urlsafe())
    grant_id = new_id()
    grant, path = new_grant(grant_id=grant_id), f"/workspaces/{workspace}/grants/{grant_id}"
    own_broker.process.send_signal(signal.SIGSTOP)
    unconfirmed = await gateway.delete(path, params={"actor": "ann"})
    assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (503, "unavailable")
    assert (await lease(grant)).json()["code"] == "grant_refused"
    own_broker.process.send_signal(signal.SIGCONT)
    assert (await gateway.delete(path, params={"actor": "ann"})).status_code == 204
