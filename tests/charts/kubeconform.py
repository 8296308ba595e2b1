"""Rendered objects held against the strict schemas of `schemas/`."""

import json
import re
import subprocess
from collections.abc import Sequence

from tests.cluster.tools import binary, need_tools

from .schemas import SCHEMAS
from .workloads import Json

_LIMIT_S = 60.0
_STEP = re.compile(r"- at '([^']*)': (.*?)(?=\s+- at '|$)", re.DOTALL)
_ON_THE_WAY = re.compile(r"(allOf|anyOf|oneOf|validation) failed")


def faults(objects: Sequence[Json]) -> list[str]:
    """What is wrong with the fields of objects, and every kind without a schema; skips the test where kubeconform is not built."""
    need_tools("kubeconform")
    ended = subprocess.run(
        [
            binary("kubeconform"),
            "-strict",
            "-output=json",
            f"-schema-location={SCHEMAS}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            "-",
        ],
        input="\n---\n".join(map(json.dumps, objects)),
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return [_fault(one) for one in json.loads(ended.stdout)["resources"]]


def _fault(resource: Json) -> str:
    # Only the message has the whole way to the place of the error, in one line.
    details = [f"{place}: {wrong}" for place, wrong in _STEP.findall(resource["msg"]) if not _ON_THE_WAY.match(wrong)]
    return f"{resource['kind']}/{resource['name']}: {'; '.join(details) or resource['msg']}"
