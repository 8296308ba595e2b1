"""The pinned programs of the test clusters, and where their binaries lie.

Every program is built from Go modules by `build.py`; `mods/<pins>/` holds the go.mod and go.sum that pin it.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MODS = Path(__file__).resolve().parent / "mods"
KUBERNETES = "1.35.4"
SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program: its Go package, and where it differs from a plain `go build`.

    Fields:
        package: import path of the program; "." where its source lies beside its pins.
        module, version: the module that holds it, as its pins require it.
        pins: the folder under `mods/`.
        variables: what the linker sets, as `import/path.name=value`.
        data: folders of the module that tests read, by the name they get in `data_folder`.
        missing: files that the published module lacks, with the file of the same module that stands in, or None for an empty one.
    """

    name: str
    package: str
    module: str
    version: str
    pins: str
    variables: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str | None] = field(default_factory=dict)


def _kubernetes(name: str) -> Tool:
    # Without these a server calls itself v0.0.0-master, and charts refuse it.
    facts = {"gitVersion": f"v{KUBERNETES}", "gitMajor": "1", "gitMinor": KUBERNETES.split(".")[1]}
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    variables = tuple(f"{place}.{key}={value}" for place in places for key, value in facts.items())
    return Tool(name, f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes", f"v{KUBERNETES}", "kubernetes", variables)


_ARGO = "github.com/argoproj/argo-workflows/v3"
_ARGO_VERSION = "v3.7.18"
_HELM_VERSION = "v4.2.4"
_SIGNALS = "workflow/executor/osspecific/signal_"
_TRAINER = "github.com/kubeflow/trainer/v2"

# In the order in which they are most worth having: a control plane, pipelines, operators, a real node, charts.
TOOLS = {
    tool.name: tool
    for tool in (
        Tool("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", "v3.6.14", "etcd"),
        *(_kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")),
        Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok", "v0.8.0", "kwok", data={"kustomize/stage": "stages"}),
        Tool(
            "workflow-controller",
            f"{_ARGO}/cmd/workflow-controller",
            _ARGO,
            _ARGO_VERSION,
            "argo",
            data={"manifests/base/crds": "crds"},
        ),
        # The published module lacks signal_linux.go, which is as portable as its neighbour for darwin.
        Tool("argoexec", f"{_ARGO}/cmd/argoexec", _ARGO, _ARGO_VERSION, "argo", missing={f"{_SIGNALS}linux.go": f"{_SIGNALS}darwin.go"}),
        # The command line embeds a web page that only upstream's release has.
        Tool(
            "argo",
            f"{_ARGO}/cmd/argo",
            _ARGO,
            _ARGO_VERSION,
            "argo",
            (f"{_ARGO}.version={_ARGO_VERSION}",),
            missing={"ui/dist/app/index.html": None},
        ),
        Tool("minio", "github.com/minio/minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c", "minio"),
        Tool("jobset", "sigs.k8s.io/jobset", "sigs.k8s.io/jobset", "v0.12.0", "jobset", data={"config/components": "components"}),
        Tool("trainer", f"{_TRAINER}/cmd/trainer-controller-manager", _TRAINER, "v2.3.0", "trainer", data={"manifests/base": "manifests"}),
        *(_kubernetes(name) for name in ("kubelet", "kube-proxy")),
        Tool("coredns", "github.com/coredns/coredns", "github.com/coredns/coredns", "v1.15.0", "coredns"),
        Tool(
            "helm",
            "helm.sh/helm/v4/cmd/helm",
            "helm.sh/helm/v4",
            _HELM_VERSION,
            "helm",
            (f"helm.sh/helm/v4/internal/version.version={_HELM_VERSION}",),
        ),
        Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "github.com/yannh/kubeconform", "v0.7.0", "kubeconform"),
        Tool("ct", "github.com/helm/chart-testing/v3/ct", "github.com/helm/chart-testing/v3", "v3.14.0", "ct"),
        # Our own program around Kubernetes' library; its source lies beside its pins.
        Tool("podsecurity", ".", "k8s.io/pod-security-admission", "v0.35.4", "podsecurity"),
    )
}

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
FAKE_NODES = ("kwok",)
ARGO = ("workflow-controller",)
OPERATORS = ("jobset", "trainer")
NODE = ("kubelet", "kube-proxy", "coredns", "argoexec")


def bin_folder() -> Path:
    """Where the binaries lie: REELSPACE_CLUSTER_BIN, or a folder of the user's cache."""
    return Path(os.environ.get("REELSPACE_CLUSTER_BIN") or Path.home() / ".cache" / "reelspace-cluster" / "bin")


def binary(name: str) -> Path:
    """The binary of a tool, built or not."""
    return bin_folder() / name


def data_folder(name: str) -> Path:
    """Where the folders of a tool's module lie that tests read (its CRDs, webhooks, stages)."""
    return bin_folder().parent / "data" / name


def need_tools(*names: str) -> None:
    """Skip the test when a tool has not been built."""
    if missing := [name for name in names if not binary(name).is_file()]:
        pytest.skip(f"not built: {', '.join(missing)}; make cluster-tools puts them into {bin_folder()}")


def need_programs(packages: Mapping[str, str]) -> None:
    """Skip the test when a program of the system is absent; `packages` gives each, a name to find or a path, with its Debian package."""
    if missing := sorted({package for program, package in packages.items() if not _found(program)}):
        pytest.skip(f"programs of the system are absent: apt-get install --no-install-recommends {' '.join(missing)}")


def _found(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}") is not None
