"""A small release that fulfils every policy, as objects and as a chart: tests spoil one thing in it."""

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

LABELS = {"app.kubernetes.io/name": "sample", "app.kubernetes.io/instance": "r", "app.kubernetes.io/component": "gateway"}
_ALL_LABELS = {**LABELS, "app.kubernetes.io/version": "0.1.0", "helm.sh/chart": "sample-0.1.0"}
PRIVILEGED = {"hostNetwork": True, "containers": [{"name": "main", "image": "x:1", "securityContext": {"privileged": True}}]}
_DIGEST = "0123456789abcdef" * 4
_TEMPLATE = """{{- range .Values.objects }}
---
{{ toYaml . }}
{{- end }}
"""


def good_release() -> list[Json]:
    """A gateway of three pods with all that belongs to it, new with every call."""
    return [
        _object("v1", "ServiceAccount", automountServiceAccountToken=False),
        _object("apps/v1", "Deployment", spec=_deployment()),
        _object("v1", "Service", spec={"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}),
        _object(
            "policy/v1",
            "PodDisruptionBudget",
            spec={"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": LABELS}},
        ),
        _object("networking.k8s.io/v1", "NetworkPolicy", "deny", spec={"podSelector": _of_release(), "policyTypes": ["Ingress", "Egress"]}),
        _object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            spec={"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": "http"}]}]},
        ),
        _object("monitoring.coreos.com/v1", "ServiceMonitor", spec={"selector": _of_release(), "endpoints": [{"port": "http"}]}),
        _object(
            "cert-manager.io/v1",
            "Certificate",
            spec={"secretName": "gateway-tls", "dnsNames": ["gateway.ns.svc"], "issuerRef": {"name": "ca", "kind": "Issuer"}},
        ),
    ]


def write_chart(folder: Path, objects: list[Json] | None = None) -> Path:
    """A chart that renders objects as they are, those of `good_release` by default; its values may be nothing else."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: sample\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text(json.dumps({"objects": good_release() if objects is None else objects}))
    properties = {"objects": {"type": "array"}, "global": {"type": "object"}}
    (folder / "values.schema.json").write_text(json.dumps({"type": "object", "properties": properties, "additionalProperties": False}))
    (folder / "templates" / "objects.yaml").write_text(_TEMPLATE)
    return folder


def argo_workflow() -> Json:
    """A WorkflowTemplate of one step."""
    step = {"name": "clean", "container": {**_container(), "command": ["true"]}}
    spec = {"serviceAccountName": "gateway", "securityContext": _pod_security(), "entrypoint": "clean", "templates": [step]}
    return _object("argoproj.io/v1alpha1", "WorkflowTemplate", spec=spec)


def training_runtime() -> Json:
    """A ClusterTrainingRuntime of one job."""
    pod = {"metadata": {"labels": LABELS}, "spec": {"securityContext": _pod_security(), "containers": [_container()]}}
    job = {"name": "node", "template": {"spec": {"template": pod}}}
    return _object("trainer.kubeflow.org/v1alpha1", "ClusterTrainingRuntime", spec={"template": {"spec": {"replicatedJobs": [job]}}})


def inference_service() -> Json:
    """A KServe InferenceService with a container of its own."""
    predictor = {"minReplicas": 2, "securityContext": _pod_security(), "containers": [_container()]}
    return _object("serving.kserve.io/v1beta1", "InferenceService", spec={"predictor": predictor})


def alert() -> Json:
    """A PrometheusRule of one alert."""
    rule = {"alert": "GatewayDown", "expr": "up == 0", "for": "5m", "labels": {"severity": "page"}}
    return _object("monitoring.coreos.com/v1", "PrometheusRule", spec={"groups": [{"name": "gateway", "rules": [rule]}]})


def _object(api: str, kind: str, name: str = "gateway", **fields: Any) -> Json:
    one = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": dict(_ALL_LABELS)}, **fields}
    copy: Json = json.loads(json.dumps(one))  # so that spoiling a selector does not spoil another
    return copy


def _of_release() -> Json:
    return {"matchLabels": {"app.kubernetes.io/instance": "r"}}


def _pod_security() -> Json:
    return {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def _container() -> Json:
    size = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    return {
        "name": "main",
        "image": f"example.org/gateway:0.1.0@sha256:{_DIGEST}",
        "imagePullPolicy": "Always",
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": size, "limits": size},
    }


def _deployment() -> Json:
    server = {
        **_container(),
        "args": ["--token-file", "/secrets/token"],
        "env": [{"name": "API_KEYS_FILE", "value": "/secrets/keys"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": {"httpGet": {"path": "/live", "port": "http"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    keys = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    selector = {"matchLabels": LABELS}
    spread = [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector} for key in keys]
    pod = {
        "automountServiceAccountToken": False,
        "serviceAccountName": "gateway",
        "securityContext": _pod_security(),
        "terminationGracePeriodSeconds": 30,
        "topologySpreadConstraints": spread,
        "containers": [server],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
    return {"replicas": 3, "selector": selector, "template": {"metadata": {"labels": _ALL_LABELS}, "spec": pod}}
