"""Expected figures are worked out by hand from the published prices per million tokens, never by the library."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from common.catalogue import Rate, find, knows, models_of, rate

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("catalogue", "model", "expected"),
    [
        ("openai", "gpt-4o", Rate(Decimal("0.0000025"), Decimal("0.00001"))),  # $2.50/M, $10/M
        ("openai", "gpt-4o-2024-08-06", Rate(Decimal("0.0000025"), Decimal("0.00001"))),
        ("anthropic", "claude-opus-4-5", Rate(Decimal("0.000005"), Decimal("0.000025"))),  # $5/M, $25/M
        # Above 200,000 input tokens $2.50/M and $15/M; below them half of that, and $10/M.
        ("google", "gemini-2.5-pro", Rate(Decimal("0.0000025"), Decimal("0.000015"))),
    ],
)
def test_a_rate_is_the_highest_list_price_of_a_token(catalogue: str, model: str, expected: Rate) -> None:
    assert rate(catalogue, model, AT) == expected


def test_a_price_of_the_call_itself_is_part_of_the_rate() -> None:
    found = rate("perplexity", "sonar", AT)
    assert found is not None
    assert found.request > 0


@pytest.mark.parametrize(
    ("catalogue", "model"),
    [("openai", "no-such-model"), ("no-such-provider", "gpt-4o"), ("openai", "text-embedding-3-small")],
)
def test_what_has_no_price_for_both_kinds_of_tokens_has_no_rate(catalogue: str, model: str) -> None:
    assert rate(catalogue, model, AT) is None


def test_models_are_listed_by_the_names_that_are_known() -> None:
    names = models_of("openai")
    assert names == sorted(names)
    assert "gpt-4o" in names
    assert [name for name in names if not knows("openai", name)] == []
    assert "ft:gpt-4o" not in names  # a family: `ft:gpt-4o-2024-08-06:org::id` is one of its names
    assert knows("openai", "ft:gpt-4o-2024-08-06:org::id")
    assert models_of("no-such-provider") == []
    assert not knows("no-such-provider", "gpt-4o")


def test_names_that_callers_make_up_fill_no_memory() -> None:
    for number in range(5000):
        knows("openai", f"made-up-{number}")
    assert find.cache_info().currsize <= 4096
