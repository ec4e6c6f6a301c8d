"""`python -m common.contracts [--check]`: write the JSON Schemas of every contract, or say which have drifted."""

import sys

from common.contracts.registry import CONTRACTS, drifted, schema_path, schema_text


def main(arguments: list[str]) -> int:
    """Write the schemas, or with `--check` fail where they differ."""
    if "--check" in arguments:
        stale = drifted()
        print(f"schema drift in {', '.join(stale)}: run make schemas" if stale else f"{len(CONTRACTS)} schemas agree")
        return len(stale)
    for name, model in CONTRACTS.items():
        schema_path(name).write_text(schema_text(model))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
