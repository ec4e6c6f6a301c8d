"""`make k8s-api-test`: the manifests against a real API server. Every step says what it saw; what fails ends it."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from deploy.k8s.api_server import KUBERNETES, Cluster, build, module, running_cluster

K8S = Path(__file__).parent
NAMESPACE = "tallyrun"
SERVICES = ("gateway", "vault", "runner", "analytics")
ZONES = ("a", "b", "c")
WAIT_SECONDS = 60

OPERATORS = {
    "scaledobjects.keda.sh": ("github.com/kedacore/keda/v2", "v2.21.0", "config/crd/bases"),
    "podmonitors.monitoring.coreos.com": (
        "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd",
    ),
    "prometheusrules.monitoring.coreos.com": (
        "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd",
    ),
    "externalsecrets.external-secrets.io": (
        "github.com/external-secrets/external-secrets", "v0.20.4", "config/crds/bases",
    ),
}  # fmt: skip
"""Where the resource definitions of operators come from: Go module, version, folder."""


def main() -> int:
    """Run every step against one cluster."""
    if shutil.which("go") is None:
        print("NOT RUN: no Go on the PATH, and the API server is built from its module")
        return 1
    build()
    with running_cluster() as cluster:
        print(f"API server {KUBERNETES}, {len(ZONES)} nodes that run nothing")
        for step in (nodes, definitions, accepted, refused, installed, drained, rolled_out):
            began = time.monotonic()
            told = step(cluster)
            print(f"  {step.__name__:<12} {time.monotonic() - began:5.1f} s  {told}", flush=True)
    print(
        "NOT CHECKED HERE: images, probes, enforcement of network policies; KafkaTopic (its definition is in no module)"
    )
    return 0


def nodes(cluster: Cluster) -> str:
    """Make a node in each zone."""
    for zone in ZONES:
        labels = {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": f"node-{zone}"}
        capacity = {"cpu": "8", "memory": "16Gi", "pods": "60"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{zone}", "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"capacity": capacity, "allocatable": capacity},
        }
        cluster.kubectl("apply", "-f", "-", manifests=json.dumps(node))
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={WAIT_SECONDS}s")
    return "ready"


def definitions(cluster: Cluster) -> str:
    """Install the operators' resource definitions, so that their fields are checked, too."""
    for name, (path, version, folder) in OPERATORS.items():
        definition = _definition(module(path, version) / folder, name)
        cluster.kubectl("apply", "--server-side", "-f", "-", manifests=json.dumps(definition))
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", f"--timeout={WAIT_SECONDS}s")
    return ", ".join(OPERATORS)


def _definition(folder: Path, name: str) -> Any:
    """Return the definition of that name, without what its module alone can fill in."""
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["metadata"]["name"] == name:
                document["spec"].pop("conversion", None)
                return document
    raise RuntimeError(f"{folder} has no {name}")


def accepted(cluster: Cluster) -> str:
    """Have every overlay and component checked by the server: fields strictly, warnings as errors."""
    cluster.kubectl("apply", "-f", str(K8S / "base" / "namespace.yaml"))
    overlays = sorted(path.parent for path in K8S.glob("overlays/**/kustomization.yaml"))
    told = []
    for overlay in overlays:
        manifests = cluster.kubectl("kustomize", str(overlay))
        cluster.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", manifests=manifests
        )
        cluster.kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", manifests=manifests)
        told.append(f"{overlay.relative_to(K8S / 'overlays')} {manifests.count('kind:')}")
    for name in ("gateway", "vault", "analytics"):
        path = str(K8S / "components" / "external-secrets" / f"{name}.yaml")
        cluster.kubectl("-n", NAMESPACE, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", path)
    return ", ".join(told) + ", external-secrets"


def refused(cluster: Cluster) -> str:
    """See that the checks above would have failed: a pod that asks for more, and a field that nobody knows."""
    manifests = cluster.kubectl("kustomize", str(K8S / "base"))
    broken = {
        "violate PodSecurity": ("readOnlyRootFilesystem: true", "privileged: true"),
        "unknown field": ("terminationGracePeriodSeconds:", "terminationGracePeriod:"),
    }
    for reason, (before, after) in broken.items():
        text = manifests.replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true").replace(
            before, after
        )
        arguments = ("apply", "--dry-run=server", "--warnings-as-errors", "--validate=strict", "-f", "-")
        said = cluster.kubectl(*arguments, manifests=text, check=False)
        if reason not in said:
            raise RuntimeError(f"a broken manifest was accepted: {said}")
    return "a privileged container, a misspelt field"


