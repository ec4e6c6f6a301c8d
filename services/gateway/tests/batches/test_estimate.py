from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batches.estimate import TOKENS_A_MESSAGE, TOKENS_AN_IMAGE, Span, choices, input_tokens, output_limit


def _body(content: object, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **fields}


SURROUNDINGS = 2 * TOKENS_A_MESSAGE


def test_text_is_counted_by_its_bytes() -> None:
    assert input_tokens(_body("x" * 300)) == Span(60 + SURROUNDINGS, 100 + SURROUNDINGS)
    assert input_tokens(_body("数" * 100)) == input_tokens(_body("x" * 300))


def test_parts_count_as_their_text_does_and_an_image_as_one() -> None:
    text = {"type": "text", "text": "x" * 300}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert input_tokens(_body([text])) == input_tokens(_body("x" * 300))
    assert input_tokens(_body([text, image])) == input_tokens(_body([text])) + Span(*TOKENS_AN_IMAGE)


def test_system_and_tools_count() -> None:
    bare = input_tokens(_body("hello"))
    assert input_tokens(_body("hello", system="x" * 300)) == bare + Span(60, 100)
    assert input_tokens(_body("hello", tools=[{"type": "function"}])).low > bare.low


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9, "max_tokens": 7}, 9),
        ({"max_tokens": "x"}, None),
    ],
)
def test_the_output_limit_is_what_the_request_says(fields: dict[str, Any], limit: int | None) -> None:
    assert output_limit(fields) == limit


def test_every_choice_is_an_answer() -> None:
    assert [choices({"n": n}) for n in (3, 1, 0, None, "x")] == [3, 1, 1, 1, 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"messages": JSON, "system": JSON, "tools": JSON}))
def test_whatever_a_body_holds_it_has_a_range(body: dict[str, Any]) -> None:
    span = input_tokens(body)
    assert 0 < span.low <= span.high
