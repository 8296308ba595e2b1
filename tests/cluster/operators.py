"""JobSet and Kubeflow Trainer as plain processes, with the admission webhooks that the API server asks."""

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .control_plane import LOOPBACK, Cluster, Json, answers, free_ports
from .tools import data_folder

TRAINER_API = "trainer.kubeflow.org/v1alpha1"
JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"


@dataclass(frozen=True, slots=True)
class Operator:
    """What differs between operators: names of their settings, and where their module keeps definitions and webhooks."""

    name: str
    api: str
    definitions: Sequence[Path]
    webhooks: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    webhook_settings: Mapping[str, Any] = field(default_factory=dict)


def start_operators(cluster: Cluster) -> None:
    """Start JobSet, then Trainer, which makes JobSets; both serve every namespace until the cluster ends."""
    jobset, trainer = data_folder("jobset") / "components", data_folder("trainer") / "manifests"
    certificates = {"certDir": str(_certificates(cluster, "jobset"))}  # Trainer refuses the setting, and looks under TMPDIR
    own_management = {"internalCertManagement": {"enable": False}}
    for operator in (
        Operator(
            "jobset",
            "config.jobset.x-k8s.io/v1alpha1",
            [jobset / "crd" / "bases"],
            jobset / "webhook" / "manifests.yaml",
            own_management,
            certificates,
        ),
        Operator(
            "trainer",
            "config.trainer.kubeflow.org/v1alpha1",
            sorted((trainer / "crds").glob("trainer*.yaml")),
            trainer / "webhook" / "manifests.yaml",
            {"certManagement": {"enable": False}},
        ),
    ):
        _start(cluster, operator)


def _start(cluster: Cluster, operator: Operator) -> None:
    port, health_port = free_ports(2)
    folder = cluster.folder / operator.name
    certificates = _certificates(cluster, operator.name)
    certificates.mkdir(parents=True)
    for part, ending in (("server.crt", "tls.crt"), ("server.key", "tls.key")):
        shutil.copy(cluster.folder / part, certificates / ending)
    config = {
        "apiVersion": operator.api,
        "kind": "Configuration",
        "webhook": {"port": port, "host": LOOPBACK, **operator.webhook_settings},
        "health": {"healthProbeBindAddress": f"{LOOPBACK}:{health_port}"},
        "metrics": {"bindAddress": "0"},
        "leaderElection": {"leaderElect": False},
        **operator.settings,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for source in operator.definitions:
        cluster.add_definitions("-f", source)
    flags = (f"--config={folder}/config.json", f"--kubeconfig={cluster.kubeconfig()}")
    cluster.processes.start(operator.name, *flags, env={"TMPDIR": str(folder)})
    cluster.apply(*_webhooks(cluster, operator, port))
    cluster.wait_until(lambda: answers(f"http://{LOOPBACK}:{health_port}/readyz"), operator.name)


def _certificates(cluster: Cluster, name: str) -> Path:
    return cluster.folder / name / "k8s-webhook-server" / "serving-certs"  # where the operators' library looks below TMPDIR


def _webhooks(cluster: Cluster, operator: Operator, port: int) -> list[Json]:
    """The operator's webhook configurations, which name a Service, pointed at its process instead."""
    authority = base64.b64encode((cluster.folder / "ca.crt").read_bytes()).decode()
    configurations = _objects(cluster.kubectl("create", "--dry-run=client", "-o", "json", "-f", operator.webhooks))
    for configuration in configurations:
        configuration["metadata"] = {"name": f"{operator.name}-{configuration['metadata']['name']}"}
        for webhook in configuration["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://{LOOPBACK}:{port}{path}", "caBundle": authority}
            if webhook["rules"][0]["resources"] == ["pods"]:  # asked for its own pods only, as its installation does
                webhook["objectSelector"] = {"matchExpressions": [{"key": JOBSET_LABEL, "operator": "Exists"}]}
    return configurations


def _objects(documents: str) -> list[Json]:
    """Objects of a file as kubectl prints them: one JSON document after the other, or a List."""
    decoder, at = json.JSONDecoder(), 0
    found: list[Json] = []
    while at < len(documents):
        document, at = decoder.raw_decode(documents, at)
        found += document["items"] if document["kind"] == "List" else [document]
        at += len(documents[at:]) - len(documents[at:].lstrip())
    return found
