"""A cache hit equals a run anew: random edits of settings, inputs, code, stored bytes and records, judged by a plain dict.

Three steps with real code on disk: words -> counts -> report. After every edit the chain runs; what each step gives must be what plain
Python computes from the texts, settings and constants of that moment, and it must be a hit exactly when the dict knows its question and
nothing of its answer is damaged. What the dict knows is by the content of sources and inputs, never by ids or digests.
"""

import functools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import reelspace.core.steps
from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.digest import code_digest
from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import PLACE, Settings
from reelspace.core.step_records import read_journal
from reelspace.core.steps import StepRun, run_step

RUN = "run"
STEPS = ("words", "counts", "report")
OUTPUTS = {"words": ("words",), "counts": ("counts", "letters"), "report": ("report",)}
TEXTS = ("a tale of two cities", "a tale of two citiez", "war and peace", "the end")
SOURCES = {
    "core/lock_digest.txt": "0\n",
    "steps/words.py": "from reelspace.model.rules import SHIFT\nFACTOR = 1\n",
    "steps/counts.py": "from reelspace.model import rules\nFACTOR = 1\n",
    "steps/report.py": "FACTOR = 1\n",
    "model/rules.py": "SHIFT = 1\n",
    "model/unused.py": "NOTHING = 1\n",
    "model/rules.txt": "1\n",
    "model/lists/stop.txt": "1\n",
    "model/README.md": "1\n",
}
ROOMS = ("", "core/", "steps/", "model/")
# What each step reads of the sources when it runs; the lock stands for the libraries.
REACHED = {
    "words": ("core/lock_digest.txt", "steps/words.py", "model/rules.py", "model/rules.txt", "model/lists/stop.txt"),
    "counts": ("core/lock_digest.txt", "steps/counts.py", "model/rules.py", "model/rules.txt", "model/lists/stop.txt"),
    "report": ("core/lock_digest.txt", "steps/report.py"),
}


class Knobs(Settings):
    times: int = Field(1, description="Figure.")
    num_workers: int = Field(1, description="Processes.", json_schema_extra=PLACE)


def answer(step: str, texts: Mapping[str, str], times: int, constants: tuple[int, ...]) -> dict[str, str]:
    """What a step gives, from nothing but values."""
    given = "|".join(f"{name}={text}" for name, text in sorted(texts.items()))
    return {output: f"{output}({given};{times};{','.join(map(str, constants))})" for output in OUTPUTS[step]}


