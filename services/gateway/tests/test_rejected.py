"""What was set aside is listed without its prompt, and replayed once, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from services.gateway.tests.conftest import (
    Body,
    Gateway,
    PlayedAnalytics,
    PlayedRunner,
    SettingsFor,
    completed,
    error_of,
    running,
)
from services.gateway.tests.test_idempotency import stored

from common.contracts.event import Event
from common.contracts.runs_v1 import ReplyTo, RunCompleted, RunRejected, RunRequested
from common.contracts.topics import BATCHED, COMPLETED, DAY_MS, REJECTED, REQUESTED
from common.ids import new_id, now_ms
from common.kafka import Publisher, partition_news
from gateway.grants import MARGIN_SECONDS
from gateway.publish import RequestLog
from gateway.rejected import Span, gist
from gateway.replay import LONGEST_MS, accepted_at, renewed
from gateway.store import Store

PROMPT = "a word nobody but its author may read"
FOREIGN = "grant: it is for another workspace"


def requested(workspace_id: UUID, **fields: Any) -> RunRequested:
    """A run of an internal service, that was not admitted."""
    now = now_ms()
    values: Body = {
        "run_id": new_id(), "workspace_id": workspace_id, "user": "nightly", "operation": "chat",
        "provider": "openai", "model": "gpt-4o", "body": {"messages": [{"role": "user", "content": PROMPT}]},
        "deadline": now + DAY_MS // 2, "publish_by": now - 60_000, "accepted_at": now - 3_600_000,
        "reply_to": ReplyTo(partition=1, instance="a replica of the past"),
    }  # fmt: skip
    return RunRequested(**{**values, **fields})


class Aside:
    """Sets records aside as the services do."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def put(self, event: Event | bytes, **origin: Any) -> None:
        value = event if isinstance(event, bytes) else event.encode()
        place = {"reason": FOREIGN, "topic": REQUESTED.name, "partition": 3, "offset": 41, "service": "runner"}
        headers = RunRejected.model_validate({**place, **origin}).headers()
        key = getattr(event, "run_id", uuid4()).bytes
        await self._publisher.send(REJECTED.name, value, key=key, headers=headers)


@pytest.fixture
def aside(publisher: Publisher) -> Aside:
    return Aside(publisher)


async def listing(gateway: Gateway, **asked: Any) -> list[Body]:
    """Return every record that fits, over all pages."""
    records: list[Body] = []
    params = {name: str(value) for name, value in asked.items()}
    while True:
        answer = await gateway.http.get("/api/rejected", params=params)
        assert answer.status_code == 200, answer.text
        assert PROMPT not in answer.text
        records += answer.json()["data"]["records"]
        if (cursor := answer.json()["data"]["nextCursor"]) is None:
            return records
        params["cursor"] = cursor


async def replay(gateway: Gateway, **asked: Any) -> list[tuple[str, str]]:
    """Replay, and return outcome and reason of every record that fits."""
    answer = await gateway.http.post("/api/rejected/replay", json=asked)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    outcomes = [(record["outcome"], record["why"]) for record in data["records"]]
    assert sum(data["counts"].values()) == len(outcomes)
    assert all(data["counts"][outcome] for outcome, _ in outcomes)
    return outcomes


async def of(runner: PlayedRunner, run_id: UUID, gateway: Gateway) -> list[RunRequested]:
    """Return what the runner got of this run, once it has read everything that was appended before."""
    await gateway.run()
    return [request for request in runner.requests if request.run_id == run_id]


async def test_the_list_tells_what_a_record_is_and_never_what_it_asks(gateway: Gateway, aside: Aside) -> None:
    workspace, before = uuid4(), datetime.now(UTC)
    run = requested(workspace)
    await aside.put(run)
    await aside.put(b'{"workspace_id": "%s", "prompt": "%s"' % (str(workspace).encode(), PROMPT.encode()))
    (record,) = await listing(gateway, workspaceId=workspace)
    assert before.isoformat()[:19] <= record.pop("rejectedAt")
    assert record.pop("offset") >= 0
    assert record == {
        "reason": FOREIGN, "service": "runner", "topic": "runs.requested.v1", "partition": 3, "originOffset": 41,
        "size": len(run.encode()), "runId": str(run.run_id), "workspaceId": str(workspace),
        "provider": "openai", "model": "gpt-4o",
    }  # fmt: skip


