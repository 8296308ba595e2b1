"""The shapes by name, compiled, converted, and their golden files: `python -m tests.pipelines.shapes.compiled` writes these anew."""

import importlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from kfp import compiler

from pipelines.argo import ArgoOptions, S3Options, to_workflow_template, to_yaml
from tests.pipelines.shapes.base import Expected

FOLDER: Final = Path(__file__).resolve().parent
NAMES: Final = (
    "artifacts",
    "branches",
    "exit_handler",
    "loop_output",
    "loop_static",
    "nested",
    "parameters",
    "placement",
    "restricted",
    "retries",
    "timeouts",
    "volumes",
)
OPTIONS: Final = ArgoOptions(
    service_account="argo-step",
    s3=S3Options(endpoint="store:9000", bucket="artifacts", secret="store-keys", insecure=True),
    archive_logs=True,
    scratch_size="64Mi",
)


def compile_documents(pipeline: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compile a pipeline and give both documents, {} for a second one that is not there."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        spec, *rest = yaml.safe_load_all(path.read_text())
    return spec, rest[0] if rest else {}


def shape_template(name: str, options: ArgoOptions = OPTIONS) -> dict[str, Any]:
    """Convert a shape."""
    return to_workflow_template(*_documents(name), options)


def expected_of(name: str) -> Expected:
    """Give what a cluster must show after a run of a shape."""
    expected: Expected = importlib.import_module(f"tests.pipelines.shapes.{name}").EXPECTED
    return expected


@cache
def _documents(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    # kfp walks the whole stack for every setting of a task, and that of a test is deep: a thread starts with a short one.
    with ThreadPoolExecutor(1) as shallow:
        return compile_documents(shallow.submit(importlib.import_module, f"tests.pipelines.shapes.{name}").result().pipeline)


def golden(name: str) -> Path:
    """Give the file of a shape's WorkflowTemplate."""
    return FOLDER / f"{name}.yaml"


if __name__ == "__main__":
    for shape in NAMES:
        golden(shape).write_text(to_yaml(shape_template(shape)))
