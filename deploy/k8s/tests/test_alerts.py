"""The alerts in the cluster are the alerts of the one file."""

import yaml
from deploy.k8s.tests.manifests import K8S
from deploy.monitoring.rule import FOLDER, RESOURCE, resource


def test_the_operators_resource_is_made_of_the_one_file() -> None:
    assert RESOURCE.read_text() == resource(), "run `make rules`"
    assert yaml.safe_load(resource())["spec"] == yaml.safe_load((FOLDER / "alerts.yaml").read_text())


def test_every_alert_has_its_page() -> None:
    rules = [
        rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    assert rules
    pages = [rule["annotations"]["runbook"] for rule in rules]
    assert [page for page in pages if not (K8S.parents[1] / page).is_file()] == []
