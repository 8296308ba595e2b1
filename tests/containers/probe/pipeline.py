"""One step that looks around in its container."""

from components.probe.component import probe as probe_step
from kfp import dsl


@dsl.pipeline(name="probe", description="Tell what a step sees of its container.")
def probe(probe_settings: str = "{}") -> None:
    """One step, with limits that are easily told from any default."""
    task = probe_step(settings=probe_settings)
    task.set_cpu_request("500m").set_cpu_limit("1500m").set_memory_request("700Mi").set_memory_limit("700Mi")
    task.set_caching_options(False)
