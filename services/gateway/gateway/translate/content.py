"""The content of one message: text and images."""

import re
from typing import Any

from common.errors import InvalidRequest
from gateway.translate.fields import Fields, given, items

Body = dict[str, Any]

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)


def text_blocks(said: Fields, field: str) -> list[Body]:
    """Return content that is text alone; empty texts say nothing, and Anthropic takes none."""
    found = blocks(said, field, images=False)
    return [block for block in found if block["text"]]


def blocks(said: Fields, field: str, *, images: bool = True) -> list[Body]:
    """Return content that is a string, or a list of parts."""
    content = said.raw(field)
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise InvalidRequest(f"{said.name(field)}: it must be a string or an array", param=said.name(field))
    return [_block(Fields(part, path), images) for part, path in items(content, said.name(field))]


def _block(part: Fields, images: bool) -> Body:
    kind = part.need("type", str)
    if kind == "text":
        block: Body = {"type": "text", "text": part.need("text", str)}
    elif kind == "image_url" and images:
        block = {"type": "image", "source": _source(part)}
    else:
        raise part.unsupported("type", f"a part of type '{kind[:64]}' has no place here")
    block.update(given(cache_control=part.take("cache_control", dict)))  # as Anthropic means it
    part.finish()
    return block


def _source(part: Fields) -> Body:
    image = Fields(part.need("image_url", dict), part.name("image_url"))
    url = image.need("url", str)
    image.neutral("auto", field="detail")
    image.finish()
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    if (data := _DATA_URL.match(url)) is not None:
        return {"type": "base64", "media_type": data[1].lower(), "data": url[data.end() :]}
    raise image.unsupported("url", "an image is given as https:// or as data:image/…;base64,… and nothing else")
