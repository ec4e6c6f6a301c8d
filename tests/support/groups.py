"""A consumer group, as the broker sees it."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def group_state(admin: AIOKafkaAdminClient, group: str) -> tuple[str, int]:
    """Return the group's state (Stable, Empty, PreparingRebalance, …) and how many members it has."""
    answer: Any
    [answer] = await admin.describe_consumer_groups([group])
    [(_, _, state, _, _, members, *_)] = answer.groups
    return state, len(members)


async def committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """Return the offsets that the group has committed."""
    return {p: commit.offset for p, commit in (await admin.list_consumer_group_offsets(group)).items()}
