"""The steps of a pipeline, in an order in which each comes after those it takes something from."""

import re
from graphlib import TopologicalSorter
from typing import Any

from pipelines.compiling.compiled import IR

# Reads the store and makes nothing: it leaves no word in the journal of a run.
WITHOUT_JOURNAL = frozenset({"find_artifact"})


def steps_of(component: Any) -> tuple[str, ...]:
    """Give the names of the steps that a kfp pipeline calls, each once; of several that may come next, the first by name."""
    from google.protobuf import json_format  # optional dependency of the `pipelines` extra

    tasks: IR = json_format.MessageToDict(component.pipeline_spec)["root"]["dag"]["tasks"]
    sorter = TopologicalSorter({name: sorted(task.get("dependentTasks", ())) for name, task in sorted(tasks.items())})
    sorter.prepare()
    steps: dict[str, None] = {}
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        for name in ready:
            # A component that is called again gets a number.
            step = re.sub(r"-\d+$", "", tasks[name]["componentRef"]["name"].removeprefix("comp-")).replace("-", "_")
            if step not in WITHOUT_JOURNAL:
                steps[step] = None
        sorter.done(*ready)
    return tuple(steps)
