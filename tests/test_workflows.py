"""What the future home runs is what `make` offers, and its files are well formed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def loaded(path: Path) -> dict[str, Any]:
    """Return a workflow; YAML 1.1 reads its `on` as true."""
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in workflow.items()}


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_what_one_must_have_and_bounds(path: Path) -> None:
    workflow = loaded(path)
    assert set(workflow) <= {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job), name
    assert all(len(step.keys() & {"run", "uses"}) == 1 for step in steps(path))
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step["uses"]) for step in steps(path) if "uses" in step)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_is_a_target_of_the_makefile(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        assert re.fullmatch(r"make [a-z0-9-]+( [A-Z]+=\"[^\"]+\")*", command), command
        assert command.split()[1] in targets, command


def test_whatever_make_checks_is_checked_there() -> None:
    run = {step["run"].split()[1] for path in WORKFLOWS for step in steps(path) if "run" in step}
    assert {"check", "test", "soak", "mutants", "images", "compose-test", "k8s-lint", "k8s-api-test", "release"} <= run
