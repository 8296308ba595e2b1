"""Write the Grafana dashboards of this folder, or check that they are current (`--check`).

A dashboard is a list of rows of panels; a panel is a title, a unit and its expressions with the legend of each.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
WIDTH: Final = 24
HEIGHT: Final = 8
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
MODEL: Final = 'model=~"$model"'
COLLECTION: Final = 'collection=~"$collection"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: expressions with their legends, in a unit of Grafana's."""

    title: str
    unit: str
    expressions: tuple[tuple[str, str], ...]
    about: str = ""


def rate(metric: str, by: str, where: str = MODEL) -> str:
    """Give the expression of a counter's growth a second, added up by labels."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def legend(by: str) -> str:
    """Name a line by its labels."""
    return " ".join(f"{{{{{name}}}}}" for name in by.split(", "))


def quantile(share: float) -> str:
    """Give the expression of a quantile of the time of answered inferences."""
    return f"histogram_quantile({share}, {rate('reelspace_inference_seconds_bucket', 'model, version, le')})"


def ratio(above: str, below: str, by: str) -> tuple[str, str]:
    """Give the expression of what one counter of Triton grows for each of another, and its legend."""
    return f"{rate(above, by)} / {rate(below, by)}", legend(by)


OF_VERSION: Final = "model, version"
REQUESTS: Final = (
    Panel(
        "Answered, by model and version",
        "reqps",
        ((rate("reelspace_inferences_total", OF_VERSION, f'{MODEL}, outcome="answered"'), legend(OF_VERSION)),),
    ),
    Panel(
        "Not answered, by outcome",
        "reqps",
        ((rate("reelspace_inferences_total", "model, outcome", f'{MODEL}, outcome!="answered"'), legend("model, outcome")),),
        "refused, too_large, not_served, deadline and cancelled are the clients'; overloaded, unavailable and failed are ours.",
    ),
    Panel(
        "Refused at the entrance",
        "reqps",
        ((rate("reelspace_refusals_total", "reason", ""), legend("reason")),),
        "Keys, scopes and limits of keys, of every request to the gateway.",
    ),
)
TIME: Final = (
    Panel(
        "p50 and p99, by model and version",
        "s",
        tuple((quantile(share), f"{legend(OF_VERSION)} {name}") for share, name in ((0.5, "p50"), (0.99, "p99"))),
        "Answered ones, from the first byte to the answer; between the limits of the histogram it is a guess.",
    ),
    Panel("In Triton's line, mean", "µs", (ratio("nv_inference_queue_duration_us", "nv_inference_request_success", OF_VERSION),)),
    Panel("In the model, mean", "µs", (ratio("nv_inference_compute_infer_duration_us", "nv_inference_request_success", OF_VERSION),)),
)
LOAD: Final = (
    Panel(
        "With Triton now, as the gateway counts",
        "short",
        ((f"sum by (model) (reelspace_inferences_running{{{MODEL}}})", legend("model")),),
        "Beyond `max_running` of one gateway process requests are refused.",
    ),
    Panel(
        "Waiting in Triton",
        "short",
        ((f"sum by ({OF_VERSION}) (nv_inference_pending_request_count{{{MODEL}}})", legend(OF_VERSION)),),
    ),
    Panel(
        "Rows per execution",
        "short",
        (ratio("nv_inference_count", "nv_inference_exec_count", "model"),),
        "How well batches form: 1 means that none do.",
    ),
)
LIFE: Final = (
    Panel(
        "Models that answer",
        "bool_yes_no",
        ((f"min by (model) (reelspace_model_up{{{MODEL}}})", legend("model")), ("min(reelspace_triton_up)", "Triton")),
        "By real requests; Triton calls a model ready whose process is gone.",
    ),
    Panel(
        "Versions that are rolled out",
        "short",
        ((f"max by (model) (reelspace_rollout_candidate{{{MODEL}}})", legend("model")),),
        "0: none. What a candidate answers is among the requests, by version.",
    ),
    Panel(
        "Repairs",
        "short",
        ((f"sum by (model, outcome) (increase(reelspace_model_repairs_total{{{MODEL}}}[1h]))", legend("model, outcome")),),
        "Within the hour before.",
    ),
    Panel(
        "Failures in Triton, by reason",
        "reqps",
        ((rate("nv_inference_request_failure", "model, version, reason"), legend("model, version, reason")),),
    ),
)
SERVING: Final = (("Requests", REQUESTS), ("Time", TIME), ("Load", LOAD), ("Life", LIFE))


def of_shard(figure: str) -> tuple[str, str]:
    """Give the expression of a figure of shards, the most that any gateway saw, and its legend."""
    by = "collection, shard"
    return f"max by ({by}) (reelspace_search_shard_{figure}{{{COLLECTION}}})", legend(by)


def seconds(metric: str, share: float) -> str:
    """Give the expression of a quantile of a histogram without labels."""
    return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket[$__rate_interval])))"


ANSWERS: Final = (
    Panel("Answers, by route", "reqps", ((rate("reelspace_requests_total", "route", ""), legend("route")),)),
    Panel(
        "Time of one search of one shard",
        "s",
        tuple((seconds("reelspace_shard_seconds", share), name) for share, name in ((0.5, "p50"), (0.99, "p99"))),
    ),
    Panel("Queries that wait", "short", (("sum(reelspace_queries_waiting)", "waiting"),), "Beyond `max_waiting` they are refused."),
)
ROWS: Final = (
    Panel("Rows", "short", (of_shard("rows"),)),
    Panel("Changes beside the generation", "short", (of_shard("unsealed"),), "Many slow searches down: the next generation is built then."),
    Panel("Log objects behind", "short", (of_shard("behind"),), "Written through a gateway, and not told of by the shard."),
)
GENERATIONS: Final = (
    Panel("Generation", "short", (of_shard("generation"),)),
    Panel("Generations loaded", "short", (of_shard("loaded"),), "Two while the next one comes, and for a minute after."),
    Panel("Generations refused", "short", (of_shard("refused"),), "Damaged, or without room beside what serves."),
    Panel("Controllers that lead", "short", (("sum(reelspace_controller_leads)", "leaders"),), "One."),
)
QUALITY: Final = (
    Panel("Least recall", "percentunit", (("min(reelspace_search_recall)", "recall"),), "Share of the 10 nearest that searches found."),
    Panel("Shards that find too little", "short", (("max(reelspace_search_recall_low)", "shards"),)),
    Panel("Damages found", "short", (of_shard("damages"),), "What was loaded had changed: it is loaded anew."),
    Panel("Shards not asked of a server", "short", (("max by (replica) (reelspace_replica_shards_out)", legend("replica")),)),
    Panel(
        "What becomes of servers and calls",
        "ops",
        ((rate("reelspace_replica_events_total", "replica, event", ""), legend("replica, event")),),
    ),
)
SEARCH: Final = (("Answers", ANSWERS), ("Rows", ROWS), ("Generations", GENERATIONS), ("Quality and servers", QUALITY))


def pages() -> dict[str, str]:
    """Give every dashboard by file name."""
    made = {
        "serving.json": dashboard("reelspace-serving", "reelspace serving", SERVING, _variable("model", "reelspace_inferences_running")),
        "search.json": dashboard("reelspace-search", "reelspace search", SEARCH, _variable("collection", "reelspace_search_shard_rows")),
    }
    return {name: json.dumps(one, indent=1, ensure_ascii=False) + "\n" for name, one in made.items()}


def dashboard(uid: str, title: str, rows: Sequence[tuple[str, Sequence[Panel]]], variable: dict[str, Any]) -> dict[str, Any]:
    """Lay out rows of panels as Grafana reads them."""
    panels: list[dict[str, Any]] = []
    for place, (name, row) in enumerate(rows):
        top = place * (HEIGHT + 1)
        panels.append({"id": len(panels) + 1, "type": "row", "title": name, "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top}})
        width = WIDTH // len(row)
        for column, panel in enumerate(row):
            where = {"h": HEIGHT, "w": width, "x": column * width, "y": top + 1}
            panels.append({"id": len(panels) + 1, "gridPos": where, **_timeseries(panel)})
    return {
        "uid": uid,
        "title": title,
        "tags": ["reelspace"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source_variable(), variable]},
        "panels": panels,
    }


def _timeseries(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for place, (expression, legend) in enumerate(panel.expressions)
    ]
    field = {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": field,
        "targets": targets,
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str, metric: str) -> dict[str, Any]:
    chosen = {"text": "All", "value": "$__all"}
    more = {"includeAll": True, "multi": True, "refresh": 2, "current": chosen}
    query = f"label_values({metric}, {label})"
    return {"name": label, "label": label.capitalize(), "type": "query", "datasource": SOURCE, "query": query, **more}


def main() -> int:
    """Write or check; 0 when all is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        target = FOLDER / name
        if not check:
            target.write_text(text)
        elif not target.is_file() or target.read_text() != text:
            stale.append(f"dashboards/{name}")
    if stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run `python dashboards/generate.py`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
