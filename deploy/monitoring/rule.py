"""`make rules`: write the Prometheus Operator's resource of alerts.yaml; a test holds the one against the other."""

from pathlib import Path

FOLDER = Path(__file__).parent
RESOURCE = FOLDER.parent / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"

HEAD = """\
# Made of deploy/monitoring/alerts.yaml by `make rules`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tallyrun
spec:
"""


def resource() -> str:
    """Return the alerts as a PrometheusRule: the same text, further in."""
    lines = (FOLDER / "alerts.yaml").read_text().splitlines()
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    RESOURCE.write_text(resource())
