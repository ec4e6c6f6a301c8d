"""The vault answers as its OpenAPI document says, whatever is sent."""

import httpx2
import pytest
from fastapi import FastAPI
from services.vault.tests.conftest import calling
from tests.support.fuzz import EVERYDAY, Calls, drawn, fuzzed

from common.identity import Signer

# Schemathesis draws from `random` here and there; seeded all the same.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

EXAMPLES = 6


async def fuzzed_as(app: FastAPI, token: str | None, examples: int, chance: int) -> Calls:
    async with calling(app, token) as client:
        return await fuzzed(client, examples, chance)


async def check(app: FastAPI, gateway_signer: Signer, runner_signer: Signer, examples: int, chance: int) -> None:
    calls = Calls()
    for signer in (gateway_signer, runner_signer):
        calls += await fuzzed_as(app, signer.service_token("vault"), examples, chance)
    print(f"{calls.total()} calls", *sorted(calls.items()), sep="\n  ")
    assert not [call for call in calls if call.split()[-1].startswith("5")]


async def test_it_answers_as_it_says(app: FastAPI, gateway_signer: Signer, runner_signer: Signer) -> None:
    await check(app, gateway_signer, runner_signer, EXAMPLES, EVERYDAY)


@pytest.mark.soak
async def test_it_answers_as_it_says_for_long(app: FastAPI, gateway_signer: Signer, runner_signer: Signer) -> None:
    await check(app, gateway_signer, runner_signer, 500, drawn())


async def test_the_document_tells_of_tokens_and_of_the_one_error(anyone: httpx2.AsyncClient) -> None:
    document = (await anyone.get("/openapi.json")).json()
    assert document["security"] == [{"token": []}]
    lease = document["paths"]["/leases"]["post"]
    assert "422" not in lease["responses"]
    assert lease["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
    assert document["paths"]["/health/live"]["get"]["security"] == []
