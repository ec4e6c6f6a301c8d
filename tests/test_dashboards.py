"""Dashboards, alerts and runbooks against the code: what they name exists, and what exists is shown."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from tests.support import metrics, promql
from tests.support.metrics import ROOT

from tallyrun.command.app import app as tallyrun
from vault.command.app import app as vault

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "operate" / "runbooks"
SERVICES = ("gateway", "runner", "vault", "analytics")

DECLARED = {name: metric for name, (metric, _) in metrics.declared().items()}


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield f"{path.stem}: {panel['title']}", panel


def expressions() -> dict[str, str]:
    shown = {f"{where} {t['refId']}": t["expr"] for where, panel in panels() for t in panel["targets"]}
    return {**shown, **{rule["alert"]: rule["expr"] for rule in alerts()}}


def test_every_expression_names_metrics_and_labels_that_exist() -> None:
    asked = expressions()
    print(f"{len(asked)} expressions of {len(DASHBOARDS)} dashboards and {len(alerts())} alerts")
    assert {where: found for where, text in asked.items() if (found := promql.faults(text, DECLARED))} == {}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(tallyrun_runner_calls[5m]))", "tallyrun_runner_calls is unknown"),
        ("sum by (model) (tallyrun_runner_runs_in_flight)", "model is unknown"),
        ('tallyrun_runner_runs_ended_total{outcome="x"}', "tallyrun_runner_runs_ended_total has no label outcome"),
        ("sun(tallyrun_runner_runs_in_flight)", "sun is unknown"),
        ("sum(tallyrun_runner_runs_in_flight", "( and ) are not in pairs"),
        ("tallyrun_runner_queued_seconds > 1", "tallyrun_runner_queued_seconds is unknown"),
    ],
)
def test_a_wrong_expression_is_found(expression: str, fault: str) -> None:
    assert fault in promql.faults(expression, DECLARED)


def test_every_metric_is_shown_or_warns() -> None:
    asked = " ".join(expressions().values())
    assert [name for name, metric in DECLARED.items() if not any(series in asked for series in metric.series)] == []


def test_a_dashboard_is_one_that_grafana_loads() -> None:
    uids = set()
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        uids.add(board["uid"])
        assert (path.stem, board["schemaVersion"] >= 39, board["title"] != "") == (board["uid"], True, True)
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert not list(_overlapping(board["panels"])), path.name
    assert len(uids) == len(DASHBOARDS) == 2
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for _, panel in panels()} == {source["uid"]}
    for where, panel in panels():
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), where
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["fieldConfig"]["defaults"]["unit"], where


def _overlapping(of: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield panels that lie on each other, or beyond Grafana's 24 columns."""
    places = [(panel["title"], _cells(panel["gridPos"])) for panel in of]
    for number, (title, cells) in enumerate(places):
        if any(x >= 24 for x, _ in cells):
            yield title, "the edge"
        yield from ((title, other) for other, taken in places[:number] if cells & taken)


def _cells(place: dict[str, int]) -> set[tuple[int, int]]:
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return {(x, y) for x in columns for y in rows}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(path.stem for path in RUNBOOKS.glob("*.md"))
    for rule in alerts():
        assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
        assert rule["annotations"].keys() == {"summary", "runbook"}
        page = (ROOT / rule["annotations"]["runbook"]).read_text()
        assert page.startswith(f"# {rule['alert']}\n")
        headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
        assert headings == ["What it means", "What to look at", "What to do"]


def test_what_a_summary_names_is_a_label_of_its_expression() -> None:
    for rule in alerts():
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b|absent\(\w+\{{{label}=", rule["expr"]), (rule["alert"], label)


def commands() -> list[tuple[str, str]]:
    found = []
    for path in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            found += [(path.stem, line) for line in block.splitlines()]
    return found


def test_every_command_of_a_runbook_exists() -> None:
    assert len(commands()) > len(alerts())
    for page, text in commands():
        program, *words = shlex.split(text)
        check = {"kubectl": _kubectl, "tallyrun": _tallyrun, "curl": _curl}[program]
        check(words, f"{page}: {text}")


def _kubectl(words: list[str], where: str) -> None:
    assert words[:2] == ["-n", "tallyrun"], where
    verb, *rest = words[2:]
    named = [word.removeprefix("deployment/") for word in rest if word.startswith("deployment/")]
    assert set(named) <= set(SERVICES), where
    match verb, rest:
        case "get" | "describe", ["pods", *selector]:
            assert not selector or selector[1].removeprefix("app.kubernetes.io/name=") in SERVICES, where
        case "logs", [_, "--since=15m"]:
            pass
        case "rollout", ["undo" | "restart", _]:
            pass
        case "scale", [_, replicas]:
            assert replicas.startswith("--replicas="), where
        case "exec", [_, "--", "vault", *of_the_vault]:
            _typed(typer.main.get_command(vault), of_the_vault, where)
        case _:
            pytest.fail(where)


def _tallyrun(words: list[str], where: str) -> None:
    _typed(typer.main.get_command(tallyrun), words, where)


def _typed(command: Any, words: list[str], where: str) -> None:
    """Fail unless the command takes these words."""
    while words and isinstance(command, click.Group | typer.core.TyperGroup):
        assert words[0] in command.commands, where
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, where


def _curl(words: list[str], where: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:8080/(health/ready|health/live|metrics)", words[-1]), where


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in [*RUNBOOKS.glob("*.md"), Path(metrics.PAGE)]:
        for link in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
