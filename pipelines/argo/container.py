"""One task's pod: an Argo container template that runs kfp's executor, or a container component's own program."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from pipelines.argo.options import ArgoOptions, S3Options
from pipelines.argo.platform import SCRATCH, PodParts, pod_parts
from pipelines.argo.refused import ArgoRefused, only
from pipelines.argo.runner import INPUTS, OUTPUTS, RUNNER
from pipelines.argo.values import STRING, input_parameter

Spec = Mapping[str, Any]
SCRATCH_VOLUME = "scratch"
_METRICS = {"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"}
_RESOURCES = {"resourceCpuLimit": "cpu", "resourceMemoryLimit": "memory", "resourceCpuRequest": "cpu", "resourceMemoryRequest": "memory"}
# The same figures as numbers, which kfp writes beside the texts for older readers.
_NUMBERS = {"cpuLimit", "memoryLimit", "cpuRequest", "memoryRequest"}
_MARK = re.compile(r'"@(\w+)@"')
_PLACEHOLDER = re.compile(r"\{\{\$(?:\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\]\.?(\w*))?\}\}")


def container_template(name: str, component: Spec, executor: Spec, config: Spec, given: Collection[str], options: ArgoOptions) -> Spec:
    """Make the template of one task.

    Args:
        name: of the template; errors name it as the task.
        component: its part of `components`; inputs and outputs are read from it.
        executor: its part of `deploymentSpec.executors`.
        config: its part of the platform document, {} where there is none.
        given: inputs that the task is given; others take their default or are left out.

    Raises:
        ArgoRefused: something of the task has no like in Argo.
    """
    where = f"task {name!r}"
    if "importer" in executor:
        raise ArgoRefused(f"{where}: dsl.importer; bring files in by a step, as import_tables does")
    only(component, {"executorLabel", "inputDefinitions", "outputDefinitions", "taskConfigPassthroughs"}, where)
    container = only(only(executor, {"container"}, where)["container"], {"image", "command", "args", "env", "resources"}, where)
    for what, word in (("image", container["image"]), *((row["name"], row["value"]) for row in container.get("env", []))):
        if "{{" in word:
            raise ArgoRefused(f"{where}: {what} from a pipeline parameter; make it a constant")
    if container["image"].startswith("argostub/"):
        raise ArgoRefused(f"{where}: kubernetes.{container['image'][9:]}; make the claim outside of the pipeline and mount it by name")
    parts = pod_parts(config, where)
    _mount_claims(parts, options, where)
    inputs, outputs = _inputs(component, given), _outputs(component, where)
    program = _program(container, component, given, where)
    return {
        "name": name,
        **parts.template,
        **({"inputs": inputs} if inputs else {}),
        **({"outputs": outputs} if outputs else {}),
        **({"archiveLocation": archive_location(options.s3, archive_logs=options.archive_logs)} if options.s3 else {}),
        **({"volumes": parts.volumes} if parts.volumes else {}),
        "container": {
            "image": options.images.get(container["image"], container["image"]),
            **parts.container,
            **program,
            "env": _environment(container.get("env", []), parts, options),
            **_environment_secrets(options),
            **_resources(container.get("resources", {}), where),
            "securityContext": {**restricted(), **parts.security},
            "volumeMounts": [{"name": SCRATCH_VOLUME, "mountPath": SCRATCH}, *parts.mounts],
        },
    }


def restricted() -> dict[str, Any]:
    """Give the security of every container: Kubernetes' level `restricted`, and a root file system that cannot be written."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "runAsNonRoot": True}


