"""Run a column of a file of JSON lines as a batch, each line by every model, and say what each model cost.

`python examples/run_file.py FILE FIELD PROVIDER/MODEL [PROVIDER/MODEL …]`

FIELD names the prompt in a line. `tallyrun login`, or `TALLYRUN_URL` and `TALLYRUN_TOKEN`, say where and as whom. Run
the same command again, after a kill too: it attaches to the batch that exists, and nothing is paid twice.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from tallyrun import Client


def rows(file: str, field: str, models: list[str]) -> Iterator[dict[str, str]]:
    """Yield a row for each line and model; one is in memory at a time."""
    with Path(file).open() as lines:
        for number, line in enumerate(lines, 1):
            for model in models:
                yield {"id": f"{number} {model}", "model": model, "prompt": json.loads(line)[field]}


def main(file: str, field: str, models: list[str]) -> None:
    """Run every prompt and print what it cost by model."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    with Client() as client:
        batch = client.submit(rows(file, field, models), name=Path(file).name)
        for status in batch.watch():
            print(f"{status.done} of {status.rows} rows, {status.failed} failed, ${status.cost}", file=sys.stderr)
        for row in batch.results():
            costs[row.custom_id.partition(" ")[2]] += row.cost or 0
    for model, cost in costs.items():
        print(f"{model}: ${cost}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
