"""Our runtime and our TrainJobs under the real Trainer and JobSet, on fake GPU nodes: placed, restarted, stopped and replaced as told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.errors import PlaceRefused
from reelspace.core.s3_store import S3Place, S3Store
from reelspace.train.cluster.api import ApiPlace, KubernetesApi
from reelspace.train.cluster.manifest import Training, train_job
from reelspace.train.cluster.runtime import runtime
from reelspace.train.cluster.settings import ClusterSettings
from reelspace.train.cluster.train_jobs import TrainJobs, condition

from .control_plane import Cluster, Json
from .fake_nodes import GPU, TOLERATIONS, finish
from .operators import JOBSET_LABEL
from .trainings import STORE_SECRET, TRAIN_IMAGE, step_account

pytestmark = pytest.mark.cluster

NUM_PODS = 4
GPUS = 8
KEY = "0123456789abcdef" * 4
TASK = {"resources": {"limits": {GPU: str(GPUS)}}, "tolerations": TOLERATIONS}


@pytest.fixture
def jobs(operators: Cluster, tmp_path: Path) -> Iterator[TrainJobs]:
    """TrainJobs of the test's namespace, by the account of a step; its pods must be what Pod Security calls restricted."""
    operators.apply(runtime(TRAIN_IMAGE))
    operators.kubectl("label", "namespace", operators.namespace, "pod-security.kubernetes.io/enforce=restricted")
    found = step_account(operators, tmp_path)
    place = ApiPlace(found["url"], operators.namespace, Path(found["token_file"]), Path(found["ca_file"]))
    with KubernetesApi(place, patience_s=30.0) as api:
        yield TrainJobs(api)


@pytest.fixture
def plain_nodes(operators: Cluster) -> Iterator[None]:
    """Two more nodes, as large, without GPUs and without a taint."""
    names = ["plain-0", "plain-1"]
    operators.apply(*(without_gpus(operators.get("node", "gpu-00"), name) for name in names))
    operators.kubectl("wait", "node", *names, "--for=condition=Ready", "--timeout=60s")
    yield
    operators.kubectl("delete", "node", *names)


def without_gpus(node: Json, name: str) -> Json:
    capacity = {kind: amount for kind, amount in node["status"]["capacity"].items() if kind != GPU}
    labels = {**node["metadata"]["labels"], "kubernetes.io/hostname": name}
    facts = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": facts, "status": {"allocatable": capacity, "capacity": capacity}}


def wanted(jobs: TrainJobs, **changes: Any) -> Json:
    store = S3Store(S3Place("http://127.0.0.1:9", "bucket", "", "key", "secret"))
    place = {"image": TRAIN_IMAGE, "num_nodes": NUM_PODS, "store_secret": STORE_SECRET, "task_config": TASK, **changes}
    training = Training("pretrain", KEY, store, GPUS)
    return train_job(training, ClusterSettings.model_validate(place), jobs.api.place.namespace, {})


def gang(cluster: Cluster, job: Json, but: frozenset[str] = frozenset()) -> list[Json]:
    """Wait until all pods of a TrainJob run that are not of an earlier gang."""
    num_pods, selector = job["spec"]["trainer"]["numNodes"], f"{JOBSET_LABEL}={job['metadata']['name']}"

    def look() -> list[Json] | None:
        pods = [pod for pod in cluster.pods(selector, "Running") if pod["metadata"]["uid"] not in but]
        return pods if len(pods) == num_pods else None

    return list(cluster.wait_until(look, "gang"))


def uids(pods: list[Json]) -> frozenset[str]:
    return frozenset(pod["metadata"]["uid"] for pod in pods)


def told(jobs: TrainJobs, job: Json, kind: str) -> bool:
    found = jobs.get(job["metadata"]["name"])
    return found is not None and condition(found, kind) is not None


def restarts(cluster: Cluster, job: Json) -> int:
    status = cluster.get("jobset", job["metadata"]["name"]).get("status", {})
    return int(status.get("restarts", 0))


