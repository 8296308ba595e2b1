"""The report as one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reelspace.signals.graph_picture import Picture
from reelspace.signals.report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem } h3 { margin: 0 0 .4rem }
table { border-collapse: collapse } td, th { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.bar { background: #2f6f9f; height: .75rem; min-width: 1px; border-radius: 2px }
line { stroke: #9fb3c4 } circle { fill: #2f6f9f } text { font-size: 12px; fill: #1d2733 }
.row { display: flex; flex-wrap: wrap; gap: 2.5rem } .sub { color: #5c6b7a }
"""
_BAR_PX = 160
_PICTURE_PX = (960, 640)
_MARGIN_PX = 60


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
        _section("Coverage: tagged works against all works", _coverage(report["coverage"])),
        _section("Search pairs", _searches(report["searches"])),
        _section("Labels", _labels(report["labels"])),
    ]
    if report["graph"]:
        sections.append(_section("Labels that occur together", _picture(report["graph"])))
    if report["comment_languages"]:
        sections.append(_section("Languages of comments", _bars_by_size(report["comment_languages"])))
    sections.append(_section("Privacy: what was masked", _privacy(report["privacy"])))
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


def _coverage(coverage: Mapping[str, Mapping[str, object]]) -> str:
    heads = ("by", "groups", "tagged", "works", "total variation", "95 %", "by chance", "divergence, bits", "95 %", "chance is as far")
    return "".join(
        _titled(name, _table(heads, map(_difference_row, found["differences"].items())) + f"<p>{escape(_content(found))}</p>")  # type: ignore[attr-defined]
        for name, found in coverage.items()
    )


def _difference_row(named: tuple[str, Mapping[str, object]]) -> Sequence[object]:
    name, found = named
    variation, divergence = _figure(found["total_variation"]), _figure(found["divergence"])
    chances = [_or_nothing(found["by_chance"]), _or_nothing(found["chance_is_as_far"])]
    return (name, found["num_groups"], found["num_tagged"], found["num_works"], *variation, chances[0], *divergence, chances[1])


def _content(found: Mapping[str, object]) -> str:
    same, gini = _figure(found["same_content"]), _figure(found["tags_per_creator_gini"])
    return (
        f"Another work of the same tag lies in the same cluster of content with chance {_number(same[0]) or 'unknown'} ({same[1]}), "
        f"any other tagged work with {_number(_or_nothing(found['same_content_by_chance'])) or 'unknown'}. "
        f"Gini coefficient of tags per creator: {_number(gini[0]) or 'unknown'} ({gini[1]})."
    )


def _searches(searches: Mapping[str, object]) -> str:
    parts = []
    for title, key in (("queries per work, from", "queries_per_work"), ("queries with the most works", "top")):
        counts = [(str(name), _int(count)) for name, count in searches[key]]  # type: ignore[attr-defined]
        parts.append(_titled(title, _bars(counts, max((count for _, count in counts), default=0))))
    return f"<p>{searches['num_pairs']} pairs of {searches['num_queries']} queries with works.</p>" + _row(parts)


def _privacy(rows: Sequence[Mapping[str, object]]) -> str:
    found = [row for row in rows if row["num_masked"]]
    if not found:
        return "<p>Nothing had to be masked.</p>"
    names = ("table", "column", "kind", "num_masked", "num_texts")
    return _table(("file", "column", "kind", "masked", "texts"), ([row[name] for name in names] for row in found))


def _picture(picture: Picture) -> str:
    width, height = _PICTURE_PX
    spots = [(_MARGIN_PX + x * (width - 2 * _MARGIN_PX), _MARGIN_PX / 2 + y * (height - _MARGIN_PX)) for _, _, x, y in picture["labels"]]
    most = max((works for _, works, _, _ in picture["labels"]), default=1)
    lines = [
        "<line x1={:.1f} y1={:.1f} x2={:.1f} y2={:.1f} stroke-width={:.2f} />".format(*spots[i], *spots[j], 0.5 + 4 * strength)
        for i, j, strength in picture["edges"]
    ]
    labels = [
        f"<circle cx={x:.1f} cy={y:.1f} r={3 + 7 * (works / most) ** 0.5:.1f} />"
        f"<text x={x + 9:.1f} y={y + 4:.1f}>{escape(text)}<title>{works} works</title></text>"
        for (x, y), (text, works, _, _) in zip(spots, picture["labels"], strict=True)
    ]
    return f"<svg viewBox='0 0 {width} {height}' role=img width={width} height={height}>{''.join(lines + labels)}</svg>"


def _bars_by_size(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return _bars(ordered, ordered[0][1] if ordered else 0)


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


def _figure(figure: object) -> tuple[object, str]:
    values: Mapping[str, object] = figure  # type: ignore[assignment]
    interval = "" if values["low"] is None else f"{_number(values['low'])} to {_number(values['high'])}"
    return _or_nothing(values["value"]), interval


def _or_nothing(value: object) -> object:
    return "" if value is None else value


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