def archive_location(s3: S3Options, *, archive_logs: bool) -> dict[str, Any]:
    """Say where a pod's artifacts and log go: one folder per workflow and pod."""
    return {
        # What the workflow says of logs counts only for pods without a place of their own.
        **({"archiveLogs": True} if archive_logs else {}),
        "s3": {
            "endpoint": s3.endpoint,
            "bucket": s3.bucket,
            **({"region": s3.region} if s3.region else {}),
            **({"insecure": True} if s3.insecure else {}),
            "accessKeySecret": {"name": s3.secret, "key": s3.access_key},
            "secretKeySecret": {"name": s3.secret, "key": s3.secret_key},
            "key": f"{s3.prefix}/{{{{workflow.name}}}}/{{{{pod.name}}}}",
        },
    }


def _inputs(component: Spec, given: Collection[str]) -> dict[str, Any]:
    definitions = component.get("inputDefinitions", {})
    artifacts = [{"name": name, "path": f"{INPUTS}/{name}"} for name in definitions.get("artifacts", {}) if name in given]
    parameters = [{"name": name} for name in definitions.get("parameters", {}) if name in given]
    return {key: value for key, value in (("parameters", parameters), ("artifacts", artifacts)) if value}


def _outputs(component: Spec, where: str) -> dict[str, Any]:
    definitions = component.get("outputDefinitions", {})
    for name, definition in definitions.get("artifacts", {}).items():
        title = definition.get("artifactType", {}).get("schemaTitle")
        if title in _METRICS:
            raise ArgoRefused(f"{where}: output {name!r} is {title}, which is metadata without a file; write figures into a file")
        if definition.get("isArtifactList"):
            raise ArgoRefused(f"{where}: output {name!r} is a list of artifacts; give them one by one")
    artifacts = [
        # Not archived: a manifest stays a JSON file that anyone can read in the bucket.
        {"name": name, "path": f"{OUTPUTS}/artifacts/{name}", "archive": {"none": {}}}
        for name in definitions.get("artifacts", {})
    ]
    parameters = [{"name": name, "valueFrom": {"path": f"{OUTPUTS}/parameters/{name}"}} for name in definitions.get("parameters", {})]
    return {key: value for key, value in (("parameters", parameters), ("artifacts", artifacts)) if value}


def _program(container: Spec, component: Spec, given: Collection[str], where: str) -> dict[str, Any]:
    command, arguments = container.get("command", []), container.get("args", [])
    text = " ".join(map(str, command))
    if "pip install" in text:
        raise ArgoRefused(f"{where}: packages installed at run time; build them into the image (install_kfp_package=False)")
    if "kfp.dsl.executor_main" in text:
        if command[:2] != ["sh", "-ec"] or len(command) != 4:
            raise ArgoRefused(f"{where}: a containerized Python component (target_image); use base_image and a body that imports")
        if "{{" in command[3]:
            raise ArgoRefused(f"{where}: double braces in the component's body, which Argo would fill in; move the code into a package")
        command = ["python3", "-c", RUNNER, command[3]]
    filled = [_filled(word, component, given, where) for word in (*command, *arguments)]
    return {"command": filled[: len(command)], **({"args": filled[len(command) :]} if arguments else {})}


def _filled(word: Any, component: Spec, given: Collection[str], where: str) -> str:
    """Replace kfp's placeholders in one word of a command line."""
    if not isinstance(word, str) or word.startswith(('{"Concat', '{"IfPresent')):
        raise ArgoRefused(f"{where}: dsl.ConcatPlaceholder or dsl.IfPresentPlaceholder in its arguments; write the argument as one text")
    if word == "{{$}}":
        return executor_input(component, given)

    def fill(match: re.Match[str]) -> str:
        side, what, name, field = match.groups()
        known = component.get(f"{side[:-1]}Definitions", {}).get(what, {}) if side else {}
        if (what, field) == ("parameters", "") and side == "inputs" and name in known and name in given:
            return input_parameter(name).text
        if name in known and (side, what, field) == ("outputs", "parameters", "output_file"):
            return f"{OUTPUTS}/parameters/{name}"
        if name in known and what == "artifacts" and field in ("path", "uri") and (side == "outputs" or name in given):
            return f"{OUTPUTS}/artifacts/{name}" if side == "outputs" else f"{INPUTS}/{name}"
        raise ArgoRefused(f"{where}: the placeholder {match[0]} in its command line")

    filled = _PLACEHOLDER.sub(fill, word)
    if "{{" in _PLACEHOLDER.sub("", word):
        raise ArgoRefused(f"{where}: double braces in its command line, which Argo would fill in: {word[:60]!r}")
    return filled


