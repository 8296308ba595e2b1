"""Policies of containers and of their volumes; each gives its findings, one line each."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .workloads import Json, Workload, matches, of_kind, size, workloads

LEAST_USER = 10_001  # below it a number may be that of a user of the node
_DEFAULT_GRACE_S = 30
_SECRET_NAME = re.compile(r"(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIALS?|(API|ACCESS|SECRET|PRIVATE)_?KEYS?)(_|$)", re.IGNORECASE)
_NAME_OF_ELSE = re.compile(r"_(FILE|PATH|DIR|FOLDER|NAME|URL)$", re.IGNORECASE)
_NO_SECRET = re.compile(r"/.*|file:.*|true|false|[0-9.]*[a-z]?", re.IGNORECASE)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_SLEEP = re.compile(r"\bsleep\s+(\d+(?:\.\d+)?)\b")
_HANDLERS = ("httpGet", "grpc", "tcpSocket", "exec")


def run_as_no_root(objects: Sequence[Json]) -> list[str]:
    """Every container says that it must not run as root."""
    return _wrong(objects, lambda pod, one: [] if _security(pod, one).get("runAsNonRoot") is True else ["runAsNonRoot is not true"])


def run_as_high_user(objects: Sequence[Json]) -> list[str]:
    """Every container runs as a user that no node has."""

    def look(pod: Workload, one: Json) -> list[str]:
        user = _security(pod, one).get("runAsUser")
        return [] if isinstance(user, int) and user >= LEAST_USER else [f"runAsUser {user} is not {LEAST_USER} or more"]

    return _wrong(objects, look)


def confine_system_calls(objects: Sequence[Json]) -> list[str]:
    """Every container has the runtime's seccomp profile."""

    def look(pod: Workload, one: Json) -> list[str]:
        profile = (_security(pod, one).get("seccompProfile") or {}).get("type")
        return [] if profile == "RuntimeDefault" else [f"seccompProfile {profile} is not RuntimeDefault"]

    return _wrong(objects, look)


