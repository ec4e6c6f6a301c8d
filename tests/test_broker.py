"""The message broker is killed, or stands still: nothing accepted is lost, and nobody is told what is not so."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Thread
from typing import Self
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from tests.runners import frozen
from tests.stack import Client, Reply, Simulator, Stack, until
from tests.test_recovery import kill

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import BATCHED, REQUESTED
from common.engines.ports import free_port
from common.errors import Unavailable
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import FETCH_LIMITS, Publisher, Record

SESSION_SECONDS = 6
PUBLISH_SECONDS = 2
BACK_SECONDS = 30
"""What is promised: so soon after the broker's return runs are carried out again."""

SENDERS = 4
ENOUGH = 50
TIMES = [1, pytest.param(5, marks=pytest.mark.soak)]


@pytest.fixture(scope="module")
def fragile(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this file's own, whose broker may be hurt."""
    environment = {
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "SESSION_SECONDS": str(SESSION_SECONDS),
        "PUBLISH_SECONDS": str(PUBLISH_SECONDS),
    }
    started = Stack(tmp_path_factory.mktemp("fragile") / "home", free_port(), environment)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def caller(fragile: Stack, simulator: Simulator) -> Client:
    """An admin of a fresh workspace with a key; the simulator counts from here on."""
    caller = fragile.admin().member_of_new_workspace(f"test {uuid.uuid4()}")
    assert caller.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
    simulator.forget()
    return caller


@dataclass(frozen=True)
class Asked:
    """One request for a run and its answer."""

    key: str
    answer: Reply

    @property
    def run_id(self) -> str:
        return str(self.answer.data["runId"] if self.answer.status == 202 else self.answer.body["runId"])


class Load:
    """Asks for runs without waiting for them, from several threads, each under an idempotency key of its own."""

    def __init__(self, caller: Client) -> None:
        self._caller = caller
        self._over = Event()
        self._threads = [Thread(target=self._ask_for_ever) for _ in range(SENDERS)]
        self._asked: list[Asked] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def ask(self, key: str) -> Asked:
        """Ask once; the key is the prompt too."""
        headers = {"prefer": "respond-async", "idempotency-key": key}
        asked = Asked(key, self._caller.run("openai", "gpt-4o-mini", key, headers=headers))
        self._asked.append(asked)
        return asked

    @property
    def accepted(self) -> list[Asked]:
        """Those answered 202."""
        return [asked for asked in self._asked if asked.answer.status == 202]

    @property
    def unknown(self) -> list[Asked]:
        """Those answered 503 with a run id."""
        return [asked for asked in self._asked if asked.answer.status == 503 and "runId" in asked.answer.body]

    def said(self) -> Counter[str]:
        """Count the answers."""
        ids = {id(asked) for asked in self.unknown}
        return Counter(f"{a.answer.status}{' with a run id' if id(a) in ids else ''}" for a in self._asked)

    def _ask_for_ever(self) -> None:
        while not self._over.is_set():
            self.ask(uuid.uuid4().hex)
            self._over.wait(0.05)


class Direct:
    """Publishes bulk runs straight to the broker, as an internal service would, and keeps what was said of each."""

    def __init__(self, stack: Stack, workspace: UUID) -> None:
        signer = Signer.load("gateway", stack.home / "identity" / "gateway")
        self._bootstrap = stack.kafka
        self._workspace = workspace
        self._grant = signer.grant(workspace, ("openai",), 2**31).encode()
        self._over = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._publish_for_ever()))
        self.said: dict[UUID, str] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def told(self, word: str) -> set[str]:
        """Return the ids of the runs of which this was said."""
        return {str(run_id) for run_id, said in list(self.said.items()) if said == word}

    async def _publish_for_ever(self) -> None:
        publisher = Publisher(self._bootstrap)
        await publisher.start()
        async with asyncio.TaskGroup() as sends:
            while not self._over.is_set():
                sends.create_task(self._publish(publisher))
                await asyncio.sleep(0.2)
        await publisher.close()

    async def _publish(self, publisher: Publisher) -> None:
        run_id, now = new_id(), now_ms()
        request = RunRequested(
            run_id=run_id, workspace_id=self._workspace, operation="chat", provider="openai", model="gpt-4o-mini",
            body={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(run_id)}]},
            deadline=now + 3_600_000, publish_by=now + 1000 * PUBLISH_SECONDS, accepted_at=now,
        )  # fmt: skip
        headers = [*request.headers(), (GRANT_HEADER, self._grant)]
        try:
            await publisher.send(
                BATCHED.name, request.encode(), key=run_id.bytes, headers=headers, timeout=PUBLISH_SECONDS
            )
            self.said[run_id] = "acknowledged"
        except Unavailable as error:
            self.said[run_id] = type(error).__name__


