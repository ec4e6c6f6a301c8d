"""A real Kubernetes control plane on loopback, built from its Go modules, with nodes that run nothing (kwok).

It accepts, refuses and warns as a cluster does, rolls out, drains and keeps budgets; images and probes are not run.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

KUBERNETES = os.environ.get("KUBERNETES_VERSION", "v1.37.2")
ETCD = "v3.6.16"
KWOK = "v0.8.0"

CACHE = Path(os.environ.get("TALLYRUN_K8S_CACHE", Path.home() / ".cache" / "tallyrun-k8s"))
BIN = CACHE / "bin"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")

API, ETCD_CLIENTS, ETCD_PEERS, KUBELET = 16443, 12379, 12380, 10247
START_SECONDS = 60
STOP_SECONDS = 10


def go(*arguments: str, cwd: Path = CACHE) -> str:
    """Run the Go tool and return what it printed."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOBIN": str(BIN)}
    done = subprocess.run(["go", *arguments], cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def module(path: str, version: str) -> Path:
    """Download a Go module and return its folder."""
    return Path(json.loads(go("mod", "download", "-json", f"{path}@{version}"))["Dir"])


def build() -> None:
    """Build what is missing: about ten minutes on two cores the first time."""
    BIN.mkdir(parents=True, exist_ok=True)
    if not all((BIN / command).exists() for command in COMMANDS):
        print(f"building Kubernetes {KUBERNETES}: about ten minutes, once", flush=True)
        _build_kubernetes()
    if not (BIN / "etcd").exists():
        _build_etcd()
    if not (BIN / "kwok").exists():
        go("install", f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}")


def _build_kubernetes() -> None:
    """Build the commands in a module of our own: Kubernetes' own module points at folders that a module lacks."""
    folder = CACHE / "kubernetes"
    folder.mkdir(exist_ok=True)
    source = module("k8s.io/kubernetes", KUBERNETES)
    for name in ("go.mod", "go.sum"):
        (folder / name).write_text((source / name).read_text())
    go("mod", "edit", "-module=tallyrun/kubernetes", f"-require=k8s.io/kubernetes@{KUBERNETES}", cwd=folder)
    for replaced in json.loads(go("mod", "edit", "-json", cwd=folder))["Replace"]:
        name = replaced["Old"]["Path"]
        version = f"v0.{KUBERNETES.removeprefix('v1.')}"
        go("mod", "edit", f"-dropreplace={name}", f"-require={name}@{version}", cwd=folder)
    paths = [f"k8s.io/kubernetes/cmd/{command}" for command in COMMANDS]
    imports = "".join(f'import _ "{path}"\n' for path in paths)
    (folder / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}")
    minor = KUBERNETES.split(".")[1]
    known = {"gitVersion": KUBERNETES, "gitMajor": "1", "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in known.items())
    go("build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", f"{BIN}/", *paths, cwd=folder)


def _build_etcd() -> None:
    folder = CACHE / "etcd"
    folder.mkdir(exist_ok=True)
    if not (folder / "go.mod").exists():
        go("mod", "init", "tallyrun/etcd", cwd=folder)
    go("get", f"go.etcd.io/etcd/server/v3@{ETCD}", cwd=folder)
    go("build", "-o", str(BIN / "etcd"), "go.etcd.io/etcd/server/v3", cwd=folder)


class Cluster:
    """A running control plane, spoken to with kubectl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"

    def kubectl(self, *arguments: str, manifests: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it printed; if it fails and `check` is set, raise with what it said."""
        command = [str(BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout + done.stderr

    def get(self, *what: str) -> list[dict[str, Any]]:
        """Return resources."""
        return list(json.loads(self.kubectl("get", *what, "-o", "json"))["items"])


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run etcd, API server, controllers, scheduler and kwok until the end of the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tallyrun-k8s-")))
        cluster = Cluster(folder)
        _write_access(cluster)
        stack.enter_context(_process(folder, "etcd", *_etcd(folder)))
        stack.enter_context(_process(folder, "kube-apiserver", *_api_server(folder)))
        _wait_ready(cluster)
        config = f"--kubeconfig={cluster.kubeconfig}"
        quiet = ("--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0")
        key = f"--service-account-private-key-file={folder / 'sa.key'}"
        stack.enter_context(_process(folder, "kube-controller-manager", config, key, *quiet))
        stack.enter_context(_process(folder, "kube-scheduler", config, *quiet))
        stack.enter_context(_process(folder, "kwok", config, *_kwok(cluster)))
        yield cluster


def _write_access(cluster: Cluster) -> None:
    token = secrets.token_hex(16)
    (cluster.folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    subprocess.run(["openssl", "genrsa", "-out", cluster.folder / "sa.key", "2048"], check=True, capture_output=True)
    server = {"server": f"https://127.0.0.1:{API}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "loopback", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "loopback", "context": {"cluster": "loopback", "user": "admin"}}],
        "current-context": "loopback",
    }
    cluster.kubeconfig.write_text(json.dumps(config))  # JSON is YAML
    for name in ("tokens.csv", "kubeconfig"):
        (cluster.folder / name).chmod(0o600)


def _etcd(folder: Path) -> list[str]:
    clients, peers = (f"http://127.0.0.1:{port}" for port in (ETCD_CLIENTS, ETCD_PEERS))
    return [
        *(f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", f"--initial-cluster=default={peers}"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
    ]


def _api_server(folder: Path) -> list[str]:
    key = folder / "sa.key"
    return [
        *(f"--etcd-servers=http://127.0.0.1:{ETCD_CLIENTS}", f"--secure-port={API}", "--bind-address=127.0.0.1"),
        *(
            "--advertise-address=127.0.0.1",
            f"--cert-dir={folder / 'pki'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
        ),
        *("--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16"),
        *("--endpoint-reconciler-type=none", "--service-account-issuer=https://kubernetes.default.svc.cluster.local"),
        *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
    ]


def _kwok(cluster: Cluster) -> list[str]:
    """Return kwok's arguments; its stages, as rendered from its module, say what becomes of nodes and pods."""
    stages = module("sigs.k8s.io/kwok", KWOK) / "kustomize" / "stage"
    rendered = [cluster.kubectl("kustomize", str(stages / stage)) for stage in STAGES]
    config = cluster.folder / "stages.yaml"
    config.write_text("\n---\n".join(rendered))
    return [f"--config={config}", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--server-address=127.0.0.1:{KUBELET}"]  # fmt: skip


def _wait_ready(cluster: Cluster) -> None:
    end = time.monotonic() + START_SECONDS
    while "ok" not in (said := cluster.kubectl("get", "--raw", "/readyz", check=False)):
        if time.monotonic() > end:
            log = (cluster.folder / "kube-apiserver.log").read_text()[-2000:]
            raise RuntimeError(f"the API server is not ready: {said}\n{log}")
        time.sleep(0.3)


@contextmanager
def _process(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([BIN / name, *arguments], cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
