"""Strict JSON schemas of the kinds that charts render, for kubeconform: `python -m tests.charts.schemas` writes `schemas/` anew.

| kinds | source |
|---|---|
| built-in | the OpenAPI of our own API server (`tests/cluster/control_plane.py`) |
| Argo, Trainer | the definitions beside the binaries of `make cluster-tools` |
| Prometheus operator, cert-manager, KServe | the definitions in their Go modules, Apache-2.0, at the versions of `_MODULES` |

They refuse unknown fields and null, and know no `status`: a chart writes neither.
"""

import copy
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock

from tests.cluster.control_plane import Cluster, Json, control_plane
from tests.cluster.tools import bin_folder, data_folder

SCHEMAS = Path(__file__).resolve().parent / "schemas"
SHARED = "definitions.json"

_KINDS = {
    "api/v1": (
        *("ConfigMap", "LimitRange", "Namespace", "PersistentVolumeClaim", "Pod", "ResourceQuota"),
        *("Secret", "Service", "ServiceAccount"),
    ),
    "apis/apps/v1": ("DaemonSet", "Deployment", "StatefulSet"),
    "apis/autoscaling/v2": ("HorizontalPodAutoscaler",),
    "apis/batch/v1": ("CronJob", "Job"),
    "apis/networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "apis/policy/v1": ("PodDisruptionBudget",),
    "apis/rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "apis/scheduling.k8s.io/v1": ("PriorityClass",),
}
_TOOLS = {
    "workflow-controller": (
        "crds/full/argoproj.io_workflowtemplates.yaml",
        "crds/full/argoproj.io_cronworkflows.yaml",
    ),
    "trainer": (
        "manifests/crds/trainer.kubeflow.org_clustertrainingruntimes.yaml",
        "manifests/crds/trainer.kubeflow.org_trainingruntimes.yaml",
    ),
}
_MODULES = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/cert-manager/cert-manager@v1.21.2": (
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ),
    "sigs.k8s.io/kueue@v0.15.0": ("config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml",),
    "github.com/kserve/kserve@v0.15.2": (
        "config/crd/full/serving.kserve.io_clusterservingruntimes.yaml",
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        "config/crd/full/serving.kserve.io_servingruntimes.yaml",
    ),
}

_UNSAID = ("description", "default", "format", "nullable", "title", "example")
_COMBINED = ("allOf", "anyOf", "oneOf", "not")
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": _TEXTS, "annotations": _TEXTS},
    "additionalProperties": False,
}
_FOLDED_CHARACTERS = 120  # what is shorter costs less where it stands


def built_in(cluster: Cluster) -> dict[str, Json]:
    """The schemas of the built-in kinds by file name, with `SHARED`, to which all of them refer."""
    files: dict[str, Json] = {}
    shared: dict[str, Json] = {}
    for path, kinds in _KINDS.items():
        schemas = json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/{path}"))["components"]["schemas"]
        group, _, version = path.removeprefix("apis/").removeprefix("api/").rpartition("/")
        for kind in kinds:
            name = next(name for name, one in schemas.items() if _is(one, group, version, kind))
            schemas[name]["properties"].pop("status", None)
            shared |= _with_all_it_names(name, schemas)
            files[_file(group, version, kind)] = {"$ref": f"{SHARED}#/definitions/{name}"}
    return {**files, SHARED: {"definitions": shared}}


def defined(text: str) -> Iterator[tuple[str, Json]]:
    """Each served version of a custom resource definition: file name and schema."""
    for definition in filter(None, yaml.load_all(text, yaml.CSafeLoader)):
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"].pop("status", None)
            schema["properties"]["metadata"] = _METADATA
            yield _file(spec["group"], version["name"], spec["names"]["kind"]), folded(schema)


