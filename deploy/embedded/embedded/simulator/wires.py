"""The two wire formats, as the real providers write them: answers, model lists, errors."""

import math
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from embedded.simulator.behaviour import Allowance, Step
from embedded.simulator.prompt import Call
from embedded.simulator.tools import written as arguments
from embedded.simulator.writing import Written

CREATED = 1_700_000_000
"""One moment for everything: an answer depends on its prompt alone."""

OPENAI_MODELS = (
    "gpt-3.5-turbo",
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-5",
    "gpt-5-mini",
    "o3",
)
ANTHROPIC_MODELS = (
    "claude-3-opus-20240229",
    "claude-3-sonnet-20240229",
    "claude-3-haiku-20240307",
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "claude-opus-4-5",
)


@dataclass(frozen=True)
class Reply:
    """What goes back: a status, a body, and headers of its own."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True)
class Error:
    """How one provider words one failure."""

    status: int
    type: str
    code: str | None
    message: str


OPENAI_ERRORS = {
    "invalid_api_key": Error(
        401,
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
    ),
    "forbidden": Error(
        403,
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    "rate_limited": Error(
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {model} in organization org-simulated on requests per min (RPM). Please try again.",
    ),
    "insufficient_quota": Error(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "model_not_found": Error(
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "bad_request": Error(400, "invalid_request_error", None, "Invalid value for 'messages'."),
    "server_error": Error(
        500, "server_error", None, "The server had an error while processing your request. Sorry about that!"
    ),
    "overloaded": Error(503, "server_error", None, "The engine is currently overloaded, please try again later"),
    "status": Error(0, "invalid_request_error", None, "As the script says."),
}
ANTHROPIC_ERRORS = {
    "invalid_api_key": Error(401, "authentication_error", None, "invalid x-api-key"),
    "forbidden": Error(
        403, "permission_error", None, "Your API key does not have permission to use the specified resource."
    ),
    "rate_limited": Error(
        429, "rate_limit_error", None, "This request would exceed your organization's rate limit for {model}."
    ),
    "insufficient_quota": Error(
        400,
        "invalid_request_error",
        None,
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    ),
    "model_not_found": Error(404, "not_found_error", None, "model: {model}"),
    "bad_request": Error(400, "invalid_request_error", None, "messages: Input should be a valid list"),
    "server_error": Error(500, "api_error", None, "Internal server error"),
    "overloaded": Error(529, "overloaded_error", None, "Overloaded"),
    "status": Error(0, "invalid_request_error", None, "As the script says."),
}


def error(step: Step, call: Call, anthropic: bool) -> Reply:
    """Return the failure as the provider words it, or as the step does."""
    failure = (ANTHROPIC_ERRORS if anthropic else OPENAI_ERRORS)[step.kind]
    wording = failure.message if step.message is None else step.message
    message = wording.replace("{model}", call.model).replace("{key}", call.key)
    fields: dict[str, Any] = {"type": failure.type, "message": message}
    if anthropic:
        body = {"type": "error", "error": fields, "request_id": f"req_{uuid.uuid4().hex[:24]}"}
    else:
        body = {"error": {"message": message, "type": failure.type, "param": None, "code": failure.code}}
    return Reply(failure.status or step.status, body, _retry_after(step))


def _retry_after(step: Step) -> dict[str, str]:
    """Return the headers of a wait: whole seconds, and OpenAI's exact milliseconds beside them."""
    wait = 1.0 if step.retry_after is None and step.kind == "rate_limited" else step.retry_after
    if wait is None:
        return {}
    return {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(round(wait * 1000))}


def allowance_headers(allowance: Allowance, anthropic: bool) -> dict[str, str]:
    """Return what is left of a limit, as the provider's headers say it."""
    limit, remaining = str(allowance.limit), str(allowance.remaining)
    if anthropic:
        reset = datetime.now(UTC) + timedelta(seconds=allowance.reset)
        said = {"limit": limit, "remaining": remaining, "reset": reset.isoformat()}
        return {f"anthropic-ratelimit-requests-{part}": value for part, value in said.items()}
    said = {"limit": limit, "remaining": remaining, "reset": f"{allowance.reset * 1000:.0f}ms"}
    return {f"x-ratelimit-{part}-requests": value for part, value in said.items()}


def chat_completion(call: Call, written: Written) -> Reply:
    """Return an answer in OpenAI's format, with as many choices as `n` asks for."""
    wanted = call.body.get("n")
    choices = wanted if isinstance(wanted, int) and 1 <= wanted <= 128 else 1
    choice: dict[str, Any] = {"message": _said(written), "logprobs": None, "finish_reason": _finish(written)}
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex[:29]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": call.model,
        "choices": [{"index": index, **choice} for index in range(choices)],
        "usage": _chat_usage(written, choices),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    return Reply(200, body, {})


def _said(written: Written) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": written.text, "refusal": None, "annotations": []}
    calls = [
        {"id": f"call_{index}", "type": "function", "function": {"name": call.name, "arguments": arguments(call)}}
        for index, call in enumerate(written.calls)
    ]
    return {**said, "content": None, "tool_calls": calls} if calls else said


def _finish(written: Written) -> str:
    if written.calls:
        return "tool_calls"
    return "length" if written.cut else "stop"


def _chat_usage(written: Written, choices: int) -> dict[str, Any]:
    said = written.output_tokens * choices
    return {
        "prompt_tokens": written.prompt_tokens,
        "completion_tokens": said,
        "total_tokens": written.prompt_tokens + said,
        "prompt_tokens_details": {"cached_tokens": written.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": written.reasoning * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def message(call: Call, written: Written) -> Reply:
    """Return an answer in Anthropic's format; its `input_tokens` leave out what the cache read and wrote."""
    usage = {
        "input_tokens": written.prompt_tokens - written.cached - written.cache_writes,
        "cache_creation_input_tokens": written.cache_writes,
        "cache_read_input_tokens": written.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written.cache_writes, "ephemeral_1h_input_tokens": 0},
        "output_tokens": written.output_tokens,
        "service_tier": "standard",
        "inference_geo": "global",
    }
    body = {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": _blocks(written),
        "stop_reason": _stop_reason(written),
        "stop_sequence": written.stop,
        "usage": usage,
    }
    return Reply(200, body, {})


def _blocks(written: Written) -> list[dict[str, Any]]:
    if not written.calls:
        return [{"type": "text", "text": written.text}]
    return [
        {"type": "tool_use", "id": f"toolu_{index}", "name": call.name, "input": call.arguments}
        for index, call in enumerate(written.calls)
    ]


def _stop_reason(written: Written) -> str:
    if written.calls:
        return "tool_use"
    if written.cut:
        return "max_tokens"
    return "end_turn" if written.stop is None else "stop_sequence"


def models(anthropic: bool) -> Reply:
    """Return the models list in the format asked for."""
    if anthropic:
        listed = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
            for name in ANTHROPIC_MODELS
        ]
        ends = {"has_more": False, "first_id": ANTHROPIC_MODELS[0], "last_id": ANTHROPIC_MODELS[-1]}
        return Reply(200, {"data": listed, **ends}, {})
    owned: dict[str, Any] = {"object": "model", "created": CREATED, "owned_by": "simulator"}
    return Reply(200, {"object": "list", "data": [{"id": name, **owned} for name in OPENAI_MODELS]}, {})
