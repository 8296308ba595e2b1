"""Policies of what selects pods: owners, Services, network policies, monitors; each gives its findings, one line each."""

from collections.abc import Iterator, Mapping, Sequence

from .workloads import Json, Workload, matches, of_kind, title, workloads

_OWNERS = ("Deployment", "StatefulSet", "DaemonSet")
_OF_KUBERNETES = ("v1", "apps/v1", "batch/v1")
_DIRECTIONS = ("Ingress", "Egress")
_CHANGING_LABELS = ("app.kubernetes.io/version", "helm.sh/chart", "chart", "version")


def select_by_stable_labels(objects: Sequence[Json]) -> list[str]:
    """No selector, and no label of a claim, changes with the chart's version: neither may change in an upgrade."""
    findings = []
    for one in objects:
        for selector in _selectors(one):
            keys = {*(selector.get("matchLabels") or {}), *(rule["key"] for rule in selector.get("matchExpressions") or ())}
            findings += [f"{title(one)}: selects by {key}" for key in sorted(keys.intersection(_CHANGING_LABELS))]
        for claim in one.get("spec", {}).get("volumeClaimTemplates") or () if one["kind"] == "StatefulSet" else ():
            labels = (claim["metadata"].get("labels") or {}).keys()
            findings += [f"{title(one)}: claim {claim['metadata']['name']} has label {key}" for key in sorted(labels & {*_CHANGING_LABELS})]
    return findings


def own_their_pods_alone(objects: Sequence[Json]) -> list[str]:
    """Every owner selects the pods of its template, and those of no other."""
    findings = []
    for owner in of_kind(objects, *_OWNERS):
        selected = {pod.title for pod in workloads(objects) if matches(owner["spec"]["selector"], pod.labels)}
        if title(owner) not in selected:
            findings.append(f"{title(owner)}: does not select its own pods")
        findings += [f"{title(owner)}: selects the pods of {other}" for other in sorted(selected - {title(owner)})]
    return findings


def serve_existing_pods(objects: Sequence[Json]) -> list[str]:
    """Every Service selects pods, and each of its ports is one of theirs."""
    findings = []
    for service in of_kind(objects, "Service"):
        selector = service["spec"].get("selector")
        if not selector:
            continue
        pods = [pod for pod in workloads(objects) if matches({"matchLabels": selector}, pod.labels)]
        if not pods:
            findings.append(f"{title(service)}: selects no pods")
        for pod in pods:
            known = {value for port in pod.ports for value in (port["containerPort"], port.get("name"))}
            targets = [port.get("targetPort", port["port"]) for port in service["spec"].get("ports", ())]
            findings += [f"{title(service)}: {pod.title} has no port {target}" for target in targets if target not in known]
    return findings


def police_existing_pods(objects: Sequence[Json]) -> list[str]:
    """Every network policy selects pods."""
    pods = workloads(objects)
    return [
        f"{title(one)}: selects no pods"
        for one in of_kind(objects, "NetworkPolicy")
        if not any(matches(one["spec"].get("podSelector") or {}, pod.labels) for pod in pods)
    ]


def deny_by_default(objects: Sequence[Json]) -> list[str]:
    """Every pod of the chart's own workloads may receive and send only what some network policy names.

    A pod that one policy selects for a direction has all else in that direction denied, so a policy that allows nothing is one way.
    """
    policies = of_kind(objects, "NetworkPolicy")
    findings = [f"{title(one)}: allows all {way}" for one in policies for way in _DIRECTIONS if not all(map(_is_bounded, _rules(one, way)))]
    for pod in workloads(objects):
        if pod.source["apiVersion"] in _OF_KUBERNETES:
            bounding = [one["spec"] for one in policies if matches(one["spec"].get("podSelector") or {}, pod.labels)]
            bounded = {way for spec in bounding for way in spec.get("policyTypes", ())}
            findings += [f"{pod.title}: no network policy bounds its {way}" for way in _DIRECTIONS if way not in bounded]
    return findings


def monitor_existing_services(objects: Sequence[Json]) -> list[str]:
    """Every ServiceMonitor selects a Service and names ports that it has; every PodMonitor pods."""
    findings = []
    for monitor in of_kind(objects, "ServiceMonitor", "PodMonitor"):
        selector, is_of_pods = monitor["spec"]["selector"], monitor["kind"] == "PodMonitor"
        found = [ports for labels, ports in (_pods(objects) if is_of_pods else _services(objects)) if matches(selector, labels)]
        if not found:
            findings.append(f"{title(monitor)}: selects nothing")
        known = {port.get("name") for ports in found for port in ports}
        ends = monitor["spec"].get("podMetricsEndpoints" if is_of_pods else "endpoints") or ()
        findings += [
            f"{title(monitor)}: no port {end['port']} where it looks" for end in ends if "port" in end and end["port"] not in known
        ]
    return findings


def _selectors(one: Json) -> Iterator[Json]:
    spec = one.get("spec") or {}
    if one["kind"] in (*_OWNERS, "PodDisruptionBudget"):
        yield spec.get("selector") or {}
    elif one["kind"] == "Service":
        yield {"matchLabels": spec.get("selector") or {}}
    elif one["kind"] == "NetworkPolicy":
        yield spec.get("podSelector") or {}
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(direction) or ():
                yield from (peer.get("podSelector") or {} for peer in rule.get(side) or ())


def _rules(policy: Json, way: str) -> list[Json]:
    return policy["spec"].get(way.lower()) or []


def _is_bounded(rule: Json) -> bool:
    return any(rule.get(part) for part in ("from", "to", "ports"))


def _services(objects: Sequence[Json]) -> Iterator[tuple[Mapping[str, str], list[Json]]]:
    for one in of_kind(objects, "Service"):
        yield one["metadata"].get("labels") or {}, one["spec"].get("ports") or []


def _pods(objects: Sequence[Json]) -> Iterator[tuple[Mapping[str, str], list[Json]]]:
    pod: Workload
    for pod in workloads(objects):
        yield pod.labels, pod.ports
