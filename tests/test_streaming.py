"""A stream from the provider to the caller: as it is written, through a runner's end, and paid for like any other."""

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.stack import Client, Simulator, Stack, until

PACE_MS = 40
"""Between two words, of which an answer has at least ten; a whole one stays below the stack's longest call."""

BACK_SECONDS = 60

WIRES = [("openai/gpt-4.1", "gpt-4.1"), ("anthropic/claude-haiku-4-5", "claude-haiku-4-5")]


@contextmanager
def streaming(client: Client, model: str, text: str) -> Iterator[http.client.HTTPResponse]:
    """Ask for a stream, and yield its answer while it comes."""
    connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=30)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {client.token}"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def events(answer: http.client.HTTPResponse) -> Iterator[Any]:
    """Yield each event's data as it arrives: parsed, or [DONE]."""
    for line in iter(answer.readline, b""):
        if line.startswith(b"data: "):
            data = line[6:].strip()
            yield data.decode() if data == b"[DONE]" else json.loads(data)


def text_of(told: list[Any]) -> str:
    chunks = [chunk for chunk in told if isinstance(chunk, dict) and chunk.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def end_runner(stack: Stack, number: signal.Signals) -> Callable[[], bool]:
    """Signal the runner; return what tells whether another one has taken its place."""
    before = stack.output().count("runner is ready again")
    os.kill(stack.pid("runner"), number)
    return lambda: stack.output().count("runner is ready again") > before


@pytest.mark.parametrize(("model", "bare"), WIRES, ids=["openai", "anthropic"])
def test_words_come_while_they_are_written(
    client: Client, simulator: Simulator, unique: str, model: str, bare: str
) -> None:
    simulator.when(unique, pace_ms=PACE_MS)
    with streaming(client, model, f"{unique} and a few words more") as answer:
        arrived = [(time.monotonic(), event) for event in events(answer)]
    told = [event for _, event in arrived]
    assert told[-1] == "[DONE]"
    took = arrived[-1][0] - arrived[0][0]
    written = (len(told) - 3) * PACE_MS / 1000
    assert took > written / 2, f"the first word came {took:.2f} s before the end, of {written:.2f} s of writing"
    gaps = [after[0] - before[0] for before, after in pairwise(arrived)]
    assert sum(gap > PACE_MS / 1000 / 4 for gap in gaps) > len(gaps) / 3, "most words come on their own"
    run = client.ended(str(answer.headers["x-request-id"]))
    assert (run["status"], run["model"], run["output"]) == ("succeeded", bare, text_of(told))
    assert run["cost"] > 0
    whole = client.run(model.partition("/")[0], bare, f"{unique} and a few words more", maxTokens=4096).data
    assert (whole["output"], whole["cost"]) == (run["output"], run["cost"])


def test_a_runner_that_is_stopped_writes_to_the_end(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, pace_ms=PACE_MS)
    simulator.forget()
    with streaming(client, WIRES[0][0], unique) as answer:
        told = events(answer)
        first = next(told)
        back = end_runner(stack, signal.SIGTERM)
        rest = list(told)
    until(back, "the runner is back", BACK_SECONDS)
    assert rest[-1] == "[DONE]"
    assert client.ended(str(answer.headers["x-request-id"]))["output"] == text_of([first, *rest])
    assert simulator.calls()["total"] == 1


def test_a_runner_that_is_killed_breaks_the_stream_off_and_says_so(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, pace_ms=PACE_MS)
    with streaming(client, WIRES[0][0], unique) as answer:
        told = events(answer)
        assert next(told)["choices"]
        back = end_runner(stack, signal.SIGKILL)
        rest = list(told)
    until(back, "the runner is back", BACK_SECONDS)
    run_id = str(answer.headers["x-request-id"])
    assert rest[-1]["error"]["code"] == "stream_broken"
    assert run_id in rest[-1]["error"]["message"]
    assert client.ended(run_id)["status"] == "succeeded", "carried out once more, whole"


def test_a_caller_who_leaves_leaves_the_run(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(unique, pace_ms=PACE_MS)
    with streaming(client, WIRES[0][0], unique) as answer:
        next(events(answer))
        run_id = str(answer.headers["x-request-id"])
    assert client.ended(run_id)["status"] == "succeeded"
    until(lambda: client.run("openai", "gpt-4.1", "still there").status == 200, "the gateway serves on")
