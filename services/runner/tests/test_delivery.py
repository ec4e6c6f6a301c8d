"""From a record to its completion, through a real broker: nothing lost, nothing called twice."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI

from common.contracts.credentials_v1 import CredentialsChanged, Lease, LeaseRequest
from common.contracts.event import GRANT_HEADER, INSTANCE_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted, RunRequested, RunStarted
from common.contracts.topics import BATCHED, COMPLETED, CREDENTIALS_CHANGED, REJECTED, REPLIES, REQUESTED
from common.engines.ports import free_port
from common.identity import Signer, Verifier
from common.ids import new_id, now_ms
from common.kafka import FETCH_LIMITS, Publisher, Record, declare_topics, partition_news
from common.providers import ProviderSettings
from common.testing import Broker, running_broker
from embedded.simulator import Running, running
from runner.app import create_app
from runner.halt import FAILURES
from runner.limits import PROVIDER_FAILURES
from runner.settings import RunnerSettings

KEY = uuid4()


class Vault:
    """A vault on loopback that opens one key, and counts how often."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self.leases = 0
        self.revision = 1

    async def lease(self, request: web.Request) -> web.Response:
        assert self.verifier.service(request.headers["authorization"].removeprefix("Bearer "), "vault") == "runner"
        LeaseRequest.model_validate_json(await request.read())
        self.leases += 1
        lease = Lease(secret="works", key_id=KEY, version=1, revision=self.revision, ttl_ms=60_000)
        return web.json_response(text=lease.model_dump_json())


class Cluster:
    """What a test of the runner needs: a broker, a vault, a provider, and the means to publish and to look."""

    def __init__(self, bootstrap: str, identity_dir: Path, simulator: Running, vault: Vault, vault_url: str) -> None:
        self.bootstrap = bootstrap
        self.identity_dir = identity_dir
        self.simulator = simulator
        self.vault = vault
        self.vault_url = vault_url
        self.workspace = uuid4()
        self.grant = self.granted(self.workspace)
        self.publisher = Publisher(self.bootstrap)
        self.group = f"runner-{uuid4()}"

    @asynccontextmanager
    async def runner(self, group: str | None = None, drain_seconds: float = 10) -> AsyncIterator[FastAPI]:
        settings = RunnerSettings(
            kafka_bootstrap_servers=self.bootstrap,
            kafka_replication=1,
            identity_dir=self.identity_dir,
            vault_url=self.vault_url,
            runner_group=group or self.group,
            call_seconds=20,
            drain_seconds=drain_seconds,
        )
        urls = {
            "openai_base_url": self.simulator.openai_base_url,
            "anthropic_base_url": self.simulator.anthropic_base_url,
        }
        app = create_app(settings, ProviderSettings.model_validate(urls))
        async with app.router.lifespan_context(app):
            yield app

    async def publish(
        self, prompt: str, *, topic: str = REQUESTED.name, partition: int | None = None, **changes: object
    ) -> RunRequested:
        now = now_ms()
        fields: dict[str, object] = {
            "run_id": new_id(), "workspace_id": self.workspace, "operation": "chat", "provider": "openai",
            "model": "gpt-4o-mini", "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]},
            "deadline": now + 60_000, "publish_by": now + 60_000, "accepted_at": now,
        }  # fmt: skip
        request = RunRequested.model_validate({**fields, **changes})
        grant = self.grant if request.workspace_id == self.workspace else self.granted(request.workspace_id)
        await self.send_as(grant, topic, request.encode(), request.run_id, partition)
        return request

    async def send(self, topic: str, value: bytes, run_id: UUID, partition: int | None = None) -> None:
        await self.send_as(self.grant, topic, value, run_id, partition)

    async def send_as(self, grant: str, topic: str, value: bytes, run_id: UUID, partition: int | None = None) -> None:
        headers = [(GRANT_HEADER, grant.encode())]
        await self.publisher.send(topic, value, key=run_id.bytes, headers=headers, partition=partition)

    def granted(self, workspace: UUID) -> str:
        """Return a grant for another workspace."""
        return Signer.load("gateway", self.identity_dir).grant(workspace, ("openai",), 2**31)

    async def completed(self, *runs: RunRequested) -> dict[UUID, RunCompleted]:
        """Wait until each of the runs has ended; every one exactly once."""
        records = await self.records(COMPLETED.name, {run.run_id for run in runs})
        counts = Counter(UUID(bytes=record.key or b"") for record in records)
        assert set(counts.values()) <= {1}
        return {c.run_id: c for c in (RunCompleted.model_validate_json(r.value or b"") for r in records)}

    async def records(self, topic: str, run_ids: set[UUID]) -> list[Record]:
        """Read a topic from its beginning until every one of the run ids was seen."""
        found: list[Record] = []
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", **FETCH_LIMITS
        )
        await consumer.start()
        try:
            async with asyncio.timeout(30):
                while run_ids - {UUID(bytes=record.key) for record in found}:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        found += [r for r in batch if r.key and UUID(bytes=r.key) in run_ids and not _started(r)]
        finally:
            await consumer.stop()
        return found

    async def lag(self) -> int:
        """How many records of the requested topic the group has not committed."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(REQUESTED.name, number) for number in range(REQUESTED.partitions)]
            ends = await consumer.end_offsets(partitions)
            return sum([ends[tp] - (await consumer.committed(tp) or 0) for tp in partitions])
        finally:
            await consumer.stop()

    async def until_committed(self) -> None:
        """Wait until the group has committed everything."""
        async with asyncio.timeout(20):
            while await self.lag():
                await asyncio.sleep(0.1)

    async def until_called(self, prompt: str) -> None:
        """Wait until a call with this prompt is in flight at the provider."""
        async with asyncio.timeout(30):
            while self.simulator.calls()["in_flight"] == 0:
                await asyncio.sleep(0.01)


def _started(record: Record) -> bool:
    return dict(record.headers).get(TYPE_HEADER) == RunStarted.TYPE.encode()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("runner-kafka"), free_port()) as broker:
        asyncio.run(declare_topics(broker.bootstrap, replication=1))
        yield broker


@pytest.fixture
async def cluster(broker: Broker, identity_dir: Path, verifier: Verifier) -> AsyncIterator[Cluster]:
    async with cluster_on(broker.bootstrap, identity_dir, verifier) as cluster:
        yield cluster


@asynccontextmanager
async def cluster_on(bootstrap: str, identity_dir: Path, verifier: Verifier) -> AsyncIterator[Cluster]:
    """Serve a vault and a provider beside a broker of the test's own."""
    vault = Vault(verifier)
    app = web.Application()
    app.router.add_post("/leases", vault.lease)
    served = web.AppRunner(app)
    await served.setup()
    port = free_port()
    await web.TCPSite(served, "127.0.0.1", port).start()
    async with running() as simulator:
        cluster = Cluster(bootstrap, identity_dir, simulator, vault, f"http://127.0.0.1:{port}")
        await cluster.publisher.start()
        yield cluster
        await cluster.publisher.close()
    await served.cleanup()


