"""`make bench`: each figure beside its comparison in the same minute, and the results kept.

`python -m bench [PART ...]` measures the parts named, else all that are quick; the other parts' results stay.
"""

import sys

from bench import (
    accept,
    analytics,
    batch,
    bulk,
    fairness,
    goodput,
    ingest,
    leases,
    memory,
    stream,
    sync,
    tracing,
    vault,
)
from bench.report import RESULTS, keep

QUICK = {
    "sync": sync.measure,
    "stream": stream.measure,
    "leases": leases.measure,
    "accept": accept.measure,
    "bulk": bulk.measure,
    "goodput": goodput.measure,
    "fairness": fairness.measure,
    "vault": vault.measure,
    "analytics": analytics.measure,
    "ingest": ingest.measure,
    "tracing": tracing.measure,
}
PARTS = {**QUICK, "batch": batch.measure, "memory": memory.measure}


def main(names: list[str]) -> None:
    """Measure and report."""
    if unknown := set(names) - PARTS.keys():
        sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in names or QUICK:
        keep(name, PARTS[name]())
    print(RESULTS.read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
