"""`make release`, `make sbom`: push the images, and write into dist/ what a release consists of beside them.

tallyrun.yaml and tallyrun-migrate.yaml are the manifests with every image pinned by the digest that was pushed.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
DIST = ROOT / "dist"
IMAGES = ("gateway", "vault", "runner", "analytics", "simulator")
RENDERED = {"tallyrun.yaml": "base", "tallyrun-migrate.yaml": "migrate"}

Digests = dict[str, str]
"""`sha256:…` of each image, by its name: tallyrun/vault."""


def release(registry: str, version: str) -> None:
    """Push every image, and write the manifests and the list of images."""
    digests = {f"tallyrun/{image}": _push(f"tallyrun/{image}:{version}", registry) for image in IMAGES}
    DIST.mkdir(exist_ok=True)
    (DIST / "images.txt").write_text("".join(f"{registry}/{image}@{digest}\n" for image, digest in digests.items()))
    for name, text in pinned(registry, digests).items():
        (DIST / name).write_text(text)


def sbom(registry: str, version: str) -> None:
    """Write a bill of materials of every image, system packages included (SPDX, by syft)."""
    DIST.mkdir(exist_ok=True)
    for image in IMAGES:
        _run("syft", f"{registry}/tallyrun/{image}:{version}", "-o", f"spdx-json={DIST / image}.spdx.json")


def pinned(registry: str, digests: Digests) -> dict[str, str]:
    """Render the manifests with the one list of images replaced; return their texts by file name."""
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(K8S, Path(folder) / "k8s"))
        component = copy / "images" / "kustomization.yaml"
        content = yaml.safe_load(component.read_text())
        content["images"] = [
            {"name": image["name"], "newName": f"{registry}/{image['name']}", "digest": digests[image["name"]]}
            for image in content["images"]
        ]
        component.write_text(yaml.safe_dump(content))
        return {name: _run("kubectl", "kustomize", str(copy / part)) for name, part in RENDERED.items()}


def _push(image: str, registry: str) -> str:
    """Push an image and return the digest that the registry gave it."""
    pushed = f"{registry}/{image}"
    _run("docker", "tag", image, pushed)
    _run("docker", "push", pushed)
    return _run("docker", "inspect", "--format", "{{index .RepoDigests 0}}", pushed).strip().partition("@")[2]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    {"release": release, "sbom": sbom}[sys.argv[1]](*sys.argv[2:])
