"""Make evaluated encoders and their index the ones that serve."""

from collections.abc import Mapping

from pydantic import Field

from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.search.scheduling.promote import Promotion, check_gate, promote
from reelspace.search.storage.layout import NAME_PATTERN, SPACE_POINTER, json_bytes


class PromoteSettings(Settings):
    """Where clients find what is promoted."""

    alias: str = Field("videos", pattern=NAME_PATTERN, description="Name under which clients reach the promoted collection.")


def run(evaluation: str, repository: str, index: str, promotion: str, settings: str) -> None:
    """Flip spaces/current.json to these encoders and this index, and write a copy of it; GateRefused if the gate was not passed.

    Always runs: what serves may have been changed by a later promotion, and promoting what serves already changes nothing.
    """
    parsed = read(PromoteSettings, settings)
    run_step(
        "promote",
        __name__,
        settings=parsed,
        inputs={"evaluation": evaluation, "repository": repository, "index": index},
        outputs={"promotion": promotion},
        body=lambda run: _promote(run, parsed),
        cache=False,
    )


def _promote(run: StepRun, settings: PromoteSettings) -> Mapping[str, object]:
    wanted = Promotion(run.inputs["index"], run.inputs["repository"], settings.alias)
    check_gate(run.inputs["evaluation"], wanted)
    pointer = promote(run.store, wanted, run.scratch / "index")
    path = run.output("promotion") / SPACE_POINTER
    path.parent.mkdir(parents=True)
    path.write_bytes(json_bytes(pointer))
    return {"collection": pointer.collection, "generation": pointer.generation, "encoders": dict(pointer.encoders)}
