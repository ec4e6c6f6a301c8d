"""A deactivation holds without the broker, and is confirmed only by it."""

import secrets
import signal
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx2
import pytest

from common.contracts.credentials_v1 import CredentialsChanged, KeyView
from common.contracts.topics import CREDENTIALS_CHANGED
from common.kafka import partition_news
from common.testing import Broker

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]


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
