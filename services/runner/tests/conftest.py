"""A broker for each module, and a cluster around it for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from services.runner.tests.cluster import Cluster, Vault

from common.engines.ports import free_port
from common.identity import Verifier
from common.kafka import declare_topics
from common.testing import Broker, running_broker
from embedded.simulator import running


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("runner-kafka"), free_port()) as broker:
        asyncio.run(declare_topics(broker.bootstrap, replication=1))
        yield broker


@pytest.fixture
async def cluster(broker: Broker, identity_dir: Path, verifier: Verifier) -> AsyncIterator[Cluster]:
    vault = Vault(verifier)
    app = web.Application()
    app.router.add_post("/leases", vault.lease)
    served = web.AppRunner(app)
    await served.setup()
    port = free_port()
    await web.TCPSite(served, "127.0.0.1", port).start()
    async with running() as simulator:
        cluster = Cluster(broker, identity_dir, simulator, vault, f"http://127.0.0.1:{port}")
        await cluster.publisher.start()
        yield cluster
        await cluster.publisher.close()
    await served.cleanup()
