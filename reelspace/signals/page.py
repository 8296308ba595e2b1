"""The report as one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reelspace.signals.report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem } h3 { margin: 0 0 .4rem }
table { border-collapse: collapse } td, th { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.bar { background: #2f6f9f; height: .75rem; min-width: 1px; border-radius: 2px }
.row { display: flex; flex-wrap: wrap; gap: 2.5rem } .sub { color: #5c6b7a }
"""
_BAR_PX = 160


def render_page(report: Report) -> str:
    """Render the report; no script, no address outside of the page."""
    hashtags = report["hashtags"]
    sections = [
        f"<h1>Crowd signals</h1><p class=sub>{escape(_summary(report))}</p>",
        _section("Funnels", _row(_funnel(name, stages) for name, stages in report["funnels"].items())),
        _section("Relevance of hashtags on the judged sample", _relevance(hashtags)),
        _section("Rules", _rules(report["rules"])),
        _section(
            "Hashtags",
            _row(
                [
                    _titled("most often removed", _table(("tag", "uses", "first rule"), report["top_removed"])),
                    _titled("most often kept", _table(("tag", "uses"), report["top_kept"])),
                    _titled("merged", _table(("tag", "into", "kind", "similarity"), map(_merge_row, report["merges"]))),
                ]
            ),
        ),
        _section("Labels", _labels(report["labels"])),
    ]
    body = "\n".join(sections)
    head = f"<head><meta charset=utf-8><title>Crowd signals</title><style>{_STYLE}</style></head>"
    return f"<!doctype html>\n<html lang=en>{head}\n<body>{body}</body></html>\n"


def _summary(report: Report) -> str:
    labels, hashtags = report["labels"], report["hashtags"]
    versions = ", ".join(f"{name} {version}" for name, version in report["lexicon_versions"].items())
    return (
        f"{labels['num_labels']} labels on works in {labels['num_entries']} entries; "
        f"{hashtags['num_kept']} of {hashtags['num_uses']} uses of hashtags kept. Lexicons: {versions}."
    )


def _funnel(name: str, stages: Sequence[Mapping[str, object]]) -> str:
    counts = [(str(stage["stage"]), _int(stage["count"])) for stage in stages]
    return _titled(name, _bars(counts, counts[0][1] if counts else 0))


def _relevance(hashtags: Mapping[str, object]) -> str:
    rows = [(name.replace("_", " "), *_share(hashtags[name])) for name in ("precision_before", "precision_after", "relevant_kept")]
    target = {True: "reached", False: "not reached", None: "not calibrated: too few judged uses"}[hashtags["target_reached"]]  # type: ignore[index]
    note = (
        f"Threshold {_number(hashtags['threshold'])}, target precision {hashtags['target_precision']}: {target}. "
        f"{hashtags['num_judged']} judged uses; figures after cleaning are of uses scored by weights fitted without them."
    )
    return f"<p>{escape(note)}</p>" + _table(("", "share", "95 % interval", "uses"), rows)


def _rules(rules: Sequence[Mapping[str, object]]) -> str:
    heads = ("rule", "what it says", "has an opinion", "flags", "alone", "first reason to remove", "right when judged", "95 %", "judged")
    rows = [
        (
            rule["name"],
            rule["description"],
            rule["known"],
            rule["flagged"],
            rule["flagged_alone"],
            rule["removed"],
            *_share(rule["precision"]),
        )
        for rule in rules
    ]
    return _table(heads, rows)


def _labels(labels: Mapping[str, object]) -> str:
    parts = []
    for title, key in (("works per label, from", "works_per_label"), ("freshness, from", "freshness"), ("most frequent", "top")):
        counts = [(str(name), _int(count)) for name, count in labels[key]]  # type: ignore[attr-defined]
        parts.append(_titled(title, _bars(counts, max((count for _, count in counts), default=0))))
    return _row(parts)


def _bars(counts: Sequence[tuple[str, int]], most: int) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class=n>{count}</td>"
        f"<td><div class=bar style='width:{_BAR_PX * count // max(most, 1)}px'></div></td></tr>"
        for name, count in counts
    )
    return f"<table>{rows}</table>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + f"</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f"<td class=n>{_number(value)}</td>"
    return f"<td>{escape(str(value))}</td>"


def _share(share: object) -> tuple[object, object, object]:
    values: Mapping[str, object] = share  # type: ignore[assignment]
    value = values["value"]
    return ("" if value is None else _number(value), f"{_number(values['low'])} to {_number(values['high'])}", values["count"])


def _merge_row(merge: Mapping[str, object]) -> Sequence[object]:
    return (merge["tag"], merge["into"], merge["kind"], merge["similarity"])


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _titled(title: str, body: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{body}</div>"


def _row(parts: Iterable[str]) -> str:
    return f"<div class=row>{''.join(parts)}</div>"
