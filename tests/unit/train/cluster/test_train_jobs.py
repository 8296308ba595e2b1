"""TrainJobs over a real connection to a server that fails: made once, adopted, followed, stopped."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.errors import PlaceRefused, ServerUnavailable, TemporaryError
from reelspace.core.store import open_store
from reelspace.train.cluster.api import ApiPlace, KubernetesApi
from reelspace.train.cluster.manifest import Training, train_job
from reelspace.train.cluster.pod_log import PodLog
from reelspace.train.cluster.settings import ClusterSettings
from reelspace.train.cluster.train_jobs import TrainJobs, condition
from tests.unit.train.cluster.fake_cluster import JOBS, NAMESPACE, PODS, FakeCluster, Fault, until

KEY = "c" * 64
SHARED = {"volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}]}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def jobs(cluster: FakeCluster, tmp_path: Path) -> Iterator[TrainJobs]:
    (tmp_path / "token").write_text("first")
    with ExitStack() as stack:
        place = ApiPlace(stack.enter_context(cluster.serving()), NAMESPACE, tmp_path / "token")
        # Waits are told to be over at once.
        api = stack.enter_context(KubernetesApi(place, 5.0, sleep=lambda _s: None))
        yield TrainJobs(api, sleep=lambda _s: None)


def wanted(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    config = {**SHARED, "volume_mounts": [{"name": "store", "mountPath": str(tmp_path)}]}
    settings = ClusterSettings.model_validate({"image": "train@sha256:1", "task_config": config, **changes})
    return train_job(Training("pretrain", KEY, open_store(str(tmp_path / "store")), 1), settings, NAMESPACE, {})


def made(cluster: FakeCluster) -> int:
    return sum(request == ("POST", JOBS) for request in cluster.requests)


def looked_at_pods(cluster: FakeCluster) -> int:
    return sum(path.startswith(PODS) for _, path in cluster.requests)


def test_a_train_job_whose_making_is_answered_by_nothing_is_made_once_and_adopted(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    cluster.faults = [Fault("POST", JOBS, status=0, happens_first=True)]
    job = wanted(tmp_path)
    jobs.ensure(job)
    assert list(cluster.jobs) == [job["metadata"]["name"]]
    assert made(cluster) == 2


def test_a_later_try_adopts_the_train_job_and_changes_nothing_of_it(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    jobs.ensure(job)
    before = json.dumps(cluster.jobs)
    jobs.ensure(wanted(tmp_path))
    assert json.dumps(cluster.jobs) == before


def test_something_else_of_the_name_is_refused_and_left_alone(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    name = job["metadata"]["name"]
    cluster.put(name, {"metadata": {"name": name, "annotations": {"reelspace.io/digest": "other"}}, "spec": {}})
    before = json.dumps(cluster.jobs)
    with pytest.raises(PlaceRefused, match=f"{name} was not made by this step"):
        jobs.ensure(job)
    assert json.dumps(cluster.jobs) == before


def test_a_stopped_train_job_goes_on_only_once_its_pods_have_ended(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    name = job["metadata"]["name"]
    jobs.ensure(job)
    cluster.add_pod(name, "one")
    assert not jobs.stop(name, grace_s=0.0)
    assert cluster.jobs[name]["spec"]["suspend"] is True
    with ExitStack() as stack:
        thread = threading.Thread(target=jobs.ensure, args=(job,))
        thread.start()
        stack.callback(thread.join)
        until(lambda: made(cluster) == 2)
        looks = looked_at_pods(cluster)
        until(lambda: looked_at_pods(cluster) > looks + 1)
        assert cluster.jobs[name]["spec"]["suspend"] is True
        cluster.end_pod("one", "Failed")
    assert cluster.jobs[name]["spec"]["suspend"] is False
    assert "reelspace.io/stopped" not in cluster.jobs[name]["metadata"]["annotations"]
    assert jobs.stop(name, grace_s=0.0)


def test_a_train_job_in_a_queue_is_deleted_when_it_is_stopped_since_its_queue_would_start_it_again(
    cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path
):
    job = wanted(tmp_path, queue="gpus")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    jobs.ensure(job)
    assert jobs.stop(job["metadata"]["name"], grace_s=0.0)
    assert cluster.jobs == {}


def test_one_suspended_by_somebody_else_is_adopted_as_it_is(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    jobs.ensure(job)
    jobs.api.patch(f"{JOBS}/{job['metadata']['name']}", {"spec": {"suspend": True}})
    jobs.ensure(job)
    assert cluster.jobs[job["metadata"]["name"]]["spec"]["suspend"] is True


def test_a_failed_one_is_made_anew_and_one_asked_for_otherwise_is_ended_first(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job, other = wanted(tmp_path), wanted(tmp_path, num_nodes=2)
    names = [one["metadata"]["name"] for one in (job, other)]
    assert names[0] != names[1]
    jobs.ensure(job)
    cluster.set_condition(names[0], "Failed")
    jobs.ensure(job)
    assert "status" not in cluster.jobs[names[0]]
    jobs.ensure(other)
    assert list(cluster.jobs) == [names[1]]
    suspended = [path for method, path in cluster.requests if method == "PATCH"]
    assert suspended == [f"{JOBS}/{names[0]}"] * 2


def test_one_that_does_not_end_is_a_temporary_error(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    jobs.ensure(job)
    cluster.set_condition(job["metadata"]["name"], "Failed")
    cluster.add_pod(job["metadata"]["name"], "frozen")
    times = iter(range(0, 100_000, 100))
    hurried = TrainJobs(jobs.api, clock=lambda: float(next(times)), sleep=lambda _s: None)
    with pytest.raises(TemporaryError, match=r"the pods of the TrainJob .* have not ended"):
        hurried.ensure(job)


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path, status: int):
    cluster.faults = [Fault(method, "trainjobs", status, times=2) for method in ("GET", "POST")]
    jobs.ensure(wanted(tmp_path))
    assert len(cluster.jobs) == 1


def test_a_server_that_stays_away_is_a_temporary_error_that_says_for_how_long(cluster: FakeCluster, tmp_path: Path):
    cluster.faults = [Fault("GET", "trainjobs", 503, times=100)]
    away = pytest.raises(ServerUnavailable, match=r"away for 1 s: it answered 503: told to fail")
    with cluster.serving() as url, KubernetesApi(ApiPlace(url, NAMESPACE), 1.0) as api, away:
        TrainJobs(api).get("any")


@pytest.mark.parametrize(("status", "method"), [(403, "POST"), (422, "POST"), (400, "POST"), (403, "GET"), (404, "GET")])
def test_what_only_permission_or_another_manifest_can_put_right_is_told_at_once(
    cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path, status: int, method: str
):
    cluster.faults = [Fault(method, "trainjobs", status)]
    says = "knows no TrainJobs" if status == 404 else rf"refused {method} {JOBS} \({status}\): told to fail"
    with pytest.raises(PlaceRefused, match=says):
        jobs.ensure(wanted(tmp_path))
    assert not PlaceRefused.permanent


def test_a_token_that_expires_is_read_anew(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    cluster.faults = [Fault("GET", "trainjobs", 401)]
    jobs.get("any")
    (tmp_path / "token").write_text("second")
    jobs.get("any")
    assert cluster.tokens == {"Bearer first", "Bearer second"}


@pytest.mark.parametrize("trouble", ["none", "dropped", "forgotten", "refused for a moment"])
def test_every_change_is_seen_though_watches_end(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path, trouble: str):
    job = wanted(tmp_path)
    name = job["metadata"]["name"]
    jobs.ensure(job)
    cluster.num_watch_events = 1 if trouble == "dropped" else None
    cluster.forgets = trouble == "forgotten"
    cluster.faults = [Fault("GET", "watch=1", status) for status in (503, 401, 410, 0)] if trouble.startswith("refused") else []
    seen: list[set[str]] = []

    def told(found: dict[str, Any] | None) -> set[str]:
        return {kind for kind in ("Suspended", "Running", "Complete") if found and condition(found, kind)}

    def follow() -> None:
        for found in jobs.changes(name):
            seen.append({"gone"} if found is None else told(found))

    thread = threading.Thread(target=follow)
    thread.start()
    for kind in ("Suspended", "Running", "Complete"):
        until(lambda: any(path.count("watch=1") for _, path in cluster.requests))
        cluster.set_condition(name, kind)
        until(lambda kind=kind: kind in set().union(*seen))  # type: ignore[misc]
    cluster.remove(name)
    thread.join(30)
    assert not thread.is_alive()
    assert seen[-1] == {"gone"}
    assert [one for one in seen if "gone" not in one][-1] == {"Suspended", "Running", "Complete"}


def test_a_watch_that_is_forbidden_is_told_at_once(cluster: FakeCluster, jobs: TrainJobs, tmp_path: Path):
    job = wanted(tmp_path)
    jobs.ensure(job)
    cluster.faults = [Fault("GET", "watch=1", 403)]
    with pytest.raises(PlaceRefused, match="refused GET"):
        list(jobs.changes(job["metadata"]["name"]))


def test_every_line_of_every_first_pod_is_shown_once_over_a_dropped_connection(cluster: FakeCluster, jobs: TrainJobs):
    shown: list[str] = []
    cluster.add_pod("job", "a", "Pending")
    with PodLog(jobs, "job", shown.append).shown():
        until(lambda: any("/log" in path for _, path in cluster.requests))
        cluster.say("job", "a", "one", "two, drop here", "three")
        cluster.end_pod("a", "Running")
        until(lambda: len(shown) == 3)
        cluster.end_pod("a", "Failed")
        cluster.add_pod("job", "b")
        cluster.say("job", "b", "one again")
        until(lambda: len(shown) == 4)
        cluster.say("job", "b", "the last words")
        cluster.end_pod("b", "Succeeded")
    assert shown == ["one", "two, drop here", "three", "one again", "the last words"]


def test_a_log_that_may_not_be_read_is_told_once_and_stops_nothing(
    cluster: FakeCluster, jobs: TrainJobs, capsys: pytest.CaptureFixture[str]
):
    cluster.faults = [Fault("GET", "/log", 403)]
    cluster.add_pod("job", "a")
    with PodLog(jobs, "job", lambda _line: None).shown():
        until(lambda: "pod-log" not in {thread.name for thread in threading.enumerate()})
    told = capsys.readouterr().err
    assert told.count("log_not_shown") == 1
    assert "refused GET" in told
