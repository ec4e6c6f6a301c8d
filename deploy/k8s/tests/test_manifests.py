"""Every pod template keeps the restricted profile and the rules of this installation; every overlay is valid."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from deploy.k8s.tests.manifests import OVERLAYS, SERVICES, Manifest, containers, of_kind, pods, rendered, written
from kubernetes_validate.utils import SchemaNotFoundError, all_versions, validate

NEWEST = sorted(set(all_versions()), key=lambda version: [int(part) for part in version.split(".")])[-3:]
WORKERS = ("runner", "analytics")

Source = Callable[[], list[Manifest]]

EVERYWHERE: dict[str, Source] = {
    "written": lambda: written("base") + written("migrate") + written("overlays/dev"),
    **{overlay: partial(rendered, overlay) for overlay in OVERLAYS},
}
"""What is checked: the sources on any machine, what is rendered of them where something renders."""

every_source = pytest.mark.parametrize("source", EVERYWHERE.values(), ids=EVERYWHERE)


def faults_of_pod(pod: Manifest) -> list[str]:
    """Return what the `restricted` profile (kubernetes.io/docs/concepts/security/pod-security-standards) forbids."""
    faults = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    faults += [f"volume {volume['name']}" for volume in pod.get("volumes", []) if not volume.keys() & ALLOWED_VOLUMES]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        faults.append("runAsNonRoot with a number of a user")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        faults.append("seccompProfile")
    return faults + [f"{box['name']}: {fault}" for box in containers(pod) for fault in faults_of_container(box)]


ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def faults_of_container(container: Manifest) -> list[str]:
    security = container.get("securityContext", {})
    demanded = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    faults = [name for name, value in demanded.items() if security.get(name) != value]
    faults += [name for name in ("privileged", "runAsUser", "procMount", "seccompProfile") if name in security]
    faults += ["hostPort" for port in container.get("ports", []) if "hostPort" in port]
    return faults


@every_source
def test_no_pod_does_what_the_restricted_profile_forbids(source: Source) -> None:
    faults = {name: found for name, pod in pods(source()) if (found := faults_of_pod(pod))}
    assert faults == {}


def test_the_namespace_enforces_warns_and_audits_it() -> None:
    labels = of_kind(written("base"), "Namespace")["tallyrun"]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}


@every_source
def test_our_containers_have_a_read_only_root_and_a_bounded_tmp(source: Source) -> None:
    for name, pod in pods(source()):
        for container in containers(pod):
            if container["image"].startswith("tallyrun/"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        for volume in pod.get("volumes", []):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], name


@every_source
def test_no_pod_has_rights_in_the_cluster(source: Source) -> None:
    manifests = source()
    assert all(pod["automountServiceAccountToken"] is False for _, pod in pods(manifests))
    assert not {manifest["kind"] for manifest in manifests} & {
        "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
    }  # fmt: skip


@every_source
def test_what_is_asked_for_and_the_most_of_memory_are_said(source: Source) -> None:
    for name, pod in pods(source()):
        for container in containers(pod):
            resources = container["resources"]
            assert set(resources["requests"]) == {"cpu", "memory"}, name
            assert set(resources["limits"]) == {"memory"}, name


@every_source
def test_no_secret_stands_in_manifests_or_environments(source: Source) -> None:
    manifests = source()
    assert of_kind(manifests, "Secret") == {}
    for name, pod in pods(manifests):
        for container in containers(pod):
            assert all("valueFrom" not in variable for variable in container.get("env", [])), name
            assert all("secretRef" not in values for values in container.get("envFrom", [])), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_is_pinned(overlay: str) -> None:
    images = [container["image"] for _, pod in pods(rendered(overlay)) for container in containers(pod)]
    assert images
    assert [image for image in images if not re.search(r":v?\d[\w.-]*$|@sha256:[0-9a-f]{64}$", image)] == []


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay: str, version: str) -> None:
    unknown = []
    for manifest in rendered(overlay):
        try:
            validate(manifest, version, strict=True)
        except SchemaNotFoundError:
            unknown.append(f"{manifest['apiVersion']} {manifest['kind']}")
    print(
        f"{overlay}, Kubernetes {version}: {len(rendered(overlay))} manifests, {len(unknown)} by an operator's schema"
    )
    ours = [kind for kind in unknown if not re.match(r"keda\.sh|monitoring\.coreos\.com|external-secrets\.io", kind)]
    assert ours == []


def test_what_asks_for_no_token_is_not_passed_on_from_outside() -> None:
    (rule,) = of_kind(written("components/ingress"), "Ingress")["gateway"]["spec"]["rules"]
    passed = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
    assert passed == {
        ("/", "Exact"), ("/openapi.json", "Exact"),
        ("/assets", "Prefix"), ("/api", "Prefix"), ("/v1", "Prefix"),
    }  # fmt: skip


@pytest.fixture(params=SERVICES)
def deployment(request: pytest.FixtureRequest) -> Any:
    return of_kind(written("base"), "Deployment")[request.param]


def only(deployment: Manifest) -> Manifest:
    """Return a deployment's one container."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_a_rollout_takes_nothing_away_before_its_successor_is_ready(deployment: Manifest) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_drain_takes_one_at_a_time_and_is_never_blocked_by_a_broken_one(deployment: Manifest) -> None:
    budget = of_kind(written("base"), "PodDisruptionBudget")[deployment["metadata"]["name"]]["spec"]
    assert budget["selector"] == deployment["spec"]["selector"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_replicas_are_spread_over_zones_and_nodes(deployment: Manifest) -> None:
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(rule["labelSelector"] == deployment["spec"]["selector"] for rule in spread)


def test_what_is_begun_may_end(deployment: Manifest) -> None:
    """The drain fits into the grace period, behind the pause before it."""
    container = only(deployment)
    drain = next(int(v["value"]) for v in container["env"] if v["name"] == "DRAIN_SECONDS")
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= pause + drain + 10


def test_the_longest_call_fits_into_a_runners_drain_and_analytics_knows_it() -> None:
    deployments = of_kind(written("base"), "Deployment")
    runner, analytics = (
        {variable["name"]: variable["value"] for variable in only(deployments[name])["env"]}
        for name in ("runner", "analytics")
    )
    assert int(runner["DRAIN_SECONDS"]) >= int(runner["CALL_SECONDS"]) + 10
    assert runner["CALL_SECONDS"] == analytics["CALL_SECONDS"]


def test_only_the_gateway_waits_before_it_stops(deployment: Manifest) -> None:
    assert ("lifecycle" in only(deployment)) == (deployment["metadata"]["name"] == "gateway")


def test_liveness_asks_the_process_alone_and_readiness_its_neighbours(deployment: Manifest) -> None:
    container = only(deployment)
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if not overlay.endswith("migrate")])
def test_whatever_scales_itself_has_no_count_of_its_own(overlay: str) -> None:
    manifests = rendered(overlay)
    scaled = {s["spec"]["scaleTargetRef"]["name"] for kind in ("HorizontalPodAutoscaler", "ScaledObject")
              for s in of_kind(manifests, kind).values()}  # fmt: skip
    fixed = {name for name, deployment in of_kind(manifests, "Deployment").items() if "replicas" in deployment["spec"]}
    assert not scaled & fixed
    assert scaled | fixed == set(of_kind(manifests, "Deployment"))


@every_source
def test_a_migration_is_tried_again_a_few_times_and_not_for_ever(source: Source) -> None:
    for job in of_kind(source(), "Job").values():
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        assert job["spec"]["backoffLimit"] <= 6
        assert only(job)["args"] == ["migrate"]
