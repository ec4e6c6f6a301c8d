"""What the vault counts. At module level, as the Prometheus client means it: the registry is the process's."""

from prometheus_client import Counter, Gauge

LEASES = Counter("tallyrun_vault_leases", "Decisions on leases: done, or why not", ["outcome"])
BACKWARDS = Counter(
    "tallyrun_vault_audit_backwards", "Audit chains that were found shorter than, or other than, before"
)
HEADS_AT = Gauge(
    "tallyrun_vault_audit_heads_timestamp_seconds", "When every audit chain was last known to be published as it stands"
)
