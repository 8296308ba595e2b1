"""Tables as HTML. Pure."""

from collections.abc import Iterable, Sequence

from reelspace.gateway.console.markup import Html, element


def table(names: Sequence[str], rows: Iterable[Sequence[Html]], label: str) -> Html:
    """Make a table that scrolls by itself where the page is narrow."""
    head = element("thead", None, element("tr", None, *(element("th", {"scope": "col"}, name) for name in names)))
    body = element("tbody", None, *(element("tr", None, *row) for row in rows))
    return element("div", {"class": "scrolls", "tabindex": "0", "role": "region", "aria-label": label}, element("table", None, head, body))


def cell(content: str, kind: str | None = None) -> Html:
    """Make one cell."""
    return element("td", {"class": kind}, content)


def row_name(content: str, note: str = "") -> Html:
    """Make the cell that names its row, with a note below."""
    return element("th", {"scope": "row"}, content, *([element("small", None, note)] if note else []))


def state(kind: str, words: str) -> Html:
    """Make a state that is told by its words, and by its colour: `good`, `fair` or `bad`."""
    return element("span", {"class": f"state {kind}"}, words)
