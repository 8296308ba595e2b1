"""Releases for tests of templates: the minimal scenario of a chart with some values more, and what is looked at in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from .goldens import SCENARIO
from .helm import CHARTS, render
from .workloads import Json, of_kind

SEARCH, INFERENCE, PIPELINES = "vector-search", "inference", "pipelines"
TRAININGS: dict[str, object] = {"trainings.enabled": True, "trainingRuntime.enabled": True}
DAILY: dict[str, object] = {
    "store.existingSecret": "store-file",
    "dailyUpdate.enabled": True,
    "dailyUpdate.parameters": {"tables_uri": "s3://b/t", "media_root": "s3://b/m", "student_id": "s", "settings": {"steps": 5}},
}


def release(chart: str, sets: Mapping[str, object] | None = None, **how: Any) -> list[Json]:
    """The objects of a chart with its minimal values and some more."""
    return render(CHARTS / chart, CHARTS / chart / "ci" / f"{SCENARIO}-values.yaml", sets=sets or {}, **how)


def named(objects: Sequence[Json], kind: str, end: str = "") -> Json:
    """The one object of a kind whose name has an end."""
    (one,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"].endswith(end)]
    return one


def pod_of(one: Json) -> Json:
    """The pod of an object with a template."""
    pod: Json = one["spec"]["template"]["spec"]
    return pod


def arguments(one: Json) -> list[str]:
    """The arguments of the only container."""
    (container,) = pod_of(one)["containers"]
    return list(container["args"])


def values_of(words: Sequence[str], option: str) -> list[str]:
    """The values that an option has as `--option=value`."""
    return [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]


def egress_ports(policy: Json) -> set[int]:
    """The ports that a policy lets out."""
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())}