async def test_every_run_ends_once_in_the_partition_it_came_from(cluster: Cluster) -> None:
    runs = [await cluster.publish(f"prompt {n}") for n in range(60)]
    async with cluster.runner():
        completed = await cluster.completed(*runs)
        requested = await cluster.records(REQUESTED.name, {run.run_id for run in runs})
        journal = await cluster.records(COMPLETED.name, {run.run_id for run in runs})
    assert {c.status for c in completed.values()} == {"succeeded"}
    assert {r.key: r.partition for r in requested} == {r.key: r.partition for r in journal}
    assert cluster.simulator.calls()["served"] == 60
    assert cluster.vault.leases == 1
    assert await cluster.lag() == 0


async def test_what_the_journal_shows_as_ended_is_not_called_again(cluster: Cluster) -> None:
    runs = [await cluster.publish(f"journalled {n}") for n in range(40)]
    async with cluster.runner():
        await cluster.completed(*runs)
    late = await cluster.publish("after")
    async with cluster.runner(group=f"from-the-start-{uuid4()}"):  # every record is delivered again
        completed = await cluster.completed(*runs, late)
    assert len(completed) == 41
    assert cluster.simulator.calls()["repeated"] == {}


async def test_calls_that_run_are_finished_before_the_runner_leaves(cluster: Cluster) -> None:
    cluster.simulator.control(latency_ms=800)
    run = await cluster.publish("slow")
    async with cluster.runner():
        await cluster.until_called("slow")
    assert (await cluster.completed(run))[run.run_id].status == "succeeded"
    async with cluster.runner():  # finds the end in the journal
        await cluster.until_committed()
    assert cluster.simulator.calls()["repeated"] == {}


