"""A broker for each module, and a cluster around it for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from services.runner.tests.cluster import Cluster, cluster_on

from common.engines.ports import free_port
from common.identity import Verifier
from common.kafka import declare_topics
from common.testing import Broker, running_broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("runner-kafka"), free_port()) as broker:
        asyncio.run(declare_topics(broker.bootstrap, replication=1))
        yield broker


@pytest.fixture
async def cluster(broker: Broker, identity_dir: Path, verifier: Verifier) -> AsyncIterator[Cluster]:
    async with cluster_on(broker.bootstrap, identity_dir, verifier) as cluster:
        yield cluster
