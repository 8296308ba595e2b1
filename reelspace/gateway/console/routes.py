"""The routes of the console, with the headers that bound what its pages may do in a browser."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from reelspace.core.errors import ReelspaceError
from reelspace.gateway.console.addresses import QUERY, ROOT, SCRIPT, SESSION, SIGN_IN, SIGN_OUT, STATUS, STYLE, is_browser
from reelspace.gateway.console.endpoints import ConsoleEndpoints
from reelspace.gateway.console.page import problem_page, sign_in_page
from reelspace.gateway.console.problem import problem_of
from reelspace.search.access.refusal import RequestRefused

Handler = Callable[..., Any]
# Nothing is loaded from elsewhere; pictures of payloads are data URIs. No other site may show a page in a frame, or get a form of ours.
POLICY: Final = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not `no-referrer`: with that, browsers send no origin with forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def console_router(endpoints: ConsoleEndpoints, permitted: Callable[[Handler], Handler]) -> APIRouter:
    """Make the routes.

    Args:
        permitted: gives the handler that stands before each of ours, and checks who asks.
    """
    router = APIRouter(route_class=ConsoleRoute)
    routes: list[tuple[str, str, Handler]] = [
        ("GET", ROOT, permitted(endpoints.page)),
        ("GET", STATUS, permitted(endpoints.status)),
        ("POST", QUERY, permitted(endpoints.query)),
        ("GET", SIGN_IN, permitted(endpoints.sign_in_page)),
        # The key comes in the body: the handler itself checks it.
        ("POST", SESSION, endpoints.sign_in),
        ("POST", SIGN_OUT, permitted(endpoints.sign_out)),
        ("GET", STYLE, permitted(endpoints.style)),
        ("GET", SCRIPT, permitted(endpoints.script)),
    ]
    for method, path, handler in routes:
        router.add_api_route(path, handler, methods=[method], include_in_schema=False)
    return router


class ConsoleRoute(APIRoute):
    """A route whose refusals are pages for browsers, and whose handler takes the request and nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Call the handler without FastAPI's resolving of parameters."""
        handler: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint

        async def answer_request(request: Request) -> Response:
            try:
                response = await handler(request=request)
            except ReelspaceError as error:
                if isinstance(error, RequestRefused) and not is_browser(request.headers):
                    raise  # answered as the dialect's are
                response = _problem(request.url.path, error)
            response.headers.update(HEADERS)
            return response

        return answer_request


def _problem(path: str, error: ReelspaceError) -> Response:
    problem = problem_of(error)
    if path != SESSION:
        return HTMLResponse(problem_page(problem.status, problem.words), problem.status)
    words = "This key is none that is valid now." if problem.status == 401 else problem.words
    return HTMLResponse(sign_in_page(words), problem.status)
