"""What a check of an installation found."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, what was seen, and what to do next where it is not well."""

    check: str
    level: Level
    seen: str
    next: str = ""

    @property
    def line(self) -> str:
        """Give it for people."""
        return f"{self.level:4}  {self.check}: {self.seen}" + (f"; {self.next}" if self.next else "")

    def as_json(self) -> dict[str, Any]:
        """Give it for machines."""
        return asdict(self)


def ok(check: str, seen: str) -> Finding:
    """Say that all is well."""
    return Finding(check, "ok", seen)


def warn(check: str, seen: str, next_: str) -> Finding:
    """Say that it works now, and what may go wrong."""
    return Finding(check, "warn", seen, next_)


def fail(check: str, seen: str, next_: str) -> Finding:
    """Say that it does not work."""
    return Finding(check, "fail", seen, next_)
