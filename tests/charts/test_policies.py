"""Each policy, on a small release that fulfils all of them and in which one thing is spoiled."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from . import containers, pods, selectors
from .exceptions import EXEMPTIONS, Exemption, unexpected
from .policies import POLICIES, Policy, findings
from .samples import LABELS, argo_workflow, good_release, training_runtime
from .workloads import Json, matches, size, workloads

Spoil = Callable[[list[Json]], Any]
ENV = "spec.template.spec.containers.0.env"


def put(kind: str, path: str, value: object, nth: int = 0) -> Spoil:
    """Set a field of the nth object of a kind; `None` removes it."""

    def spoil(objects: list[Json]) -> None:
        at: Any = [one for one in objects if one["kind"] == kind][nth]
        *way, last = [int(word) if word.isdigit() else word for word in path.replace("pod.", "spec.template.spec.").split(".")]
        for word in way:
            at = at[word]
        if value is None:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(value)
        else:
            at[last] = value

    return spoil


def pod(path: str, value: object) -> Spoil:
    """Set a field of the deployment's pods."""
    return put("Deployment", f"pod.{path}", value)


def main(path: str, value: object) -> Spoil:
    """Set a field of the deployment's container."""
    return pod(f"containers.0.{path}", value)


def another(kind: str, **spec: object) -> Spoil:
    """Add a copy of an object by another name, with other fields of its spec."""

    def spoil(objects: list[Json]) -> None:
        one = copy.deepcopy(next(one for one in objects if one["kind"] == kind))
        one["metadata"]["name"] = "another"
        one["spec"] |= spec
        objects.append(one)

    return spoil


def added(**fields: object) -> Spoil:
    """Add an object."""
    return lambda objects: objects.append({"apiVersion": "v1", "metadata": {"name": "added"}, **fields})


FIRST = {"name": "first", "image": "example.org/first:1.0"}
SCALER = {"scaleTargetRef": {"kind": "Deployment", "name": "gateway"}, "minReplicas": 1}
VERSION = {"app.kubernetes.io/version": "0.1.0"}
CLAIM = {"metadata": {"name": "data", "labels": {"helm.sh/chart": "sample-0.1.0"}}}

