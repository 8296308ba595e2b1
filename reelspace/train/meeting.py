"""How the machines of one training find each other: what is wrong is said within minutes, where torch waits for half an hour.

PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT are torchrun's own names; machine 0 listens, all others come to it.
"""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from reelspace.core.errors import TemporaryError, UserError

MEETING_S = 300.0
MANY_MACHINES = "PET_NNODES"
NO_SHARED_DISK = "REELSPACE_TRAIN_NO_SHARED_DISK"
"""Set where every machine has a run directory of its own."""
_CONNECT_S = 5.0
_RETRY_S = 0.2
# What gloo and torch's store say when the other side has gone.
_LOST_TEXTS = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "socket timeout")


@dataclass(frozen=True, slots=True)
class Meeting:
    """The place where the machines of a training meet."""

    rank: int
    host: str
    port: int

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Meeting":
        """Read it from environment variables.

        Raises:
            UserError: names the variable that is no number in its range.
        """
        rank = _number(variables, "PET_NODE_RANK", "0", 0, 65_535)
        # torchrun's own defaults.
        return cls(rank, variables.get("PET_MASTER_ADDR") or "127.0.0.1", _number(variables, "PET_MASTER_PORT", "29500", 1, 65_535))

    def check(self, limit_s: float = MEETING_S, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """See that the machines can meet: on machine 0 that its port is free and the address leads to it, elsewhere that it answers.

        Args:
            limit_s: seconds to try; machines start at different times.
            is_stopped: whether to give up at once.

        Raises:
            TemporaryError: the port is taken, nobody answered at the address, or it was stopped.
        """
        with ExitStack() as stack:
            if self.rank == 0:
                stack.enter_context(self._listening())
            self._reach(limit_s, is_stopped)

    def _listening(self) -> socket.socket:
        try:
            # On every interface, as torch's store will.
            return socket.create_server(("", self.port), dualstack_ipv6=socket.has_dualstack_ipv6(), family=_family())
        except OSError as error:
            raise TemporaryError(
                f"PET_MASTER_PORT is {self.port}, expected a free port of machine 0: {error.strerror}; "
                "end what listens there or choose another port, and start all machines again"
            ) from error

    def _reach(self, limit_s: float, is_stopped: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                socket.create_connection((self.host, self.port), min(_CONNECT_S, limit_s)).close()
                return
            except OSError as error:
                if time.monotonic() + _RETRY_S > deadline_s:
                    raise TemporaryError(
                        f"machine 0 did not answer at PET_MASTER_ADDR={self.host} PET_MASTER_PORT={self.port} for {limit_s:.0f} s "
                        f"({error}): see that the address is machine 0's and that it has been started, and start all machines again"
                    ) from error
            if is_stopped():
                raise TemporaryError("stopped before the machines had found each other; run again")
            time.sleep(_RETRY_S)


def lost_connection(error: BaseException) -> TemporaryError | None:
    """Read an error as the loss of another process, which failed or was ended; None: it is something else."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, RuntimeError) and any(text in str(link).lower() for text in _LOST_TEXTS):
            return TemporaryError("another training process failed or was ended from outside; run again to go on from the last checkpoint")
        link = link.__cause__ or link.__context__
    return None


def _family() -> socket.AddressFamily:
    return socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET


def _number(variables: Mapping[str, str], name: str, default: str, low: int, high: int) -> int:
    text = variables.get(name) or default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise UserError(f"{name} is {text!r}, expected a number from {low} to {high}")
    return int(text)
