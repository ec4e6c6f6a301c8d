"""More than a replica can take is refused at once, and what it has begun is not."""

import asyncio
from contextlib import ExitStack

import pytest
from services.gateway.tests.conftest import PROMPT, PlayedRunner, SettingsFor, error_of, running

from common.errors import Overloaded
from gateway.load import Load

ASYNC = {"prefer": "respond-async"}


def test_what_enters_is_bounded_and_what_waits_is_bounded_apart() -> None:
    load = Load(most_entering=2, most_open=4, most_bytes=1000)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(load.request(10))
        with pytest.raises(Overloaded):
            stack.enter_context(load.request(10))
        for _ in range(2):
            stack.enter_context(load.waiting())
            stack.enter_context(load.request(10))
        with pytest.raises(Overloaded):
            stack.enter_context(load.request(10))
    with load.request(10):
        pass


def test_bodies_are_bounded_together_and_one_alone_always_fits() -> None:
    load = Load(most_entering=10, most_open=10, most_bytes=1000)
    with load.request(2000), pytest.raises(Overloaded), load.request(1):
        pass
    with load.request(600), pytest.raises(Overloaded), load.request(600):
        pass
    with load.request(600), load.request(400):
        pass


async def test_beyond_what_may_enter_callers_hear_so_at_once(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner
) -> None:
    async with running(settings_for(kafka_bootstrap_servers=kafka, entering_requests=4)) as gateway:
        answers = await asyncio.gather(*(gateway.run(ASYNC) for _ in range(40)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {202, 503}
        async with asyncio.timeout(10):
            while len(runner.requests) < statuses.count(202):
                await asyncio.sleep(0.01)
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert error_of(refused) == (503, "overloaded")
        assert (refused.headers["retry-after"], refused.headers["x-content-type-options"]) == ("1", "nosniff")
        openai = {"model": "openai/gpt-4o", "messages": []}
        shapes = await asyncio.gather(
            *(gateway.http.post("/v1/chat/completions", json=openai) for _ in range(40)),
            gateway.http.get("/health/live"),
        )
        assert shapes.pop().status_code == 200
        told = [answer for answer in shapes if answer.status_code == 503]
        assert told
        assert {(answer.json()["error"]["code"], answer.headers["retry-after"]) for answer in told} == {
            ("overloaded", "1")
        }
        assert (await gateway.run(ASYNC)).status_code == 202


async def test_callers_that_wait_do_not_count_as_entering(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner
) -> None:
    runner.script = lambda _: None
    settings = settings_for(kafka_bootstrap_servers=kafka, entering_requests=1, open_requests=3, sync_wait_seconds=2)
    async with running(settings) as gateway:
        waiting = []
        for count in (1, 2, 3):
            waiting.append(asyncio.create_task(gateway.run()))
            async with asyncio.timeout(10):
                while len(runner.requests) < count:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # its acknowledgement is on its way back
        assert error_of(await gateway.http.post("/api/integrations/run", json=PROMPT)) == (503, "overloaded")
        assert {error_of(answer)[1] for answer in await asyncio.gather(*waiting)} == {"still_running"}
