"""The AsyncAPI document is what was committed, holds together, and its examples are what its schemas say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from common.contracts.asyncapi import OWN_REPLIES, PATH, document
from common.contracts.topics import TOPICS

DOCUMENT: dict[str, Any] = json.loads(document())
ID = re.compile(r"^[\w.\-]+$")
"""What the specification allows as the name of a channel, an operation or a component."""


def references(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in part.values():
                yield from references(value)
        case list():
            for value in part:
                yield from references(value)


def resolved(reference: str) -> Any:
    part: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def messages() -> Iterator[dict[str, Any]]:
    for channel in DOCUMENT["channels"].values():
        for reference in channel["messages"].values():
            yield resolved(reference["$ref"])


def test_the_committed_document_is_that_of_the_code() -> None:
    assert PATH.read_text() == document(), "run make schemas"


def test_every_topic_is_a_channel_and_every_channel_a_topic() -> None:
    assert set(DOCUMENT["channels"]) == {topic.name for topic in (*TOPICS, OWN_REPLIES)}
    assert DOCUMENT["asyncapi"] == "3.0.0"


def test_every_reference_leads_somewhere_and_every_name_is_allowed() -> None:
    found = list(references(DOCUMENT))
    assert all(resolved(reference) for reference in found)
    named = [DOCUMENT["channels"], DOCUMENT["operations"], *DOCUMENT["components"].values()]
    assert all(ID.match(name) for names in named for name in names)
    used = {reference.rpartition("/")[2] for reference in found}
    assert set(DOCUMENT["components"]["messages"]) <= used


def test_every_channel_has_one_operation() -> None:
    operated = [operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()]
    assert sorted(operated) == sorted(DOCUMENT["channels"])
    assert {operation["action"] for operation in DOCUMENT["operations"].values()} == {"receive", "send"}


def test_the_examples_are_what_the_schemas_say() -> None:
    checked = 0
    for message in messages():
        schema = {**message["payload"], "components": DOCUMENT["components"]}
        for example in message.get("examples", ()):
            jsonschema_rs.Draft202012Validator(schema).validate(example["payload"])
            checked += 1
    assert checked >= 10


def test_requests_say_that_they_need_a_grant() -> None:
    for topic in ("runs.requested.v1", "runs.batched.v1"):
        (reference,) = DOCUMENT["channels"][topic]["messages"].values()
        assert "grant" in resolved(reference["$ref"])["headers"]["required"]
