"""How the servers behind the gateway do, by what becomes of their calls."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from reelspace.search.access.replicas import Event

MINUTE_S: Final = 60.0
NOW_S: Final = 3.0
"""A server that was doubted is trusted again, or out, before so long."""
MAX_DOUBTS: Final = 1000
FORGOTTEN_S: Final = 3600.0
"""A server that came by itself, and of which nothing is heard for so long, has gone."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One server.

    Attributes:
        num_out: shards, and encoders, that are not asked of it now.
        num_doubts: times that it was doubted within the last minute; a thousand at most are counted.
        events: all that became of it and its calls since the start.
        last: the last event but calls asked of others, and the seconds since; None before the first.
    """

    address: str
    state: Literal["trusted", "doubted", "out"]
    num_out: int
    num_doubts: int
    events: Mapping[Event, int]
    last: tuple[Event, float] | None


@dataclass
class _Heard:
    """What was heard of one server."""

    events: "Counter[Event]" = field(default_factory=Counter)
    doubts_s: "deque[float]" = field(default_factory=lambda: deque(maxlen=MAX_DOUBTS))
    num_out: int = 0
    last: tuple[Event, float] | None = None
    heard_s: float = 0.0


class ReplicaStates:
    """Listens to what becomes of servers; `clock` gives seconds that only grow."""

    def __init__(self, addresses: Sequence[str], clock: Callable[[], float]) -> None:
        """Trust all of them; others may come."""
        self._clock = clock
        self._lasting = frozenset(addresses)
        self._heard = {address: _Heard() for address in addresses}

    def hear(self, address: str, event: Event) -> None:
        """Hear of one event."""
        heard, now_s = self._heard.setdefault(address, _Heard()), self._clock()
        heard.events[event] += 1
        heard.heard_s = now_s
        if event in ("hedged", "moved"):
            return
        heard.last = event, now_s
        if event == "doubted":
            heard.doubts_s.append(now_s)
        else:
            heard.num_out = max(0, heard.num_out + (1 if event == "out" else -1))

    def views(self) -> tuple[ReplicaView, ...]:
        """Give every server as it is now."""
        now_s = self._clock()
        self._heard = {
            address: heard
            for address, heard in self._heard.items()
            if address in self._lasting or heard.num_out or now_s - heard.heard_s < FORGOTTEN_S
        }
        return tuple(self._view(address, heard) for address, heard in self._heard.items())

    def _view(self, address: str, heard: _Heard) -> ReplicaView:
        now_s = self._clock()
        is_doubted = bool(heard.doubts_s) and now_s - heard.doubts_s[-1] < NOW_S and heard.last is not None and heard.last[0] == "doubted"
        return ReplicaView(
            address=address,
            state="out" if heard.num_out else "doubted" if is_doubted else "trusted",
            num_out=heard.num_out,
            num_doubts=sum(now_s - at_s < MINUTE_S for at_s in heard.doubts_s),
            events=dict(heard.events),
            last=None if heard.last is None else (heard.last[0], now_s - heard.last[1]),
        )
