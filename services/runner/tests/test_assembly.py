"""What a stream's events add up to."""

from typing import Any

from runner.providers.assembly import ChatAssembly, MessageAssembly

Json = dict[str, Any]


def chat(*events: Json) -> Json:
    chunks = ChatAssembly()
    for event in events:
        chunks.add(event)
    return chunks.whole()


def message(*events: Json) -> Json:
    written = MessageAssembly()
    written.add({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 3}}})
    for event in events:
        written.add(event)
    return written.whole()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> Json:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def test_choices_are_told_apart_whatever_their_order() -> None:
    whole = chat(
        delta(1, role="assistant", content="b"), delta(0, role="assistant", content="a"), delta(1, content="B"),
        delta(0, content="A", finish="stop"), delta(1, finish="length"),
    )  # fmt: skip
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        (0, "aA", "stop"), (1, "bB", "length"),
    ]  # fmt: skip


def test_a_tool_call_that_names_itself_again_and_again() -> None:
    call = {"index": 0, "id": "call_1", "type": "function"}
    whole = chat(
        delta(tool_calls=[{**call, "function": {"name": "f", "arguments": '{"a"'}}]),
        delta(tool_calls=[{**call, "function": {"name": "f", "arguments": ": 1}"}}]),
        delta(tool_calls=[{**call, "index": 1, "id": "call_2"}]),
    )  # fmt: skip
    assert whole["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "call_2", "type": "function"},
    ]


def test_what_is_said_in_several_ways() -> None:
    whole = chat(
        {"id": "x", "object": "chat.completion.chunk", "obfuscation": "pad", "choices": None, "service_tier": "flex"},
        delta(reasoning_content="Hm", annotations=[{"url": "u"}]),
        {"choices": [{"delta": {"reasoning_content": "m."}, "logprobs": {"content": [{"token": "a"}]}}]},
        {"choices": [{"delta": {}, "logprobs": {"content": [{"token": "b"}]}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1}, "service_tier": None},
    )  # fmt: skip
    choice = whole.pop("choices")[0]
    assert whole == {
        "id": "x", "object": "chat.completion", "service_tier": "flex", "usage": {"prompt_tokens": 1},
    }  # fmt: skip
    assert choice["message"] == {
        "role": "assistant", "content": None, "refusal": None, "reasoning_content": "Hmm.",
        "annotations": [{"url": "u"}],
    }  # fmt: skip
    assert choice["logprobs"]["content"] == [{"token": "a"}, {"token": "b"}]


def test_it_is_whole_once_every_choice_has_ended_or_the_provider_says_so() -> None:
    chunks = ChatAssembly()
    chunks.end()
    assert not chunks.done, "an end without an answer is none"
    for event, done in [(delta(0), False), (delta(0, finish="stop"), True), (delta(1), False)]:
        chunks.add(event)
        assert chunks.done is done
    chunks.end()
    assert chunks.done


def block(index: int, begun: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def test_thinking_citations_and_blocks_of_the_future() -> None:
    thinking = [{"type": "thinking_delta", "thinking": text} for text in ("Let me", " see.")]
    signature = {"type": "signature_delta", "signature": "c2ln"}
    cited = [{"type": "citations_delta", "citation": {"n": n}} for n in (1, 2)]
    text = [{"type": "text_delta", "text": part} for part in ("So", "!")]
    counted = {"output_tokens": 9, "input_tokens": None}
    whole = message(
        *block(0, {"type": "thinking", "thinking": "", "signature": ""}, *thinking, signature),
        *block(1, {"type": "text", "text": ""}, text[0], *cited, text[1]),
        *block(2, {"type": "of_the_future", "data": "x"}),
        {"type": "of_the_future"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counted},
        {"type": "message_stop"},
    )  # fmt: skip
    assert whole["content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "text", "text": "So!", "citations": [{"n": 1}, {"n": 2}]},
        {"type": "of_the_future", "data": "x"},
    ]
    assert whole["usage"] == {"input_tokens": 3, "output_tokens": 9}
    assert whole["stop_reason"] == "end_turn"


def test_a_tool_s_input_that_was_cut() -> None:
    tool: Json = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    pieces = [{"type": "input_json_delta", "partial_json": text} for text in ("", '{"a": [1, 2', '], "b": "c')]
    whole = message(*block(0, tool, *pieces), *block(1, tool))
    assert [had["input"] for had in whole["content"]] == [{"a": [1, 2]}, {}]
