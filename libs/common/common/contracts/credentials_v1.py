"""Provider keys: what the vault, the gateway and the runner say to each other. Secrets are `SecretStr` throughout."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr

from common.contracts.event import Event
from common.contracts.runs_v1 import Millis, Name, Operation
from common.redaction import SECRETS


def _hidden(secret: SecretStr) -> SecretStr:
    """Keep out of this process's log what comes by here, whoever writes it there."""
    SECRETS.hide(secret.get_secret_value())
    return secret


RevealedSecret = Annotated[
    SecretStr,
    AfterValidator(_hidden),
    PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json"),
]
"""Masked in repr, logs and tracebacks; in the clear only in the JSON of the one call that must carry it."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


KeyState = Literal["active", "expiring", "expired", "inactive"]
"""`expiring`: within 14 days. `expired`: no lease any more, until it is rotated. `inactive`: deactivated, for good."""


class SaveKey(_Message):
    """Gateway → vault, `POST /workspaces/{id}/keys`. A new `name` adds a key, the same name rotates it.

    `expires_at` is this version's, and in the future: a rotation without one has none.
    """

    provider: Name
    name: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    secret: RevealedSecret = Field(min_length=1, max_length=4096)
    actor: Name
    expires_at: Millis | None = None


class SavedKey(_Message):
    """Vault → gateway: the version that waits to be checked."""

    key_id: UUID
    version: int


class KeyView(_Message):
    """A key as its owners may see it."""

    id: UUID
    provider: Name
    name: str
    preview: str = Field(description="the last four characters, never more")
    version: int
    is_active: bool
    verified: bool = Field(description="False: the provider has no endpoint to check a key with")
    created_at: Millis
    expires_at: Millis | None = None
    state: KeyState = "active"


class KeyVersion(_Message):
    """One secret that a key had, has, or is to have once it was checked. Only the active one can be leased."""

    version: int
    preview: str
    state: Literal["pending", "active", "retired"]
    verified: bool
    created_at: Millis
    activated_at: Millis | None = None
    retired_at: Millis | None = Field(None, description="when the next one took its place, and its secret was wiped")
    expires_at: Millis | None = None


class KeyHistory(_Message):
    """Vault → gateway, `GET /workspaces/{id}/keys/{key}`: a key and all its versions, the oldest first."""

    key: KeyView
    versions: tuple[KeyVersion, ...]


class Activate(_Message):
    """Gateway → vault, `POST /workspaces/{id}/keys/{key}/versions/{version}/activate`, after the check."""

    verified: bool
    actor: Name


class LeaseRequest(_Message):
    """Runner → vault, `POST /leases`, with the runner's service token: the run's grant is the second proof.

    A `check` leases the pending version of the grant's key, or where none waits the active one; every other operation
    an active one.
    """

    grant: str = Field("", max_length=4096, description="none is refused as a wrong one is, and written down")
    provider: Name
    operation: Operation
    key_id: UUID | None = None


class Lease(_Message):
    """Vault → runner: a provider key, for at most `ttl_ms`. `revision` orders it against evictions."""

    secret: RevealedSecret
    key_id: UUID
    version: int
    revision: int
    ttl_ms: int = Field(ge=1, le=60_000)


class CredentialsChanged(Event):
    """Vault → every runner: drop the leases of this key that are older than `revision`, now. Keyed by the key id.

    `revision` is the one the change gave the key: leases of what is valid after it carry that revision or a later one.
    """

    TYPE: ClassVar[str] = "credentials.v1.changed"

    workspace_id: UUID
    key_id: UUID
    revision: int
    reason: Literal["activated", "deactivated"]

    @property
    def subject(self) -> bytes:
        """The record's key."""
        return str(self.key_id).encode()


class GrantRevoked(Event):
    """Vault → every runner: drop the leases of this grant, and refuse it from now on. Keyed by the grant id.

    It has no revision: a revocation is final, so that it comes after every lease of the grant, whichever is read first.
    """

    TYPE: ClassVar[str] = "credentials.v1.grant_revoked"

    workspace_id: UUID
    grant_id: UUID

    @property
    def subject(self) -> bytes:
        """The record's key."""
        return str(self.grant_id).encode()