async def test_an_excerpt_shows_every_field_but_no_text(gateway: Gateway, aside: Aside) -> None:
    workspace, word = uuid4(), uuid4().hex
    run = requested(workspace, labels={"team": "search"})
    strange: Body = {
        **json.loads(run.encode()),
        "body": {"prompt": PROMPT},
        PROMPT: 1,
        "note": PROMPT,
        "model": "m" * 300,
    }
    deep = b'{"body": %b%b}' % (b"[" * 300, b"]" * 300)
    values = [run.encode(), json.dumps(strange).encode(), PROMPT.encode(), b"[1]", deep]
    for value in values:
        await aside.put(value, reason=word)
    excerpts = []
    for record in await listing(gateway, reason=word):
        answer = await gateway.http.get(f"/api/rejected/{record['offset']}")
        assert PROMPT not in answer.text
        excerpts.append(answer.json()["data"])
        assert excerpts[-1].items() >= record.items()
    fields = [{field["name"]: field["value"] for field in excerpt["fields"]} for excerpt in excerpts]
    assert fields[0].items() >= {"run_id": f'"{run.run_id}"', "labels": '{"team":"search"}', "body": None}.items()
    assert {fields[1][name] for name in ("body", "?", "note", "model")} == {None}
    assert [field["size"] for field in excerpts[1]["fields"] if field["name"] == "model"] == [302]
    assert fields[2:] == [{}, {}, {}]
    assert [excerpt["fault"] is None for excerpt in excerpts] == [True, True, False, False, False]


async def test_an_excerpt_of_nothing(gateway: Gateway, aside: Aside) -> None:
    await aside.put(requested(uuid4()))
    for offset, error in (
        ("99999999", (404, "not_found")),
        ("-1", (422, "invalid_request")),
        ("x", (422, "invalid_request")),
    ):
        assert error_of(await gateway.http.get(f"/api/rejected/{offset}")) == error
    assert await listing(gateway, offset=99999999) == []
    assert await listing(gateway, cursor=f"{10**30}-{10**30 + 1}") == []


async def test_one_record_alone_is_replayed(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID
) -> None:
    first, second = requested(workspace_id), requested(workspace_id)
    for run in (first, second):
        await aside.put(run)
    offset = (await listing(gateway, workspaceId=workspace_id))[-1]["offset"]
    assert [record["offset"] for record in await listing(gateway, offset=offset)] == [offset]
    assert await replay(gateway, offset=offset) == [("replayed", "")]
    assert len(await of(runner, second.run_id, gateway)) == 1
    assert await of(runner, first.run_id, gateway) == []


async def test_filters_and_pages(gateway: Gateway, aside: Aside) -> None:
    workspace, word = uuid4(), uuid4().hex
    for number in range(5):
        await aside.put(requested(workspace), reason=f"{word} {number}")
    await aside.put(requested(workspace), reason=word, topic=COMPLETED.name, service="analytics")
    found = await listing(gateway, reason=word, limit=2)
    assert [record["reason"] for record in found] == [*(f"{word} {number}" for number in range(5)), word]
    offsets = [record["offset"] for record in found]
    assert offsets == sorted(offsets)
    assert [r["reason"] for r in await listing(gateway, reason=f"{word} 3")] == [f"{word} 3"]
    assert len(await listing(gateway, reason=word, service="analytics")) == 1
    assert len(await listing(gateway, reason=word, topic=REQUESTED.name)) == 5
    assert len(await listing(gateway, reason=word, workspaceId=workspace)) == 6
    since = found[3]["rejectedAt"]
    late = [record["offset"] for record in await listing(gateway, reason=word, since=since)]
    early = [record["offset"] for record in await listing(gateway, reason=word, until=since)]
    assert late
    assert late[-1] == offsets[-1]
    assert sorted({*early, *late}) == offsets
    assert not {*early} & {*late}
    assert await listing(gateway, reason=word, since="2100-01-01T00:00:00Z") == []


