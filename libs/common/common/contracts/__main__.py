"""`python -m common.contracts [--check]`: write the schemas and the AsyncAPI document, or say what has drifted."""

import sys

from common.contracts import asyncapi
from common.contracts.registry import CONTRACTS, drifted, schema_path, schema_text


def main(arguments: list[str]) -> int:
    """Write the schemas, or with `--check` fail where they differ."""
    if "--check" in arguments:
        stale = drifted() + ([] if asyncapi.PATH.read_text() == asyncapi.document() else [asyncapi.PATH.name])
        print(f"drift in {', '.join(stale)}: run make schemas" if stale else f"{len(CONTRACTS)} schemas agree")
        return len(stale)
    for name, model in CONTRACTS.items():
        schema_path(name).write_text(schema_text(model))
    asyncapi.PATH.write_text(asyncapi.document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