async def test_calls_cut_short_come_again(cluster: Cluster) -> None:
    cluster.simulator.control(script=[{"kind": "hang"}])
    run = await cluster.publish("cut short")
    async with cluster.runner(drain_seconds=0):
        await cluster.until_called("cut short")
    async with cluster.runner():
        assert (await cluster.completed(run))[run.run_id].status == "succeeded"


async def test_a_runner_that_joins_calls_nothing_again(cluster: Cluster) -> None:
    cluster.simulator.control(latency_ms=5000)
    runs = [await cluster.publish(f"joined {n}") for n in range(48)]
    async with cluster.runner():
        await cluster.until_called("joined")
        async with cluster.runner():
            completed = await cluster.completed(*runs)
    assert {c.status for c in completed.values()} == {"succeeded"}
    assert cluster.simulator.calls()["repeated"] == {}
    assert await cluster.lag() == 0


async def test_a_runner_that_leaves_keeps_its_calls_and_nobody_waits(cluster: Cluster) -> None:
    cluster.simulator.control(rules=[{"prompt": "long", "latency_ms": 6000}])
    long = [await cluster.publish(f"long {n}") for n in range(24)]
    leaving = asyncio.create_task(_run_until_called(cluster))
    await cluster.until_called("long")
    async with cluster.runner():
        short = [await cluster.publish(f"short {n}") for n in range(24)]
        await cluster.completed(*short)
        assert not leaving.done()  # the long calls still run, and held nobody up
        completed = await cluster.completed(*long)
        await leaving
        await cluster.until_committed()
    assert {c.status for c in completed.values()} == {"succeeded"}
    assert cluster.simulator.calls()["repeated"] == {}


async def _run_until_called(cluster: Cluster) -> None:
    async with cluster.runner():
        await cluster.until_called("long")


async def test_a_run_given_back_is_carried_out_by_the_next_owner(cluster: Cluster) -> None:
    cluster.simulator.control(script=[{"kind": "rate_limited", "retry_after": 20}])
    run = await cluster.publish("given back")
    async with cluster.runner():
        async with asyncio.timeout(20):
            while cluster.simulator.calls()["total"] == 0:
                await asyncio.sleep(0.01)
    async with cluster.runner():
        assert (await cluster.completed(run))[run.run_id].status == "succeeded"


async def test_a_run_that_must_not_be_called_twice_is_not(cluster: Cluster) -> None:
    cluster.simulator.control(script=[{"kind": "hang"}])
    run = await cluster.publish("once", on_unknown="fail")
    async with cluster.runner(drain_seconds=0):
        await cluster.until_called("once")
    async with cluster.runner():
        completed = (await cluster.completed(run))[run.run_id]
    assert completed.error is not None
    assert (completed.error.code, completed.cost.priced) == ("outcome_unknown", False)
    assert cluster.simulator.calls()["total"] == 1


async def test_one_slow_call_does_not_hold_up_its_partition(cluster: Cluster) -> None:
    cluster.simulator.control(rules=[{"prompt": "slow", "latency_ms": 1500}])
    slow = await cluster.publish("slow")
    others = [await cluster.publish("quick") for _ in range(60)]  # some of them in every partition
    async with cluster.runner():
        records = await cluster.records(COMPLETED.name, {slow.run_id, *(run.run_id for run in others)})
    ended = {UUID(bytes=r.key or b""): RunCompleted.model_validate_json(r.value or b"").completed_at for r in records}
    assert max(ended[run.run_id] for run in others) < ended[slow.run_id]


async def test_a_repeated_run_id_is_called_once(cluster: Cluster) -> None:
    run = await cluster.publish("repeated")
    await cluster.send(REQUESTED.name, run.encode(), run.run_id)
    after = await cluster.publish("after", run_id=run.run_id)
    async with cluster.runner():
        await cluster.completed(run)
        await cluster.until_committed()
    assert after.run_id == run.run_id
    assert cluster.simulator.calls()["served"] == 1


async def test_bulk_runs_are_carried_out_too(cluster: Cluster) -> None:
    run = await cluster.publish("bulk", topic=BATCHED.name)
    async with cluster.runner():
        assert (await cluster.completed(run))[run.run_id].status == "succeeded"