@dataclass
class World:
    """The store and the sources under test, and beside them the dict that judges.

    By question, `ids` has the artifacts in which its answer lies and `keys` where its record lies; `lost` are the questions whose
    record is unusable, `broken` the artifacts that are.
    """

    root: Path
    store: LocalStore
    draw: random.Random
    texts: dict[str, str] = field(default_factory=lambda: {"left": TEXTS[0], "right": TEXTS[2]})
    settings: dict[str, Knobs] = field(default_factory=lambda: dict.fromkeys(STEPS, Knobs()))
    num_runs: int = 0
    ids: dict[Any, dict[str, str]] = field(default_factory=dict)
    keys: dict[Any, str] = field(default_factory=dict)
    lost: set[Any] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    hits: int = 0
    misses: int = 0

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    def source(self, name: str) -> Path:
        return self.sources / "reelspace" / name

    def constants(self, step: str) -> tuple[int, ...]:
        return tuple(int(re.findall(r"\d+", self.source(name).read_text())[-1]) for name in REACHED[step])

    def inputs(self, step: str) -> dict[str, str]:
        """Names of the inputs, and of what lies there. Which tables are left and right is part of the question."""
        return {
            "words": {"left": "left", "right": "right"},
            "counts": {"words": "words"},
            "report": {"counts": "counts", "words": "words"},
        }[step]

    def question(self, step: str) -> Any:
        if step in ("left", "right"):
            return self.texts[step]
        asked = tuple((name, self.question(of)) for name, of in sorted(self.inputs(step).items()))
        return (
            step,
            self.settings[step].times,
            self.constants(step),
            tuple(self.source(name).read_text() for name in REACHED[step]),
            asked,
        )

    def expected(self, step: str) -> dict[str, str]:
        texts = {name: self.texts[of] if of in self.texts else self.expected(of)[of] for name, of in self.inputs(step).items()}
        return answer(step, texts, self.settings[step].times, self.constants(step))

    def put_texts(self) -> None:
        for name, text in self.texts.items():
            directory = self.root / "texts" / str(TEXTS.index(text))
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "data.txt").write_text(text)
            manifest = write_artifact(self.store, "tables", directory, parents=(), code="", settings={}).manifest
            write_manifest_file(manifest, self.root / f"{name}.json")

    def run(self, step: str) -> None:
        def body(run: StepRun) -> Mapping[str, object]:
            self.num_runs += 1
            texts = {name: artifact.read("data.txt").decode() for name, artifact in run.inputs.items()}
            for output, text in answer(step, texts, self.settings[step].times, self.constants(step)).items():
                (run.output(output) / "data.txt").write_text(text)
            return {}

        run_step(
            step,
            f"reelspace.steps.{step}",
            settings=self.settings[step],
            inputs={name: str(self.root / f"{of}.json") for name, of in self.inputs(step).items()},
            outputs={output: str(self.root / f"{output}.json") for output in OUTPUTS[step]},
            body=body,
        )

    def check(self, step: str) -> None:
        """Run a step and hold it against the dict."""
        question, runs_before = self.question(step), self.num_runs
        may_hit = question in self.ids and self.is_whole(question)
        self.run(step)
        entry = read_journal(self.store, RUN)[step]
        given = {output: open_artifact(self.store, read_manifest_file(self.root / f"{output}.json").id) for output in OUTPUTS[step]}
        assert {output: artifact.read("data.txt").decode() for output, artifact in given.items()} == self.expected(step)
        assert {output: artifact.id for output, artifact in given.items()} == dict(entry.outputs)
        hit = self.num_runs == runs_before
        assert entry.reused == hit
        assert hit == may_hit, f"{step}: {'a hit' if hit else 'no hit'}"
        self.hits, self.misses = self.hits + hit, self.misses + (not hit)
        self.ids[question], self.keys[question] = dict(entry.outputs), entry.key
        self.lost.discard(question)
        self.broken -= set(entry.outputs.values())

    def check_all(self) -> None:
        for step in STEPS:
            self.check(step)

    def is_whole(self, question: Any) -> bool:
        return question not in self.lost and not self.broken & set(self.ids[question].values())

    def a_question(self) -> Any:
        """One that the chain asks next, or now and then one of long ago that may be asked again."""
        now = [self.question(step) for step in STEPS]
        return self.draw.choice(now if self.draw.random() < 0.7 else [one for one in self.ids if self.is_whole(one)])

    def an_artifact(self) -> str:
        return self.draw.choice(sorted(self.ids[self.a_question()].values()))

    def stored(self, artifact: str, name: str) -> Path:
        return self.store.root / "artifacts" / artifact / name

    def record(self, question: Any, name: str = "outputs.json") -> Path:
        return self.store.root / "runs" / self.keys[question] / name


Edit = Callable[[World], None]


def flip(world: World, path: Path) -> None:
    data = bytearray(path.read_bytes()) or bytearray(1)
    data[world.draw.randrange(len(data))] ^= 1 << world.draw.randrange(8)
    path.write_bytes(data)


def truncate(world: World, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: world.draw.randrange(len(data) or 1)])


def nothing(_world: World) -> None: ...


def another_setting(world: World) -> None:
    step = world.draw.choice(STEPS)
    world.settings[step] = Knobs(times=world.draw.randrange(1, 5), num_workers=world.settings[step].num_workers)


def another_place(world: World) -> None:
    step = world.draw.choice(STEPS)
    world.settings[step] = Knobs(times=world.settings[step].times, num_workers=world.draw.randrange(1, 1_000))


def another_text(world: World) -> None:
    world.texts[world.draw.choice(("left", "right"))] = world.draw.choice(TEXTS)
    world.put_texts()


def one_letter(world: World) -> None:
    world.texts["left"] = TEXTS[1] if world.texts["left"] == TEXTS[0] else TEXTS[0]
    world.put_texts()


def exchanged_inputs(world: World) -> None:
    world.texts = {"left": world.texts["right"], "right": world.texts["left"]}
    world.put_texts()


def edit_of(name: str) -> Edit:
    def edit(world: World) -> None:
        path = world.source(name)
        path.write_text(re.sub(r"\d+(?=\D*$)", str(world.draw.randrange(1, 5)), path.read_text()))

    return edit


def comment_in_code(world: World) -> None:
    """Code of another text and the same sense is another question: the digest knows texts."""
    path = world.source("model/rules.py")
    line = path.read_text().splitlines()[-1]
    path.write_text(f"# {world.draw.randrange(3)}\n{line}\n")


