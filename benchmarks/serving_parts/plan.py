"""How long and how often everything is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often.

    Args:
        duration_s: of one load of one server.
        warm_s: of the same load before it, which does not count.
        rounds: turns of all servers in every case.
        overload_s: of what is offered in one round of the overload.
        clients: numbers of clients that ask at a time.
    """

    duration_s: float = 3.0
    warm_s: float = 0.4
    rounds: int = 5
    overload_s: float = 3.0
    clients: tuple[int, ...] = (1, 8, 32)
