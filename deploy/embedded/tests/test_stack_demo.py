"""The demo's prompts, books and report."""

import io
from collections import Counter
from decimal import Decimal
from typing import Any

from rich.console import Console

from embedded.books import Sums, counted, since, written
from embedded.prompts import MODELS, UNKNOWN_MODEL, prompts
from embedded.report import show_agreement, show_overview

OVERVIEW: dict[str, Any] = {
    "overview": {
        "totalRuns": 3,
        "totalCost": Decimal("1.500000000000000001"),
        "totalTokens": 1234,
        "avgCostPerRun": Decimal("0.5"),
        "successRate": Decimal("66.7"),
        "avgLatency": 12,
        "unpricedRuns": 1,
    },
    "modelBreakdown": [
        {"model": "gpt-4.1", "runs": 2, "cost": Decimal("1.500000000000000001"), "tokens": 1200, "unpricedRuns": 0},
        {"model": UNKNOWN_MODEL, "runs": 1, "cost": 0, "tokens": 34, "unpricedRuns": 1},
    ],
    "timeSeries": [{"date": "2031-05-06", "runs": 3, "cost": Decimal("1.5"), "tokens": 1234}],
    "expensivePrompts": [{"promptId": "count", "runs": 2, "totalCost": Decimal("1.5"), "avgCost": Decimal("0.75")}],
}
ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("gpt-4.1", {"totalTokens": 1000, "cost": Decimal("1.500000000000000001")}),
    ("gpt-4.1", {"totalTokens": 200, "cost": 0}),
    (UNKNOWN_MODEL, {"totalTokens": 34, "cost": None}),
]


def screen() -> Console:
    return Console(file=io.StringIO(), width=100)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_there_are_at_least_two_hundred_prompts_and_no_two_are_alike() -> None:
    texts = [(prompt.model, prompt.text) for prompt in prompts()]
    assert len(texts) >= 200
    assert len(set(texts)) == len(texts)


def test_every_model_and_every_prompt_id_gets_its_share() -> None:
    by_model = Counter((prompt.provider, prompt.model) for prompt in prompts())
    assert set(by_model) == set(MODELS)
    assert max(by_model.values()) - min(by_model.values()) <= 1
    assert set(Counter(prompt.prompt_id for prompt in prompts()).values()) == {27}


def test_a_prompt_without_a_system_text_sends_none() -> None:
    bodies = [prompt.body() for prompt in prompts()]
    assert any("system" in body for body in bodies)
    assert all(body.get("system", "text") for body in bodies)


def test_the_books_of_answers_and_overview_agree_when_they_say_the_same() -> None:
    console = screen()
    assert written(ANSWERS) == counted(OVERVIEW)
    assert show_agreement(console, written(ANSWERS), counted(OVERVIEW))
    assert "The books agree: 3 runs, 1,234 tokens and $1.500000000000000001" in shown(console)


def test_a_difference_in_the_last_digit_is_found_and_named() -> None:
    console = screen()
    answers = [("gpt-4.1", {"totalTokens": 1000, "cost": Decimal("1.500000000000000002")}), *ANSWERS[1:]]
    assert not show_agreement(console, written(answers), counted(OVERVIEW))
    assert "The books differ" in shown(console)
    assert UNKNOWN_MODEL not in shown(console)  # that one agrees


def test_what_was_there_before_is_left_out() -> None:
    before = {"gpt-4.1": Sums(1, 10, Decimal(1)), "old": Sums(5, 50, Decimal(5))}
    after = {"gpt-4.1": Sums(3, 30, Decimal("1.5")), "old": Sums(5, 50, Decimal(5)), "new": Sums(1, 1, Decimal(0))}
    assert since(before, after) == {"gpt-4.1": Sums(2, 20, Decimal("0.5")), "new": Sums(1, 1, Decimal(0))}


def test_the_overview_is_readable_and_says_what_is_unpriced() -> None:
    console = screen()
    show_overview(console, OVERVIEW, "What it cost")
    assert "$1.50" in shown(console)
    assert "66.7 %" in shown(console)
    assert "2031-05-06" in shown(console)
    [unknown] = [line for line in shown(console).splitlines() if UNKNOWN_MODEL in line]
    assert "unpriced" in unknown
