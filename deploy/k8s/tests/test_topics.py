"""The topics as an operator's resources are the topics that the services create."""

from typing import Any

import pytest
from deploy.k8s.tests.manifests import literals, of_kind, written

from common.contracts.topics import PARTITIONS, TOPICS, Topic

DECLARED = of_kind(written("components/strimzi-topics"), "KafkaTopic")


def test_there_are_these_and_no_others() -> None:
    assert set(DECLARED) == {topic.name for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_is_as_the_services_would_make_it(topic: Topic) -> None:
    spec = DECLARED[topic.name]["spec"]
    assert (spec["partitions"], spec["replicas"]) == (
        topic.partitions,
        int(literals("base")["tallyrun"]["KAFKA_REPLICATION"]),
    )
    assert spec["config"] == topic.config(spec["replicas"])


@pytest.mark.parametrize("worker", ["runner", "analytics"])
@pytest.mark.parametrize("component", ["hpa", "keda"])
def test_there_are_never_more_members_than_partitions(component: str, worker: str) -> None:
    for scaled in written(f"components/{component}"):
        spec: dict[str, Any] = scaled["spec"]
        if scaled["metadata"]["name"] == worker:
            assert (spec.get("maxReplicas") or spec["maxReplicaCount"]) <= PARTITIONS


def test_the_lag_that_is_scaled_on_is_that_of_our_groups_and_topics() -> None:
    triggers = [trigger["metadata"] for scaled in written("components/keda") for trigger in scaled["spec"]["triggers"]]
    assert {trigger["topic"] for trigger in triggers} <= {topic.name for topic in TOPICS}
    assert {trigger["consumerGroup"] for trigger in triggers} == {"runner", "analytics"}
