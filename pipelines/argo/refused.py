"""What cannot be said in Argo is refused by name, never left out."""

from collections.abc import Collection, Mapping
from typing import Any

from reelspace.core.errors import UserError


class ArgoRefused(UserError):
    """The pipeline uses something that this converter does not carry over; the message names it and the task."""


def only(mapping: Mapping[str, Any], allowed: Collection[str], where: str) -> Mapping[str, Any]:
    """Give the mapping back when every key is one of `allowed`, so that nothing a pipeline asks for is lost in silence.

    Raises:
        ArgoRefused: another key is there; the message names it and `where`.
    """
    for key in mapping:
        if key not in allowed:
            raise ArgoRefused(f"{where}: {key!r} cannot be converted; what is known here: {', '.join(sorted(allowed))}")
    return mapping
