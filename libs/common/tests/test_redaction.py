"""Key material reaches no log, by whichever way it comes: message, argument, extra, traceback, or an odd quoting."""

import io
import json
import logging
import secrets
import signal
import subprocess
import sys

import pytest
from pydantic import SecretStr

from common.contracts.credentials_v1 import Lease
from common.ids import new_id
from common.logs import configure_logging
from common.redaction import REDACTED, REMEMBERED, Secrets


def fresh(prefix: str = "key-") -> str:
    return prefix + secrets.token_hex(16)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, logging_kept: None) -> io.StringIO:
    """What this process would log from now on."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    configure_logging("test", "DEBUG")
    return stream


def leased(secret: str) -> Lease:
    return Lease(secret=SecretStr(secret), key_id=new_id(), version=1, revision=1, ttl_ms=1)


def test_a_key_that_passed_by_is_in_no_part_of_a_record(written: io.StringIO) -> None:
    secret = fresh()
    leased(secret)
    log = logging.getLogger("some.library")
    log.debug("sent %s", {"Authorization": f"Bearer {secret}"})
    log.info(f"https://example.test/?key={secret}&x=1")
    log.warning("an extra", extra={"key": secret, "nested": {"list": [secret, f"\n{secret}\t"]}})
    try:
        int(f"401: '{secret}'\n{secret}")
    except ValueError:
        log.exception("a traceback", stack_info=True)
    log.error(secret.encode())
    sys.excepthook(ValueError, ValueError(secret), None)
    lines = written.getvalue().splitlines()
    assert len(lines) == 6
    assert all(json.loads(line) for line in lines)
    assert secret not in written.getvalue()
    assert secret[4:] not in written.getvalue()
    assert lines[2].count(REDACTED) == 3


@pytest.mark.parametrize(
    "key",
    [
        fresh("sk-"),
        fresh("sk-proj-"),
        fresh("sk-ant-api03-"),
        fresh("gsk_"),
        fresh("tally_"),
        "AIza" + secrets.token_hex(18)[:35],
        "AKIA" + secrets.token_hex(8).upper(),
        f"eyJ{secrets.token_urlsafe(20)}.eyJ{secrets.token_urlsafe(30)}.{secrets.token_urlsafe(64)}",
    ],
    ids=["openai", "project", "anthropic", "groq", "tallyrun", "google", "aws", "jwt"],
)
def test_what_looks_like_a_key_is_hidden_unasked(written: io.StringIO, key: str) -> None:
    logging.getLogger().error("refused: %s", key)
    assert key not in written.getvalue()
    assert key[-10:] not in written.getvalue()


def test_whatever_follows_an_authorization_scheme_is_hidden() -> None:
    for scheme in ("Bearer", "bearer", "Basic"):
        secret = secrets.token_hex(8)
        assert secret not in Secrets().redacted(f"{{'authorization': '{scheme} {secret}'}}")


@pytest.mark.parametrize(
    "text",
    [
        "run 0192f1c0-0000-7000-8000-00000000000d ended: succeeded",
        '{"message": "partitions assigned", "partitions": 12}',
        "a task-based-description-of-something, and a bearer of news",
        "ask-for-what-you-need",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Secrets().redacted(text) == text


def test_a_short_word_cannot_blank_out_the_log() -> None:
    hiding = Secrets()
    hiding.hide("runner")
    assert hiding.redacted("the runner") == "the runner"


def test_what_is_hidden_is_not_kept() -> None:
    hiding, secret = Secrets(), fresh()
    hiding.hide(secret)
    assert secret not in repr(vars(hiding))
    for number in range(REMEMBERED + 10):
        hiding.hide(f"another-secret-{number}")
    assert len(hiding._hashes) == REMEMBERED


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_that_forbids_core_dumps_leaves_none() -> None:
    told = (
        "from common.core_dumps import forbid_core_dumps; forbid_core_dumps();"
        "import ctypes, os, resource, sys;"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)); sys.stdout.flush();"
        "os.abort()"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "(0, 0) 0"
    assert ended.returncode == -signal.SIGABRT
