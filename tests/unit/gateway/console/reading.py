"""Reads a page of the console as a browser does, and checks on the way that its elements close in order."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"img", "input", "link", "meta"}


@dataclass
class Element:
    """One element, with all that is in it."""

    tag: str
    attributes: dict[str, str | None]
    inside: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    def all(self, tag: str, **attributes: str) -> "list[Element]":
        """Give the elements inside, at any depth; `class_` is the attribute class, and matches one of its words."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        found = []
        for one in self.inside:
            if not isinstance(one, str):
                is_it = one.tag == tag and all(value in (one.attributes.get(name) or "").split(" ") for name, value in wanted.items())
                found += ([one] if is_it else []) + one.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found

    def table(self, label: str) -> list[list[str]]:
        """Give the texts of the cells of a table's body."""
        (region,) = (one for one in self.all("div", class_="scrolls") if one.attributes["aria-label"] == label)
        rows = [row for body in region.all("tbody") for row in body.all("tr")]
        return [[cell.text for cell in row.inside if not isinstance(cell, str)] for row in rows]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(page: str) -> Element:
    """Give the whole page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert len(reader.open) == 1
    return reader.open[0]
