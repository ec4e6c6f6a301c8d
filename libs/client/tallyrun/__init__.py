"""Tallyrun from outside: its clients, and the `tallyrun` command."""

from tallyrun.async_client import AsyncClient
from tallyrun.batches import BatchStatus, Quote
from tallyrun.client import Client
from tallyrun.errors import Declined, InvalidRows, NotUnderstood, TallyrunError, Unreachable
from tallyrun.handles import AsyncBatch, Batch
from tallyrun.prompts import Answer
from tallyrun.rejected import RejectedFilter, RejectedRecord, ReplayedRecord
from tallyrun.results import Result

__all__ = [
    "Answer",
    "AsyncBatch",
    "AsyncClient",
    "Batch",
    "BatchStatus",
    "Client",
    "Declined",
    "InvalidRows",
    "NotUnderstood",
    "Quote",
    "RejectedFilter",
    "RejectedRecord",
    "ReplayedRecord",
    "Result",
    "TallyrunError",
    "Unreachable",
]