def damage_of(file: str, harm: Callable[[World, Path], None]) -> Edit:
    def edit(world: World) -> None:
        artifact = world.an_artifact()
        path = world.stored(artifact, file)
        before = path.read_bytes()
        harm(world, path)
        if not path.exists() or path.read_bytes() != before:
            world.broken.add(artifact)

    return edit


def remove(_world: World, path: Path) -> None:
    path.unlink()


def damage_to_run_json(world: World) -> None:
    """run.json is no part of an answer."""
    path = world.stored(world.an_artifact(), "run.json")
    if path.exists():
        world.draw.choice((flip, truncate, remove))(world, path)


def damage_to_record(world: World) -> None:
    question = world.a_question()
    path = world.record(question)
    before = recorded(path)
    world.draw.choice((flip, truncate, remove))(world, path)
    if recorded(path) != before:
        world.lost.add(question)


def recorded(path: Path) -> object:
    """What a record says, however it is spaced."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def strange_record(world: World) -> None:
    question = world.a_question()
    outputs = world.ids[question]
    strange: list[Any] = [{}, 7, None, [], dict.fromkeys(outputs, 7), dict.fromkeys(outputs, "../x"), {**outputs, "more": "ab" * 32}]
    record: Any = {"key": world.keys[question], "outputs": world.draw.choice(strange)}
    world.record(question).write_text(json.dumps(world.draw.choice([record, record, [], None, 7, {}])))
    world.lost.add(question)


def record_of_another_key(world: World) -> None:
    """A whole record of the same step, which names whole artifacts that answer another question."""
    question = world.a_question()
    others = [one for one in world.ids if one[0] == question[0] and one != question and world.is_whole(one)]
    if others:
        world.record(question).write_bytes(world.record(world.draw.choice(others)).read_bytes())
        world.lost.add(question)


def artifact_of_another_origin(world: World) -> None:
    """A record under the right key that names a whole artifact of other code or settings: only the origin tells."""
    question = world.a_question()
    others = [one for one in world.ids if one[:3] != question[:3] and one[0] == question[0] and world.is_whole(one)]
    if others:
        record = {"key": world.keys[question], "outputs": world.ids[world.draw.choice(others)]}
        world.record(question).write_text(json.dumps(record))
        world.lost.add(question)


def exchanged_outputs(world: World) -> None:
    question = world.question("counts")
    counts, letters = (world.ids[question][name] for name in ("counts", "letters"))
    record = {"key": world.keys[question], "outputs": {"counts": letters, "letters": counts}}
    world.record(question).write_text(json.dumps(record))
    world.lost.add(question)


def other_records(world: World) -> None:
    """How a try ended, and a failure that cannot be read or is another key's, stop nobody."""
    question = world.a_question()
    world.record(question, "exit.json").write_bytes(world.draw.choice((b"", b"{", b"[]")))
    failure = {"key": "ab" * 32, "error": "TableError", "message": "of another key", "places": []}
    world.record(question, "_FAILED").write_bytes(world.draw.choice((b"", b"{", b"[]", b"{}", json.dumps(failure).encode())))


def manifest_of_another(world: World) -> None:
    artifact, other = (
        world.an_artifact(),
        world.draw.choice(sorted({one for ids in world.ids.values() for one in ids.values()} - world.broken)),
    )
    if artifact != other:
        world.stored(artifact, "manifest.json").write_bytes(world.stored(other, "manifest.json").read_bytes())
        world.broken.add(artifact)


def whole_answer_gone(world: World) -> None:
    artifact = world.an_artifact()
    for name in ("manifest.json", "data.txt", "run.json"):
        world.stored(artifact, name).unlink(missing_ok=True)
    world.broken.add(artifact)


