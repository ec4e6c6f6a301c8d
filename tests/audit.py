"""`make audit`: known vulnerabilities among what is locked. Says loudly why where that cannot be told today.

It fails for what is vulnerable, never for a database that cannot be reached: a check must mean the same everywhere.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
LOCKS = (TESTS.parent / "requirements.lock", TESTS / "openai2.lock")
"""Everything that `make install` installs."""

DATABASE = "https://api.osv.dev/v1"
"""OSV, the open database of vulnerabilities: it is asked, and no package index is."""

PROBE_SECONDS = 5
SECONDS = 25


def main() -> int:
    """Return 0 unless something that is locked is known to be vulnerable."""
    if (reason := unreachable()) is not None:
        return skipped(reason)
    return max(audited(lock) for lock in LOCKS)  # one by one: a package may be in each of them, at its own version


def audited(lock: Path) -> int:
    """Return 1 if something in this lock is known to be vulnerable, otherwise 0."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    how = ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"]
    try:
        ended = subprocess.run(
            [*command, *how],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return skipped(f"the database did not answer within {SECONDS} s")
    try:
        found = json.loads(ended.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return skipped((ended.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
    return told(found)


def unreachable() -> str | None:
    """Return why the database cannot be reached, or None if it answers, be it that it knows no such thing."""
    try:
        urllib.request.urlopen(f"{DATABASE}/vulns/none", timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            return None if error.code == 404 else f"{DATABASE} answers {error.code}"
    except OSError as error:
        return f"{DATABASE} cannot be reached: {error}"
    return None


def skipped(reason: str) -> int:
    """Say so where nobody can overlook it."""
    print(f"\n*** DEPENDENCY AUDIT SKIPPED: {reason}\n*** Nothing was checked. `make audit` tries again.\n", flush=True)
    return 0


def told(found: list[dict[str, Any]]) -> int:
    """Print what is vulnerable, and what cures it; return 1 if anything is."""
    vulnerable = [(package, fault) for package in found for fault in package.get("vulns", ())]
    for package, fault in vulnerable:
        cure = ", ".join(fault["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {cure}")
    print(f"{len(found)} packages audited, {len(vulnerable)} known vulnerabilities")
    return int(bool(vulnerable))


if __name__ == "__main__":
    sys.exit(main())