def executor_input(component: Spec, given: Collection[str]) -> str:
    """Write kfp's executor input, with Argo's placeholders for parameters and fixed paths for artifacts.

    A text enters by `toJson`, so that quotes and newlines in it stay inside; every other type is JSON already.
    """
    inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
    kinds = {name: one["parameterType"] for name, one in inputs.get("parameters", {}).items() if name in given}
    document = {
        "inputs": {
            "parameterValues": {name: f"@{name}@" for name in kinds},
            "artifacts": {
                name: _artifact(name, one, f"{INPUTS}/{name}") for name, one in inputs.get("artifacts", {}).items() if name in given
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"{OUTPUTS}/parameters/{name}"} for name in outputs.get("parameters", {})},
            "artifacts": {name: _artifact(name, one, f"{OUTPUTS}/artifacts/{name}") for name, one in outputs.get("artifacts", {}).items()},
            "outputFile": f"{OUTPUTS}/executor_output.json",
        },
    }

    def fill(match: re.Match[str]) -> str:
        value = input_parameter(match[1])
        return f"{{{{=toJson({value.term})}}}}" if kinds[match[1]] == STRING else value.text

    return _MARK.sub(fill, json.dumps(document, indent=1))


def _artifact(name: str, definition: Spec, path: str) -> dict[str, Any]:
    return {"artifacts": [{"name": name, "type": definition["artifactType"], "uri": path, "metadata": {}}]}


def _mount_claims(parts: PodParts, options: ArgoOptions, where: str) -> None:
    for mount in options.mounts:
        # Said of the volume, not of the mount alone: else the kubelet would give the claim's files to the group of the pod.
        read_only = {} if mount.writable else {"readOnly": True}
        volume = {"persistentVolumeClaim": {"claimName": mount.claim, **read_only}}
        name = f"every-{mount.claim}{'-written' if mount.writable else ''}"
        parts.mount(name, volume, mount.path, where, sub_path=mount.sub_path or "", read_only=not mount.writable)


def _environment(own: list[Spec], parts: PodParts, options: ArgoOptions) -> list[dict[str, Any]]:
    # A user without a home may not write anywhere else; the task's own variables win over those of every step.
    rows = [{"name": "HOME", "value": SCRATCH}, *({"name": one.name, "value": one.value} for one in options.environment)]
    rows += [dict(row) for row in own] + parts.environment
    return list({row["name"]: row for row in rows}.values())


def _environment_secrets(options: ArgoOptions) -> dict[str, Any]:
    rows = [{"secretRef": {"name": secret}} for secret in options.environment_secrets]
    return {"envFrom": rows} if rows else {}


def _resources(spec: Spec, where: str) -> dict[str, Any]:
    only(spec, {*_RESOURCES, *_NUMBERS, "accelerator"}, f"{where}, resources")
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for key, resource in _RESOURCES.items():
        if key in spec:
            (limits if key.endswith("Limit") else requests)[resource] = str(spec[key])
    if "accelerator" in spec:
        only(spec["accelerator"], {"type", "count", "resourceType", "resourceCount"}, f"{where}, accelerator")
        limits[spec["accelerator"]["resourceType"]] = str(spec["accelerator"]["resourceCount"])
    if any("{{" in word for pair in (*limits.items(), *requests.items()) for word in pair):
        raise ArgoRefused(f"{where}: resources from a pipeline parameter; make them constants (pipelines/resources.py)")
    resources = {key: value for key, value in (("limits", limits), ("requests", requests)) if value}
    return {"resources": resources} if resources else {}
