"""Calls an app by its own OpenAPI document, rightly and wrongly, and holds each answer against that document."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
ANSWER_SECONDS = 30

Calls = Counter[str]
AnyCase = Case[Any]


EVERYDAY = 1
"""A seed that stays: what is called every day says the same every day. The long versions draw theirs."""


def drawn() -> int:
    """Return a seed that nobody knows beforehand."""
    return random.randrange(2**32)


async def fuzzed(
    client: httpx2.AsyncClient, examples: int, chance: int, known: Mapping[str, Any] | None = None
) -> Calls:
    """Call each operation so often with what its document allows, and as often with what it does not.

    `chance` is the seed. `known` narrows body fields by name where the call is to be right: what no document can tell.
    Return how often each was answered with which status; print the seed. Raises what the checks raise.
    """
    calls = Calls()
    print(f"seed {chance}")
    loop = asyncio.get_running_loop()
    for mode, narrowed in ((GenerationMode.POSITIVE, known or {}), (GenerationMode.NEGATIVE, {})):
        document = (await client.get("/openapi.json")).raise_for_status().json()
        _prepare(document, narrowed)
        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            assert isinstance(found, Ok), found
            await asyncio.to_thread(_operation, found.ok(), mode, client, loop, examples, chance, calls)
    return calls


def _prepare(document: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Narrow what is known, and leave tokens to the client: without one nothing is reached that could be tried."""
    document.pop("security", None)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
            _narrow(operation.get("requestBody"), known)


def _narrow(document: Any, known: Mapping[str, Any]) -> None:
    if isinstance(document, list):
        for part in document:
            _narrow(part, known)
    if not isinstance(document, dict):
        return
    for name, part in document.items():
        if name == "properties" and isinstance(part, dict):
            part.update({field: known[field] for field in known.keys() & part.keys()})
        _narrow(part, known)


def _operation(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    client: httpx2.AsyncClient,
    loop: asyncio.AbstractEventLoop,
    examples: int,
    chance: int,
    calls: Calls,
) -> None:
    """In a thread of its own, since Hypothesis waits; the app lives in the loop."""

    @seed(chance)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: AnyCase) -> None:
        answer = asyncio.run_coroutine_threadsafe(_answer(client, case), loop).result(ANSWER_SECONDS)
        calls[f"{operation.label} {answer.status_code}"] += 1
        case.validate_response(answer, checks=CHECKS)

    with suppress(Unsatisfiable):  # where nothing can be said, nothing wrong can be said either
        call()


async def _answer(client: httpx2.AsyncClient, case: AnyCase) -> httpx2.Response:
    asked = requests.Request(**case.as_transport_kwargs(base_url=str(client.base_url))).prepare()
    assert asked.url is not None
    content = asked.body.encode() if isinstance(asked.body, str) else asked.body
    assert content is None or isinstance(content, bytes)
    headers = [
        (name.encode(), value.encode("latin-1") if isinstance(value, str) else value)
        for name, value in asked.headers.items()
    ]
    return await client.request(asked.method or "", asked.url, content=content, headers=headers)
