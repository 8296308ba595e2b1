"""HTML that is escaped where it is made: whatever is not HTML already becomes text. Pure."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final, TypeAlias


class Html(str):
    """Text that is HTML already; only this module makes it."""

    __slots__ = ()


Attributes: TypeAlias = Mapping[str, str | bool | None]
"""By name; None and False leave an attribute out, True is one without a value."""
_VOID: Final = frozenset({"img", "input", "link", "meta"})
NOTHING: Final = Html("")


def text(value: str) -> Html:
    """Give text as HTML, quotes escaped, too."""
    return value if isinstance(value, Html) else Html(escape(value))


def joined(parts: Iterable[str]) -> Html:
    """Put parts one behind the other."""
    return Html("".join(text(part) for part in parts))


def element(tag: str, attributes: Attributes | None = None, *children: str) -> Html:
    """Make an element; children that are no Html are text."""
    given = "".join(_attribute(name, value) for name, value in (attributes or {}).items())
    return Html(f"<{tag}{given}>") if tag in _VOID else Html(f"<{tag}{given}>{joined(children)}</{tag}>")


def document(title: str, head: str, body: str) -> Html:
    """Make a whole page."""
    fit = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    first = joined([element("meta", {"charset": "utf-8"}), element("meta", fit), element("title", None, title), head])
    page = element("html", {"lang": "en"}, element("head", None, first), element("body", None, body))
    return joined([Html("<!doctype html>"), page])


def _attribute(name: str, value: str | bool | None) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(value)}"'
