"""What a partition's journal tells."""

from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord

from common.contracts.event import TYPE_HEADER
from common.contracts.runs_v1 import Handover, RunCompleted
from common.contracts.topics import COMPLETED
from common.kafka import Record
from runner.journal import Past

RUN = uuid4()


def record(kind: bytes, key: bytes | None = None, value: bytes = b"") -> Record:
    return ConsumerRecord(COMPLETED.name, 0, 7, 0, 1, key, value, None, 0, 0, ((TYPE_HEADER, kind),))


@pytest.mark.parametrize(
    "unreadable",
    [
        record(RunCompleted.TYPE.encode(), key=b"short"),
        record(RunCompleted.TYPE.encode()),
        record(Handover.TYPE.encode(), value=b"{"),
        record(b"\xff"),
    ],
)
def test_what_cannot_be_read_is_passed_over(unreadable: Record) -> None:
    past = Past()
    past.learn(unreadable)
    past.learn(record(RunCompleted.TYPE.encode(), key=RUN.bytes))
    assert past.ended == {RUN}