def drop_capabilities(objects: Sequence[Json]) -> list[str]:
    """Every container drops all capabilities and adds none."""

    def look(_: Workload, one: Json) -> Iterator[str]:
        capabilities = (one.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            yield "capabilities.drop lacks ALL"
        if capabilities.get("add"):
            yield f"adds capabilities {capabilities['add']}"

    return _wrong(objects, look)


def forbid_escalation(objects: Sequence[Json]) -> list[str]:
    """No container may gain privileges."""

    def look(_: Workload, one: Json) -> Iterator[str]:
        security = one.get("securityContext") or {}
        if security.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation is not false"
        if security.get("privileged"):
            yield "is privileged"

    return _wrong(objects, look)


def read_only_root(objects: Sequence[Json]) -> list[str]:
    """No container may write into its image."""

    def look(_: Workload, one: Json) -> list[str]:
        read_only = (one.get("securityContext") or {}).get("readOnlyRootFilesystem")
        return [] if read_only is True else ["readOnlyRootFilesystem is not true"]

    return _wrong(objects, look)


def size_empty_dirs(objects: Sequence[Json]) -> list[str]:
    """Every emptyDir has a limit."""
    return [
        f"{pod.title}: emptyDir {volume['name']} has no sizeLimit"
        for pod in workloads(objects)
        for volume in pod.spec.get("volumes") or ()
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit")
    ]


def reserve_memory(objects: Sequence[Json]) -> list[str]:
    """Every container is given the memory that it may use, so that none is ended for what another takes."""

    def look(_: Workload, one: Json) -> Iterator[str]:
        resources = one.get("resources") or {}
        asked, most = ((resources.get(part) or {}).get("memory") for part in ("requests", "limits"))
        if asked is None or most is None or size(asked) != size(most):
            yield f"memory: requests {asked}, limits {most}"

    return _wrong(objects, look)


def limit_disk(objects: Sequence[Json]) -> list[str]:
    """Every container's use of the node's disk has a limit."""

    def look(_: Workload, one: Json) -> list[str]:
        limits = (one.get("resources") or {}).get("limits") or {}
        return [] if limits.get("ephemeral-storage") else ["no limit of ephemeral-storage"]

    return _wrong(objects, look)


def pin_images(objects: Sequence[Json]) -> list[str]:
    """Every image is named by digest, or by a tag that is not `latest`."""

    def look(_: Workload, one: Json) -> Iterator[str]:
        image = str(one.get("image", ""))
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if not _DIGEST.search(image) and (not tag or tag == "latest" or "@" in image):
            yield f"image {image!r} has neither a digest nor a tag other than latest"

    return _wrong(objects, look)


def keep_secrets_in_files(objects: Sequence[Json]) -> list[str]:
    """Secrets come as files: none in the environment or in arguments, and none is written by the chart."""
    written = [
        f"Secret/{one['metadata']['name']}: has values" for one in of_kind(objects, "Secret") if one.get("data") or one.get("stringData")
    ]
    return written + _wrong(objects, lambda _, one: [*_secrets_of_environment(one), *_secrets_of_arguments(one)])


def probe_in_three_ways(objects: Sequence[Json]) -> list[str]:
    """Containers of servers have a startup, a readiness and a liveness probe, and the last two ask different things.

    A server that is merely not ready would otherwise be restarted, over and over.
    """

    def look(pod: Workload, one: Json) -> Iterator[str]:
        if pod.is_serving and one in pod.spec["containers"]:
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                if not one.get(name):
                    yield f"no {name}"
            ready, alive = (_asked(one.get(name) or {}) for name in ("readinessProbe", "livenessProbe"))
            if ready and ready == alive:
                yield f"readiness and liveness ask the same: {ready}"

    return _wrong(objects, look)


def stop_in_time(objects: Sequence[Json]) -> list[str]:
    """Pods behind a Service wait in preStop until no one sends them more, and that is shorter than their grace."""
    selectors = [one["spec"]["selector"] for one in of_kind(objects, "Service") if one["spec"].get("selector")]

    def look(pod: Workload, one: Json) -> Iterator[str]:
        if not pod.is_serving or one not in pod.spec["containers"] or not one.get("ports"):
            return
        hook = (one.get("lifecycle") or {}).get("preStop")
        if not hook:
            if any(matches({"matchLabels": selector}, pod.labels) for selector in selectors):
                yield "no preStop, though a Service sends it requests"
            return
        grace_s = pod.spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
        if (wait_s := _wait_s(hook)) is not None and wait_s >= grace_s:
            yield f"preStop of {wait_s:g} s is not shorter than the grace of {grace_s} s"

    return _wrong(objects, look)


def mount_known_volumes(objects: Sequence[Json]) -> list[str]:
    """Every mount is of a volume that the pod has: schemas cannot see that, the API server refuses it."""

    def look(pod: Workload, one: Json) -> Iterator[str]:
        known = {volume["name"] for volume in pod.spec.get("volumes") or ()}
        known |= {claim["metadata"]["name"] for claim in pod.source.get("spec", {}).get("volumeClaimTemplates") or ()}
        yield from (f"mounts unknown volume {mount['name']}" for mount in one.get("volumeMounts") or () if mount["name"] not in known)

    return _wrong(objects, look)


def _wrong(objects: Sequence[Json], look: Callable[[Workload, Json], Any]) -> list[str]:
    return [
        f"{pod.title}, container {one['name']}: {fault}" for pod in workloads(objects) for one in pod.containers for fault in look(pod, one)
    ]


def _security(pod: Workload, container: Json) -> Json:
    """The security context in force: the container's own fields win over the pod's."""
    return {**(pod.spec.get("securityContext") or {}), **(container.get("securityContext") or {})}


def _secrets_of_environment(container: Json) -> Iterator[str]:
    for source in container.get("envFrom") or ():
        if "secretRef" in source:
            yield f"takes its environment from Secret {source['secretRef'].get('name')}"
    for variable in container.get("env") or ():
        if "secretKeyRef" in (variable.get("valueFrom") or {}):
            yield f"variable {variable['name']} comes from a Secret"
        elif variable.get("value") and _holds_secret(variable["name"], str(variable["value"])):
            yield f"variable {variable['name']} has the value of a secret"


def _secrets_of_arguments(container: Json) -> Iterator[str]:
    words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word.startswith("-"):
            flag, equals, value = word.partition("=")
            value = value if equals else "" if following.startswith("-") else following
            if value and _holds_secret(flag.replace("-", "_"), value):
                yield f"argument {flag} has the value of a secret"


def _holds_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NAME_OF_ELSE.search(name) and not _NO_SECRET.fullmatch(value)


def _asked(probe: Json) -> Json:
    """What a probe asks, without how often it does."""
    return {name: {"path": "/", **probe[name]} if name == "httpGet" else probe[name] for name in _HANDLERS if name in probe}


def _wait_s(hook: Json) -> float | None:
    """For how long a hook waits, where that can be read off it."""
    if "sleep" in hook:
        return float(hook["sleep"]["seconds"])
    found = _SLEEP.search(" ".join(map(str, (hook.get("exec") or {}).get("command") or ())))
    return float(found[1]) if found else None
