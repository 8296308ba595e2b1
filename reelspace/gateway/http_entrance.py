"""Where requests over HTTP come in: they get an id, show their key, and are counted when they are answered."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final

import orjson
from fastapi import Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelspace.gateway.console.addresses import BEFORE_SIGN_IN, SESSION, SIGN_IN, is_browser, is_console
from reelspace.gateway.console.sessions import Sessions
from reelspace.gateway.guard import Guard, secret_of
from reelspace.gateway.records import Records
from reelspace.gateway.request_start import REQUEST_ID, request_of
from reelspace.search.access.current_request import begin
from reelspace.search.access.http_answer import refused
from reelspace.search.access.refusal import RequestRefused

HEALTH_PATHS: Final = frozenset({"/livez", "/healthz", "/readyz", "/startupz", "/metrics"})
OPEN_PATHS: Final = HEALTH_PATHS | BEFORE_SIGN_IN | {"/", "/v2/health/live", "/v2/health/ready"}
"""What is answered without a key, as Qdrant does; every other address, known or not, asks for one."""


class HttpEntrance:
    """Passes requests on to the application when the guard lets them in."""

    def __init__(
        self, app: ASGIApp, guard: Guard, records: Records, sessions: Sessions, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._guard = guard
        self._records = records
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and keep what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s, status, headers = self._clock(), 500, Headers(scope=scope)
        request = request_of(headers.get)
        begin(request)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request.id
            await send(message)

        try:
            await self._pass(scope, receive, noting, headers, start_s)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._records.answered_http(scope["method"], route, status, self._clock() - start_s)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, headers: Headers, start_s: float) -> None:
        path: str = scope["path"]
        if self._guard.is_open or path in OPEN_PATHS or path == SESSION:
            await self._app(scope, receive, send)
            return
        try:
            with self._entered(path, headers):
                await self._app(scope, receive, send)
        except RequestRefused as error:
            # Only the entrance raises it through here: what handlers refuse is an answer by now.
            to_sign_in = error.status == HTTPStatus.UNAUTHORIZED and is_console(path) and is_browser(headers)
            answer = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER) if to_sign_in else answer_refusal(path, error, start_s)
            await answer(scope, receive, send)

    def _entered(self, path: str, headers: Headers) -> AbstractContextManager[None]:
        """Let in by the key, or, to the console alone, by the session of a browser that has shown one."""
        secret = secret_of(headers.get)
        if secret is None and is_console(path):
            return self._guard.entered_again(self._sessions.key_of(headers.get("cookie")))
        return self._guard.entered(secret)


def answer_refusal(path: str, error: RequestRefused, start_s: float) -> Response:
    """Answer a refusal in the shape of what was asked: the V2 protocol's, or the dialect's."""
    response = refused(error, start_s)
    if path.startswith("/v2"):
        body = {"error": str(error), "field": str(error).partition(":")[0]}
        response = Response(orjson.dumps(body), error.status, dict(response.headers), "application/json")
        response.headers["content-length"] = str(len(response.body))
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
