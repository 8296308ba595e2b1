"""Policies of pods and of how many may be gone at once; each gives its findings, one line each."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from .workloads import Json, Workload, least_replicas, matches, of_kind, title, workloads

_SPREAD_OVER = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


def hold_no_api_token(objects: Sequence[Json]) -> list[str]:
    """No pod is given the means to speak to the API server."""
    return [
        f"{pod.title}: automountServiceAccountToken is not false"
        for pod in workloads(objects)
        if pod.spec.get("automountServiceAccountToken") is not False
    ]


def have_own_account(objects: Sequence[Json]) -> list[str]:
    """Every component has a service account of its own, which the chart makes."""
    made = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")}
    users = defaultdict(set)
    findings = []
    for pod in workloads(objects):
        account = pod.spec.get("serviceAccountName")
        if account in (None, "", "default"):
            findings.append(f"{pod.title}: no serviceAccountName of its own")
            continue
        users[account].add(pod.labels.get("app.kubernetes.io/component", title(pod.source)))
        if account not in made:
            findings.append(f"{pod.title}: ServiceAccount {account} is not among the objects")
    shared = {account: names for account, names in users.items() if len(names) > 1}
    return findings + [f"ServiceAccount/{account}: used by {', '.join(sorted(names))}" for account, names in shared.items()]


def stay_off_the_host(objects: Sequence[Json]) -> list[str]:
    """No pod uses a path, a port or a namespace of its node."""
    return [f"{pod.title}: {fault}" for pod in workloads(objects) for fault in _uses_of_host(pod)]


def spread_over_nodes(objects: Sequence[Json]) -> list[str]:
    """Several pods of a server are spread over hosts and zones, by a selector that selects them."""
    findings = []
    for pod in workloads(objects):
        if not pod.is_serving or pod.source["kind"] == "DaemonSet" or least_replicas(pod, objects) < 2:
            continue
        constraints = pod.spec.get("topologySpreadConstraints") or ()
        spread = {one["topologyKey"] for one in constraints if matches(one.get("labelSelector") or {}, pod.labels)}
        findings += [f"{pod.title}: its pods are not spread over {key}" for key in _SPREAD_OVER if key not in spread]
        findings += [f"{pod.title}: a spread constraint has no labelSelector" for one in constraints if not one.get("labelSelector")]
    return findings


def bound_disruptions(objects: Sequence[Json]) -> list[str]:
    """A disruption budget is about one server of several pods, lets sick ones go, keeps at least one, and lets at least one go."""
    return [
        f"{title(budget)}: {fault}" for budget in of_kind(objects, "PodDisruptionBudget") for fault in _faults_of_budget(budget, objects)
    ]


def are_named_once(objects: Sequence[Json]) -> list[str]:
    """No two objects share kind, namespace and name: the later would silently take the place of the other."""
    names = [(one["apiVersion"].partition("/")[0], title(one), one["metadata"].get("namespace")) for one in objects]
    return [
        f"{name}: is rendered {names.count((group, name, place))} times"
        for group, name, place in sorted(set(names), key=str)
        if names.count((group, name, place)) > 1
    ]


def _uses_of_host(pod: Workload) -> Iterator[str]:
    yield from (field for field in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(field))
    yield from (f"hostPath volume {volume['name']}" for volume in pod.spec.get("volumes") or () if "hostPath" in volume)
    yield from (f"hostPort {port['hostPort']}" for port in pod.ports if port.get("hostPort"))


def _faults_of_budget(budget: Json, objects: Sequence[Json]) -> Iterator[str]:
    spec = budget["spec"]
    if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        yield "unhealthyPodEvictionPolicy is not AlwaysAllow"
    selected = [pod for pod in workloads(objects) if matches(spec.get("selector") or {}, pod.labels)]
    if len(selected) != 1 or not selected[0].is_serving:
        yield f"selects {', '.join(pod.title for pod in selected) or 'nothing'}, not exactly one server"
        return
    replicas = least_replicas(selected[0], objects)
    if replicas < 2:
        yield f"is about {replicas} pod: it would only hold up a drain"
        return
    kept = _kept(spec, replicas)
    if kept < 1:
        yield f"lets all {replicas} pods go at once"
    if kept >= replicas:
        yield f"lets none of {replicas} pods go: a drain would never end"


def _kept(spec: Json, replicas: int) -> int:
    """How many pods stay at least; percentages are rounded up, as Kubernetes does for both fields."""
    if "maxUnavailable" in spec:
        return replicas - _count(spec["maxUnavailable"], replicas)
    return _count(spec.get("minAvailable", 0), replicas)


def _count(value: int | str, replicas: int) -> int:
    return math.ceil(replicas * float(value.removesuffix("%")) / 100) if isinstance(value, str) else value