@pytest.mark.parametrize("asked", [{"cursor": "x"}, {"limit": 0}, {"service": "vault"}, {"prompt": "x"}])
async def test_a_question_that_makes_no_sense(gateway: Gateway, asked: Body) -> None:
    assert error_of(await gateway.http.get("/api/rejected", params=asked)) == (422, "invalid_request")
    assert error_of(await gateway.http.post("/api/rejected/replay", json=asked)) == (422, "invalid_request")


async def test_only_the_operator_may(gateway: Gateway) -> None:
    other = (await gateway.http.post("/api/workspaces", json={"name": "other"})).json()["data"]["id"]
    for token in (await gateway.token("admin"), await gateway.token("admin", workspaceId=other)):
        headers = gateway.calling(token)
        for path in ("/api/rejected", "/api/rejected/0"):
            assert error_of(await gateway.http.get(path, headers=headers)) == (403, "forbidden")
        assert error_of(await gateway.http.post("/api/rejected/replay", json={}, headers=headers)) == (403, "forbidden")


async def test_a_replayed_run_is_the_same_run_with_a_fresh_grant_once(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID
) -> None:
    run = requested(workspace_id)
    await aside.put(run)
    await aside.put(run)  # its caller sent it twice: it is one run all the same
    assert await replay(gateway, workspaceId=str(workspace_id), dryRun=True) == [("replayed", "")] * 2
    assert await of(runner, run.run_id, gateway) == []
    first, second = await replay(gateway, workspaceId=str(workspace_id))
    assert (first, second) == (("replayed", ""), ("already_replayed", ""))
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("already_replayed", "")] * 2
    (got,) = await of(runner, run.run_id, gateway)
    assert got.publish_by > now_ms() - 5_000
    assert got == run.model_copy(update={"reply_to": None, "publish_by": got.publish_by})
    grant = next(a.grant for a in runner.admitted if a.request.run_id == run.run_id)
    assert (grant.workspace_id, grant.providers) == (workspace_id, ("openai",))
    assert grant.expires_at >= got.deadline / 1000 + MARGIN_SECONDS
    metrics = (await gateway.http.get("/metrics")).text
    assert 'tallyrun_gateway_replays_total{outcome="already_replayed"}' in metrics


async def test_a_replay_of_days_leaves_nobody_else_a_grant_of_days(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID
) -> None:
    await aside.put(requested(workspace_id, deadline=now_ms() + 6 * DAY_MS))
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
    run_id = UUID((await gateway.run({"prefer": "respond-async"})).json()["data"]["runId"])
    await of(runner, run_id, gateway)
    grant = next(a.grant for a in runner.admitted if a.request.run_id == run_id)
    assert grant.expires_at < now_ms() / 1000 + DAY_MS / 1000 + MARGIN_SECONDS + 120


async def test_replays_at_the_same_time_are_one_run(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID
) -> None:
    run = requested(workspace_id, accepted_at=now_ms() - 9 * DAY_MS)  # it gets a new time: the same from all
    await aside.put(run)
    outcomes = await asyncio.gather(*(replay(gateway, workspaceId=str(workspace_id)) for _ in range(5)))
    assert ("replayed", "") in [outcome for (outcome,) in outcomes]
    assert len({request.accepted_at for request in await of(runner, run.run_id, gateway)}) == 1


async def test_a_replay_is_remembered_as_long_as_its_record_is_there(
    gateway: Gateway, kafka: str, aside: Aside, sql: asyncpg.Connection, workspace_id: UUID
) -> None:
    await aside.put(requested(workspace_id))
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
    below = await sql.fetchval("SELECT below FROM run_replays")
    await retained_from(kafka, below - 1)
    await replay(gateway, workspaceId=str(workspace_id))
    assert await sql.fetchval("SELECT count(*) FROM run_replays") == 1
    await retained_from(kafka, below)
    assert await replay(gateway, workspaceId=str(workspace_id)) == []
    assert await sql.fetchval("SELECT count(*) FROM run_replays") == 0


