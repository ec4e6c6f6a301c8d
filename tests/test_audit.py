"""The dependency audit fails for what is vulnerable, and for nothing else."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from common.engines.ports import free_port
from tests import audit

ROOT = Path(__file__).parent.parent
PACKAGE = {"name": "wheel", "version": "0.1", "vulns": [{"id": "PYSEC-0000-1", "fix_versions": ["0.2"]}]}


def test_an_unreachable_database_skips_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "DATABASE", f"http://127.0.0.1:{free_port()}")
    assert audit.main() == 0
    assert "*** DEPENDENCY AUDIT SKIPPED: http://127.0.0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stdout", "code", "said"),
    [
        (json.dumps({"dependencies": [PACKAGE]}), 1, "wheel 0.1: PYSEC-0000-1, fixed in 0.2"),
        (json.dumps({"dependencies": [{**PACKAGE, "vulns": []}]}), 0, "1 packages audited, 0 known"),
        ("", 0, "SKIPPED: no such host"),
    ],
)
def test_what_pip_audit_says_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdout: str, code: int, said: str
) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, stdout, "a warning\nno such host\n")

    monkeypatch.setattr(audit, "unreachable", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == code
    assert said in capsys.readouterr().out


def test_every_lock_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[command.index("--requirement") + 1])
        return subprocess.CompletedProcess(command, 0, json.dumps({"dependencies": []}), "")

    monkeypatch.setattr(audit, "unreachable", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 0
    assert sorted(asked) == sorted(map(str, [*ROOT.glob("*.lock"), *ROOT.glob("tests/*.lock")]))


def test_an_audit_without_end_is_cut_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("pip-audit", audit.SECONDS)

    monkeypatch.setattr(audit, "unreachable", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 0
    assert "SKIPPED" in capsys.readouterr().out
