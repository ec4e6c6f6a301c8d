"""The manifests: as they are written (needs nothing), and as an overlay renders them (needs kubectl or kustomize)."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.support.tools import found

K8S = Path(__file__).parents[1]
OVERLAYS = tuple(sorted(str(path.parent.relative_to(K8S)) for path in K8S.glob("overlays/**/kustomization.yaml")))
SERVICES = ("gateway", "vault", "runner", "analytics")

Manifest = dict[str, Any]


@cache
def written(folder: str) -> list[Manifest]:
    """Return what lies in a folder, kustomize's own files aside."""
    paths = sorted(path for path in (K8S / folder).rglob("*.yaml") if path.name != "kustomization.yaml")
    return [manifest for path in paths for manifest in yaml.safe_load_all(path.read_text())]


@cache
def literals(folder: str) -> dict[str, dict[str, str]]:
    """Return the values of the ConfigMaps that a kustomization writes, by their names."""
    kustomization = yaml.safe_load((K8S / folder / "kustomization.yaml").read_text())
    generated = kustomization.get("configMapGenerator", [])
    return {entry["name"]: dict(line.split("=", 1) for line in entry.get("literals", [])) for entry in generated}


@cache
def rendered(overlay: str) -> list[Manifest]:
    """Return what `kubectl apply -k` would send."""
    command = ["kustomize", "build"] if shutil.which("kustomize") else [found("kubectl"), "kustomize"]
    done = subprocess.run([*command, K8S / overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "warnings of kustomize"
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return those of a kind by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the spec of every pod template, with the name of what makes it."""
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if isinstance(template, dict) and "spec" in template:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """Return a pod's containers, those that only prepare it included."""
    return [*pod.get("initContainers", []), *pod["containers"]]
