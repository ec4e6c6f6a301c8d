"""The network policies allow exactly the arrows of the design: computed from the manifests."""

import re
from collections.abc import Iterator

import pytest
from deploy.k8s.tests.manifests import K8S, SERVICES, Manifest, of_kind, rendered, written

Arrow = tuple[str, str, int]

PRODUCT: set[Arrow] = {
    ("callers", "gateway", 8080),
    ("gateway", "vault", 8080),
    ("gateway", "analytics", 8080),
    ("gateway", "kafka", 9092),
    ("gateway", "postgres", 5432),
    ("gateway", "objects", 443),
    ("gateway", "objects", 9000),
    ("vault", "kafka", 9092),
    ("vault", "postgres", 5432),
    ("runner", "vault", 8080),
    ("runner", "kafka", 9092),
    ("runner", "objects", 443),
    ("runner", "objects", 9000),
    ("runner", "internet", 443),
    ("analytics", "kafka", 9092),
    ("analytics", "clickhouse", 8123),
    ("analytics", "clickhouse", 8443),
    ("gateway-migrate", "postgres", 5432),
    ("vault-migrate", "postgres", 5432),
    ("analytics-migrate", "clickhouse", 8123),
    ("analytics-migrate", "clickhouse", 8443),
}
WATCHED = {arrow for s in SERVICES for arrow in (("metrics", s, 8080), (s, "traces", 4318))}
PRODUCTION = PRODUCT | WATCHED | {("gateway", "internet", 443)}

JOBS = ("gateway-migrate", "vault-migrate", "analytics-migrate")
PODS = (*SERVICES, *JOBS)
PRIVATE = {"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"}


def chosen(selector: Manifest) -> list[str]:
    """Return which pods of the namespace a selector means."""
    name = "app.kubernetes.io/name"
    if not selector:
        return list(PODS)
    (expression,) = selector.get("matchExpressions", [{}])
    assert not expression or (expression["key"], expression["operator"]) == (name, "In")
    return [*expression.get("values", []), *([selector["matchLabels"][name]] if "matchLabels" in selector else [])]


def peers(peer: Manifest) -> list[str]:
    """Return what a policy's peer is called in the table of flows."""
    if "ipBlock" in peer:
        assert peer["ipBlock"]["cidr"] in ("0.0.0.0/0", "::/0")
        assert set(peer["ipBlock"]["except"]) <= PRIVATE
        assert peer["ipBlock"]["cidr"] == "::/0" or len(peer["ipBlock"]["except"]) == 5
        return ["internet"]
    if "namespaceSelector" not in peer:
        return chosen(peer["podSelector"])
    labels = peer["namespaceSelector"]["matchLabels"]
    if "podSelector" in peer:
        assert labels == {"kubernetes.io/metadata.name": "kube-system"}
        assert peer["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
        return ["dns"]
    ((key, value),) = labels.items()
    return [value] if key == "tallyrun/provides" else ["callers" if value == "gateway" else value]


def arrows(manifests: list[Manifest], direction: str) -> Iterator[Arrow]:
    """Yield every flow that the policies of one direction let through, from its beginning to its end."""
    side, end = {"Egress": ("egress", "to"), "Ingress": ("ingress", "from")}[direction]
    for policy in of_kind(manifests, "NetworkPolicy").values():
        spec = policy["spec"]
        assert side not in spec or direction in spec["policyTypes"]
        for rule in spec.get(side, []):
            assert rule[end], "an empty list of peers would mean: everybody"
            assert rule["ports"], "an empty list of ports would mean: every port"
            others = [name for peer in rule[end] for name in peers(peer)]
            for port in rule["ports"]:
                for pod in chosen(spec["podSelector"]):
                    for other in others:
                        source, target = (pod, other) if direction == "Egress" else (other, pod)
                        yield source, target, port["port"]


def check(manifests: list[Manifest], wanted: set[Arrow]) -> None:
    """Both ends must agree within the namespace; what begins or ends outside of it has one end here."""
    out, into = set(arrows(manifests, "Egress")), set(arrows(manifests, "Ingress"))
    inside = set(PODS)
    assert {arrow for arrow in out if arrow[1] != "dns"} == {arrow for arrow in wanted if arrow[0] in inside}
    assert into == {arrow for arrow in wanted if arrow[1] in inside}
    assert {arrow for arrow in out if arrow[1] == "dns"} == {(pod, "dns", 53) for pod in PODS}


def test_the_base_lets_through_exactly_the_arrows_of_the_design() -> None:
    check(written("base"), PRODUCT)


def test_production_adds_its_object_store_and_who_watches() -> None:
    check(rendered("overlays/production"), PRODUCTION)


def test_whatever_is_not_allowed_is_forbidden_in_both_directions() -> None:
    assert of_kind(written("base"), "NetworkPolicy")["nothing-else"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


@pytest.mark.parametrize("pod", PODS)
def test_the_policies_mean_pods_that_exist(pod: str) -> None:
    names = {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for manifest in written("base") + written("migrate")
        if "template" in manifest.get("spec", {})
    }
    assert pod in names


def test_the_published_table_is_what_is_allowed() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| ([\d, ]+) \|", (K8S / "README.md").read_text(), re.MULTILINE)
    published = {
        (source, target, int(port))
        for sources, targets, ports in rows
        for source in sources.split(", ")
        for target in targets.split(", ")
        for port in ports.split(",")
    }
    assert published == PRODUCT | WATCHED | {("gateway", "internet", 443)} | {("every pod", "dns", 53)}
