"""Write each image's part of requirements.lock: what its service imports, by the same hashes (`make lock`)."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "deploy" / "images"

WANTED = {
    "build": ["hatchling"],  # what makes wheels of our packages
    "simulator": ["-e libs/common"],
    **{name: ["-e libs/common", f"-e services/{name}"] for name in ("gateway", "vault", "runner", "analytics")},
}

NEVER = "chdb; python_version < '3'"
"""The engine in the process is for one machine: in a container analytics speaks to a server."""

COMPILE = [
    *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"),
    *("--constraint", "requirements.lock", "--override", "-"),
]


def main() -> None:
    """Write all of them."""
    for name, wanted in WANTED.items():
        source = IMAGES / f"{name}.in"
        source.write_text("".join(f"{line}\n" for line in wanted))
        ours = [f"--no-emit-package=tallyrun-{part}" for part in ("common", name)]
        command = [*COMPILE, *ours, "--output-file", str(IMAGES / f"{name}.lock"), str(source)]
        subprocess.run(command, cwd=ROOT, input=NEVER, text=True, check=True)
        source.unlink()


if __name__ == "__main__":
    main()
