"""How closely models are watched."""

from pydantic import Field

from reelspace.core.settings import Settings


class WatchSettings(Settings):
    """When a model is looked at, when it counts as lost, and how often it is repaired."""

    interval_s: float = Field(1.0, gt=0, le=600, description="From one look at a model to the next, seconds.")
    probe_timeout_s: float = Field(2.5, gt=0, le=60, description="Longest wait for the answer of a probe, seconds.")
    num_failures: int = Field(2, ge=1, le=100, description="Failures in a row until a model is repaired.")
    silent_s: float = Field(30.0, gt=0, le=3600, description="A model that executes nothing so long, with requests waiting, is lost.")
    pause_s: float = Field(2.0, gt=0, le=600, description="Wait after a repair that did not help, doubled each time, seconds.")
    max_pause_s: float = Field(60.0, gt=0, le=3600, description="Longest wait after a repair that did not help, seconds.")
    load_timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest wait for a model to be loaded or unloaded, seconds.")
    given_up_s: float = Field(60.0, gt=0, le=3600, description="A model lost for so long in spite of repairs: restart Triton.")
