"""A message that came in one piece as the events that it would have been streamed in."""

import json
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]


def message_events(message: Body) -> Iterator[Body]:
    """Yield the events, in Anthropic's order: https://docs.anthropic.com/en/docs/build-with-claude/streaming ."""
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        yield from _block(index, block)
    ended = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    yield {"type": "message_delta", "delta": ended, "usage": message.get("usage")}
    yield {"type": "message_stop"}


def _block(index: int, block: Body) -> Iterator[Body]:
    empty, deltas = _written(block)
    yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _written(block: Body) -> tuple[Body, list[Body]]:
    """Return how the block begins, and what is written into it; one of another kind comes at once."""
    match block.get("type"):
        case "text":
            return {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "tool_use":
            written = json.dumps(block["input"], ensure_ascii=False)
            return {"input": {}}, [{"type": "input_json_delta", "partial_json": written}]
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            signed = {"type": "signature_delta", "signature": block.get("signature", "")}
            return {"thinking": "", "signature": ""}, [thought, signed]
    return {}, []