async def retained_from(kafka: str, offset: int) -> None:
    """Let the broker drop what was set aside before this offset, as it does when its time is over."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(REJECTED.name, 0): RecordsToDelete(offset)})
    finally:
        await admin.close()


class Killed(Exception):
    """Stands for the end of the process: nothing after this point happens."""


def _dies(method: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    async def dying(*args: Any, **kwargs: Any) -> None:
        if not first:
            await method(*args, **kwargs)
        raise Killed

    return dying


@pytest.mark.parametrize(
    ("owner", "step", "first", "published"),
    [(RequestLog, "append", True, 1), (RequestLog, "append", False, 2), (Store, "mark_replayed", True, 2)],
    ids=["after the claim", "after the publish", "before the note"],
)
async def test_killed_in_between_the_next_replay_makes_the_same_run(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner, aside: Aside, monkeypatch: pytest.MonkeyPatch,
    owner: type, step: str, first: bool, published: int,
) -> None:  # fmt: skip
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as gateway:
        workspace_id = UUID((await gateway.http.get("/api/workspaces")).json()["data"][0]["id"])
        run = requested(workspace_id, accepted_at=now_ms() - 9 * DAY_MS)
        await aside.put(run)
        monkeypatch.setattr(owner, step, _dies(getattr(owner, step), first=first))
        with pytest.raises(Killed):
            await replay(gateway, workspaceId=str(workspace_id))
        monkeypatch.undo()
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as gateway:
        assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
        assert await replay(gateway, workspaceId=str(workspace_id)) == [("already_replayed", "")]
        got = await of(runner, run.run_id, gateway)
    # Records of one id and one time are one run: the runner calls it once, analytics counts it once.
    assert len(got) == published
    assert len({(request.run_id, request.accepted_at) for request in got}) == 1


async def test_a_replay_that_was_rejected_may_be_replayed_again(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID
) -> None:
    run = requested(workspace_id)
    await aside.put(run)
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
    await aside.put(run, reason="grant: the token is not signed by a known service", offset=99)
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("already_replayed", ""), ("replayed", "")]
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("already_replayed", "")] * 2
    assert len(await of(runner, run.run_id, gateway)) == 2


async def test_a_run_that_was_accepted_meanwhile_is_left_alone(
    gateway: Gateway, runner: PlayedRunner, aside: Aside, analytics: PlayedAnalytics, workspace_id: UUID
) -> None:
    run = requested(workspace_id)
    await aside.put(run)
    analytics.answers[f"runs/{run.run_id}"] = stored(str(run.run_id), status="accepted", provider="")
    answer = await gateway.http.post("/api/rejected/replay", json={"workspaceId": str(workspace_id)})
    assert error_of(answer) == (503, "unavailable")  # analytics does not know yet
    analytics.answers[f"runs/{run.run_id}"] = stored(str(run.run_id))
    ((outcome, why),) = await replay(gateway, workspaceId=str(workspace_id))
    assert (outcome, why) == ("already_accepted", "a run of this id was accepted: succeeded")
    assert await of(runner, run.run_id, gateway) == []


async def test_poison_stays(gateway: Gateway, runner: PlayedRunner, aside: Aside, workspace_id: UUID) -> None:
    poison = b'{"workspace_id": "%s", "run_id": 1, "messages": "%s"}' % (str(workspace_id).encode(), PROMPT.encode())
    for topic, service in ((REQUESTED, "runner"), (COMPLETED, "analytics")):
        await aside.put(poison, topic=topic.name, service=service, reason="malformed: run_id")
    await aside.put(requested(workspace_id, operation="check"))
    await aside.put(requested(workspace_id), service="analytics")
    await aside.put(requested(workspace_id), topic="runs.requested.v0")
    outcomes = await replay(gateway, workspaceId=str(workspace_id))
    assert {outcome for outcome, _ in outcomes} == {"cannot_be_replayed"}
    said = ["malformed: run_id", "malformed: run_id", "connect it again", "went on", "no topic"]
    assert all(words in why for words, (_, why) in zip(said, outcomes, strict=True)), outcomes
    assert PROMPT not in str(outcomes)
    assert len(await listing(gateway, workspaceId=workspace_id)) == 5
    assert await replay(gateway, workspaceId=str(workspace_id)) == outcomes
    await gateway.run()
    assert [request.user for request in runner.requests if request.user == "nightly"] == []


async def test_a_run_of_no_workspace_stays(gateway: Gateway, aside: Aside) -> None:
    nobody = uuid4()
    await aside.put(requested(nobody))
    ((outcome, why),) = await replay(gateway, workspaceId=str(nobody))
    assert (outcome, str(nobody) in why) == ("cannot_be_replayed", True)


async def test_a_record_without_headers_is_listed_and_stays(
    gateway: Gateway, publisher: Publisher, workspace_id: UUID
) -> None:
    await publisher.send(REJECTED.name, requested(workspace_id).encode(), key=b"k")
    await publisher.send(REJECTED.name, None, key=b"k")
    (record,) = await listing(gateway, workspaceId=workspace_id)
    assert (record["topic"], record["partition"]) == ("", -1)
    assert await replay(gateway, workspaceId=str(workspace_id)) == [
        ("cannot_be_replayed", "it is from no topic that is replayed")
    ]


@pytest.fixture
async def news(kafka: str) -> AsyncIterator[Callable[[str], Any]]:
    """Read what is appended to a topic's partition 3 from now on."""
    opened: list[Any] = []

    async def follow(topic: str) -> AIOKafkaConsumer:
        opened.append(partition_news(kafka, topic, [3]))
        consumer: AIOKafkaConsumer = await opened[-1].__aenter__()
        return consumer

    yield follow
    for consumer in opened:
        await consumer.__aexit__(None, None, None)


