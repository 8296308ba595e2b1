"""What is kept of every answered request: counts, and, where wanted, a line of the access log."""

from typing import Final

from reelspace.core.log import log
from reelspace.gateway.grpc_status import Code
from reelspace.gateway.metrics import Metrics
from reelspace.search.access.current_request import current_request

_REASONS: Final = {
    "408": "deadline",
    "413": "too_large",
    "429": "overloaded",
    "503": "unavailable",
    "504": "deadline",
    "507": "disk_full",
    Code.DEADLINE_EXCEEDED.name: "deadline",
    Code.RESOURCE_EXHAUSTED.name: "overloaded",
    Code.UNAVAILABLE.name: "unavailable",
}


class Records:
    """Hears of requests when they are answered."""

    def __init__(self, metrics: Metrics, *, access_log: bool) -> None:
        self._metrics = metrics
        self._access_log = access_log

    def answered_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """Hear of an answer over HTTP; the route is a template, or `unknown`."""
        self._metrics.count_request(method, route, status, seconds)
        self._keep(method, route, str(status), seconds)

    def answered_call(self, path: str, code: str, seconds: float) -> None:
        """Hear of an answer over gRPC; the path is that of a method, or `unknown`."""
        self._metrics.count_call(path, code, seconds)
        self._keep("gRPC", path, code, seconds)

    def _keep(self, method: str, route: str, code: str, seconds: float) -> None:
        request = current_request()
        reason = (request.refusal if request is not None else None) or _REASONS.get(code)
        if reason is not None:
            self._metrics.count_refusal(reason)
        if self._access_log and request is not None:
            trace = None if request.traceparent is None else request.traceparent.split("-")[1]
            facts = {"request_id": request.id, "trace_id": trace, "key": request.key_name, "refusal": reason}
            if request.model is not None:
                facts |= {"model": request.model, "version": request.version}
            log("request", method=method, route=route, code=code, seconds=round(seconds, 6), **facts)