def installed(cluster: Cluster) -> str:
    """Install as the README says: migrations first, then the services."""
    cluster.kubectl("apply", "-k", str(K8S / "overlays" / "production" / "migrate"))
    done = ("--for=condition=complete", f"--timeout={WAIT_SECONDS}s", "-l", "app.kubernetes.io/component=migrate")
    cluster.kubectl("-n", NAMESPACE, "wait", "job", *done)
    cluster.kubectl("apply", "-k", str(K8S / "overlays" / "offline-test"))
    for service in SERVICES:
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{service}", f"--timeout={WAIT_SECONDS}s")
    zones = {service: len({pod["spec"]["nodeName"] for pod in _pods(cluster, service)}) for service in SERVICES}
    if set(zones.values()) != {2}:
        raise RuntimeError(f"two replicas of a service share a node: {zones}")
    return "three migrations complete, four services rolled out, replicas on different nodes"


def drained(cluster: Cluster) -> str:
    """Drain a node: budgets let one pod of a service go at a time, and all are somewhere else afterwards."""
    fewest = dict.fromkeys(SERVICES, 2)

    def complete() -> bool:
        ready = {service: len(_ready(cluster, service)) for service in SERVICES}
        fewest.update({service: min(fewest[service], count) for service, count in ready.items()})
        return set(ready.values()) == {2}

    node = f"node-{ZONES[0]}"
    there = [pod for service in SERVICES for pod in _pods(cluster, service) if pod["spec"]["nodeName"] == node]
    with ThreadPoolExecutor(1) as beside:
        arguments = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={WAIT_SECONDS}s")
        draining = beside.submit(cluster.kubectl, "drain", node, *arguments)
        _until(lambda: complete() and draining.done(), "the node is empty, and there are two of each")
        draining.result()
    if any(pod["spec"]["nodeName"] == node for service in SERVICES for pod in _pods(cluster, service)):
        raise RuntimeError("a pod stayed on the drained node")
    if min(fewest.values()) < 1:
        raise RuntimeError(f"a drain took everything of a service: {fewest}")
    cluster.kubectl("uncordon", node)
    return f"{len(there)} pods moved, never fewer ready than {min(fewest.values())} of 2"


def rolled_out(cluster: Cluster) -> str:
    """Roll a new version out, and undo it."""
    before = _image(cluster, "gateway")
    cluster.kubectl("-n", NAMESPACE, "set", "image", "deployment/gateway", "gateway=tallyrun/gateway:0.2.0")
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/gateway", f"--timeout={WAIT_SECONDS}s")
    after = _image(cluster, "gateway")
    cluster.kubectl("-n", NAMESPACE, "rollout", "undo", "deployment/gateway")
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/gateway", f"--timeout={WAIT_SECONDS}s")
    _until(lambda: _image(cluster, "gateway") == before, "the version before is back")
    return f"{before} → {after} → {before}"


def _pods(cluster: Cluster, service: str) -> list[dict[str, Any]]:
    pods = cluster.get("-n", NAMESPACE, "pods", "-l", f"app.kubernetes.io/name={service}")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _ready(cluster: Cluster, service: str) -> list[dict[str, Any]]:
    return [
        pod
        for pod in _pods(cluster, service)
        for condition in pod["status"].get("conditions", [])
        if (condition["type"], condition["status"]) == ("Ready", "True")
    ]


def _image(cluster: Cluster, service: str) -> str:
    """Return the one image that a service's pods run."""
    images = {pod["spec"]["containers"][0]["image"] for pod in _pods(cluster, service)}
    return " and ".join(sorted(images))


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {WAIT_SECONDS} s: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
