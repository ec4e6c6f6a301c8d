"""What operators see, on a stack of its own: each metric moves, one run is one trace, and neither quotes anybody."""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI
from tests.stack import Client, Simulator, Stack, until
from tests.support import metrics, otlp
from tests.support.metrics import ROOT, Samples
from tests.support.otlp import Collector, Seen

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import ReplyTo, RunRequested
from common.contracts.topics import COMPLETED, OWN_REPLIES, REQUESTED
from common.engines.ports import free_port
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import Publisher
from tests.test_batches import ended, line, submitted

SERVICES = ("gateway", "runner", "vault", "analytics")

ELSEWHERE = {
    "tallyrun_gateway_refused_requests_total": "services/gateway/tests/test_limits.py",
    "tallyrun_runner_halted": "services/runner/tests/test_halt.py",
    "tallyrun_runner_records_parked": "services/runner/tests/test_metrics.py",
    "tallyrun_runner_consumer_lag_records": "services/runner/tests/test_metrics.py",
    "tallyrun_analytics_consumer_lag_records": "services/analytics/tests/test_consumer.py",
    "tallyrun_analytics_database_waits_total": "services/analytics/tests/test_consumer.py",
    "tallyrun_analytics_seal_failures_total": "services/analytics/tests/test_sealer.py",
    "tallyrun_kafka_failed_sends_total": "libs/common/tests/test_publisher.py",
    "tallyrun_vault_audit_backwards_total": "services/vault/tests/test_heads.py",
}
"""What takes a broken engine or much time to move: the test that moves it instead."""


@dataclass
class Scene:
    """The stack, what its services answered before anything happened, and what has moved since."""

    stack: Stack
    simulator: Simulator
    collector: Collector
    client: Client
    before: dict[str, Samples]
    moved: set[str]

    def scrape(self) -> None:
        """Note every metric that says something else than before."""
        for service, text in _scraped(self.stack).items():
            for series, value in metrics.samples(text).items():
                if value != self.before[service].get(series):
                    self.moved.add(series[0])

    def has_moved(self, name: str) -> bool:
        self.scrape()
        return name in self.moved

    def run(self, status: int, text: str, model: str = "gpt-4o-mini", provider: str = "openai", **more: Any) -> Any:
        answer = self.client.run(provider, model, text, **more)
        assert answer.status == status, answer
        return answer.body["data"] if status < 300 else answer.body


