"""Lineage: everything behind an artifact is named, what is missing or damaged too, and nothing is made up."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import Field

from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.lineage import Lineage, Node, Parent, as_json, last_of, walk
from reelspace.core.lineage_ids import find_artifacts, find_keys, find_runs, run_entries
from reelspace.core.lineage_picture import svg
from reelspace.core.lineage_tree import lines
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import PLACE, Settings
from reelspace.core.steps import StepRun, run_step

DIGEST = "ab" * 32
SVG = "{http://www.w3.org/2000/svg}"


class Inner(Settings):
    width: int = Field(4, description="Figure.")


class Knobs(Settings):
    rate: float = Field(0.1, description="Figure.")
    previous: str | None = Field(None, description="Id.")
    inner: Inner = Field(default_factory=Inner, description="Group.")
    num_workers: int = Field(1, description="Processes.", json_schema_extra=PLACE)


@dataclass
class Bench:
    """A store and steps whose parents are written down beside, by hand."""

    root: Path
    store: LocalStore
    ids: dict[str, str] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=dict)

    def source(self, name: str) -> None:
        (self.root / name).mkdir(parents=True)
        (self.root / name / "data.txt").write_text(name)
        artifact = write_artifact(self.store, name, self.root / name, parents=(), code="", settings={})
        write_manifest_file(artifact.manifest, self.root / f"{name}.json")
        self.ids[name], self.parents[artifact.id] = artifact.id, set()

    def step(self, name: str, *inputs: str, beside: tuple[str, ...] = (), settings: Knobs | None = None) -> str:
        def body(run: StepRun) -> Mapping[str, object]:
            (run.output(name) / "data.txt").write_text(name)
            return {"loss": {"last": 0.25}, "rows": 7}

        run_step(
            name,
            "reelspace.core.steps",
            settings=settings or Knobs(),
            inputs={f"the_{one}": str(self.root / f"{one}.json") for one in inputs},
            outputs={name: str(self.root / f"{name}.json")},
            body=body,
            extra_parents=beside,
            places=("/data/world",),
        )
        self.ids[name] = read_manifest_file(self.root / f"{name}.json").id
        self.parents[self.ids[name]] = {*(self.ids[one] for one in inputs), *beside}
        return self.ids[name]

    def walk(self, name: str, **options: bool | int) -> Lineage:
        return walk(self.store, [self.ids[name]], **options)  # type: ignore[arg-type]

    def node(self, name: str, of: str = "index") -> Node:
        return self.walk(of).nodes[self.ids[name]]

    def path(self, name: str, file: str) -> Path:
        return self.store.root / "artifacts" / self.ids[name] / file


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """tables -> labels (beside it a digest) -> teacher -> vectors (of teacher and tables) -> index."""
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REELSPACE_RUN_ID", "run-123456")
    made = Bench(tmp_path / "bench", LocalStore(tmp_path / "store"))
    made.source("tables")
    made.step("labels", "tables", beside=(DIGEST,))
    made.step("teacher", "labels", settings=Knobs(rate=0.5, inner=Inner(width=9), num_workers=3))
    made.step("vectors", "teacher", "tables", settings=Knobs(previous=made.ids["labels"]), beside=(made.ids["labels"],))
    made.step("index", "vectors")
    return made


def test_everything_behind_an_artifact_and_nothing_else_is_in_its_lineage(bench: Bench) -> None:
    bench.step("other", "tables")
    found = bench.walk("index")
    behind, waiting = {bench.ids["index"]}, [bench.ids["index"]]
    while waiting:
        new = bench.parents.get(waiting.pop(), set()) - behind
        behind |= new
        waiting += new
    assert set(found.nodes) == behind
    assert {one: {parent.id for parent in node.parents} for one, node in found.nodes.items() if node.state == "whole"} == {
        one: bench.parents[one] for one in behind - {DIGEST}
    }
    assert found.problems() == []


def test_parents_have_the_names_that_the_step_gave_them(bench: Bench) -> None:
    named = {(parent.name, parent.named_by): parent.id for parent in bench.node("vectors").parents}
    assert named == {
        ("the_tables", "input"): bench.ids["tables"],
        ("the_teacher", "input"): bench.ids["teacher"],
        ("previous", "setting"): bench.ids["labels"],
    }


def test_settings_that_differ_are_told_without_defaults_and_places(bench: Bench) -> None:
    node = bench.node("teacher")
    assert (dict(node.settings), node.settings_are_changes) == ({"rate": 0.5, "inner.width": 9}, True)
    assert (dict(bench.node("labels").settings), bench.node("labels").settings_are_changes) == ({}, True)


def test_when_where_and_figures_are_those_of_the_run(bench: Bench) -> None:
    node = bench.node("teacher")
    facts = open_artifact(bench.store, node.id).run_facts()
    assert node.made == {name: facts[name] for name in ("step", "key", "finished_at", "host", "places", "wall_seconds")}
    assert node.figures == {"loss": {"last": 0.25}, "rows": 7}


def test_a_digest_is_told_from_an_artifact_that_is_gone(bench: Bench) -> None:
    assert bench.walk("index").nodes[DIGEST].state == "digest"
    for name in ("tables", "labels"):
        bench.path(name, "manifest.json").unlink()
        node = bench.node(name)
        assert (node.state, node.problems) == ("missing", ("it is not in the store; what it was made of is unknown",))


def test_of_an_older_run_nobody_can_tell_a_digest_from_an_artifact_that_is_gone(bench: Bench) -> None:
    path = bench.path("labels", "run.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in facts.items() if name not in ("inputs", "changes", "module")}))
    assert bench.walk("index").nodes[DIGEST].state == "unknown"
    node = bench.node("labels")
    assert {parent.named_by for parent in node.parents} == {None}
    assert dict(node.settings) == {"rate": 0.1, "previous": None, "inner.width": 4}
    assert (node.settings_are_changes, node.code_here) == (False, "unknown")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("data.txt", None, "file 'data.txt' is gone"),
        ("run.json", None, "run.json is gone: when, where and figures are unknown"),
        ("run.json", b"{", "run.json cannot be read: when, where and figures are unknown"),
        ("run.json", b"[1]", "run.json cannot be read: when, where and figures are unknown"),
    ],
)
def test_what_is_missing_or_damaged_is_named_and_the_walk_goes_on(bench: Bench, file: str, content: bytes | None, problem: str) -> None:
    path = bench.path("teacher", file)
    path.unlink() if content is None else path.write_bytes(content)
    found = bench.walk("index")
    assert found.problems() == [f"teacher {bench.ids['teacher'][:12]}: {problem}"]
    assert bench.ids["tables"] in found.nodes
    assert any(f"! {problem}" in line for line in lines(found))


def test_a_damaged_manifest_hides_nothing_but_what_only_it_knew(bench: Bench) -> None:
    path = bench.path("teacher", "manifest.json")
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    found = bench.walk("index")
    assert found.nodes[bench.ids["teacher"]].state == "damaged"
    assert "corrupt" in found.problems()[0]
    assert "what it was made of is unknown" in found.problems()[0]
    assert bench.ids["labels"] in found.nodes  # vectors name it, too


def test_verify_finds_the_byte_that_the_walk_alone_does_not_read(bench: Bench) -> None:
    bench.path("labels", "data.txt").write_text("labelz")
    assert bench.walk("index").problems() == []
    assert "SHA-256" in bench.walk("index", verify=True).problems()[0]
    assert bench.walk("index", verify=True).nodes[bench.ids["labels"]].state == "damaged"


def test_what_run_json_says_against_the_manifest_is_not_believed(bench: Bench) -> None:
    path = bench.path("teacher", "run.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "inputs": {"the_labels": DIGEST}, "changes": {"rate": 0.7}}))
    node = bench.node("teacher")
    assert node.problems == (
        "run.json names inputs that the manifest does not: the_labels",
        "run.json notes settings that the manifest does not have: rate",
    )
    assert node.settings["rate"] == 0.5
    assert node.parents == (Parent(bench.ids["labels"]),)


def test_code_is_compared_with_what_is_installed(bench: Bench) -> None:
    assert bench.node("teacher").code_here == "same"
    path = bench.path("teacher", "run.json")
    facts = json.loads(path.read_text())
    for module in ("reelspace.core.store", "reelspace.core.not_any_more"):
        path.write_text(json.dumps({**facts, "module": module}))
        assert bench.node("teacher").code_here == "other"


def test_beyond_the_depth_parents_are_named_and_not_followed(bench: Bench) -> None:
    found = bench.walk("index", depth=1)
    assert set(found.nodes) == {bench.ids["index"], bench.ids["vectors"]}
    assert sum("further back than was asked" in line for line in lines(found)) == 3
    assert set(bench.walk("index", depth=0).nodes) == {bench.ids["index"]}


def test_the_tree_tells_each_artifact_once_and_names_it_again(bench: Bench) -> None:
    told = lines(bench.walk("index"))
    labels = [line for line in told if f"labels {bench.ids['labels'][:12]}" in line]
    assert len(labels) == 2
    assert sum(line.endswith(", see above") for line in labels) == 1
    assert told[0] == f"index {bench.ids['index'][:12]}"
    assert any(line.endswith("settings that differ: inner.width=9, rate=0.5") for line in told)
    assert any(line.endswith("read from: /data/world") for line in told)
    assert any(line.endswith(f"{DIGEST[:12]} (no artifact: a digest of what the step read beside its inputs)") for line in told)


def test_a_lineage_of_thousands_of_days_is_told_and_drawn() -> None:
    names = [f"{number:064x}" for number in range(1_500)]
    nodes = {one: Node(one, "whole", kind="teacher", parents=(Parent(behind),)) for one, behind in pairwise(names)}
    long = Lineage((names[0],), {**nodes, names[-1]: Node(names[-1], "whole", kind="tables")})
    assert sum("teacher" in line for line in lines(long)) == len(names) - 1
    assert svg(long, "long").count("<rect") == len(names) + 1


def test_the_picture_has_one_box_for_each_id_and_none_lies_over_another(bench: Bench) -> None:
    bench.path("teacher", "data.txt").unlink()
    found = bench.walk("index")
    picture = ET.fromstring(svg(found, "index <&>"))
    boxes = [{name: float(one.attrib[name]) for name in ("x", "y", "width", "height")} for one in picture.iterfind(f"{SVG}g/{SVG}rect")]
    assert len(boxes) == len(found.nodes)
    for number, one in enumerate(boxes):
        assert 0 <= one["x"] <= one["x"] + one["width"] <= float(picture.attrib["width"])
        assert 0 <= one["y"] <= one["y"] + one["height"] <= float(picture.attrib["height"])
        for other in boxes[:number]:
            apart_x = abs(one["x"] - other["x"]) >= one["width"]
            assert apart_x or one["y"] >= other["y"] + other["height"] or other["y"] >= one["y"] + one["height"]
    assert len(picture.findall(f"{SVG}path")) == sum(len(node.parents) for node in found.nodes.values())
    assert "file 'data.txt' is gone" in ET.tostring(picture, encoding="unicode")


def test_edges_of_the_picture_go_from_left_to_right_from_box_to_box(bench: Bench) -> None:
    picture = ET.fromstring(svg(bench.walk("index"), "index"))
    boxes = [one.attrib for one in picture.iterfind(f"{SVG}g/{SVG}rect")]
    starts = {(float(one["x"]) + float(one["width"]), float(one["y"]) + float(one["height"]) // 2) for one in boxes}
    ends = {(float(one["x"]), float(one["y"]) + float(one["height"]) // 2) for one in boxes}
    for edge in picture.iterfind(f"{SVG}path"):
        numbers = [float(word) for word in edge.attrib["d"].replace("M", "").replace("L", "").replace("C", "").split()]
        assert tuple(numbers[:2]) in starts
        assert tuple(numbers[-2:]) in ends
        assert numbers[-2] > numbers[0]


def test_json_has_every_node_and_parent(bench: Bench) -> None:
    found = bench.walk("index")
    told = json.loads(json.dumps(as_json(found)))
    assert told["roots"] == [bench.ids["index"]]
    assert {node["id"]: [parent["id"] for parent in node["parents"]] for node in told["nodes"]} == {
        one: [parent.id for parent in node.parents] for one, node in found.nodes.items()
    }


def test_six_digits_name_an_artifact_and_a_key_and_a_run_has_its_last_outputs(bench: Bench) -> None:
    index = bench.ids["index"]
    key = str(bench.node("index").made["key"])
    assert find_artifacts(bench.store, index[:6]) == find_artifacts(bench.store, index) == [index]
    assert find_keys(bench.store, key[:6]) == [key]
    assert [find_artifacts(bench.store, text) for text in (index[:5], index[:6].upper(), "../../..", "")] == [[], [], [], []]
    assert find_runs(bench.store, "run-12") == find_runs(bench.store, "run-123456") == ["run-123456"]
    assert [find_runs(bench.store, text) for text in ("run-1", "run-99", "run-123456/index", "..", "")] == [[], [], [], [], []]
    entries = run_entries(bench.store, "run-123456")
    assert {entry.step for entry in entries} == {"labels", "teacher", "vectors", "index"}
    assert last_of(walk(bench.store, [one for entry in entries for one in entry.outputs.values()])) == (index,)
