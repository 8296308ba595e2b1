"""The shape of the dialect's answers over HTTP: {"result", "status", "time"}; errors lie in `status`."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from reelspace.core.errors import ReelspaceError, as_reelspace_error
from reelspace.core.log import log
from reelspace.search.access.current_request import current_request
from reelspace.search.access.status import retry_after_s, status_of


class DialectRoute(APIRoute):
    """A route whose errors have the dialect's shape, and whose endpoint takes the request and the parts of its path, nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Call the endpoint without FastAPI's resolving of parameters, which costs more than a search."""
        endpoint: Callable[..., Coroutine[Any, Any, Any]] = self.endpoint

        async def answer_request(request: Request) -> Response:
            start_s = time.perf_counter()
            try:
                result = await endpoint(request=request, **request.path_params)
            except (ReelspaceError, OSError) as error:
                return refused(as_reelspace_error(error), start_s)
            return answered(result, start_s)

        return answer_request


def answered(result: Any, start_s: float) -> Response:
    """Answer with a result."""
    return _response({"result": result, "status": "ok", "time": time.perf_counter() - start_s}, 200)


def refused(error: ReelspaceError, start_s: float) -> Response:
    """Answer with an error; what is a bug of ours is logged, too."""
    status = status_of(error)
    if status == 500:
        log("request_failed", error=type(error).__name__, message=str(error))
    body: dict[str, Any] = {"status": {"error": " ".join(str(error).split())}, "result": None, "time": time.perf_counter() - start_s}
    request, wait_s = current_request(), retry_after_s(error)
    if request is not None:
        body["request_id"] = request.id
    return _response(body, status, None if wait_s is None else {"Retry-After": str(wait_s)})


def _response(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, headers=headers, media_type="application/json")
