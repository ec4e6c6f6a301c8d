"""The vault's audit, as others may keep it: signed statements of how far each workspace's chain had come."""

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.event import Event
from common.contracts.runs_v1 import Millis

HexMac = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class AuditHead(BaseModel):
    """The newest row of one chain. `workspace_id` None is the chain of what has no workspace."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    workspace_id: UUID | None
    seq: int = Field(ge=1, description="the row's number in its chain, from 1")
    mac: HexMac
    at: Millis = Field(description="the row's time")


class StatedHeads(BaseModel):
    """What a statement says: these were the heads at `at`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: Millis
    heads: tuple[AuditHead, ...]


class AuditHeads(Event):
    """Vault → whoever keeps it out of the vault's reach: a signed statement (a JWS of the vault) of `StatedHeads`."""

    TYPE: ClassVar[str] = "audit.v1.heads"

    statement: str
