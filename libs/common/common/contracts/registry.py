"""Every contract by name, with what was committed of it: its JSON Schema, and examples that parse for ever."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from common.contracts import audit_v1, batches_v1, credentials_v1, runs_v1

FOLDER = Path(__file__).parent
CONTRACTS: dict[str, type[BaseModel]] = {
    "runs.v1.requested": runs_v1.RunRequested,
    "runs.v1.completed": runs_v1.RunCompleted,
    "runs.v1.delta": runs_v1.RunDelta,
    "runs.v1.handover": runs_v1.Handover,
    "runs.v1.rejected": runs_v1.RunRejected,
    "runs.v1.started": runs_v1.RunStarted,
    "batches.v1.cancelled": batches_v1.BatchCancelled,
    "credentials.v1.changed": credentials_v1.CredentialsChanged,
    "audit.v1.heads": audit_v1.AuditHeads,
    "credentials.v1.grant_revoked": credentials_v1.GrantRevoked,
}


def schema_text(model: type[BaseModel]) -> str:
    """Return the model's JSON Schema as it is committed."""
    return json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"


def schema_path(name: str) -> Path:
    """Return where the schema of a contract is committed."""
    return FOLDER / "schemas" / f"{name}.json"


def drifted() -> list[str]:
    """Return the contracts whose committed schema is not that of the code."""
    return [name for name, model in CONTRACTS.items() if schema_path(name).read_text() != schema_text(model)]


def examples() -> Iterator[tuple[type[BaseModel], Path]]:
    """Yield every example ever committed, `<contract>.<number>.json`, with its contract."""
    for path in sorted((FOLDER / "examples").glob("*.json")):
        yield CONTRACTS[path.name.rsplit(".", 2)[0]], path


def parse_examples() -> None:
    """Raise `ValidationError` if this build cannot read what an earlier one wrote: such a service must not start."""
    for model, path in examples():
        model.model_validate_json(path.read_bytes())
