"""The gateway answers as its OpenAPI document says, whatever is sent."""

from datetime import UTC, datetime, timedelta

import pytest
from services.gateway.tests.conftest import Gateway, PlayedRunner
from tests.support.fuzz import EVERYDAY, drawn, fuzzed

# Schemathesis draws from `random` here and there; seeded all the same.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

EXAMPLES = 6
PROVIDER = {"enum": ["openai", "local", "anthropic"]}
AHEAD = [(datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (1, 7, 29)]
KNOWN = {
    "provider": PROVIDER,
    "providers": {"type": "array", "items": PROVIDER, "minItems": 1, "maxItems": 32},
    "expiresAt": {"enum": AHEAD},
    "workspaceId": {"type": "null"},
}
"""What this gateway is configured with, and what no schema says: `date-time` knows no future."""


async def check(gateway: Gateway, examples: int, chance: int) -> None:
    calls = await fuzzed(gateway.http, examples, chance, KNOWN)
    print(f"{calls.total()} calls", *sorted(calls.items()), sep="\n  ")
    for reached in ("integrations/run 20", "integrations/connect 200", "grants 201", "tokens 201", "workspaces 201"):
        assert any(reached in call for call in calls), f"nothing was ever right for {reached}"
    assert not [call for call in calls if call.split()[-1].startswith("5")]


async def test_it_answers_as_it_says(gateway: Gateway, runner: PlayedRunner) -> None:
    await check(gateway, EXAMPLES, EVERYDAY)


@pytest.mark.soak
async def test_it_answers_as_it_says_for_long(gateway: Gateway, runner: PlayedRunner) -> None:
    await check(gateway, 500, drawn())
