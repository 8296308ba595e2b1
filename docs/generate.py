"""Write the generated pages of docs/reference, or check that they are current (`--check`).

report.schema.json and report.md from the report's model, cli.md from the command line, settings.md from each step's settings,
claims.md from the result of benchmarks/ablation.py, parity.md from that of benchmarks/training_parity.py.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer

from reelspace.cli.main import app
from reelspace.core.settings import Settings
from reelspace.demo.report import Report, schema

REFERENCE = Path(__file__).resolve().parent / "reference"
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
ARM_FIGURES = {
    "video_to_topic_p10": "video -> topic P@10",
    "video_to_topic_p10_newborn": "newborn topics",
    "background_swap_share": "swapped backgrounds",
    "picture_p10": "picture alone",
    "text_to_topic_p10_seen": "text, seen",
    "text_to_topic_p10_unseen": "text, unseen",
    "label_map": "labels, mAP",
    "label_purity": "label purity",
}
STEP_SETTINGS = {
    "import_tables": "ImportSettings",
    "preprocess_signals": "SignalsSettings",
    "preprocess_media": "MediaSettings",
    "pretrain": "TrainSettings",
    "distill": "DistillSettings",
    "import_labelled": "ImportLabelledSettings",
    "finetune": "FinetuneSettings",
    "embed": "EmbedSettings",
    "evaluate": "EvaluateSettings",
    "export": "ExportSettings",
    "build_index": "BuildIndexSettings",
    "upsert": "UpsertSettings",
    "promote": "PromoteSettings",
}


def pages() -> dict[str, str]:
    """Give every generated page by file name."""
    return {
        "report.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        "report.md": report_page(),
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "claims.md": claims_page(json.loads((RESULTS / "ablation.json").read_text())),
        "parity.md": parity_page(json.loads((RESULTS / "training_parity.json").read_text())),
    }


def claims_page(result: dict[str, Any]) -> str:
    """Tell every claim with its difference, and every arm with its figures."""
    return "\n".join(
        [
            "# The talk's claims, measured",
            "",
            f"Generated platform `apps`, {result['works']:,} works, {result['seeds']} seeds, {result['steps']} steps of training per arm.",
            "Queries are the works after the cut-off, known by media and caption only. Every arm differs from `full` in one thing",
            "(`full_longer`: 700 steps; `self_supervision`: the better of its fused and its pooled picture vector counts).",
            "A difference is paired by query; its 95 % interval resamples queries within seeds and does not cover the luck of a run:",
            f"look at the seeds beside it. Measured by `benchmarks/ablation.py` on {result['date']}.",
            "",
            "| claim | compared | figure | difference | interval | by seed | verdict |",
            "|---|---|---|---|---|---|---|",
            *(_claim_row(row) for row in result["claims"]),
            "",
            "Means over the seeds:",
            "",
            "| arm | " + " | ".join(ARM_FIGURES.values()) + " |",
            "|---" * (len(ARM_FIGURES) + 1) + "|",
            *(f"| `{arm}` | " + " | ".join(_mean(values.get(key)) for key in ARM_FIGURES) + " |" for arm, values in result["arms"].items()),
            "",
        ]
    )


def parity_page(result: dict[str, Any]) -> str:
    """Tell how far the losses of every way to train are from those of the plain loop."""
    worst = max(value for row in result["rows"].values() for value in row.values())
    return "\n".join(
        [
            "# Parity of the engines",
            "",
            "Largest relative difference of the loss over ten steps in float32 against a plain loop of torch in one process, with the same",
            "works, masks and negatives. With accumulation the plain loop accumulates too; GradCache, checkpointing and offload are held",
            f"against a loop without them. The bar is {result['bar']:.0e}; the largest difference is {worst:.1e}.",
            f"Measured by `benchmarks/training_parity.py` on {result['date']}, torch {result['versions']['torch']},",
            f"DeepSpeed {result['versions']['deepspeed']}.",
            "",
            "| training | 1 process | 2 processes |",
            "|---|---|---|",
            *(
                f"| {name} | " + " | ".join(f"{row[num]:.1e}" if num in row else "" for num in "12") + " |"
                for name, row in result["rows"].items()
            ),
            "",
            f"The gradient of the gathered losses on 4 processes differs from that on one by {result['gradient_on_4_processes']:.1e}",
            f"of its largest element (bar {result['gradient_bar']:.0e}).",
            "",
        ]
    )


def _claim_row(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    seeds = ", ".join(f"{value:+.3f}" for value in row["by_seed"])
    cells = [row["claim"], f"`{row['with']}` - `{row['without']}`", row["figure"], f"{row['difference']:+.3f}"]
    return "| " + " | ".join([*cells, f"{low:+.3f} to {high:+.3f}", seeds, row["verdict"]]) + " |"


def _mean(values: list[float] | None) -> str:
    return "" if values is None else f"{sum(values) / len(values):.3f}"


def fields(model: type[Settings], path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Walk a settings model: dotted name, type, default, description."""
    for name, field in model.model_fields.items():
        dotted = f"{path}{field.alias or name}"
        inner = _settings_of(field.annotation)
        default = "" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield dotted, _type_name(field.annotation), default, field.description or ""
        if inner is not None:
            yield from fields(inner, f"{dotted}.")