def strict(schema: Any, combined: bool = False) -> Any:
    """OpenAPI as plain JSON schema in which unknown fields are errors.

    Args:
        combined: the schema is part of allOf or its kin; it sees fields that are declared elsewhere, so it refuses none.
    """
    if isinstance(schema, list):
        return [strict(one, combined) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for key, value in schema.items():
        if key in ("properties", "definitions"):
            found[key] = {name: strict(one, combined) for name, one in value.items()}
        elif key in _COMBINED:
            found[key] = strict(value, combined=True)
        elif key not in _UNSAID and not key.startswith("x-kubernetes"):
            found[key] = value.replace("#/components/schemas/", "#/definitions/") if key == "$ref" else strict(value, combined)
    open_ended = combined or schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in found and "additionalProperties" not in found and not open_ended:
        found["additionalProperties"] = False
    if schema.get("nullable") and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found


def folded(schema: Json) -> Json:
    """The same schema with each part that comes up again said once, under `definitions`.

    Definitions of custom resources repeat whole pods; kubeconform takes 20 s to read Argo's as they are.
    """
    times: Counter[str] = Counter()
    _count(schema, times)
    names = {text: f"d{number}" for number, text in enumerate(sorted(text for text, count in times.items() if count > 1))}
    definitions = {name: _named(json.loads(text), names, is_root=True) for text, name in names.items()}
    return {**_named(schema, names, is_root=True), "definitions": definitions}


def write(files: Mapping[str, Json], folder: Path = SCHEMAS) -> None:
    """Write schemas, one line each."""
    folder.mkdir(exist_ok=True)
    for name, schema in files.items():
        (folder / name).write_text(as_text(schema))


def as_text(schema: Json) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n"


def main() -> int:
    """Write all schemas; needs the binaries of `make cluster-tools`, Go and its module proxy."""
    with TemporaryDirectory() as folder, control_plane(Path(folder) / "cluster") as cluster:
        files = built_in(cluster)
    for path in (*of_tools(), *_of_modules()):
        files |= dict(defined(path.read_text()))
    write(files)
    print(f"{len(files)} schemas, {sum(len(as_text(one)) for one in files.values()) / 2**20:.1f} MiB")
    return 0


def of_tools() -> list[Path]:
    """The files of definitions that `make cluster-tools` leaves."""
    return [data_folder(tool) / name for tool, names in _TOOLS.items() for name in names]


def _of_modules() -> Iterator[Path]:
    home = bin_folder().parent
    settings = {"GOMODCACHE": str(home / "gomod"), "GOCACHE": str(home / "gocache"), "GOFLAGS": "-modcacherw", "GOWORK": "off"}
    for module, names in _MODULES.items():
        told = subprocess.run(
            ["go", "mod", "download", "-json", module], env=os.environ | settings, cwd=home, capture_output=True, text=True, check=True
        )
        for name in names:
            yield Path(json.loads(told.stdout)["Dir"]) / name


def _is(schema: Json, group: str, version: str, kind: str) -> bool:
    return {"group": group, "version": version, "kind": kind} in schema.get("x-kubernetes-group-version-kind", [])


def _file(group: str, version: str, kind: str) -> str:
    """The name that kubeconform makes of a kind: with the first word of its group."""
    return "-".join(word for word in (kind.lower(), group.split(".")[0], version) if word) + ".json"


def _with_all_it_names(name: str, schemas: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    wanted = {name}
    while wanted:
        one = wanted.pop()
        found[one] = strict(schemas[one])
        wanted |= {reference.rpartition("/")[2] for reference in _references(found[one])} - set(found)
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):  # a property may itself be called $ref
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)


def _parts(schema: Json) -> Iterator[tuple[str, Any, Json]]:
    """The schemas directly inside a schema: keyword, name or place below it (None where it is the value itself), schema."""
    for key in ("properties", "patternProperties"):
        yield from ((key, name, one) for name, one in schema.get(key, {}).items())
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            yield key, None, schema[key]
    for key in ("allOf", "anyOf", "oneOf"):
        yield from ((key, number, one) for number, one in enumerate(schema.get(key, [])))


def _count(schema: Json, times: Counter[str]) -> None:
    for _, _, part in _parts(schema):
        text = _key(part)
        if len(text) >= _FOLDED_CHARACTERS:
            times[text] += 1
            if times[text] > 1:
                continue  # what is inside stands in the definition, once
        _count(part, times)


def _named(schema: Json, names: Mapping[str, str], is_root: bool = False) -> Json:
    if not is_root and (name := names.get(_key(schema))):
        return {"$ref": f"#/definitions/{name}"}
    found = copy.deepcopy(schema)
    for key, place, part in _parts(schema):
        if place is None:
            found[key] = _named(part, names)
        else:
            found[key][place] = _named(part, names)
    return found


def _key(schema: Json) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