async def test_a_completion_is_appended_again_as_it_was(
    gateway: Gateway, aside: Aside, workspace_id: UUID, news: Callable[[str], Any]
) -> None:
    appended = await news(COMPLETED.name)
    run = completed(requested(workspace_id), output=PROMPT)
    await aside.put(run, topic=COMPLETED.name, service="analytics", reason="malformed: an engine's fault")
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("already_replayed", "")]
    record = await asyncio.wait_for(appended.getone(), 10)
    assert (record.value, record.key) == (run.encode(), run.run_id.bytes)
    assert record.headers == (("type", RunCompleted.TYPE.encode()),)
    await appended.seek_to_end()
    assert await appended.position(next(iter(appended.assignment()))) == record.offset + 1


async def test_a_batched_run_goes_where_it_came_from(
    gateway: Gateway, aside: Aside, workspace_id: UUID, news: Callable[[str], Any]
) -> None:
    appended = await news(BATCHED.name)
    run = requested(workspace_id)
    await aside.put(run, topic=BATCHED.name)
    assert await replay(gateway, workspaceId=str(workspace_id)) == [("replayed", "")]
    record = await asyncio.wait_for(appended.getone(), 10)
    assert RunRequested.model_validate_json(record.value).run_id == run.run_id


def test_a_replay_has_time_and_a_place_in_time() -> None:
    now = 100 * DAY_MS
    run = requested(uuid4(), deadline=now - 1, accepted_at=now - 7 * DAY_MS)
    assert renewed(run, run.accepted_at, now, now + 5_000).deadline == now + DAY_MS
    ahead = run.model_copy(update={"deadline": now + 1})
    assert renewed(ahead, run.accepted_at, now, now + 5_000).deadline == now + 1
    endless = run.model_copy(update={"deadline": now + 1000 * DAY_MS})
    assert renewed(endless, run.accepted_at, now, now + 5_000).deadline == now + LONGEST_MS
    assert accepted_at(run, now, now + 5_000) == run.accepted_at
    for out in (now - 8 * DAY_MS, now + 6 * 60_000):
        assert accepted_at(run.model_copy(update={"accepted_at": out}), now, now + 5_000) == now


@pytest.mark.parametrize("value", [b"", b"null", b"[1]", b"\xff", b'{"run_id": 7, "provider": ["x"], "model": {}}'])
def test_bytes_may_be_anything(value: bytes) -> None:
    assert gist(value) == (None, None, None, None)


def test_a_long_name_is_none() -> None:
    assert gist(b'{"model": "%s"}' % (b"x" * 257)).model is None


def test_a_cursor_ends_with_its_span() -> None:
    assert Span.of("3-7") == Span(3, 7)
    assert Span(3, 7).cursor() == "3-7"
    assert Span(7, 7).cursor() is None
