"""What browsers ask of the console. Every handler gives a whole page, but for the part that is shown anew."""

import asyncio
from dataclasses import dataclass
from importlib import resources
from typing import Final

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from reelspace.core.errors import ReelspaceError
from reelspace.gateway.console.addresses import ROOT, SIGN_IN
from reelspace.gateway.console.asking import answer
from reelspace.gateway.console.clip_encoder import ClipEncoder
from reelspace.gateway.console.form import Form, is_form, parse_form
from reelspace.gateway.console.overview import Overview
from reelspace.gateway.console.page import console_page, sign_in_page
from reelspace.gateway.console.problem import Problem, problem_of
from reelspace.gateway.console.query_markup import QueryBox
from reelspace.gateway.console.question import Answer, Question, parse_question
from reelspace.gateway.console.same_origin import check_same_origin
from reelspace.gateway.console.sessions import Sessions, cookie
from reelspace.gateway.console.status_markup import status_part
from reelspace.gateway.console.views import StatusView
from reelspace.gateway.guard import Guard, secret_of
from reelspace.search.access.refusal import RequestRefused
from reelspace.serving.bodies import Bodies

MAX_FORM_BYTES: Final = 64 << 10
"""Of a form without its file."""
MAX_KEY_BYTES: Final = 4 << 10
"""Of the form of the sign-in: who sends it is not known yet."""
_FILES: Final = resources.files("reelspace.gateway.console")


@dataclass(frozen=True, slots=True)
class Doors:
    """What lets browsers in, and bounds what they send."""

    guard: Guard
    sessions: Sessions
    bodies: Bodies


class ConsoleEndpoints:
    """The handlers."""

    def __init__(self, overview: Overview, doors: Doors, clips: ClipEncoder | None) -> None:
        self._overview = overview
        self._doors = doors
        self._clips = clips

    async def page(self, request: Request) -> Response:
        """Show the state of this gateway, and the query box of a collection."""
        return self._page(await self._overview.status(request.query_params.get("collection")))

    async def status(self, request: Request) -> Response:
        """Show the state alone."""
        return HTMLResponse(status_part(await self._overview.status(request.query_params.get("collection"))))

    async def query(self, request: Request) -> Response:
        """Answer a question of the query box."""
        check_same_origin(request.headers)
        most_bytes = MAX_FORM_BYTES + (0 if self._clips is None else self._clips.max_bytes)
        with self._doors.bodies.one() as body:
            data = await body.read(request, most_bytes)
            # Searches go on while a file is taken out of a large form.
            form = await asyncio.to_thread(parse_form, request.headers.get("content-type", ""), data)
            self._doors.guard.check_scope("read")
            status = await self._overview.status(form.text("collection"))
            question, found = await self._asked(form)
            return self._page(status, question, found)

    async def _asked(self, form: Form) -> tuple[Question, Answer | Problem]:
        question = Question(form.text("collection"))
        try:
            question = parse_question(form)
            return question, await answer(question, await self._overview.opened(question.collection), self._clips)
        except ReelspaceError as error:
            return question, problem_of(error)

    def _page(self, status: StatusView, question: Question | None = None, found: Answer | Problem | None = None) -> Response:
        box, guard = None, self._doors.guard
        if status.selected is not None and status.selected.shards is not None:
            most_bytes = None if self._clips is None else self._clips.max_bytes
            box = QueryBox(status.selected, guard.may("read"), most_bytes, question, found)
        code = found.status if isinstance(found, Problem) else 200
        return HTMLResponse(console_page(status, box, has_keys=not guard.is_open), code)

    async def sign_in_page(self, request: Request) -> Response:
        """Ask for a key, where keys are asked for."""
        return RedirectResponse(ROOT, 303) if self._doors.guard.is_open else HTMLResponse(sign_in_page())

    async def sign_in(self, request: Request) -> Response:
        """Begin a session for who shows in a form a key that may use the console."""
        guard, content_type = self._doors.guard, request.headers.get("content-type", "")
        with self._doors.bodies.one() as body:
            data = await body.read(request, MAX_KEY_BYTES)
        # Who shows no key is told that, whatever else was sent.
        shown = parse_form(content_type, data).text("key") if is_form(content_type) else ""
        with guard.entered(shown or secret_of(request.headers.get)):
            guard.check_scope("admin")
            check_same_origin(request.headers)
            if guard.is_open:
                return RedirectResponse(ROOT, 303)
            if not shown:
                raise RequestRefused("key", "expected it in a form: who sends it in a header needs no session")
            token = self._doors.sessions.begin(guard.key().sha256)
        return RedirectResponse(ROOT, 303, {"Set-Cookie": cookie(token, secure=request.url.scheme == "https")})

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        check_same_origin(request.headers)
        self._doors.sessions.end(request.headers.get("cookie"))
        return RedirectResponse(SIGN_IN, 303, {"Set-Cookie": cookie("", secure=request.url.scheme == "https")})

    async def style(self, request: Request) -> Response:
        """Give the style sheet."""
        return Response(_FILES.joinpath("console.css").read_bytes(), media_type="text/css")

    async def script(self, request: Request) -> Response:
        """Give the script."""
        return Response(_FILES.joinpath("console.js").read_bytes(), media_type="text/javascript")
