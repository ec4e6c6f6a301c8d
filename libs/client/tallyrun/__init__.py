"""Tallyrun from outside: its client, and the `tallyrun` command."""

from tallyrun.client import Client
from tallyrun.errors import TallyrunError, Unreachable
from tallyrun.rejected import RejectedFilter, RejectedRecord, ReplayedRecord

__all__ = ["Client", "RejectedFilter", "RejectedRecord", "ReplayedRecord", "TallyrunError", "Unreachable"]