SPOILED: Sequence[tuple[Policy, Spoil, str]] = (
    (containers.run_as_no_root, pod("securityContext.runAsNonRoot", None), "runAsNonRoot"),
    (containers.run_as_no_root, main("securityContext.runAsNonRoot", False), "runAsNonRoot"),
    (containers.run_as_high_user, pod("securityContext.runAsUser", 1000), "runAsUser 1000"),
    (containers.run_as_high_user, pod("securityContext.runAsUser", None), "runAsUser None"),
    (containers.confine_system_calls, main("securityContext.seccompProfile", {"type": "Unconfined"}), "Unconfined"),
    (containers.drop_capabilities, main("securityContext.capabilities", {"drop": ["NET_RAW"]}), "lacks ALL"),
    (containers.drop_capabilities, main("securityContext.capabilities.add", ["SYS_PTRACE"]), "SYS_PTRACE"),
    (containers.forbid_escalation, main("securityContext.allowPrivilegeEscalation", None), "allowPrivilegeEscalation"),
    (containers.forbid_escalation, main("securityContext.privileged", True), "privileged"),
    (containers.read_only_root, main("securityContext.readOnlyRootFilesystem", False), "readOnlyRootFilesystem"),
    (containers.read_only_root, pod("initContainers", [FIRST]), "container first"),
    (containers.size_empty_dirs, pod("volumes.0.emptyDir", {"medium": "Memory"}), "emptyDir scratch"),
    (containers.reserve_memory, main("resources.requests.memory", "512Mi"), "requests 512Mi, limits 1Gi"),
    (containers.reserve_memory, main("resources.limits.memory", None), "limits None"),
    (containers.limit_disk, main("resources.limits.ephemeral-storage", None), "ephemeral-storage"),
    (containers.pin_images, main("image", "example.org:5000/gateway"), "neither"),
    (containers.pin_images, main("image", "example.org/gateway:latest"), "neither"),
    (containers.pin_images, main("image", "example.org/gateway:1.0@sha256:abc"), "neither"),
    (containers.keep_secrets_in_files, main("env.0", {"name": "S3_SECRET_KEY", "value": "hunter2"}), "S3_SECRET_KEY"),
    (containers.keep_secrets_in_files, main("env.0.valueFrom", {"secretKeyRef": {"name": "s", "key": "k"}}), "comes from a Secret"),
    (containers.keep_secrets_in_files, main("envFrom", [{"secretRef": {"name": "keys"}}]), "Secret keys"),
    (containers.keep_secrets_in_files, main("args", ["--api-key=hunter2"]), "--api-key"),
    (containers.keep_secrets_in_files, main("args", ["--password", "hunter2"]), "--password"),
    (containers.keep_secrets_in_files, added(kind="Secret", stringData={"key": "hunter2"}), "Secret/added"),
    (containers.probe_in_three_ways, main("startupProbe", None), "no startupProbe"),
    (
        containers.probe_in_three_ways,
        main("livenessProbe", {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 9}),
        "the same",
    ),
    (containers.stop_in_time, main("lifecycle", None), "no preStop"),
    (containers.stop_in_time, main("lifecycle.preStop.sleep.seconds", 30), "preStop of 30 s"),
    (containers.stop_in_time, main("lifecycle.preStop", {"exec": {"command": ["sh", "-c", "sleep 45"]}}), "preStop of 45 s"),
    (containers.mount_known_volumes, main("volumeMounts.0.name", "scrtach"), "scrtach"),
    (pods.hold_no_api_token, pod("automountServiceAccountToken", None), "automountServiceAccountToken"),
    (pods.have_own_account, pod("serviceAccountName", "default"), "no serviceAccountName"),
    (pods.have_own_account, pod("serviceAccountName", "elsewhere"), "ServiceAccount elsewhere"),
    (
        pods.have_own_account,
        another("Deployment", template={"spec": {"serviceAccountName": "gateway"}}),
        "used by Deployment/another, gateway",
    ),
    (pods.stay_off_the_host, pod("hostNetwork", True), "hostNetwork"),
    (pods.stay_off_the_host, pod("volumes.0", {"name": "scratch", "hostPath": {"path": "/"}}), "hostPath volume scratch"),
    (pods.stay_off_the_host, main("ports.0.hostPort", 80), "hostPort 80"),
    (pods.spread_over_nodes, pod("topologySpreadConstraints", None), "topology.kubernetes.io/zone"),
    (pods.spread_over_nodes, pod("topologySpreadConstraints.0.labelSelector", {"matchLabels": {"a": "b"}}), "kubernetes.io/hostname"),
    (pods.bound_disruptions, put("PodDisruptionBudget", "spec.unhealthyPodEvictionPolicy", None), "AlwaysAllow"),
    (pods.bound_disruptions, put("PodDisruptionBudget", "spec.maxUnavailable", 3), "all 3 pods"),
    (pods.bound_disruptions, put("PodDisruptionBudget", "spec.maxUnavailable", "67%"), "all 3 pods"),
    (pods.bound_disruptions, put("PodDisruptionBudget", "spec.maxUnavailable", 0), "none of 3"),
    (pods.bound_disruptions, put("PodDisruptionBudget", "spec.selector", {"matchLabels": {"a": "b"}}), "selects nothing"),
    (pods.bound_disruptions, another("Deployment"), "not exactly one"),
    (pods.bound_disruptions, put("Deployment", "spec.replicas", 1), "is about 1 pod"),
    (pods.bound_disruptions, added(kind="HorizontalPodAutoscaler", spec=SCALER), "is about 1 pod"),
    (pods.are_named_once, lambda objects: objects.append(objects[0]), "2 times"),
    (selectors.select_by_stable_labels, put("Deployment", "spec.selector.matchLabels", VERSION), "app.kubernetes.io/version"),
    (selectors.select_by_stable_labels, put("Service", "spec.selector", VERSION), "app.kubernetes.io/version"),
    (
        selectors.select_by_stable_labels,
        put("NetworkPolicy", "spec.ingress.0.from", [{"podSelector": {"matchLabels": VERSION}}], 1),
        "version",
    ),
    (selectors.select_by_stable_labels, added(kind="StatefulSet", spec={"volumeClaimTemplates": [CLAIM]}), "claim data"),
    (selectors.own_their_pods_alone, put("Deployment", "spec.selector.matchLabels.extra", "x"), "its own pods"),
    (selectors.own_their_pods_alone, another("Deployment"), "selects the pods of Deployment/another"),
    (selectors.serve_existing_pods, put("Service", "spec.selector.extra", "x"), "selects no pods"),
    (selectors.serve_existing_pods, put("Service", "spec.ports.0.targetPort", "grpc"), "no port grpc"),
    (selectors.serve_existing_pods, put("Service", "spec.ports.0.targetPort", None), "no port 80"),
    (selectors.police_existing_pods, put("NetworkPolicy", "spec.podSelector.matchLabels.extra", "x", nth=1), "selects no pods"),
    (
        selectors.deny_by_default,
        put("NetworkPolicy", "spec.policyTypes", ["Ingress"]),
        "Deployment/gateway: no network policy bounds its Egress",
    ),
    (selectors.deny_by_default, put("NetworkPolicy", "spec.egress", [{}]), "allows all Egress"),
    (selectors.deny_by_default, put("NetworkPolicy", "spec.ingress", [{"from": []}]), "allows all Ingress"),
    (selectors.monitor_existing_services, put("ServiceMonitor", "spec.endpoints.0.port", "metrics"), "no port metrics"),
    (selectors.monitor_existing_services, put("ServiceMonitor", "spec.selector.matchLabels.extra", "x"), "selects nothing"),
)