def _scraped(stack: Stack) -> dict[str, str]:
    found = {}
    for service in SERVICES:
        port = psutil.Process(stack.pid(service)).environ()[f"{service.upper()}_PORT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            found[service] = answer.read().decode()
    return found


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with otlp.collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def scene(simulator: Simulator, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    environment = {
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "ANTHROPIC_BASE_URL": simulator.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "SYNC_WAIT_SECONDS": "8",
        "CALL_SECONDS": "2",
        "LOG_LEVEL": "INFO",
    }
    stack = Stack(tmp_path_factory.mktemp("observed") / "home", free_port(), environment)
    stack.start()
    try:
        before = {service: metrics.samples(text) for service, text in _scraped(stack).items()}
        client = stack.admin().member_of_new_workspace(f"observed {uuid.uuid4()}")
        for provider in ("openai", "anthropic"):
            assert client.connect(provider, f"key-{uuid.uuid4().hex}").status == 200
        yield Scene(stack, simulator, collector, client, before, set())
    finally:
        stack.stop()


def test_a_run_is_one_connected_trace(scene: Scene) -> None:
    run_id = scene.run(200, f"Traced {uuid.uuid4().hex}")["runId"]
    until(lambda: "store" in {span.name for span in scene.collector.of_run(run_id)}, "the run's trace is whole")
    spans = scene.collector.of_run(run_id)
    assert len({span.trace for span in spans}) == 1
    assert len({span.id for span in spans}) == len(spans)
    way = {
        "POST /api/integrations/run": ("gateway", otlp.SERVER, None),
        f"publish {REQUESTED.name}": ("gateway", otlp.PRODUCER, "POST /api/integrations/run"),
        "run": ("runner", otlp.CONSUMER, f"publish {REQUESTED.name}"),
        "lease": ("runner", 1, "run"),
        "POST vault": ("runner", otlp.CLIENT, "lease"),
        "POST /leases": ("vault", otlp.SERVER, "POST vault"),
        "call openai": ("runner", otlp.CLIENT, "run"),
        f"publish {COMPLETED.name}": ("runner", otlp.PRODUCER, "run"),
        "store": ("analytics", otlp.CONSUMER, f"publish {COMPLETED.name}"),
    }
    named = {span.name: span for span in spans}
    assert named.keys() == way.keys()
    for name, (service, kind, parent) in way.items():
        assert (named[name].service, named[name].kind) == (f"tallyrun-{service}", kind), name
        assert named[name].parent == (named[parent].id if parent else ""), name
    for name in ("POST /api/integrations/run", f"publish {REQUESTED.name}", "run", "call openai"):
        said = named[name].attributes
        assert (said["tallyrun.run_id"], said["gen_ai.request.model"]) == (run_id, "gpt-4o-mini")
        assert (said["gen_ai.provider.name"], said["tallyrun.workspace_id"]) == ("openai", workspace_of(scene.client))
    assert named["call openai"].attributes["gen_ai.usage.output_tokens"]
    assert [link in {span.id for span in scene.collector.spans} for link in named["store"].links] == [True]


def workspace_of(client: Client) -> Any:
    return client.call("GET", "/api/workspaces").data[0]["id"]


def test_each_attempt_is_a_span_and_a_caller_can_bring_its_own_trace(scene: Scene) -> None:
    text, trace, caller = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex[:16]
    scene.simulator.when(text, kind="overloaded", retry_after=0.1, times=1)
    run_id = scene.run(200, text, headers={"traceparent": f"00-{trace}-{caller}-01"})["runId"]
    until(lambda: "store" in {span.name for span in scene.collector.of_run(run_id)}, "the run's trace is whole")
    spans = scene.collector.of_run(run_id)
    assert {span.trace for span in spans} == {trace}
    assert [span.parent for span in spans if span.kind == otlp.SERVER and span.service == "tallyrun-gateway"] == [
        caller
    ]
    calls = sorted((span for span in spans if span.name == "call openai"), key=_attempt)
    assert [_attempt(call) for call in calls] == [1, 2]
    assert [call.failed for call in calls] == [True, False]
    assert calls[0].attributes["error.type"] == "provider_unavailable"
    assert calls[0].attributes["http.response.status_code"] == 503


def _attempt(span: Seen) -> int:
    return int(span.attributes["tallyrun.attempt"])


def test_a_trace_that_its_caller_does_not_keep_is_not_kept(scene: Scene) -> None:
    run_id = scene.run(200, uuid.uuid4().hex, headers={"traceparent": f"00-{uuid.uuid4().hex}-{'2' * 16}-00"})["runId"]
    scene.client.counted()
    scene.run(200, uuid.uuid4().hex)
    assert scene.collector.of_run(run_id) == []


def test_every_metric_of_the_page_moves(scene: Scene) -> None:
    word = uuid.uuid4().hex
    _ordinary(scene, word)
    _failing(scene, word)
    _in_bulk(scene, word)
    asyncio.run(_straight_to_kafka(scene, word))
    until(lambda: scene.has_moved("tallyrun_runner_rejected_records_total"), "the runner has rejected")
    until(lambda: scene.has_moved("tallyrun_analytics_rejected_records_total"), "analytics has rejected")
    until(lambda: scene.has_moved("tallyrun_runner_undelivered_replies_total"), "a reply was given up")
    operator = scene.stack.admin()
    replayed = operator.call("POST", "/api/rejected/replay", {"dryRun": False})
    assert replayed.status == 200, replayed
    scene.client.counted()
    until(lambda: scene.has_moved("tallyrun_analytics_sealed_hours_total"), "an hour was sealed")
    page = metrics.documented()
    still = sorted(name for name, metric in page.items() if not scene.moved & set(metric.series))
    assert still == sorted(ELSEWHERE)
    for name, path in ELSEWHERE.items():
        assert name in (ROOT / path).read_text(), f"{path} does not move {name}"


def _ordinary(scene: Scene, word: str) -> None:
    scene.simulator.when(f"slow {word}", latency_ms=1200)
    accepted = scene.run(202, f"slow {word}", headers={"prefer": "respond-async"})
    for gauge in ("tallyrun_runner_runs_in_flight", "tallyrun_runner_records_in_hand"):
        until(lambda gauge=gauge: scene.has_moved(gauge), gauge)  # type: ignore[misc]
    scene.client.ended(accepted["runId"])
    official = OpenAI(api_key=scene.client.token, base_url=f"{scene.client.url}/v1", max_retries=0)
    scene.simulator.when(f"stream {word}", pace_ms=50)
    messages: Any = [{"role": "user", "content": f"stream {word}"}]
    for _ in official.chat.completions.create(model="openai/gpt-4.1", messages=messages, stream=True):
        scene.scrape()
    scene.run(200, word, model="own-model-nobody-prices")
    assert scene.client.call("GET", "/api/runs/none").status == 422
    assert Client(scene.client.url, "nobody").call("GET", "/api/runs").status == 401


def _failing(scene: Scene, word: str) -> None:
    """Fail calls until the circuits of a provider and of a key are open."""
    scene.simulator.when(f"refused {word}", kind="invalid_api_key")
    for _ in range(5):
        scene.run(424, f"refused {word}")
    until(lambda: scene.has_moved("tallyrun_runner_key_circuits_open"), "a key's circuit is open")
    scene.simulator.when(f"away {word}", kind="server_error")
    for _ in range(4):
        scene.run(202, f"away {word}", "claude-haiku-4-5", "anthropic", headers={"prefer": "respond-async"})
    until(lambda: scene.has_moved("tallyrun_runner_provider_circuit_open"), "a provider's circuit is open")
    keyless = scene.stack.admin().member_of_new_workspace(f"keyless {word}")
    assert keyless.run("openai", "gpt-4o-mini", word).body["code"] == "no_api_key"


def _in_bulk(scene: Scene, word: str) -> None:
    fresh = scene.stack.admin().member_of_new_workspace(f"bulk {word}")
    assert fresh.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
    official = OpenAI(api_key=fresh.token, base_url=f"{fresh.url}/v1", max_retries=0)
    batch = submitted(official, [line(number, word) for number in range(5)])
    until(lambda: scene.has_moved("tallyrun_gateway_batches_owned"), "a batch is owned")
    assert ended(official, batch).status == "completed"


async def _straight_to_kafka(scene: Scene, word: str) -> None:
    """Publish what is no run, what is no completion, and a run whose reply nobody can take."""
    workspace, now = uuid.UUID(workspace_of(scene.client)), now_ms()
    signer = Signer.load("gateway", scene.stack.home / "identity" / "gateway")
    run = RunRequested(
        run_id=new_id(), workspace_id=workspace, operation="chat", provider="openai", model="gpt-4.1",
        body={"model": "gpt-4.1", "messages": [{"role": "user", "content": word}]}, deadline=now + 60_000,
        publish_by=now + 60_000, accepted_at=now,
        reply_to=ReplyTo(topic=f"{OWN_REPLIES}{workspace}.nowhere", partition=0, instance="me"),
    )  # fmt: skip
    grant = (GRANT_HEADER, signer.grant(workspace, ("openai",), 2**31).encode())
    publisher = Publisher(scene.stack.kafka)
    await publisher.start()
    await publisher.send(REQUESTED.name, json.dumps({"text": word}).encode(), headers=[grant])
    await publisher.send(COMPLETED.name, json.dumps({"text": word}).encode())
    await publisher.send(REQUESTED.name, run.encode(), key=run.run_id.bytes, headers=[*run.headers(), grant])
    await publisher.close()


def test_no_text_and_no_key_is_in_any_span_or_metric(scene: Scene) -> None:
    """After every way above: the prompts, the answers, the errors' words and the keys are in none of it."""
    canary, key = f"canary{uuid.uuid4().hex}", f"key-{uuid.uuid4().hex}"
    fresh = scene.stack.admin().member_of_new_workspace(f"canary {uuid.uuid4()}")
    assert fresh.connect("openai", key).status == 200
    scene.simulator.when(f"echo {canary}", kind="bad_request", message=f"{canary}: you sent '{{key}}'")
    last = ""
    for text, status in ((f"well {canary}", 200), (f"echo {canary}", 502)):
        answer = fresh.run("openai", "gpt-4o-mini", text, promptId=canary, labels={"team": canary})
        last = str(answer.body.get("runId") or answer.body["data"]["runId"])
        assert answer.status in (status, 422, 400), answer
    output = fresh.run("openai", "gpt-4o-mini", "Tell me something.").data["output"]
    until(lambda: "store" in {span.name for span in scene.collector.of_run(last)}, "the last run's trace is whole")
    seen = [body.decode("latin-1") for body in scene.collector.bodies] + list(_scraped(scene.stack).values())
    print(f"{len(scene.collector.spans)} spans, {sum(map(len, seen)) / 1e3:.0f} kB of spans and metrics searched")
    for secret in (canary, key, fresh.token, output):
        assert [text for text in seen if secret in text] == [], secret


def test_a_log_line_of_a_run_names_its_trace(scene: Scene) -> None:
    """The provider's circuit, the rejected records and the failed runs above left lines behind."""
    logs = [path for path in (scene.stack.home / "logs").iterdir() if path.stem in SERVICES]
    lines = [json.loads(text) for path in logs for text in path.read_text().splitlines() if text.startswith("{")]
    traced = [said for said in lines if "trace_id" in said]
    runs = {str(span.attributes.get("tallyrun.run_id")): span.trace for span in scene.collector.spans}
    connected = [said for said in traced if "run_id" in said]
    assert connected
    for said in connected:
        assert runs.get(said["run_id"], said["trace_id"]) == said["trace_id"]


def test_the_page_lists_what_the_code_declares() -> None:
    declared = metrics.declared()
    assert metrics.documented() == {name: metric for name, (metric, _) in declared.items()}
    places = {Path(path).name for _, path in declared.values()}
    assert places == {"metrics.py", "telemetry.py", "http.py", "kafka.py", "observed.py"}, "one module a service"
