"""What is typed, what is written where, and what the command exits with: against the contract."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from libs.client.tests.double import Double

from tallyrun.command.app import main
from tallyrun.profiles import Profiles

IDS = [f"row-{number}" for number in range(1, 8)]
NOBODY = "http://127.0.0.1:9"


@dataclass
class Done:
    code: int
    out: str
    said: str


Tallyrun = Callable[..., Done]


@pytest.fixture
def tallyrun(double: Double, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tallyrun:
    """Return the command as it is typed, piped, with the token in the environment."""
    monkeypatch.setenv("TALLYRUN_URL", double.url)
    monkeypatch.setenv("TALLYRUN_TOKEN", double.token)
    monkeypatch.setattr("tallyrun.command.watching.EVERY_SECONDS", 0.01)

    def typed(*words: str, stdin: str | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["tallyrun", *words])
        with Path(os.devnull if stdin is None else stdin).open() as given:
            monkeypatch.setattr(sys, "stdin", given)
            with pytest.raises(SystemExit) as ended:
                main()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    return typed


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f'{{"prompt": "{word}"}}\n' for word in IDS))
    return str(file)


def ids_in(file: Path) -> list[str]:
    return [json.loads(line)["customId"] for line in file.read_text().splitlines()]


def test_a_run_is_quoted_submitted_watched_and_written(
    tallyrun: Tallyrun, double: Double, rows: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    words = "run", rows, "-m", "m", "--name", "n", "--label", "team=a", "--max-cost", "60", "--yes", "-o", str(out)
    done = tallyrun(*words)
    assert done == Done(0, "", "7 rows · 0 tokens in · $1.50–$2.50 · 0 unpriced\n"
        "batch_1 submitted; Ctrl-C detaches, the batch continues\ndone: 7 ok · $1.75\n")  # fmt: skip
    assert ids_in(out) == IDS
    assert list(tmp_path.glob("*.part")) == []
    batch = double.batches["batch_1"]
    assert (batch["model"], batch["maxCost"], batch["labels"]["team"]) == ("m", "60.0", "a")
    again = tallyrun(*words)
    assert again.said.splitlines()[0] == "batch_1 exists; attached, nothing resubmitted"
    assert (again.code, len(double.batches), ids_in(out)) == (0, 1, IDS)


def test_some_failed(tallyrun: Tallyrun, double: Double, rows: str, tmp_path: Path) -> None:
    double.fails = {"row-2": "rate_limited", "row-3": "invalid", "row-5": "rate_limited"}
    done = tallyrun("run", rows, "-m", "m", "--yes", "--json")
    assert (done.code, json.loads(done.out)["failed"]) == (3, 3)
    assert done.said.splitlines()[-1] == "done: 4 ok, 3 failed (2 rate_limited, 1 invalid) · $1.00"
    assert [line.split("\t")[0] for line in tallyrun("results", "batch_1", "--only", "failed").out.splitlines()] == [
        "custom_id", "row-2", "row-3", "row-5"]  # fmt: skip
    assert json.loads(tallyrun("results", "batch_1", "--format", "jsonl").out.splitlines()[0])["customId"] == "row-1"
    assert tallyrun("results", "batch_1", "-o", str(tmp_path / "all")) == Done(0, "", "")
    assert ids_in(tmp_path / "all") == IDS
    retried = tallyrun("retry", "batch_1", "--failed")
    assert (retried.code, retried.said.splitlines()[-1]) == (0, "done: 3 ok · $0.75")
    assert [line.split("\t")[0] for line in tallyrun("ls").out.splitlines()] == ["id", "batch_2", "batch_1"]


def test_an_outcome_is_recorded(tallyrun: Tallyrun, double: Double) -> None:
    done = tallyrun("outcome", "r-1", "--good", "--score", "0.75", "--note", "as asked")
    assert done == Done(0, "", "run r-1: good · score 0.75 · as asked\n")
    told = json.loads(tallyrun("outcome", "r-1", "--bad", "--json").out)
    assert (told["success"], told["score"], told["note"]) == (False, None, None)
    assert double.calls("POST", "/api/runs/r-1/outcome") == 2
    for words in ([], ["--score", "1.5"], ["--score", "nan"]):
        assert tallyrun("outcome", "r-1", *words).code == 2
    assert double.calls("POST", "/api/runs/.*") == 2


def test_the_file_of_a_killed_run_is_completed_each_row_once(
    tallyrun: Tallyrun, double: Double, rows: str, tmp_path: Path
) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.batch_1.part"
    words = "run", rows, "-m", "m", "--yes", "-o", str(out)
    double.step = 0
    command = subprocess.Popen([sys.executable, "-m", "tallyrun", *words], stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    while "submitted" not in command.stderr.readline():
        assert command.poll() is None
    with double.lock:
        double.step = 3
        double.advance(double.batches["batch_1"])
        double.step = 0
    while not part.exists() or part.read_text().count("\n") < 3:
        assert command.poll() is None
    command.kill()
    command.wait()
    command.stderr.close()
    with part.open("a") as torn:
        torn.write('{"customId": "row-4", "sta')
    double.step = 2
    done = tallyrun(*words)
    assert (done.code, ids_in(out), part.exists(), len(double.batches)) == (0, IDS, False, 1)


def test_ctrl_c_detaches(tallyrun: Tallyrun, double: Double, rows: str, tmp_path: Path) -> None:
    double.step = 0
    out = str(tmp_path / "out")
    words = [sys.executable, "-m", "tallyrun", "run", rows, "-m", "m", "--yes", "-o", out]
    command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    while "submitted" not in command.stderr.readline():
        assert command.poll() is None
    command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=30)[1]
    assert (command.returncode, said) == (130, f"detached. Resume: tallyrun watch batch_1 -o {out}\n")
    double.step = 3
    assert tallyrun("watch", "batch_1", "-o", out).code == 0
    assert ids_in(Path(out)) == IDS


def test_how_a_batch_ends_is_the_exit_code(tallyrun: Tallyrun, double: Double, rows: str) -> None:
    assert tallyrun("run", rows, "-m", "m", "--yes", "--detach").out == "batch_1\n"
    assert tallyrun("cancel", "batch_1").code == 0
    assert tallyrun("watch", "batch_1").code == 8
    again = tallyrun("run", rows, "-m", "m", "--yes")
    assert again.code == 8
    assert "it is cancelled: `tallyrun retry batch_1`, or another --name" in again.said
    double.fails = {"row-7": "spend_limit"}
    assert tallyrun("run", rows, "-m", "m", "--yes", "--name", "b").code == 6


def test_the_quote_is_asked_about(tallyrun: Tallyrun, double: Double, rows: str) -> None:
    done = tallyrun("run", rows, "-m", "m")
    assert (done.code, done.out, double.asked) == (2, "", [])
    assert "pass --yes" in done.said
    assert "pass --yes" in tallyrun("run", rows, "-m", "m", "--no-input").said
    over = tallyrun("run", rows, "-m", "m", "--yes", "--max-cost", "1")
    assert (over.code, double.batches, double.files) == (6, {}, {})
    assert "even the least that this may cost, $1.50, is over --max-cost 1" in over.said
    double.quote = {"errors": [{"line": 4, "code": "model_not_found", "message": "no such model"}]}
    refused = tallyrun("quote", rows, "-m", "m")
    assert (refused.code, refused.out) == (2, "")
    assert "line 4: no such model" in refused.said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no rows"),
        (b"\x00\x01\xfe" * 99, "not UTF-8"),
        (b'{"prompt":"a"}\n{"prompt":"b"}\n{', "line 3: it is no JSON"),
    ],
    ids=["empty", "binary", "bad JSON"],
)  # fmt: skip
def test_garbage_is_refused_before_anything_is_sent(
    tallyrun: Tallyrun, double: Double, tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "file.jsonl"
    file.write_bytes(content)
    for words in (["run", str(file), "-m", "m", "--yes"], ["quote", str(file), "-m", "m"]):
        done = tallyrun(*words)
        assert (done.code, done.out, double.asked) == (2, "", [])
        assert why in done.said
    assert "Is a directory" in tallyrun("quote", str(tmp_path), "-m", "m").said
    assert tallyrun("run", str(file), "--yes", "-o", str(tmp_path)).code == 2
    assert tallyrun("run", str(file), "--yes", "-o", str(tmp_path / "no" / "file")).code == 2


def test_rows_from_standard_input(tallyrun: Tallyrun, double: Double, rows: str) -> None:
    assert tallyrun("run", "-", "-m", "m", "--yes", "-o", "-", stdin=rows).out.count("\n") == 7
    assert [row["custom_id"] for row in double.files["file-1"]] == IDS


def test_what_goes_wrong_has_its_code(
    tallyrun: Tallyrun, double: Double, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tallyrun("status", "batch_9").code == 5
    assert tallyrun("ls", "--state", "done").code == 2
    assert tallyrun("run", rows, "--yes", "--label", "a").code == 2
    assert tallyrun("cost", "--since", "3d").code == 2
    double.faults = [(402, {})]
    assert tallyrun("ls").code == 6
    double.faults = [(500, {})]
    assert tallyrun("ls").code == 1
    monkeypatch.setenv("TALLYRUN_TOKEN", "wrong")
    wrong = tallyrun("ls")
    assert (wrong.code, wrong.out) == (4, "")
    assert "tallyrun login" in wrong.said
    monkeypatch.setenv("TALLYRUN_TOKEN", "two\nwords")
    assert tallyrun("ls").code == 2
    monkeypatch.setenv("TALLYRUN_TOKEN", "")
    monkeypatch.setenv("TALLYRUN_URL", NOBODY)
    gone = tallyrun("ls")
    assert gone.code == 7
    assert "does not answer" in gone.said
    monkeypatch.setenv("TALLYRUN_URL", "ftp://127.0.0.1")
    assert tallyrun("ls").code == 2


def test_a_reader_that_has_gone_is_no_fault(tallyrun: Tallyrun, double: Double, rows: str) -> None:
    tallyrun("run", rows, "-m", "m", "--yes")
    double.rows["batch_1"] = [{"custom_id": f"row-{number}"} for number in range(20_000)]
    double.batches["batch_1"].update(rows=20_000, succeeded=20_000)
    command = subprocess.Popen(
        [sys.executable, "-m", "tallyrun", "results", "batch_1", "--format", "jsonl"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(30) == 141


def test_a_token_is_kept_for_its_address_alone(
    tallyrun: Tallyrun, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TALLYRUN_URL")
    monkeypatch.delenv("TALLYRUN_TOKEN")
    (tmp_path / "token").write_text(f"{double.token}\n")
    done = tallyrun("login", "--url", double.url, "--token-stdin", "--profile", "p", stdin=str(tmp_path / "token"))
    assert (done.code, done.out) == (0, "")
    assert "workspace acme" in done.said
    assert "there is no keyring here" in done.said
    assert stat.S_IMODE(Profiles.load().path.stat().st_mode) == 0o600
    assert tallyrun("ls").code == 7, "another profile knows neither address nor token"
    assert tallyrun("ls", "--profile", "p").code == 0
    assert tallyrun("config", "set", "profile", "p").code == 0
    assert tallyrun("ls").code == 0
    monkeypatch.setenv("TALLYRUN_URL", double.url.replace("127.0.0.1", "localhost"))
    assert tallyrun("ls").code == 4, "another address is not told the token"
    monkeypatch.delenv("TALLYRUN_URL")
    assert tallyrun("config", "set", "url", f"{double.url}/").code == 0
    assert tallyrun("ls").code == 4, "nor is one that is set later"
    assert double.token not in Profiles.load().path.read_text()
    assert tallyrun("config", "set", "token", "x").code == 2
    assert tallyrun("config", "get", "url").out == f"{double.url}/\n"


def test_a_wrong_token_is_not_kept(tallyrun: Tallyrun, double: Double, rows: str) -> None:
    assert tallyrun("login", "--url", double.url, "--token-stdin", stdin=rows).code in (2, 4)
    assert tallyrun("login", "--url", double.url).code == 2, "nobody to ask"
    assert not Profiles.load().path.exists()


def test_secrets_are_no_words_of_the_command(tallyrun: Tallyrun) -> None:
    for words in (["login", "--token", "x"], ["connect", "openai", "--key", "x"], ["connect", "openai", "x"]):
        assert tallyrun(*words).code == 2


def test_completion_knows_the_subjects(tallyrun: Tallyrun) -> None:
    asked = {**os.environ, "_TALLYRUN_COMPLETE": "complete_bash", "COMP_WORDS": "tallyrun re", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "tallyrun"], env=asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["results", "retry", "rejected"]
    assert "complete_bash" in tallyrun("config", "completion", "bash").out


def test_quiet_says_nothing(tallyrun: Tallyrun, rows: str) -> None:
    assert tallyrun("run", rows, "-m", "m", "--yes", "--quiet") == Done(0, "", "")
