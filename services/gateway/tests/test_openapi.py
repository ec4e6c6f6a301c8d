"""The gateway answers as its OpenAPI document says, whatever is sent."""

import pytest
from services.gateway.tests.conftest import Gateway, PlayedRunner
from tests.support.fuzz import fuzzed

# Schemathesis draws from `random` here and there; seeded all the same.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

EXAMPLES = 12


async def check(gateway: Gateway, examples: int) -> None:
    calls = await fuzzed(gateway.http, examples)
    print(f"{calls.total()} calls", *sorted(calls.items()), sep="\n  ")
    assert not [call for call in calls if call.split()[-1].startswith("5")]


async def test_it_answers_as_it_says(gateway: Gateway, runner: PlayedRunner) -> None:
    await check(gateway, EXAMPLES)


@pytest.mark.soak
async def test_it_answers_as_it_says_for_long(gateway: Gateway, runner: PlayedRunner) -> None:
    await check(gateway, 500)