async def test_what_is_no_run_is_set_aside_with_its_reason(cluster: Cluster) -> None:
    poison, stranger = new_id(), uuid4()
    await cluster.send(REQUESTED.name, b"{not json", poison)
    foreign = new_id()
    request = await cluster.publish("good elsewhere", workspace_id=stranger, publish_by=0)  # for its bytes alone
    await cluster.send(REQUESTED.name, request.model_copy(update={"publish_by": 2**41}).encode(), foreign)
    good = await cluster.publish("good")
    async with cluster.runner():
        await cluster.completed(good)
        rejected = await cluster.records(REJECTED.name, {poison, foreign})
    by_id = {UUID(bytes=r.key or b""): r for r in rejected}
    assert by_id[poison].value == b"{not json"
    assert dict(by_id[foreign].headers)["reason"] == b"grant: it is for another workspace"
    assert all(GRANT_HEADER not in dict(record.headers) for record in rejected)
    assert cluster.simulator.calls()["served"] == 1


async def test_a_record_appended_too_late_was_never_accepted(cluster: Cluster) -> None:
    late = await cluster.publish("late", publish_by=now_ms() - 1)
    good = await cluster.publish("good")
    async with cluster.runner():
        await cluster.completed(good)
        await cluster.until_committed()
    assert late.run_id != good.run_id
    assert cluster.simulator.calls()["prompts"] == 1


async def test_the_one_who_waits_is_told(cluster: Cluster) -> None:
    async with cluster.runner(), partition_news(cluster.bootstrap, REPLIES.name, [7]) as replies:
        run = await cluster.publish("reply", reply_to=ReplyTo(partition=7, instance="me"))
        record = await replies.getone()
    assert dict(record.headers)[INSTANCE_HEADER] == b"me"
    assert RunCompleted.model_validate_json(record.value or b"").run_id == run.run_id


async def test_a_changed_key_is_leased_anew(cluster: Cluster) -> None:
    async with cluster.runner():
        await cluster.completed(await cluster.publish("before"))
        cluster.vault.revision = 2
        changed = CredentialsChanged(workspace_id=cluster.workspace, key_id=KEY, revision=2, reason="activated")
        await cluster.publisher.send(CREDENTIALS_CHANGED.name, changed.encode(), key=str(KEY).encode())
        async with asyncio.timeout(20):
            while cluster.vault.leases < 2:
                await cluster.completed(await cluster.publish("after"))


async def test_a_large_body_passes(cluster: Cluster) -> None:
    run = await cluster.publish("river " * 1_200_000)
    async with cluster.runner():
        completed = (await cluster.completed(run))[run.run_id]
    assert completed.status == "succeeded", completed.error
    assert json.loads(completed.response or "")["usage"]["prompt_tokens"] == 7_200_000 / 4


