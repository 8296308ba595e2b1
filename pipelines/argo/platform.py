"""What kfp-kubernetes asks of a pod, as parts of an Argo template."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.argo.refused import ArgoRefused, only

SCRATCH: Final = "/tmp"
"""The one writable directory of a step: an emptyDir, since the root file system is read-only."""
Spec = Mapping[str, Any]


@dataclass(slots=True)
class PodParts:
    """Pieces of a template that the platform part of a compiled pipeline sets for one executor."""

    environment: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    container: dict[str, Any] = field(default_factory=dict)
    security: dict[str, Any] = field(default_factory=dict)
    template: dict[str, Any] = field(default_factory=dict)

    def mount(self, name: str, volume: Spec, path: str, where: str, sub_path: str = "", read_only: bool = False) -> None:
        """Add a volume and where it is seen."""
        if path.rstrip("/") == SCRATCH:
            raise ArgoRefused(f"{where}: a volume at {SCRATCH}, which every step has already; mount it elsewhere")
        if name not in (known["name"] for known in self.volumes):
            self.volumes.append({"name": name, **volume})
        extra = {"subPath": sub_path} if sub_path else {}
        self.mounts.append({"name": name, "mountPath": path, **extra, **({"readOnly": True} if read_only else {})})


def pod_parts(config: Spec, where: str) -> PodParts:
    """Convert one executor's Kubernetes configuration.

    Args:
        config: `platforms.kubernetes.deploymentSpec.executors.<label>` of the second document of a compiled pipeline.

    Raises:
        ArgoRefused: a feature without its like here (image pull secrets, affinities, ephemeral claims), or a name or value that is
            a pipeline parameter: Kubernetes fixes them before the workflow runs.
    """
    parts = PodParts()
    for name, value in config.items():
        if name not in _CONVERTERS:
            raise ArgoRefused(f"{where}: {name!r} of kfp-kubernetes cannot be converted; known are {', '.join(sorted(_CONVERTERS))}")
        _CONVERTERS[name](parts, value, where)
    return parts


def _constant(spec: Spec, parameter: str, plain: str, where: str) -> str:
    """Give a name that may stand in a parameter; the plain field is what older versions of kfp-kubernetes wrote."""
    source = spec.get(parameter, {})
    name = source.get("runtimeValue", {}).get("constant", None if source else spec.get(plain))
    if not isinstance(name, str):
        raise ArgoRefused(f"{where}: {parameter!r} comes from a pipeline parameter; give the name itself")
    return name


def _secret_volumes(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"secretName", "secretNameParameter", "mountPath", "optional"}, f"{where}, secretAsVolume")
        name = _constant(spec, "secretNameParameter", "secretName", where)
        volume = {"secret": {"secretName": name, **_optional(spec)}}
        parts.mount(f"secret-{name}", volume, spec["mountPath"], where, read_only=True)


def _config_map_volumes(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"configMapName", "configMapNameParameter", "mountPath", "optional"}, f"{where}, configMapAsVolume")
        name = _constant(spec, "configMapNameParameter", "configMapName", where)
        parts.mount(f"config-{name}", {"configMap": {"name": name, **_optional(spec)}}, spec["mountPath"], where, read_only=True)


def _secret_variables(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"secretName", "secretNameParameter", "keyToEnv", "optional"}, f"{where}, secretAsEnv")
        name = _constant(spec, "secretNameParameter", "secretName", where)
        for pair in spec["keyToEnv"]:
            source = {"secretKeyRef": {"name": name, "key": pair["secretKey"], **_optional(spec)}}
            parts.environment.append({"name": pair["envVar"], "valueFrom": source})


def _config_map_variables(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"configMapName", "configMapNameParameter", "keyToEnv", "optional"}, f"{where}, configMapAsEnv")
        name = _constant(spec, "configMapNameParameter", "configMapName", where)
        for pair in spec["keyToEnv"]:
            source = {"configMapKeyRef": {"name": name, "key": pair["configMapKey"], **_optional(spec)}}
            parts.environment.append({"name": pair["envVar"], "valueFrom": source})


def _optional(spec: Spec) -> dict[str, bool]:
    return {"optional": True} if spec.get("optional") else {}


def _field_variables(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"name", "fieldPath"}, f"{where}, fieldPathAsEnv")
        parts.environment.append({"name": spec["name"], "valueFrom": {"fieldRef": {"fieldPath": spec["fieldPath"]}}})


def _claims(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        known = {"constant", "pvcNameParameter", "componentInputParameter", "taskOutputParameter", "mountPath", "subPath"}
        only(spec, known, f"{where}, pvcMount")
        name = _constant(spec, "pvcNameParameter", "constant", where)
        volume = {"persistentVolumeClaim": {"claimName": name}}
        parts.mount(f"claim-{name}", volume, spec["mountPath"], where, sub_path=spec.get("subPath", ""))


def _empty_dirs(parts: PodParts, specs: list[Spec], where: str) -> None:
    for spec in specs:
        only(spec, {"volumeName", "mountPath", "medium", "sizeLimit"}, f"{where}, emptyDirMounts")
        volume = {"emptyDir": {key: spec[key] for key in ("medium", "sizeLimit") if spec.get(key)}}
        parts.mount(spec["volumeName"], volume, spec["mountPath"], where)


def _shared_memory(parts: PodParts, spec: Spec, where: str) -> None:
    only(spec, {"volumeName", "size"}, f"{where}, enabledSharedMemory")
    size = {"sizeLimit": spec["size"]} if spec.get("size") else {}
    parts.mount(spec.get("volumeName") or "shm", {"emptyDir": {"medium": "Memory", **size}}, "/dev/shm", where)


def _node_selector(parts: PodParts, spec: Spec, where: str) -> None:
    parts.template["nodeSelector"] = dict(only(spec, {"labels"}, f"{where}, nodeSelector")["labels"])


def _tolerations(parts: PodParts, specs: list[Spec], where: str) -> None:
    known = {"key", "operator", "value", "effect", "tolerationSeconds"}
    rows = [dict(only(spec, known, f"{where}, tolerations")) for spec in specs]
    # The compiled pipeline writes 64-bit numbers as text.
    parts.template["tolerations"] = [
        row | ({"tolerationSeconds": int(row["tolerationSeconds"])} if "tolerationSeconds" in row else {}) for row in rows
    ]


def _metadata(parts: PodParts, spec: Spec, where: str) -> None:
    parts.template["metadata"] = {key: dict(value) for key, value in only(spec, {"labels", "annotations"}, f"{where}, podMetadata").items()}


def _deadline(parts: PodParts, seconds: str | int, where: str) -> None:
    if int(seconds) > 0:
        parts.template["activeDeadlineSeconds"] = int(seconds)


def _pull_policy(parts: PodParts, policy: str, where: str) -> None:
    parts.container["imagePullPolicy"] = policy


def _security(parts: PodParts, spec: Spec, where: str) -> None:
    only(spec, {"runAsUser", "runAsGroup", "runAsNonRoot"}, f"{where}, securityContext")
    ids = {key: int(spec[key]) for key in ("runAsUser", "runAsGroup") if key in spec}
    if ids.get("runAsUser") == 0 or spec.get("runAsNonRoot") is False:
        raise ArgoRefused(f"{where}: runs as root; steps run as an ordinary user with nothing but their own rights")
    parts.security = ids


_CONVERTERS: dict[str, Callable[[PodParts, Any, str], None]] = {
    "secretAsVolume": _secret_volumes,
    "secretAsEnv": _secret_variables,
    "configMapAsVolume": _config_map_volumes,
    "configMapAsEnv": _config_map_variables,
    "fieldPathAsEnv": _field_variables,
    "pvcMount": _claims,
    "emptyDirMounts": _empty_dirs,
    "enabledSharedMemory": _shared_memory,
    "nodeSelector": _node_selector,
    "tolerations": _tolerations,
    "podMetadata": _metadata,
    "activeDeadlineSeconds": _deadline,
    "imagePullPolicy": _pull_policy,
    "securityContext": _security,
}
