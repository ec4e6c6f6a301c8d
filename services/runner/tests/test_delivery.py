"""From a record to its completion, through a real broker: nothing lost, nothing called twice."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from services.runner.tests.cluster import KEY, Cluster

from common.contracts.credentials_v1 import CredentialsChanged
from common.contracts.event import GRANT_HEADER, INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted
from common.contracts.topics import BATCHED, COMPLETED, CREDENTIALS_CHANGED, REJECTED, REPLIES, REQUESTED
from common.ids import new_id, now_ms
from common.kafka import partition_news
from runner.limits import PROVIDER_FAILURES


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
        # In these seconds there are two or three trials and no more: unguarded, each run calls four times.
        await asyncio.sleep(3)
        assert cluster.simulator.calls()["total"] <= 45
        cluster.simulator.control(failure={})
        completed = await cluster.completed(*runs)
    assert {c.status for c in completed.values()} == {"succeeded"}


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
