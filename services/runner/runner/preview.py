"""The first characters of a prompt, for lists of costly prompts."""

from typing import Any

from common.contracts.runs_v1 import PREVIEW_CHARACTERS


def preview(body: dict[str, Any]) -> str:
    """Return the beginning of the last user message's text; empty where the body has none."""
    messages = body.get("messages")
    texts = [_text(m.get("content")) for m in messages if _from_user(m)] if isinstance(messages, list) else []
    return texts[-1][:PREVIEW_CHARACTERS] if texts else ""


def _from_user(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _text(content: object) -> str:
    """Both wire formats have content as a string, or as a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
