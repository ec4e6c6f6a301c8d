"""The AsyncAPI 3 document of the topics: FastStream describes contracts, what it cannot say is added here.

Made by `make schemas`; no service imports this module.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faststream.kafka import KafkaBroker
from faststream.specification import AsyncAPI

from common.contracts import topics
from common.contracts.audit_v1 import AuditHeads
from common.contracts.batches_v1 import BatchCancelled
from common.contracts.credentials_v1 import CredentialsChanged, GrantRevoked
from common.contracts.event import GRANT_HEADER, INSTANCE_HEADER, TYPE_HEADER, Event
from common.contracts.registry import examples
from common.contracts.runs_v1 import Handover, RunCompleted, RunDelta, RunRejected, RunRequested, RunStarted
from common.contracts.topics import Topic

Json = dict[str, Any]

PATH = Path(__file__).parents[4] / "docs" / "asyncapi.json"

RUN_ID = {"type": "string", "format": "binary", "description": "the 16 bytes of the run id; requests: or its text"}
ANY_KEY = {"type": "string", "format": "binary", "description": "as received, or none"}
TEXT_KEY = {"type": "string", "description": "the id that the event is about"}
NO_KEY = {"type": "null"}

ABOUT = """\
What is said over Kafka. Internal services publish `RunRequested` and read `RunCompleted`; docs/publish-runs.md says
how. `receive` is what Tallyrun reads, `send` what it writes. Within a version only optional fields are added."""


@dataclass(frozen=True)
class Channel:
    """A topic as the document has it. `headers` beside the type, by their descriptions."""

    topic: Topic
    action: Literal["receive", "send"]
    events: tuple[type[Event], ...]
    key: Json
    about: str
    headers: tuple[tuple[str, str], ...] = ()
    address: str = ""


GRANT = ((GRANT_HEADER, "the signed permission to use this workspace's keys: POST /api/grants"),)
INSTANCE = ((INSTANCE_HEADER, "reply_to.instance, as the request had it"),)

OWN_REPLIES = Topic(f"{topics.OWN_REPLIES}own", 1, topics.DAY_MS, ("runner",), ("internal services",))
"""Stands for those that operators make: their partitions and retention are theirs to choose."""

CHANNELS = (
    Channel(topics.REQUESTED, "receive", (RunRequested,), RUN_ID, "Interactive runs: somebody waits.", GRANT),
    Channel(topics.BATCHED, "receive", (RunRequested,), RUN_ID, "Bulk: never delays interactive runs.", GRANT),
    Channel(
        topics.COMPLETED, "send", (RunCompleted, RunStarted, Handover), RUN_ID,
        "How every run ended, of all workspaces; and the runners' journal, which others pass over by its type.",
    ),
    Channel(
        OWN_REPLIES, "send", (RunCompleted,), RUN_ID,
        "Completions of runs that named this topic in reply_to. Operators make it; the last part may be missing.",
        INSTANCE, f"{topics.OWN_REPLIES}{{workspaceId}}.{{name}}",
    ),
    Channel(topics.REPLIES, "send", (RunCompleted, RunDelta), RUN_ID, "For the gateway replica that waits.", INSTANCE),
    Channel(
        topics.REJECTED, "send", (RunRejected,), ANY_KEY,
        "Records that are no runs: the value is the record's own bytes, and these fields are headers, as text.",
    ),
    Channel(topics.BATCHES_CANCELLED, "send", (BatchCancelled,), TEXT_KEY, "Internal: nothing more is called of them."),
    Channel(
        topics.CREDENTIALS_CHANGED, "send", (CredentialsChanged, GrantRevoked), TEXT_KEY,
        "Internal: leases that every runner drops.",
    ),
    Channel(topics.AUDIT_HEADS, "send", (AuditHeads,), NO_KEY, "Signed statements of how far the audit had come."),
)  # fmt: skip


def document() -> str:
    """Return the document as it is committed."""
    return json.dumps(_completed(_described()), indent=2, sort_keys=True) + "\n"


def _described() -> Json:
    """Return what FastStream says of the events; each in a channel of its own name."""
    broker = KafkaBroker()
    for channel in CHANNELS:
        for event in channel.events:
            title = _title(channel, event)
            if channel.action == "receive":
                broker.subscriber(channel.topic.name, title=title)(_reader(event))
            else:
                broker.publisher(channel.topic.name, title=title, schema=event)
    document = AsyncAPI(broker, title="Tallyrun", version="1", description=ABOUT, schema_version="3.0.0")
    described: Json = document.to_specification().to_jsonable()
    return described


def _reader(event: type[Event]) -> Callable[[Any], Awaitable[None]]:
    async def read(message: Any) -> None:
        """Stand for a service: this broker is never started."""

    read.__annotations__["message"] = event
    return read


def _completed(described: Json) -> Json:
    """Return the document with one channel for each topic, and its keys, headers, partitions and examples."""
    return {
        "asyncapi": described["asyncapi"],
        "info": described["info"],
        "defaultContentType": described["defaultContentType"],
        "channels": {channel.topic.name: _channel(channel) for channel in CHANNELS},
        "operations": {f"{channel.action}-{channel.topic.name}": _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {_title(channel, event): _message(channel, event) for channel, event in _pairs()},
            "schemas": described["components"]["schemas"],
        },
    }


def _channel(channel: Channel) -> Json:
    names = ("workspaceId", "name") if channel.address else ()
    return {
        "address": channel.address or channel.topic.name,
        "description": channel.about,
        "messages": {event.TYPE: _reference("components/messages", _title(channel, event)) for event in channel.events},
        **({"parameters": {name: {} for name in names}} if names else {}),
        "bindings": {"kafka": _topic(channel.topic)},
    }


def _topic(topic: Topic) -> Json:
    kept: Json = {"cleanup.policy": ["compact"]}
    if topic.retention_ms is not None:
        kept = {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms}
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "topicConfiguration": {**kept, "max.message.bytes": topics.MAX_MESSAGE_BYTES},
        "bindingVersion": "0.5.0",
    }


def _operation(channel: Channel) -> Json:
    return {
        "action": channel.action,
        "channel": _reference("channels", channel.topic.name),
        "summary": f"written by {', '.join(channel.topic.producers)}; read by {', '.join(channel.topic.consumers)}",
    }


def _message(channel: Channel, event: type[Event]) -> Json:
    message = {
        "name": event.TYPE,
        "title": event.__name__,
        "summary": (event.__doc__ or "").splitlines()[0],
        "headers": _headers(channel, event),
        "payload": _reference("components/schemas", event.__name__),
        "bindings": {"kafka": {"key": channel.key, "bindingVersion": "0.5.0"}},
        "examples": [{"payload": json.loads(path.read_text())} for model, path in examples() if model is event],
    }
    if event is RunRejected:
        message |= {"contentType": "application/octet-stream", "payload": {"type": "string", "format": "binary"}}
        del message["examples"]
    return message


def _headers(channel: Channel, event: type[Event]) -> Json:
    said: Json = {TYPE_HEADER: {"const": event.TYPE}}
    said |= {name: {"type": "string", "description": about} for name, about in channel.headers}
    if event is RunRejected:
        said |= {name: {"type": "string"} for name in RunRejected.model_fields}
    return {"type": "object", "properties": said, "required": sorted(said)}


def _pairs() -> list[tuple[Channel, type[Event]]]:
    return [(channel, event) for channel in CHANNELS for event in channel.events]


def _title(channel: Channel, event: type[Event]) -> str:
    return f"{channel.topic.name}-{event.__name__}"


def _reference(*parts: str) -> Json:
    return {"$ref": "#/" + "/".join(parts)}
