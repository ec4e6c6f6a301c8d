"""Between the wire that a caller speaks and the one that the provider does: requests there, answers back.

Nothing is left out on the way: what the provider's wire has no word for is `Unsupported`, and names the field.
"""

from typing import Any

import orjson

from common.contracts.runs_v1 import Operation
from common.errors import Unsupported
from common.providers import ProviderSpec, Wire
from gateway.translate.from_message import chat_completion
from gateway.translate.to_message import message_request

__all__ = ["answer", "messages", "request"]

Body = dict[str, Any]


def request(body: Body, spec: ProviderSpec, model: str) -> tuple[Operation, Body]:
    """Return a chat completion's body as the provider takes it: verbatim but for `model` where it speaks chat."""
    if spec.wire == "openai":
        return "chat", {**body, "model": model}
    return "messages", message_request(body, model)


def messages(body: Body, spec: ProviderSpec, model: str) -> tuple[Operation, Body]:
    """Return a message's body as the provider takes it: verbatim but for `model`; chat providers take none."""
    if spec.wire == "anthropic":
        return "messages", {**body, "model": model}
    reason = f"model: '{spec.name}' does not speak Anthropic's messages; send the request to /v1/chat/completions"
    raise Unsupported(reason, param="model")


def answer(wire: Wire, response: str, created: int | None = None) -> Body:
    """Return the chat completion that a provider's answer is; `created` (Unix seconds) where its wire has no time."""
    said = orjson.loads(response)
    assert isinstance(said, dict), "the runner lets nothing else through"
    return said if wire == "openai" else chat_completion(said, created)
