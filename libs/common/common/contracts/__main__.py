"""`python -m common.contracts [--check]`: write the JSON Schemas of every contract, or say which have drifted."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from common.contracts import credentials_v1, runs_v1

SCHEMAS = Path(__file__).parent / "schemas"
CONTRACTS: dict[str, type[BaseModel]] = {
    "runs.v1.requested": runs_v1.RunRequested,
    "runs.v1.completed": runs_v1.RunCompleted,
    "runs.v1.handover": runs_v1.Handover,
    "runs.v1.rejected": runs_v1.RunRejected,
    "runs.v1.started": runs_v1.RunStarted,
    "credentials.v1.changed": credentials_v1.CredentialsChanged,
}


def schema_text(model: type[BaseModel]) -> str:
    """Return the model's JSON Schema as it is committed."""
    return json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"


def drifted() -> list[str]:
    """Return the contracts whose committed schema is not that of the code."""
    return [name for name, model in CONTRACTS.items() if _committed(name) != schema_text(model)]


def _committed(name: str) -> str:
    path = SCHEMAS / f"{name}.json"
    return path.read_text() if path.exists() else ""


def main(arguments: list[str]) -> int:
    """Write the schemas, or with `--check` fail where they differ."""
    if "--check" in arguments:
        stale = drifted()
        print(f"schema drift in {', '.join(stale)}: run make schemas" if stale else f"{len(CONTRACTS)} schemas agree")
        return len(stale)
    for name, model in CONTRACTS.items():
        (SCHEMAS / f"{name}.json").write_text(schema_text(model))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
