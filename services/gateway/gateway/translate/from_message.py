"""Anthropic's message as a chat completion."""

import json
import time
from collections.abc import Mapping
from typing import Any

Body = dict[str, Any]

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def chat_completion(message: Body, created: int | None = None) -> Body:
    """Return the chat completion; `created` in Unix seconds, now unless said."""
    blocks = [block for block in message["content"] if isinstance(block, dict)]
    texts = [block["text"] for block in blocks if block.get("type") == "text"]
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    said: Body = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": int(time.time()) if created is None else created,
        "model": message.get("model"),
        "choices": [
            {
                "index": 0,
                "message": {**said, "tool_calls": calls} if calls else said,
                "logprobs": None,
                "finish_reason": finish_reason(message),
            }
        ],
        "usage": chat_usage(message.get("usage") or {}),
    }


def finish_reason(message: Mapping[str, Any]) -> str:
    """Return OpenAI's word for why the message ended; a reason of the future is a stop."""
    return FINISHES.get(message.get("stop_reason") or "", "stop")


def chat_usage(usage: Mapping[str, Any]) -> Body:
    """Return the tokens as OpenAI counts them: what the cache read and wrote is part of the prompt."""
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    prompt, completion = (usage.get("input_tokens") or 0) + read + written, usage.get("output_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _tool_call(block: Body) -> Body:
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}