def _default(value: object) -> str:
    return "" if isinstance(value, Settings) else f"`{value}`"


def _settings_of(annotation: Any) -> type[Settings] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Settings):
            return candidate
    return None


def _type_name(annotation: Any) -> str:
    name = annotation.__name__ if isinstance(annotation, type) and not getattr(annotation, "__args__", ()) else str(annotation)
    for prefix in ("typing.", "datetime.", "pathlib."):
        name = name.replace(prefix, "")
    return name.rsplit(".", 1)[-1] if "[" not in name and "|" not in name else name.replace("reelspace.", "").replace("|", "or")


def _table(model: type[Settings]) -> str:
    rows = [f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in fields(model)]
    return "\n".join(["| name | type | default | meaning |", "|---|---|---|---|", *rows])


def report_page() -> str:
    """Document demo-out/report.json."""
    return (
        "# report.json\n\nThe figures of one journey, written by `reelspace demo run` and `reelspace run`. "
        "Schema: [report.schema.json](report.schema.json). "
        "A share is between 0 and 1; null means that this journey could not measure it.\n\n"
        f"{_table(Report)}\n"
    )


def settings_page() -> str:
    """Document the settings of every step."""
    parts = ["# Settings of the steps\n\nOne JSON object per step; override on the command line with `--set step.key=value`.\n"]
    for step, name in STEP_SETTINGS.items():
        module = importlib.import_module(f"reelspace.steps.{step}")
        parts.append(f"## {step}\n\n{_table(getattr(module, name))}\n")
    return "\n".join(parts)


def cli_page() -> str:
    """Document every command with its options."""
    parts = ["# The command line\n\n`reelspace` and `python -m reelspace.cli` are the same.\n"]
    root = typer.main.get_command(app)
    for path, command in _commands(root, ("reelspace",)):
        parts.append(f"## {' '.join(path)}\n\n{(command.help or '').strip()}\n")
        rows = [_option(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            parts.append("\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _option(parameter: click.Parameter) -> str:
    default = "required" if parameter.required else f"`{parameter.default}`"
    return f"| `{', '.join(parameter.opts)}` | {default} | {getattr(parameter, 'help', '') or ''} |"


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        if getattr(command, "invoke_without_command", False):
            yield path, command
        for name, inner in sorted(command.commands.items()):  # type: ignore[attr-defined]
            yield from _commands(inner, (*path, name))
    else:
        yield path, command


def main() -> int:
    """Write or check; 0 when all is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        target = REFERENCE / name
        if not check:
            target.write_text(text)
        elif not target.is_file() or target.read_text() != text:
            stale.append(f"docs/reference/{name}")
    if stale:
        print(f"not current: {', '.join(stale)}; run `make generate`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
