"""What the lint says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a compiled pipeline, where it is and what to do; a warning alone does not stop compiling."""

    rule: str
    place: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning: ' if self.warning else ''}{self.rule}: {self.place}: {self.message}"
