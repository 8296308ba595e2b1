"""The pages of the console. Pure."""

from http import HTTPStatus
from typing import Final

from reelspace.gateway.console.addresses import ROOT, SCRIPT, SESSION, SIGN_IN, SIGN_OUT, STYLE
from reelspace.gateway.console.markup import NOTHING, Attributes, Html, document, element, joined
from reelspace.gateway.console.query_markup import QueryBox, query_part
from reelspace.gateway.console.status_markup import span, status_part
from reelspace.gateway.console.views import StatusView

_LOST: Final = "This gateway does not answer: what is shown may be old."


def console_page(status: StatusView, box: QueryBox | None, *, has_keys: bool) -> Html:
    """Make the page.

    Args:
        box: None where there is no collection to ask.
        has_keys: whether there is a sign-in to leave.
    """
    facts = element("p", {"class": "quiet"}, f"process {status.pid}, up for {span(status.up_s)}")
    leave = element("form", {"method": "post", "action": SIGN_OUT}, element("button", {"class": "plain"}, "Sign out"))
    header = element("header", None, element("h1", None, "reelspace console"), facts, leave if has_keys else NOTHING)
    lost = element("p", {"id": "lost", "class": "problem", "role": "alert", "hidden": True}, _LOST)
    main = element("main", None, lost, status_part(status), NOTHING if box is None else query_part(box))
    return _page("reelspace console", joined([header, main]))


def sign_in_page(problem: str | None = None) -> Html:
    """Make the page that asks for a key."""
    told = NOTHING if problem is None else element("p", {"class": "problem", "role": "alert"}, problem)
    field: Attributes = {"name": "key", "type": "password", "required": True, "autocomplete": "off", "autofocus": True}
    label = element("label", None, element("span", None, "API key with the scope admin"), element("input", field))
    form = element("form", {"method": "post", "action": SESSION}, label, element("button", None, "Sign in"))
    note = element("p", {"class": "quiet"}, "The key is not kept: this browser gets a session of eight hours, of no use to other sites.")
    return _page("Sign in to reelspace", element("main", {"class": "narrow"}, element("h1", None, "reelspace console"), told, form, note))


def problem_page(status: int, problem: str) -> Html:
    """Make the page of what was refused."""
    back = element("p", None, element("a", {"href": ROOT}, "Back to the console"), " or ", element("a", {"href": SIGN_IN}, "sign in anew"))
    told = element("p", {"class": "problem", "role": "alert"}, problem)
    main = element("main", {"class": "narrow"}, element("h1", None, f"{status} {HTTPStatus(status).phrase}"), told, back)
    return _page("reelspace console", main)


def _page(title: str, body: Html) -> Html:
    style = element("link", {"rel": "stylesheet", "href": STYLE})
    script = element("script", {"src": SCRIPT, "defer": True})
    return document(title, joined([style, script]), body)
