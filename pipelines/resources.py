"""What each step asks of a cluster: compile-time constants (a parameter inside a group would not compile, see the pipelines guide)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """CPU cores and memory as Kubernetes quantities."""

    cpu: str
    memory: str


SMALL = Resources(cpu="1", memory="4Gi")
MEDIUM = Resources(cpu="2", memory="8Gi")
TRAIN = Resources(cpu="2", memory="16Gi")
