"""Reading usage: what each wire counts, and what is not usage."""

from typing import Any

import pytest

from common.contracts.runs_v1 import PriceContext, Usage
from runner.usage import anthropic_usage, openai_usage


def test_openai_prompt_tokens_include_cached_ones() -> None:
    usage, _ = openai_usage(
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30},
            }
        }
    )
    assert usage == Usage(input=100, output=50, cached=40, cache_writes=10, reasoning=30)


def test_anthropic_input_tokens_exclude_cache_reads_and_writes() -> None:
    usage, context = anthropic_usage(
        {
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 2},
                "inference_geo": "us",
                "speed": "fast",
            }
        }
    )
    assert usage == Usage(input=60, output=7, cached=30, cache_writes=20, reasoning=4)
    assert context == PriceContext(cache_writes_1h=5, web_searches=2, inference_geo="us", speed="fast")


def test_reasoning_reported_apart_is_added_to_the_output() -> None:
    reported = {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 20}}
    apart, _ = openai_usage({"usage": {**reported, "total_tokens": 35}})
    assert apart == Usage(input=10, output=25, reasoning=20)


def test_reasoning_within_the_output_is_not_added_again() -> None:
    reported = {"prompt_tokens": 10, "completion_tokens": 25, "completion_tokens_details": {"reasoning_tokens": 20}}
    within, _ = openai_usage({"usage": {**reported, "total_tokens": 35}})
    assert within == Usage(input=10, output=25, reasoning=20)


def test_audio_is_told_apart() -> None:
    _, context = openai_usage(
        {
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "prompt_tokens_details": {"audio_tokens": 8},
                "completion_tokens_details": {"audio_tokens": 4},
            }
        }
    )
    assert context == PriceContext(input_audio=8, output_audio=4)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        [],
        "many",
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 2**60, "completion_tokens": 1},
    ],
)
def test_no_usage_is_none_never_zero(reported: Any) -> None:
    assert openai_usage({"usage": reported}) == (None, PriceContext())
    assert anthropic_usage({"usage": reported}) == (None, PriceContext())
    assert openai_usage({}) == anthropic_usage({}) == (None, PriceContext())


def test_details_of_the_wrong_type_count_as_none() -> None:
    usage, context = openai_usage(
        {
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": "x"},
            }
        }
    )
    assert (usage, context) == (Usage(input=3, output=2), PriceContext())