def test_a_gang_lands_on_gpu_nodes_alone_one_pod_each_with_all_that_the_platform_and_the_runtime_say(
    operators: Cluster, jobs: TrainJobs, plain_nodes: None
) -> None:
    job = wanted(jobs, queue="gpus")
    jobs.ensure(job)
    pods = gang(operators, job)
    nodes = {pod["spec"]["nodeName"] for pod in pods}
    assert len(nodes) == NUM_PODS
    assert all(name.startswith("gpu-") for name in nodes)
    found = jobs.get(job["metadata"]["name"])
    assert found is not None
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    (container,) = pods[0]["spec"]["containers"]
    assert container["command"] == job["spec"]["trainer"]["command"]
    assert container["resources"]["limits"] == {GPU: str(GPUS)}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/scratch", "/dev/shm"}
    assert pods[0]["spec"]["terminationGracePeriodSeconds"] == 180
    variables = {one["name"]: one.get("value") for one in container["env"]}
    name = job["metadata"]["name"]
    meeting = (variables["PET_NNODES"], variables["PET_NPROC_PER_NODE"], variables["PET_MASTER_ADDR"])
    assert meeting == (str(NUM_PODS), str(GPUS), f"{name}-node-0-0.{name}")
    assert (variables["REELSPACE_STORE"], variables["TMPDIR"]) == ("s3://bucket", "/scratch")


def test_a_gang_restarts_as_one_when_a_pod_is_lost_and_completes(operators: Cluster, jobs: TrainJobs) -> None:
    job = wanted(jobs)
    jobs.ensure(job)
    before = gang(operators, job)
    finish(operators, before[2:3], 137)
    after = gang(operators, job, but=uids(before))
    assert restarts(operators, job) == 1
    finish(operators, after, 0)
    operators.wait_until(lambda: told(jobs, job, "Complete"), "end of the TrainJob")


def test_a_pod_that_met_a_wrong_input_ends_the_train_job_at_once_and_the_next_try_makes_it_anew(
    operators: Cluster, jobs: TrainJobs
) -> None:
    job = wanted(jobs)
    jobs.ensure(job)
    before = gang(operators, job)
    finish(operators, before[1:2], 2)
    operators.wait_until(lambda: told(jobs, job, "Failed"), "end of the TrainJob")
    assert restarts(operators, job) == 0
    jobs.ensure(job)
    gang(operators, job, but=uids(before))
    assert not told(jobs, job, "Failed")


def test_a_stopped_train_job_has_no_pods_and_goes_on_with_new_ones(operators: Cluster, jobs: TrainJobs) -> None:
    job = wanted(jobs)
    jobs.ensure(job)
    before = gang(operators, job)
    assert jobs.stop(job["metadata"]["name"], grace_s=30.0)
    assert operators.pods(JOBSET_LABEL, "Running") == []
    operators.wait_until(lambda: told(jobs, job, "Suspended"), "word of the stop")
    jobs.ensure(job)
    gang(operators, job, but=uids(before))
    assert not told(jobs, job, "Suspended")
    assert restarts(operators, job) == 0


def test_a_train_job_of_the_same_key_with_other_pods_takes_the_place_of_the_first(operators: Cluster, jobs: TrainJobs) -> None:
    job, other = wanted(jobs), wanted(jobs, num_nodes=2)
    jobs.ensure(job)
    gang(operators, job)
    jobs.ensure(other)
    gang(operators, other)
    assert [one["metadata"]["name"] for one in operators.find("trainjobs")] == [other["metadata"]["name"]]
    assert jobs.pods(job["metadata"]["name"]) == []


def test_what_trainer_refuses_is_told_as_a_fault_of_the_place(operators: Cluster, jobs: TrainJobs) -> None:
    with pytest.raises(PlaceRefused, match="absent"):
        jobs.ensure(wanted(jobs, runtime="absent"))
    assert operators.find("trainjobs") == []
