"""What a call asks for: its key, its model, the text of its prompt, and how that text is counted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Call:
    """One call received. `digest` stands for the prompt's text wherever it is counted; it came `nth` times before."""

    path: str
    key: str
    model: str
    body: Mapping[str, Any]
    text: str
    digest: str
    nth: int = 0


def read_call(path: str, key: str, body: Mapping[str, Any]) -> Call:
    """Read what the simulator needs; whatever else the body holds is nobody's business."""
    text = prompt_text(body)
    return Call(path, key, str(body.get("model", "")), body, text, digest(text))


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return every text of the prompt, in order, joined by new lines: `system` first, then the messages."""
    messages = body.get("messages")
    contents = [message.get("content") for message in messages or [] if isinstance(message, dict)]
    return "\n".join(text for content in [body.get("system"), *contents] for text in _texts(content))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)


def images(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every image part of the messages, in either wire format."""
    messages = [message for message in body.get("messages") or [] if isinstance(message, dict)]
    contents = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    parts = [part for content in contents for part in content if isinstance(part, dict)]
    return [part for part in parts if part.get("type") in {"image_url", "image"}]


def digest(text: str) -> str:
    """Return the first 16 hex digits of the text's SHA-256."""
    return sha256(text.encode()).hexdigest()[:16]


def tokens(text: str) -> int:
    """Count tokens: four characters each, a rest counts as one."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
