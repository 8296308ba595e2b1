"""What each template of the chart `pipelines` promises by fields of the rendered objects."""

import json
from collections.abc import Mapping

import pytest
import yaml  # type: ignore[import-untyped]

from .releases import DAILY, PIPELINES, TRAININGS, egress_ports, named, release
from .workloads import of_kind, workloads


def test_the_schedule_starts_one_run_at_a_time_with_the_given_parameters() -> None:
    fields = {"schedule": "0 3 * * 1-5", "timezone": "Europe/Berlin", "suspend": True, "startingDeadlineSeconds": 60, "template": "mine"}
    sets = DAILY | {f"dailyUpdate.{name}": value for name, value in fields.items()} | {"store.region": "eu-central-1"}
    spec = named(release(PIPELINES, sets), "CronWorkflow", "-daily")["spec"]
    assert spec["schedules"] == [fields["schedule"]]
    assert {name: spec[name] for name in ("timezone", "suspend", "startingDeadlineSeconds")}.items() <= fields.items()
    assert (spec["concurrencyPolicy"], spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == ("Forbid", 3, 3)
    workflow = spec["workflowSpec"]
    assert workflow["workflowTemplateRef"] == {"name": "mine"}
    assert (workflow["serviceAccountName"], workflow["automountServiceAccountToken"]) == ("r-pipelines-steps", False)
    assert workflow["executor"] == {"serviceAccountName": "r-pipelines-executor"}
    parameters = {one["name"]: one["value"] for one in workflow["arguments"]["parameters"]}
    assert parameters == {"tables_uri": "s3://b/t", "media_root": "s3://b/m", "student_id": "s", "settings": '{"steps":5}'}
    patch = json.loads(workflow["podSpecPatch"])
    main = {one["name"]: one for one in patch["containers"]}["main"]
    env = {one["name"]: one["value"] for one in main["env"]}
    assert env["REELSPACE_STORE"] == "s3://bucket/store"
    assert env["AWS_REGION"] == "eu-central-1"
    assert env["AWS_SHARED_CREDENTIALS_FILE"] == f"{main['volumeMounts'][0]['mountPath']}/credentials"
    assert patch["volumes"][0]["secret"]["secretName"] == "store-file"


def test_scheduled_runs_that_train_have_an_account_that_may_and_know_where() -> None:
    sets = DAILY | TRAININGS | {"trainings.place": {"store_secret": "keys", "num_nodes": 2}, "imagePullSecrets": [{"name": "mirror"}]}
    objects = release(PIPELINES, sets | {"queue.enabled": True, "queue.clusterQueue": "gpus"})
    workflow = named(objects, "CronWorkflow")["spec"]["workflowSpec"]
    assert workflow["serviceAccountName"] == "r-pipelines-launcher"
    assert "automountServiceAccountToken" not in workflow
    env = {one["name"]: one["value"] for one in json.loads(workflow["podSpecPatch"])["containers"][0]["env"]}
    assert json.loads(env["REELSPACE_TRAIN_JOB"]) == {
        "image": "reelspace/python-train:0.1.0",
        "runtime": named(objects, "ClusterTrainingRuntime")["metadata"]["name"],
        "service_account": "r-pipelines-steps",
        "queue": named(objects, "LocalQueue")["metadata"]["name"],
        "image_pull_secrets": ["mirror"],
        "store_secret": "keys",
        "num_nodes": 2,
    }


@pytest.mark.parametrize(("sets", "roles"), [({}, ["executor"]), (TRAININGS, ["executor", "launcher"])])
def test_steps_may_do_nothing_and_others_what_they_need(sets: Mapping[str, object], roles: list[str]) -> None:
    objects = release(PIPELINES, sets)
    assert [one["metadata"]["name"] for one in of_kind(objects, "Role")] == [f"r-pipelines-{role}" for role in roles]
    bound = {subject["name"] for one in of_kind(objects, "RoleBinding") for subject in one["subjects"]}
    assert bound == {f"r-pipelines-{role}" for role in roles}
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    tokens = {one["metadata"]["name"]: one["automountServiceAccountToken"] for one in of_kind(objects, "ServiceAccount")}
    assert tokens == {"r-pipelines-steps": False, **{f"r-pipelines-{role}": True for role in roles}}
    verbs = {(rule["resources"][0], verb) for one in of_kind(objects, "Role") for rule in one["rules"] for verb in rule["verbs"]}
    assert not [pair for pair in verbs if pair[0] == "secrets" or "*" in pair]


def test_submitters_are_bound_as_they_are_named() -> None:
    submitters = [{"kind": "Group", "name": "oidc:x"}, {"kind": "ServiceAccount", "name": "n"}]
    submitters.append({"kind": "ServiceAccount", "name": "m", "namespace": "other"})
    binding = named(release(PIPELINES, {"submitters": submitters}), "RoleBinding", "-submitter")
    api = "rbac.authorization.k8s.io"
    assert binding["subjects"] == [
        {"kind": "Group", "name": "oidc:x", "apiGroup": api},
        {"kind": "ServiceAccount", "name": "n", "namespace": "ns"},
        {"kind": "ServiceAccount", "name": "m", "namespace": "other"},
    ]


def test_a_runtime_is_of_the_cluster_or_of_the_namespace() -> None:
    of_cluster = named(release(PIPELINES, TRAININGS), "ClusterTrainingRuntime")
    own = named(release(PIPELINES, TRAININGS | {"trainingRuntime.clusterWide": False}), "TrainingRuntime")
    assert "namespace" not in of_cluster["metadata"]
    assert own["metadata"]["namespace"] == "ns"
    pods = [workloads([one])[0].spec for one in (of_cluster, own)]
    assert [pod.get("serviceAccountName") for pod in pods] == [None, "r-pipelines-steps"]
    assert {pod["volumes"][0]["emptyDir"]["sizeLimit"] for pod in pods} == {"200Gi"}


def test_pods_of_trainings_reach_each_other_the_store_and_names_alone() -> None:
    objects = release(PIPELINES, TRAININGS)
    policy = named(objects, "NetworkPolicy", "-training")["spec"]
    selected = policy["podSelector"]
    assert selected["matchLabels"].items() <= workloads(of_kind(objects, "ClusterTrainingRuntime"))[0].labels.items()
    assert policy["ingress"] == [{"from": [{"podSelector": selected}]}]
    assert egress_ports({"spec": policy}) == {53, 9000}
    assert {"to": [{"podSelector": selected}]} in policy["egress"]


def test_steps_reach_the_store_of_artifacts_and_the_api_too() -> None:
    artifacts = {"enabled": True, "bucket": "bkt", "existingSecret": "k", "endpoint": "http://minio:9001"}
    objects = release(PIPELINES, {"artifacts": artifacts, "networkPolicy.apiPorts": [6443]})
    assert egress_ports(named(objects, "NetworkPolicy", "-steps")) == {53, 9000, 9001, 6443}
    repository = yaml.safe_load(named(objects, "ConfigMap", "artifact-repositories")["data"]["reelspace"])
    assert (repository["archiveLogs"], repository["s3"]["endpoint"], repository["s3"]["insecure"]) == (True, "minio:9001", True)
    assert repository["s3"]["secretKeySecret"] == {"name": "k", "key": "secretkey"}


def test_the_whole_namespace_is_closed_when_that_is_asked() -> None:
    policy = named(release(PIPELINES, {"networkPolicy.wholeNamespace": True}), "NetworkPolicy", "-deny")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_quota_bounds_gpus_and_what_else_is_named() -> None:
    quota = {"enabled": True, "gpus": 0, "gpuResourceName": "example.com/gpu", "hard": {"pods": 20, "requests.storage": "1Ti"}}
    spec = named(release(PIPELINES, {"quota": quota}), "ResourceQuota")["spec"]
    assert spec["hard"] == {"requests.example.com/gpu": "0", "pods": "20", "requests.storage": "1Ti"}
