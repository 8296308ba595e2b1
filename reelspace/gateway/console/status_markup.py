"""The state of a gateway as HTML: the part of the page that is shown anew every few seconds. Pure."""

from collections.abc import Sequence
from typing import Final

from reelspace.gateway.console.addresses import ROOT, STATUS, of_collection
from reelspace.gateway.console.markup import NOTHING, Html, element, joined
from reelspace.gateway.console.replica_states import ReplicaView
from reelspace.gateway.console.shards_markup import recall_cell, shards_table, state_of
from reelspace.gateway.console.table_markup import cell, row_name, state, table
from reelspace.gateway.console.views import CollectionView, StatusView

_HOUR_S: Final = 3600.0
_COLUMNS: Final = ("Collection", "State", "Rows", "Recall", "Shards", "Generation", "Unsealed", "Behind")


def status_part(view: StatusView) -> Html:
    """Make the part; a script replaces it by what its own address answers."""
    attributes = {"id": "status", "data-source": of_collection(STATUS, None if view.selected is None else view.selected.name)}
    return element("div", attributes, _figures(view), _collections(view), _selected(view), _servers(view.replicas), _refusals(view))


def section(title: str, *children: str) -> Html:
    """Make a part with a title."""
    return element("section", None, element("h2", None, title), *children)


def span(seconds: float) -> str:
    """Give a time that has gone by in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / _HOUR_S:.0f} h" if seconds < 48 * _HOUR_S else f"{seconds / 24 / _HOUR_S:.0f} days"


def _figures(view: StatusView) -> Html:
    is_open = [one for one in view.collections if one.shards is not None]
    figures = [
        ("Collections", view.num_collections, f"{len(is_open):,} open here"),
        ("Rows", sum(one.num_rows for one in is_open), "in open collections"),
        ("Unsealed", sum(one.num_unsealed for one in is_open), "changes beside generations"),
        ("Waiting", view.num_waiting, "queries now"),
        ("Refused", sum(view.refusals.values()), f"requests in {span(view.up_s)}"),
    ]
    cards = (
        element("div", None, element("dt", None, name), element("dd", None, f"{value:,}", element("small", None, note)))
        for name, value, note in figures
    )
    return element("dl", {"class": "figures"}, *cards)


def _collections(view: StatusView) -> Html:
    if not view.collections:
        nothing = "There are none yet: a client makes the first one, or a pipeline promotes one."
        return section("Collections", element("p", {"class": "empty"}, nothing))
    rows = (_collection_row(one, view.selected) for one in view.collections)
    num_more = view.num_collections - len(view.collections)
    more = f"{num_more:,} more that are not open here: {ROOT}?collection=NAME shows one."
    return section("Collections", table(_COLUMNS, rows, "Collections"), element("p", {"class": "quiet"}, more) if num_more else NOTHING)


def _collection_row(view: CollectionView, selected: CollectionView | None) -> list[Html]:
    is_selected = selected is not None and view.name == selected.name
    link = element("a", {"href": of_collection(ROOT, view.name), "aria-current": "true" if is_selected else None}, view.name)
    name = row_name(link, f"also {', '.join(view.aliases)}" if view.aliases else "")
    if view.shards is None:
        nothing = "not open in this process: nothing has asked for it here yet"
        return [name, element("td", {"colspan": str(len(_COLUMNS) - 1), "class": "quiet"}, nothing)]
    return [
        name,
        cell(state_of(view.shards)),
        cell(f"{view.num_rows:,}"),
        recall_cell(view.recall, is_low=view.has_low_recall),
        cell(f"{len(view.shards):,}"),
        cell(_generations(view)),
        cell(f"{view.num_unsealed:,}"),
        cell(f"{view.num_behind:,}"),
    ]


def _generations(view: CollectionView) -> str:
    numbers = [one.facts.generation for one in view.shards or ()]
    least, most = min(numbers, default=0), max(numbers, default=0)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _selected(view: StatusView) -> Html:
    chosen = view.selected
    if chosen is None:
        return NOTHING
    title = joined(["Shards of ", element("span", {"class": "name"}, chosen.name)])
    if chosen.shards is None:
        return section(title, element("p", {"class": "empty"}, view.problem or "It is not open."))
    vectors = "; ".join(f"{name or 'vectors'} of {kind}" for name, kind in chosen.vectors.items())
    return section(title, element("p", {"class": "quiet"}, vectors), shards_table(chosen.shards))


def _servers(replicas: Sequence[ReplicaView]) -> Html:
    title = "Servers behind this gateway"
    if not replicas:
        return section(title, element("p", {"class": "empty"}, "None: shards run inside this process."))
    names = ("Server", "State", "Shards out", "Doubted in the last minute", "Calls asked of others", "Last event")
    return section(title, table(names, (_server_row(one) for one in replicas), title))


def _server_row(view: ReplicaView) -> list[Html]:
    kind = {"trusted": "good", "doubted": "fair", "out": "bad"}[view.state]
    hedged, moved = view.events.get("hedged", 0), view.events.get("moved", 0)
    return [
        row_name(element("span", {"class": "name"}, view.address)),
        cell(state(kind, view.state)),
        cell(f"{view.num_out:,}"),
        cell(f"{view.num_doubts:,}"),
        cell(f"{hedged:,} as well, {moved:,} instead"),
        cell("none" if view.last is None else f"{view.last[0]} {span(view.last[1])} ago"),
    ]


def _refusals(view: StatusView) -> Html:
    if not view.refusals:
        return section("Refused requests", element("p", {"class": "empty"}, "None since the start."))
    most_first = sorted(view.refusals.items(), key=lambda one: (-one[1], one[0]))
    rows = ([row_name(reason), cell(f"{count:,}")] for reason, count in most_first)
    return section("Refused requests", table(("Reason", "Since the start"), rows, "Refused requests"))
