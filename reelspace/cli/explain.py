"""`reelspace explain`: what an artifact, a run, a model or a row was made of. Rooms load inside commands."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reelspace.core.lineage import Lineage
    from reelspace.core.step_records import JournalEntry
    from reelspace.core.store import Store

KINDS = ("artifact", "key", "run", "model", "vector")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What words mean in a store: the artifacts behind it, and lines that tell how they were found, the first of them its name."""

    kind: str
    artifacts: tuple[str, ...]
    found: tuple[str, ...]


def explain(
    what: Annotated[
        str,
        typer.Argument(
            help="Id of an artifact, of a step key or of a run, or its first six characters or more; a served model, or "
            "model/version; the id of a row of the collection that serves."
        ),
    ],
    store: Annotated[str, typer.Option(envvar="REELSPACE_STORE", help="Directory or s3://bucket/prefix.")],
    kind: Annotated[str | None, typer.Option("--as", help=f"What it is, where it could be several: {', '.join(KINDS)}.")] = None,
    depth: Annotated[int | None, typer.Option(min=0, help="Steps back; as far as it goes if not given.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and check every byte, not only manifests and which files are there.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="SVG file to draw, too; it must not exist.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Tell what something was made of, back to the data and the code; what is missing or damaged on the way is named."""
    import orjson

    from reelspace.core.errors import OutputOccupied
    from reelspace.core.lineage import as_json as json_of
    from reelspace.core.lineage import last_of, walk
    from reelspace.core.lineage_picture import svg
    from reelspace.core.lineage_tree import lines

    if picture is not None and picture.exists():
        raise OutputOccupied(f"--picture: expected a file that does not exist yet, got {picture}: remove it, or choose another name")
    opened = _opened(store)
    meaning = _meaning(opened, what, kind)
    lineage = walk(opened, meaning.artifacts, verify=verify, depth=depth)
    if meaning.kind in ("run", "key"):
        lineage = walk(opened, last_of(lineage), verify=verify, depth=depth)
    if picture is not None and lineage.nodes:
        picture.write_text(svg(lineage, meaning.found[0].strip()), encoding="utf-8")
    if as_json:
        typer.echo(orjson.dumps({"asked": what, **asdict(meaning), **json_of(lineage)}, option=orjson.OPT_INDENT_2))
    else:
        typer.echo("\n".join([*meaning.found, *lines(lineage), *_summary(lineage)]))


def _opened(url: str) -> "Store":
    from reelspace.core.errors import SettingError
    from reelspace.core.store import open_store

    # Opening a directory makes it: a mistyped name must not.
    if "://" not in url and not Path(url).is_dir():
        raise SettingError(f"--store: expected a store that is there, got {url!r}")
    return open_store(url)


def _meaning(store: "Store", what: str, kind: str | None) -> _Meaning:
    from reelspace.core.errors import UserError

    if kind is not None and kind not in KINDS:
        raise UserError(f"--as: expected one of {', '.join(KINDS)}, got {kind!r}")
    meanings = [one for one in _meanings(store, what) if kind in (None, one.kind)]
    if len(meanings) == 1:
        return meanings[0]
    if meanings:
        several = "; ".join(one.found[0] for one in meanings)
        raise UserError(f"{what[:80]!r} means {len(meanings)} things in {store.url}: {several}; give more of the id, or --as")
    raise UserError(
        f"expected an artifact, a step key, a run, a model or a row of {store.url}, got {what[:80]!r}: ids may be cut to six characters or "
        f"more; models here are {', '.join(_models(store)) or 'none'}"
    )


def _meanings(store: "Store", what: str) -> Iterator[_Meaning]:
    from reelspace.core.lineage_ids import find_artifacts, find_keys, find_runs, run_entries
    from reelspace.core.step_records import StepRecords

    for one in find_artifacts(store, what):
        yield _Meaning("artifact", (one,), (f"artifact {one}",))
    for one in find_keys(store, what):
        records = StepRecords(store, "", one)
        outputs, ended = records.recorded_outputs() or {}, records.read("exit.json")
        yield _Meaning("key", tuple(outputs.values()), (f"step key {one}: {_outputs(outputs)}", f"  {_ending(ended)}"))
    for one in find_runs(store, what):
        entries = run_entries(store, one)
        artifacts = dict.fromkeys(artifact for entry in entries for artifact in entry.outputs.values())
        yield _Meaning("run", tuple(artifacts), (f"run {one}", *map(_step_line, entries)))
    yield from _serving(store, what)


def _serving(store: "Store", what: str) -> Iterator[_Meaning]:
    from reelspace.search.tools.origins import model_origin, row_id, row_origin

    row = row_id(what)
    for kind, origin in (("model", model_origin(store, what)), ("vector", None if row is None else row_origin(store, row))):
        if origin is not None:
            yield _Meaning(kind, origin.artifacts, origin.found)


def _models(store: "Store") -> list[str]:
    from reelspace.search.tools.origins import pointer

    serving = pointer(store)
    return sorted(serving.encoders) if serving else []


def _step_line(entry: "JournalEntry") -> str:
    ended = f"failed with {entry.exit_code}: {entry.message}" if entry.exit_code else "reused" if entry.reused else "made"
    outputs = f", {_outputs(entry.outputs)}" if entry.outputs else ""
    return f"  step {entry.step}: {ended} in {entry.wall_seconds:.1f} s{outputs}"


def _outputs(outputs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {artifact[:12]}" for name, artifact in outputs.items()) or "no outputs are recorded"


def _ending(record: Mapping[str, object] | None) -> str:
    if record is None:
        return "its last try was killed, or is still at work"
    name, code = record.get("step"), record.get("exit_code")
    return f"step {name} ended well" if code == 0 else f"step {name} failed with {code}: {record.get('message')}"


def _summary(lineage: "Lineage") -> Iterator[str]:
    problems = lineage.problems()
    if problems:
        yield f"{len(problems)} {'things are' if len(problems) > 1 else 'thing is'} missing or damaged:"
        yield from (f"  {problem}" for problem in problems)
