"""`reelspace signals`: labels from the crowd, and the tools to judge and to understand them. Rooms load inside commands."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reelspace.signals.intervals import Share
    from reelspace.signals.labelling import Log, Question, Verdict

app = typer.Typer(help="Labels from hashtags, searches and comments.", no_args_is_help=True)

Tables = Annotated[Path, typer.Option(help="A directory with the input tables, or with a folder `tables` of them.")]
Labels = Annotated[Path, typer.Option(help="A directory with labels, as `signals run` writes them.")]
_KEYS: "dict[str, Verdict]" = {"y": "yes", "n": "no", "s": "skip"}
_IMPORT = "import_tables."


@app.command()
def run(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="Output directory.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, e.g. searches.min_users=2.")] = None,
    lexicon: Annotated[list[str] | None, typer.Option(help="Add a file to a shipped lexicon, e.g. promotions=mine.txt.")] = None,
    ray: Annotated[str | None, typer.Option(help="Run tables on Ray: local, or the address of a cluster.")] = None,
) -> None:
    """Make labels of tables and say what was kept; run again, it reuses what has not changed."""
    import orjson

    from reelspace.core.artifacts import open_artifact, read_manifest_file
    from reelspace.core.settings import read
    from reelspace.core.store import open_store
    from reelspace.signals.lexicons import read_added
    from reelspace.signals.settings import SignalsSettings
    from reelspace.steps import import_tables, preprocess_signals
    from reelspace.steps.tag_questions import table_paths

    overrides = settings or []
    added = [read_added(text).model_dump(mode="json") for text in lexicon or []]
    engine = {"engine": {"engine": "daft", "ray": ray}} if ray else {}
    parsed = read(SignalsSettings, {"lexicons": added, **engine}, [text for text in overrides if not text.startswith(_IMPORT)])
    of_import = [text.removeprefix(_IMPORT) for text in overrides if text.startswith(_IMPORT)]
    imported = read(import_tables.ImportSettings, {"paths": table_paths(tables.resolve())}, of_import)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _use_store(out / "store")
    import_tables.run("", str(out / "tables.json"), str(out / "media.json"), imported.model_dump_json())
    preprocess_signals.run(str(out / "tables.json"), str(out / "labels.json"), parsed.model_dump_json())
    artifact = open_artifact(open_store(str(out / "store")), read_manifest_file(out / "labels.json").id)
    report = orjson.loads((artifact.fetch(out / "labels") / "report.json").read_bytes())
    for name, stages in report["funnels"].items():
        typer.echo(name)
        for stage in stages:
            typer.echo(f"{stage['count']:>12,}  {stage['stage']}")
    typer.echo(f"labels: {out / 'labels'}\nreport: {out / 'labels' / 'report.html'}")


@app.command()
def label(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="The judgements, a Parquet table tag_judgements; its log lies beside it.")],
    count: Annotated[int | None, typer.Option(min=1, help="Uses to judge; 400 when the sample is drawn.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the sample; 0 when it is drawn.")] = None,
    rater: Annotated[str, typer.Option(help="Who judges.")] = "one",
    again: Annotated[bool, typer.Option("--again", help="Judge the same uses a second time, as another rater.")] = False,
    labels: Annotated[Path | None, typer.Option(help="Labels of an earlier run: the sample is then spread over their scores.")] = None,
) -> None:
    """Judge hashtags by hand: is the tag about the work? Stop at any time and go on later."""
    from reelspace.core.errors import UserError
    from reelspace.signals.labelling import Log, draw_sample
    from reelspace.steps.tag_questions import read_questions, read_scores

    questions = read_questions(tables)
    out.parent.mkdir(parents=True, exist_ok=True)
    log = Log(_log_path(out))
    if log.sample is None:
        log.start(draw_sample(list(questions), count or 400, seed or 0, read_scores(labels) if labels else None))
    sample = log.sample
    assert sample is not None
    if seed not in (None, sample.seed) or (count is not None and count < len(sample.uses)):
        raise UserError(f"{log.path} has {len(sample.uses)} uses drawn with seed {sample.seed}; name another --out for another sample")
    unknown = [use for use in sample.uses if use not in questions]
    if unknown:
        raise UserError(f"{tables} lacks {len(unknown)} uses of the sample, e.g. work {unknown[0][0]}; give the tables it was drawn from")
    log.join(rater, again)
    _judge(log, rater, questions, out)


@app.command()
def agreement(file: Annotated[Path, typer.Argument(help="The judgements.")]) -> None:
    """Say how well raters agree, and how many of the judged uses are relevant."""
    from reelspace.signals.labelling import Log, agreements, precision_of
    from reelspace.steps.tag_questions import read_judged

    judged = read_judged(file)
    for pair in agreements(judged):
        kappa = "cannot be told" if pair.kappa is None else f"{pair.kappa:.3f}"
        typer.echo(f"{' and '.join(pair.raters)}: kappa {kappa}, the same on {_share(pair.share_equal)}")
    for rater, verdicts in sorted(judged.items()):
        typer.echo(f"relevant, {rater}: {_share(precision_of({rater: verdicts}).judged)}")
    sample = Log(_log_path(file)).sample if _log_path(file).exists() else None
    precision = precision_of(judged, sample)
    typer.echo(f"relevant, most raters: {_share(precision.judged)}")
    for lowest, share in precision.by_stratum.items():
        typer.echo(f"relevant, scores from {lowest:g}: {_share(share)}")
    if precision.weighted is not None:
        typer.echo(f"relevant, all uses by the size of each part: {precision.weighted:.3f}")


@app.command()
def explain(labels: Labels, video: Annotated[int, typer.Option(help="Id of a work.")]) -> None:
    """Say why each label of a work is there, rule by rule."""
    from reelspace.signals.explain import explain as explain_work
    from reelspace.signals.explain import lines_of

    for line in lines_of(explain_work(labels, video)):
        typer.echo(line)


def _judge(log: "Log", rater: str, questions: "dict[tuple[int, str], Question]", out: Path) -> None:
    """Ask until all is judged, the rater quits or the input ends; the table is whole after every answer."""
    log.write_judgements(out)
    keys = _keys()
    while (use := log.sessions[rater].next()) is not None:
        session = log.sessions[rater]
        typer.echo(_shown(questions[use], len(session.verdicts) + 1, len(session.order)))
        key = next((key for key in keys if key in {*_KEYS, "u", "q"} or _remind()), "q")
        if key == "q":
            break
        if key == "u":
            log.undo(rater)
        else:
            log.answer(rater, _KEYS[key])
        log.write_judgements(out)
    session = log.sessions[rater]
    typer.echo(f"{len(session.verdicts)} of {len(session.order)} answered by {rater}; judgements: {out}")


def _shown(question: "Question", number: int, count: int) -> str:
    from reelspace.signals.normal_forms import public_text

    rows = {
        "caption": public_text(question.caption),
        "cover": question.cover_text,
        "categories": " / ".join(question.categories),
        "other tags": " ".join(f"#{public_text(tag)}" for tag in question.other_tags),
    }
    lines = [f"\n[{number} of {count}] work {question.video_id}", *(f"  {name:<11}{text}" for name, text in rows.items() if text)]
    return "\n".join([*lines, f"  is it about  #{public_text(question.tag)} ?  [y]es [n]o [s]kip [u]ndo [q]uit"])


def _remind() -> bool:
    typer.echo("  press y, n, s, u or q")
    return False


def _keys() -> Iterator[str]:
    """Keys as they are pressed, or the letters of a piped input."""
    if sys.stdin.isatty():
        while True:
            yield typer.getchar().lower()
    while key := sys.stdin.read(1):
        if not key.isspace():
            yield key.lower()


def _share(share: "Share") -> str:
    return "none judged" if share.value is None else f"{share.value:.3f} of {share.count} (95 %: {share.low:.3f} to {share.high:.3f})"


def _log_path(judgements: Path) -> Path:
    return judgements.with_name(judgements.name + ".log.jsonl")


def _use_store(directory: Path) -> None:
    from reelspace.core.steps import STORE_VARIABLE

    os.environ[STORE_VARIABLE] = str(directory)