async def test_what_waits_beyond_the_quota_ends_at_once_and_others_are_served(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.lane.MOST_WAITING", 20)
    cluster.simulator.control(latency_ms=1000)
    flood = [await cluster.publish(f"flood {n}", partition=5) for n in range(50)]
    small = await cluster.publish("small", partition=5, workspace_id=uuid4())
    bulk = [await cluster.publish(f"bulk {n}", topic=BATCHED.name, partition=5) for n in range(50)]
    async with cluster.runner():
        completed = await cluster.completed(*flood, small, *bulk)
    refused = [c.error for run in flood if (c := completed[run.run_id]).status == "failed"]
    assert len(refused) == 30
    assert {(error.code, error.retry_at is not None) for error in refused if error} == {("rate_limited", True)}
    assert {completed[run.run_id].status for run in (small, *bulk)} == {"succeeded"}
    assert cluster.simulator.calls()["served"] == 20 + 1 + 50


async def test_a_run_whose_deadline_passes_while_it_waits_expires_without_a_call(cluster: Cluster) -> None:
    cluster.simulator.control(script=[{"kind": "rate_limited", "retry_after": 4}])
    limited = await cluster.publish("limited")
    async with cluster.runner():
        async with asyncio.timeout(20):
            while cluster.simulator.calls()["total"] == 0:
                await asyncio.sleep(0.01)
        hurried = await cluster.publish("hurried", deadline=now_ms() + 1000)
        completed = await cluster.completed(hurried, limited)
    assert completed[hurried.run_id].status == "expired"
    assert completed[limited.run_id].status == "succeeded"
    assert completed[hurried.run_id].completed_at < completed[limited.run_id].completed_at
    assert cluster.simulator.calls()["total"] == 2


async def test_a_provider_that_is_away_is_left_alone_and_no_run_is_lost(cluster: Cluster) -> None:
    cluster.simulator.control(failure={"server_error": 1.0})
    runs = [await cluster.publish(f"away {n}", deadline=now_ms() + 300_000) for n in range(40)]
    async with cluster.runner():
        async with asyncio.timeout(20):
            while cluster.simulator.calls()["total"] < PROVIDER_FAILURES:
                await asyncio.sleep(0.01)
        await asyncio.sleep(
            3
        )  # in which nothing may happen but two or three trials; unguarded, each run calls four times
        assert cluster.simulator.calls()["total"] <= 45
        cluster.simulator.control(failure={})
        completed = await cluster.completed(*runs)
    assert {c.status for c in completed.values()} == {"succeeded"}


async def test_a_runner_halts_when_records_of_many_tenants_make_no_sense_and_keeps_the_offsets(
    cluster: Cluster,
) -> None:
    async with cluster.runner():
        await cluster.until_committed()  # what other tests left would interrupt the row
    tenants = [cluster.granted(uuid4()) for _ in range(3)]
    poison = [new_id() for _ in range(80)]
    for n, run_id in enumerate(poison):
        await cluster.send_as(tenants[n % 3], REQUESTED.name, b"{not json", run_id, partition=7)
    good = await cluster.publish("behind", partition=7)
    async with cluster.runner() as app:
        async with asyncio.timeout(20):
            while (answer := await ready(app))[0] != 503 or "halted" not in answer[1]:
                await asyncio.sleep(0.05)
        rejected = await cluster.records(REJECTED.name, set(poison[: FAILURES - 1]))
    behind = len(poison) + 1 - (FAILURES - 1)
    assert len({record.key for record in rejected}) == FAILURES - 1
    assert await cluster.lag() == behind
    assert cluster.simulator.calls()["total"] == 0
    assert good.run_id not in {UUID(bytes=record.key or b"") for record in rejected}


async def ready(app: FastAPI) -> tuple[int, str]:
    """Ask the runner's readiness."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://runner") as client:
        answer = await client.get("/health/ready")
        return answer.status_code, answer.text


@pytest.mark.parametrize("reported", [False, True], ids=["told by 429", "told by headers"])
async def test_a_limited_flow_ends_every_run(cluster: Cluster, reported: bool) -> None:
    cluster.simulator.control(latency_ms=50, limit={"per_second": 40, "burst": 4, "reported": reported})
    runs = [await cluster.publish(f"limited {n}", deadline=now_ms() + 300_000) for n in range(200)]
    async with cluster.runner():
        completed = await cluster.completed(*runs)
    attempts = [attempt for c in completed.values() for attempt in c.attempts]
    refused = sum(attempt.status_code == 429 for attempt in attempts)
    print(f"200 runs, {refused} calls refused")
    assert {c.status for c in completed.values()} == {"succeeded"}
    assert len(attempts) == cluster.simulator.calls()["total"]
    assert refused < 200  # without a window each run is refused ten times


async def test_no_run_of_a_flow_is_called_before_its_retry_after(cluster: Cluster) -> None:
    cluster.simulator.control(rules=[{"prompt": "first", "kind": "rate_limited", "retry_after": 2, "times": 1}])
    first = await cluster.publish("first")
    async with cluster.runner():
        async with asyncio.timeout(20):
            while not (calls := cluster.simulator.calls())["total"] or calls["in_flight"]:
                await asyncio.sleep(0.01)
        same = [await cluster.publish(f"same flow {n}") for n in range(20)]
        other = await cluster.publish("other flow", workspace_id=uuid4())
        completed = await cluster.completed(first, other, *same)
    refused, again = completed[first.run_id].attempts
    held_until = refused.started_at + refused.latency_ms + 2000
    assert again.started_at >= held_until - 5  # the two clocks' rounding
    assert all(completed[run.run_id].attempts[0].started_at >= held_until - 5 for run in same)
    assert completed[other.run_id].attempts[0].started_at < held_until