def test_a_good_release_has_no_findings() -> None:
    assert findings(good_release()) == []


@pytest.mark.parametrize(("policy", "spoil", "told"), SPOILED, ids=lambda value: getattr(value, "__name__", None))
def test_a_policy_finds_what_is_spoiled(policy: Policy, spoil: Spoil, told: str) -> None:
    objects = good_release()
    spoil(objects)
    assert any(told in finding for finding in policy(objects)), policy(objects)


def test_every_policy_is_shown_to_find_something() -> None:
    assert {policy for policy, _, _ in SPOILED} == set(POLICIES)


def test_pods_inside_custom_resources_are_seen() -> None:
    seen = {one.title: one for one in workloads([argo_workflow(), training_runtime()])}
    assert sorted(seen) == ["ClusterTrainingRuntime/gateway node", "WorkflowTemplate/gateway clean"]
    assert containers.run_as_high_user([argo_workflow(), training_runtime()]) == []
    assert len(pods.hold_no_api_token([argo_workflow(), training_runtime()])) == 2


def test_what_only_sounds_like_a_secret_is_none() -> None:
    objects = good_release()
    container = workloads(objects)[0].containers[0]
    names = {"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "77", "TOKEN_TTL": "30s", "SECRET_NAME": "keys", "API_KEYS_FILE": "keys.json"}
    container["env"] = [{"name": name, "value": value} for name, value in names.items()]
    container["args"] = ["--api-keys-file=keys.json", "--max-tokens=77", "--without-token", "--port=80"]
    assert containers.keep_secrets_in_files(objects) == []


def test_a_selector_selects_as_kubernetes_says() -> None:
    held = [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["gateway"]}, {"key": "x", "operator": "DoesNotExist"}]
    assert matches({}, LABELS)
    assert matches({"matchExpressions": held}, LABELS)
    assert not matches({"matchExpressions": held}, {**LABELS, "x": ""})


def test_quantities_are_compared_by_their_size() -> None:
    assert size("1Gi") == size("1024Mi") == size(2**30) == 2**30
    assert size("250m") == 0.25


def test_an_exemption_covers_what_it_names_and_no_more() -> None:
    found = [("limit_disk", "Job/r-a, container main: no limit"), ("limit_disk", "Job/r-b, container main: no limit")]
    exemption = Exemption("limit_disk", "sample/*", "Job/r-a,*", "it writes nothing")
    assert unexpected("sample/small", found, [exemption]) == ["limit_disk: Job/r-b, container main: no limit"]
    assert len(unexpected("another/small", found, [exemption])) == 2


def test_every_exemption_says_why() -> None:
    assert all(len(one.reason.split()) >= 4 for one in EXEMPTIONS)