def answer_of(caller: Client, run_id: str) -> str:
    """Return the run's status, or "404"."""
    answer = caller.call("GET", f"/api/runs/{run_id}")
    return "404" if answer.status == 404 else str(answer.data["status"])


def settled(caller: Client, run_ids: set[str]) -> dict[str, str]:
    """Return what is answered of each run, once that is no longer "accepted"."""

    def answer(run_id: str) -> str:
        while (said := answer_of(caller, run_id)) == "accepted":
            time.sleep(0.1)
        return said

    with ThreadPoolExecutor(SENDERS) as pool:
        return dict(zip(run_ids, pool.map(answer, run_ids), strict=True))


def listed(caller: Client) -> dict[str, str]:
    """Return the status of every run of the workspace, once all have ended."""
    caller.counted()
    until(lambda: caller.call("GET", "/api/runs?status=accepted&limit=1").data["runs"] == [], "all runs end")
    statuses: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = caller.call("GET", f"/api/runs?limit=200{cursor and '&cursor='}{cursor}").data
        statuses.update({run["runId"]: run["status"] for run in page["runs"]})
        cursor = page["nextCursor"]
    return statuses


def workspace_of(caller: Client) -> UUID:
    return UUID(caller.call("GET", "/api/workspaces").data[0]["id"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", TIMES)
def test_a_killed_broker_loses_nothing_that_was_accepted(
    fragile: Stack, caller: Client, simulator: Simulator, kills: int
) -> None:
    seed, waits = random.randrange(2**32), []
    chance = random.Random(seed)
    with Load(caller) as load, Direct(fragile, workspace_of(caller)) as direct:
        for _ in range(kills):
            until(more(lambda: len(load.accepted), chance.randrange(ENOUGH, 3 * ENOUGH)), "runs are accepted")
            kill(fragile, "kafka")
            waits.append(seconds_until_carried_out(caller, load))
        until(more(lambda: len(direct.told("acknowledged")), 5), "direct publishers are acknowledged again")
    accepted = {asked.run_id for asked in load.accepted} | direct.told("acknowledged")
    unknown = settled(caller, {asked.run_id for asked in load.unknown} | direct.told("OutcomeUnknown"))
    ran = {run_id for run_id, end in unknown.items() if end != "404"}
    ends, overview, calls = listed(caller), caller.counted()["overview"], simulator.calls()
    print(
        f"seed {seed}, {kills} kills; http {load.said()}; direct {dict(Counter(direct.said.values()))};"
        f" carried out again after {[f'{wait:.1f}' for wait in waits]} s;"
        f" of {len(unknown)} of unknown outcome {len(ran)} ran; {calls['total']} calls"
    )
    assert ends == dict.fromkeys(accepted | ran, "succeeded")
    assert overview["totalRuns"] == len(ends)
    assert overview["repeatedExecutions"] == 0
    assert calls["repeated"] == {}
    assert max(waits) <= BACK_SECONDS
    assert_a_deactivated_key_is_used_no_more(caller)


def assert_a_deactivated_key_is_used_no_more(caller: Client) -> None:
    """The runner hears of it through the broker; its lease alone would last a minute."""
    (key,) = caller.call("GET", "/api/integrations/keys").data
    assert caller.call("DELETE", f"/api/integrations/keys/{key['id']}").status == 200
    until(lambda: caller.run("openai", "gpt-4o-mini", "Hello").status == 409, "the lease is dropped", 10)


def more(count: Callable[[], int], than: int) -> Callable[[], bool]:
    """Return the condition that so many more have come than there are now."""
    before = count()
    return lambda: count() >= before + than


def seconds_until_carried_out(caller: Client, load: Load) -> float:
    """Return how long it takes from now until a run that is asked for now, again and again, has ended."""
    began = time.monotonic()
    while (asked := load.ask(uuid.uuid4().hex)).answer.status != 202:
        assert asked.answer.status == 503, asked
    caller.ended(asked.run_id)
    return time.monotonic() - began


@pytest.mark.timeout(600)
@pytest.mark.parametrize("freezes", TIMES)
def test_every_unknown_outcome_under_a_frozen_broker_is_settled(
    fragile: Stack, caller: Client, simulator: Simulator, freezes: int
) -> None:
    with Load(caller) as load:
        for _ in range(freezes):
            until(more(lambda: len(load.accepted), ENOUGH), "runs are accepted")
            with frozen(fragile.pid("kafka")):
                asked_in_vain = more(lambda: len(load.unknown), SENDERS)
                began = time.monotonic()
                until(lambda: asked_in_vain() and time.monotonic() - began > 3 * PUBLISH_SECONDS, "sends are given up")  # noqa: B023
                meanwhile = {asked.run_id: answer_of(caller, asked.run_id) for asked in load.unknown[:2]}
            seconds_until_carried_out(caller, load)
    unknown = {asked.run_id: asked.key for asked in load.unknown}
    answers = settled(caller, set(unknown))
    in_time, late = asyncio.run(appended(fragile.kafka, set(unknown)))
    again = random.sample(sorted(unknown), len(unknown) // 2)
    retried = [load.ask(unknown[run_id]) for run_id in again]
    accepted = {asked.run_id for asked in load.accepted}
    ends, overview, calls = listed(caller), caller.counted()["overview"], simulator.calls()
    later = settled(caller, set(unknown))
    print(
        f"{freezes} freezes; http {load.said()}; of {len(unknown)} of unknown outcome {len(in_time)} were appended in"
        f" time, {len(late)} too late; {len(again)} retried; {calls['total']} calls"
    )
    assert late - in_time, "nothing was appended too late: the freeze was too short"
    assert {run_id for run_id, answer in answers.items() if answer != "404"} == in_time
    assert all(word != "404" or answers[run_id] == "404" for run_id, word in meanwhile.items())
    assert {asked.answer.status for asked in retried} == {202}
    assert {asked.run_id for asked in retried} == set(again)
    assert later == {**answers, **dict.fromkeys(again, "succeeded")}
    assert ends == dict.fromkeys(accepted | in_time, "succeeded")
    assert calls["total"] == overview["totalRuns"] == len(ends)
    assert calls["repeated"] == {}


async def appended(bootstrap: str, run_ids: set[str]) -> tuple[set[str], set[str]]:
    """Return which of these runs have a record that was appended in time, and which one that was not."""
    in_time: set[str] = set()
    late: set[str] = set()
    async for record in everything_in(bootstrap, REQUESTED.name):
        request = RunRequested.model_validate_json(record.value or b"")
        if str(request.run_id) in run_ids:
            (in_time if record.timestamp <= request.publish_by else late).add(str(request.run_id))
    return in_time, late


async def everything_in(bootstrap: str, topic: str) -> AsyncIterator[Record]:
    """Yield every record of the topic up to its present ends."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **FETCH_LIMITS)
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
