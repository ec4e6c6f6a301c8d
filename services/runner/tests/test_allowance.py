"""The limits that providers report."""

from datetime import UTC, datetime, timedelta

import pytest

from runner.providers.allowance import wait_seconds
from runner.providers.answer import LONGEST_WAIT_SECONDS


def openai(kind: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-reset-{kind}": reset,
    }


def test_nothing_reported_forbids_nothing() -> None:
    assert wait_seconds({}, 100) == 0


def test_what_is_left_is_used() -> None:
    assert wait_seconds({**openai("requests", "500", "1", "59s"), **openai("tokens", "1000", "100", "54s")}, 100) == 0


@pytest.mark.parametrize(
    ("reset", "seconds"), [("1m0s", 0.12), ("6m0s", 0.72), ("20ms", 0.00004), ("8.64s", 0.01728), ("1h2m3s", 7.446)]
)
def test_the_next_call_is_one_refill_away(reset: str, seconds: float) -> None:
    assert wait_seconds(openai("requests", "500", "0", reset), 100) == pytest.approx(seconds)


def test_tokens_are_waited_for_by_what_a_call_takes() -> None:
    assert wait_seconds(openai("tokens", "60000", "0", "1m0s"), 1000) == pytest.approx(1)


def test_a_call_larger_than_the_limit_waits_for_the_whole_of_it() -> None:
    assert wait_seconds(openai("tokens", "1000", "0", "1m0s"), 5000) == pytest.approx(60)


def test_anthropic_reports_a_time() -> None:
    reset = (datetime.now(UTC) + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": reset,
    }
    assert 0.5 < wait_seconds(headers, 100) <= 0.6


@pytest.mark.parametrize("reset", [f"{'9' * 400}h", "9999-01-01T00:00:00Z"])
def test_nothing_is_waited_for_without_end(reset: str) -> None:
    assert wait_seconds(openai("requests", "1", "0", reset), 100) == LONGEST_WAIT_SECONDS


@pytest.mark.parametrize("reset", ["", "soon", "1.2.3s", "-5s", "2026-01-01", "99999999999999999-01-01T00:00:00Z"])
def test_what_cannot_be_read_forbids_nothing(reset: str) -> None:
    assert wait_seconds(openai("requests", "500", "0", reset), 100) == 0
    assert wait_seconds(openai("requests", "many", "0", "1s"), 100) == 0
    assert wait_seconds(openai("requests", "500", "-1", "1s"), 100) == 0
