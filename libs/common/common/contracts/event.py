"""What every event is: frozen, tolerant of fields it does not know, and told apart by a header."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

TYPE_HEADER = "type"
GRANT_HEADER = "grant"
"""The grant travels in a header, so that a record's bytes can be set aside without it."""

INSTANCE_HEADER = "instance"
"""On replies: which gateway replica asked; the others that share the partition skip the record unread."""


class Event(BaseModel):
    """One message. Times are UTC milliseconds, money is Decimal (a string on the wire)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    def encode(self) -> bytes:
        """Return the record's value: JSON, without the fields that are unset."""
        return self.model_dump_json(exclude_none=True).encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers that every record of this type carries."""
        return [(TYPE_HEADER, self.TYPE.encode())]
