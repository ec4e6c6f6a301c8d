"""The broker is frozen, or dies and returns: nobody is told what is not so, and nothing stays silent."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx2
from services.gateway.tests.conftest import Gateway, RunnerFor, SettingsFor, error_of, running

from common.engines.ports import free_port
from common.testing import Broker, running_broker
from gateway.settings import GatewaySettings

ASYNC = {"prefer": "respond-async"}
BOUND = 1.0
RECOVERY = 45


def fragile(settings_for: SettingsFor, broker: Broker) -> GatewaySettings:
    """A gateway with short bounds on the test's own broker."""
    return settings_for(kafka_bootstrap_servers=broker.bootstrap, publish_seconds=BOUND, sync_wait_seconds=2)


@contextmanager
def frozen(broker: Broker) -> Iterator[None]:
    """It accepts connections, and does nothing."""
    broker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.process.send_signal(signal.SIGCONT)


async def _recovered(gateway: Gateway) -> httpx2.Response:
    """Return the first synchronous answer after the broker's return."""
    async with asyncio.timeout(RECOVERY):
        while (answer := await gateway.run()).status_code != 200:
            assert answer.status_code in {503, 504}, answer.text
        return answer


async def test_a_frozen_broker(own_broker: Broker, settings_for: SettingsFor, runner_on: RunnerFor) -> None:
    async with (
        running(fragile(settings_for, own_broker)) as gateway,
        runner_on(own_broker.bootstrap) as runner,
    ):
        assert (await gateway.run()).status_code == 200
        with frozen(own_broker):
            async with asyncio.timeout(2 * BOUND + 1):
                answers = [await gateway.run(), await gateway.run(ASYNC)]
        for answer in answers:
            assert error_of(answer) == (503, "unavailable")
            assert answer.json()["runId"]
            assert answer.headers["x-should-retry"] == "false"
            assert int(answer.headers["retry-after"]) > 0
        await _recovered(gateway)
        # What the broker appended after all, it appended too late: no runner takes it for a run.
        refused = {answer.json()["runId"] for answer in answers}
        assert refused.isdisjoint(str(request.run_id) for request in runner.requests)


async def test_a_gateway_stops_while_the_broker_is_frozen(own_broker: Broker, settings_for: SettingsFor) -> None:
    settings = fragile(settings_for, own_broker)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(settings))
        with frozen(own_broker):
            assert error_of(await gateway.run(ASYNC)) == (503, "unavailable")
            async with asyncio.timeout(BOUND + 5):
                await stack.aclose()


async def test_a_broker_that_dies_and_returns(tmp_path: Path, settings_for: SettingsFor, runner_on: RunnerFor) -> None:
    home, port = tmp_path / "broker", free_port()
    home.mkdir()
    with running_broker(home, port) as first:
        async with running(fragile(settings_for, first)) as gateway:
            async with runner_on(first.bootstrap):
                assert (await gateway.run()).status_code == 200
            first.process.terminate()  # killed, it could not return before its session has expired (9 s)
            first.process.wait()
            assert error_of(await gateway.run()) == (503, "unavailable")
            async with asyncio.timeout(10):
                while (await gateway.http.get("/health/ready")).status_code == 200:
                    await asyncio.sleep(0.1)
            with running_broker(home, port) as second:
                async with runner_on(second.bootstrap):
                    await _recovered(gateway)
                async with asyncio.timeout(10):
                    while (await gateway.http.get("/health/ready")).status_code != 200:
                        await asyncio.sleep(0.1)