EDITS: dict[str, Edit] = {
    "nothing": nothing,
    "another setting": another_setting,
    "another place": another_place,
    "another text": another_text,
    "one letter of an input": one_letter,
    "inputs exchanged": exchanged_inputs,
    **{f"code: {name}": edit_of(name) for name in SOURCES},
    "a comment in code": comment_in_code,
    **{f"{harm.__name__} {file}": damage_of(file, harm) for file in ("data.txt", "manifest.json") for harm in (flip, truncate, remove)},
    "run.json": damage_to_run_json,
    "record": damage_to_record,
    "strange record": strange_record,
    "record of another key": record_of_another_key,
    "artifact of another origin": artifact_of_another_origin,
    "outputs exchanged": exchanged_outputs,
    "other records": other_records,
    "manifest of another": manifest_of_another,
    "whole answer gone": whole_answer_gone,
}


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], World]:
    """Give a world in which the chain ran once, its edits drawn from a seed."""

    def make(seed: int) -> World:
        world = World(tmp_path, LocalStore(tmp_path / "store"), random.Random(seed))
        monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
        monkeypatch.setenv("REELSPACE_RUN_ID", RUN)
        monkeypatch.setattr(reelspace.core.steps, "code_digest", functools.partial(code_digest, sources=world.sources))
        for name, text in {**{f"{room}__init__.py": "" for room in ROOMS}, **SOURCES}.items():
            world.source(name).parent.mkdir(parents=True, exist_ok=True)
            world.source(name).write_text(text)
        world.put_texts()
        world.check_all()
        return world

    return make


def edited(world: World, num_edits: int) -> Iterator[str]:
    """Make edits and check the chain after each; every kind comes once before any comes again."""
    waiting: list[str] = []
    for _ in range(num_edits):
        waiting = waiting or world.draw.sample(sorted(EDITS), len(EDITS))
        name = waiting.pop()
        EDITS[name](world)
        try:
            world.check_all()
        except Exception as error:
            raise AssertionError(f"after {name!r}") from error
        yield name


def test_every_kind_of_edit_once_gives_no_stale_hit_and_no_needless_miss(worlds: Callable[[int], World]) -> None:
    world = worlds(7)
    assert sorted(edited(world, len(EDITS))) == sorted(EDITS)
    assert min(world.hits, world.misses) > 20


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_hundred_random_edits_give_no_stale_hit_and_no_needless_miss(worlds: Callable[[int], World], seed: int) -> None:
    world = worlds(seed)
    assert len(list(edited(world, 200))) == 200
    world.check_all()
    hits = world.hits
    world.check_all()
    assert world.hits == hits + len(STEPS)


def test_a_record_that_says_nothing_is_a_miss_and_no_error(worlds: Callable[[int], World]) -> None:
    world = worlds(4)
    question = world.question("counts")
    outputs, key = world.ids[question], world.keys[question]
    inner: tuple[Any, ...] = (None, [], 7, {}, dict.fromkeys(outputs, 7), dict.fromkeys(outputs, "../x"), {**outputs, "more": "ab" * 32})
    whole = [json.dumps({"key": key, "outputs": one}).encode() for one in inner]
    for content in (b"", b"{", b"\xff", b"[]", b"7", b"{}", json.dumps({"outputs": outputs}).encode(), *whole):
        world.record(question).write_bytes(content)
        world.lost.add(question)
        world.check_all()


def test_the_record_of_exchanged_inputs_answers_only_those(worlds: Callable[[int], World]) -> None:
    """Their artifacts have the same parents, code and settings: the key in the record tells them apart."""
    world = worlds(5)
    before = world.question("words")
    exchanged_inputs(world)
    world.check_all()
    after = world.question("words")
    world.record(after).write_bytes(world.record(before).read_bytes())
    world.lost.add(after)
    world.check_all()


def test_a_failure_that_says_nothing_or_is_of_another_key_stops_nobody(worlds: Callable[[int], World]) -> None:
    world = worlds(6)
    question = world.question("report")
    of_another = {"key": "ab" * 32, "error": "TableError", "message": "of another key", "places": []}
    for content in (b"", b"{", b"[]", b"{}", json.dumps(of_another).encode()):
        world.record(question).unlink()
        world.lost.add(question)
        world.record(question, "_FAILED").write_bytes(content)
        world.check_all()


@pytest.mark.parametrize("harm", [flip, truncate, remove])
def test_an_input_that_is_damaged_is_never_worked_into_an_answer(
    worlds: Callable[[int], World], harm: Callable[[World, Path], None]
) -> None:
    world = worlds(3)
    before = world.num_runs
    artifact = read_manifest_file(world.root / "left.json").id
    harm(world, world.stored(artifact, "data.txt"))
    world.check_all()  # all three answers are there, and none is made of what is there now
    assert world.num_runs == before
    world.settings["words"] = Knobs(times=9)
    with pytest.raises(CorruptArtifact, match=r"data\.txt"):
        world.run("words")
    world.put_texts()
    world.check_all()
