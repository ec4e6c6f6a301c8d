"""ClickHouse's tables, made by the numbered scripts in `migrations/`: forward only, by one migrator at a time."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Protocol

from common.errors import SchemaMismatch

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
STALE_SECONDS = 60
"""After so long without a sign of life, by the database's clock, a migrator's turn goes to the next."""

LOOK_SECONDS = 0.5
SERVES = re.compile(r"_serves_(\d{4})\.sql$")
"""A script that takes something away ends its name with the number of the oldest code that still works on the rest."""


class Statements(Protocol):
    """Carries out the statements of `queries/*.sql` by name, and others as they are."""

    def execute(self, statement: str) -> None:
        """Carry out a statement."""

    def command(self, query: str, **parameters: Any) -> None:
        """Carry out a named one."""

    def column(self, query: str) -> list[Any]:
        """Return a named query's first column."""

    def attempt(self, query: str, **parameters: Any) -> bool:
        """Carry out a named one; False if its table is there already, or is not there any more."""


def bring_up(engine: Statements) -> list[str]:
    """Apply the scripts that the database lacks and return their names; whoever comes meanwhile waits."""
    engine.command("create_migrations")
    if not _missing(engine):
        _check(engine)
        return []
    with _turn(engine):
        applied = []
        for name, statements in _missing(engine):
            for statement in statements:
                engine.execute(statement)
            engine.command("record_migration", name=name)
            applied.append(name)
        return applied


def check(engine: Statements) -> None:
    """Raise `SchemaMismatch` unless the tables serve this version."""
    engine.command("create_migrations")
    if missing := [name for name, _ in _missing(engine)]:
        raise SchemaMismatch(
            f"the analytics database lacks {', '.join(missing)}: run `python -m analytics migrate` with this version"
            " first, or set MIGRATE_ON_START=true"
        )
    _check(engine)


def _check(engine: Statements) -> None:
    head = max(name for name, _ in migrations())[:4]
    for name in engine.column("migrations"):
        serves = SERVES.search(name)
        if serves and serves[1] > head:
            raise SchemaMismatch(
                f"the analytics database has had {name}, which serves versions from {serves[1]} on, and this one is of"
                f" {head}: start a newer version"
            )


def _missing(engine: Statements) -> list[tuple[str, list[str]]]:
    applied = set(engine.column("migrations"))
    return [(name, statements) for name, statements in migrations() if name not in applied]


def migrations() -> Iterator[tuple[str, list[str]]]:
    """Yield each migration's name and statements; a statement ends with a semicolon at the end of a line."""
    scripts = (path for path in (files("analytics") / "migrations").iterdir() if path.name.endswith(".sql"))
    for path in sorted(scripts, key=lambda path: path.name):
        yield path.name, statements(path.read_text())


def statements(script: str) -> list[str]:
    """Return a script's statements."""
    return [part for part in script.split(";\n") if part.strip()]


@contextmanager
def _turn(engine: Statements) -> Iterator[None]:
    """Be the only migrator: a table that only one can create. Scripts may be repeated, should two ever meet."""
    waited = 0
    while not engine.attempt("take_turn"):
        if waited == 0:
            log.info("another process migrates the analytics database; waiting for it")
        waited += 1
        if any(seconds > STALE_SECONDS for seconds in engine.column("turn_age")):
            _end_stale(engine)
        time.sleep(LOOK_SECONDS)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(engine, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        engine.command("end_turn")


def _beat(engine: Statements, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        engine.attempt("beat_turn", beat=str(time.time_ns()))


def _end_stale(engine: Statements) -> None:
    """Take the turn away from a migrator that is gone; of several that try, one can."""
    engine.command("forget_stale_turn")
    if engine.attempt("stale_turn"):
        log.warning("a migrator has been silent for %d s; its turn is over", STALE_SECONDS)
    engine.command("forget_stale_turn")
