"""The shards of one collection as HTML. Pure."""

from collections.abc import Sequence
from typing import Final

from reelspace.gateway.console.markup import Html, element
from reelspace.gateway.console.sparkline import sparkline
from reelspace.gateway.console.table_markup import cell, row_name, state, table
from reelspace.gateway.console.views import ShardView

_NAMES: Final = ("Shard", "State", "Recall", "Last hour", "Rows", "Generation", "Unsealed", "Log", "Behind", "Memory")
_NOTES: Final = (
    "Log: the last object of its log that the shard has applied. Behind: objects written through this gateway beyond that. "
    "Unsealed: changes beside the generation. Recall: the share of the 10 nearest that searches found lately, held against "
    "all sealed rows; the dashed line is what the generation was built for."
)


def shards_table(shards: Sequence[ShardView]) -> Html:
    """Make the table, with what its columns mean."""
    rows = (_row(number, shard) for number, shard in enumerate(shards))
    return element("div", None, table(_NAMES, rows, "Shards"), element("p", {"class": "quiet"}, _NOTES))


def state_of(shards: Sequence[ShardView]) -> Html:
    """Give what is the matter with shards, the worst first."""
    if any(one.facts.has_low_recall for one in shards):
        return state("bad", "low recall")
    if any(one.num_behind for one in shards):
        return state("fair", "behind")
    if any(one.facts.is_overdue for one in shards):
        return state("fair", "build due")
    return state("good", "well")


def recall_cell(recall: float | None, *, is_low: bool) -> Html:
    """Make the cell of a recall."""
    return cell("not known" if recall is None else f"{recall:.3f}", "quiet" if recall is None else "bad" if is_low else None)


def _row(number: int, shard: ShardView) -> list[Html]:
    facts, line = shard.facts, sparkline(shard.recalls, shard.facts.recall_target)
    return [
        row_name(str(number)),
        cell(state_of([shard])),
        recall_cell(facts.recall, is_low=facts.has_low_recall),
        cell(line or "none yet", None if line else "quiet"),
        cell(f"{facts.num_rows:,}"),
        cell(f"{facts.generation:,}"),
        cell(f"{facts.num_unsealed:,}"),
        cell(f"{facts.applied:,}"),
        cell(f"{shard.num_behind:,}"),
        cell(_size(facts.size_bytes)),
    ]


def _size(size_bytes: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1024:.0f} KiB"
