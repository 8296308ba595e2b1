"""The entry point of every step: run once per key, resume, and leave a record however it ends."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import Field

import reelspace.core
from reelspace.core import errors
from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import (
    ArtifactMissing,
    BadMedia,
    CorruptArtifact,
    DiskFull,
    InternalError,
    OutputOccupied,
    ReelspaceError,
    SettingError,
    StoreUnavailable,
    TableError,
)
from reelspace.core.program import run_main
from reelspace.core.settings import PLACE, Settings
from reelspace.core.step_records import read_journal
from reelspace.core.steps import StepRun, run_step
from reelspace.core.store import Store, open_store


class Knobs(Settings):
    lr: float = Field(0.1, description="Figure.")
    num_workers: int = Field(1, description="Processes.", json_schema_extra=PLACE)


@dataclass
class Bench:
    """A store, one input and a step whose body is counted."""

    store: Store
    directory: Path
    num_runs: int = 0
    keys: list[str] = field(default_factory=list)

    def input(self, content: str) -> str:
        source = self.directory / "sources" / hashlib.sha256(content.encode()).hexdigest()[:8]
        source.mkdir(parents=True, exist_ok=True)
        (source / "data.txt").write_text(content)
        artifact = write_artifact(self.store, "tables", source, parents=(), code="", settings={})
        write_manifest_file(artifact.manifest, source.with_suffix(".manifest"))
        return str(source.with_suffix(".manifest"))

    def run(
        self,
        body: Callable[[StepRun], Mapping[str, object]] | None = None,
        *,
        content: str = "hello",
        settings: Knobs | None = None,
        cache: bool = True,
        places: tuple[str, ...] = (),
        parents: tuple[str, ...] = (),
    ) -> str:
        def counted(run: StepRun) -> Mapping[str, object]:
            self.num_runs += 1
            self.keys.append(run.key)
            return (body or copy_input)(run)

        output = self.directory / "manifests/folder/shards"
        run_step(
            "shout",
            "reelspace.core.steps",
            settings=settings or Knobs(),
            inputs={"tables": self.input(content)},
            outputs={"shards": str(output)},
            body=counted,
            cache=cache,
            places=places,
            extra_parents=parents,
        )
        return read_manifest_file(output).id

    def exit(self, key: str | None = None) -> dict[str, object]:
        return dict(json.loads(self.store.get(f"runs/{key or self.keys[-1]}/exit.json")))

    def fails(self, error: BaseException, **arguments: object) -> BaseException:
        def body(_run: StepRun) -> Mapping[str, object]:
            raise error

        with pytest.raises(BaseException) as caught:  # noqa: PT011  any error may come, the caller looks at it
            self.run(body, **arguments)  # type: ignore[arg-type]
        return caught.value


def copy_input(run: StepRun) -> Mapping[str, object]:
    (run.output("shards") / "loud.txt").write_bytes(run.inputs["tables"].read("data.txt").upper())
    return {"num_letters": 5}


@pytest.fixture
def bench(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("REELSPACE_STORE", store_url)
    monkeypatch.setenv("REELSPACE_RUN_ID", "run-1")
    return Bench(open_store(store_url), tmp_path / "bench")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REELSPACE_RUN_ID", "run-1")
    return Bench(open_store(str(tmp_path / "store")), tmp_path / "bench")


def test_an_output_becomes_an_artifact_with_its_origin(bench: Bench) -> None:
    artifact = open_artifact(bench.store, bench.run())
    assert artifact.read("loud.txt") == b"HELLO"
    assert artifact.manifest.kind == "shards"
    assert artifact.manifest.parents == (read_manifest_file(bench.input("hello")).id,)
    assert artifact.manifest.settings == {"lr": 0.1}
    facts = artifact.run_facts()
    assert (facts["metrics"], facts["step"], facts["key"]) == ({"num_letters": 5}, "shout", bench.keys[0])
    assert bench.exit() == {"step": "shout", "key": bench.keys[0], "exit_code": 0, "error": "", "message": ""}


def test_the_same_key_reuses_the_outputs(bench: Bench) -> None:
    first = bench.run()
    shutil.rmtree(bench.directory / "manifests")
    assert bench.run() == first
    assert bench.num_runs == 1
    assert bench.exit()["exit_code"] == 0


def test_the_journal_tells_what_was_reused(bench: Bench) -> None:
    artifact_id = bench.run()
    first = read_journal(bench.store, "run-1")["shout"]
    bench.run()
    second = read_journal(bench.store, "run-1")["shout"]
    assert (first.reused, second.reused) == (False, True)
    assert dict(first.outputs) == dict(second.outputs) == {"shards": artifact_id}
    assert (first.exit_code, first.key) == (0, bench.keys[0])
    assert first.wall_seconds > 0


def test_settings_inputs_and_parents_make_the_key(local: Bench) -> None:
    local.run()
    local.run(settings=Knobs(lr=0.2))
    local.run(content="bye")
    local.run(parents=("ab" * 32,))
    assert len(set(local.keys)) == 4


def test_places_and_resources_do_not_make_the_key(local: Bench) -> None:
    first = local.run()
    assert local.run(settings=Knobs(num_workers=8), places=("/elsewhere",)) == first
    assert local.num_runs == 1


@pytest.mark.parametrize("damage", ["flip", "remove", "manifest"])
def test_a_damaged_output_is_made_again(bench: Bench, damage: str) -> None:
    artifact_id = bench.run()
    key = f"artifacts/{artifact_id}/{'manifest.json' if damage == 'manifest' else 'loud.txt'}"
    if damage == "remove":
        bench.store.delete(key)
    else:
        bench.store.put(key, b"HELLP")
    assert bench.run() == artifact_id
    assert bench.num_runs == 2
    open_artifact(bench.store, artifact_id).verify()


def test_a_damaged_input_is_refused_and_may_heal(local: Bench) -> None:
    artifact_id = read_manifest_file(local.input("hello")).id
    local.store.put(f"artifacts/{artifact_id}/data.txt", b"hellp")
    local_input, local.input = (
        local.input,
        lambda content: str(local.directory / "sources" / f"{hashlib.sha256(content.encode()).hexdigest()[:8]}.manifest"),
    )  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(CorruptArtifact, match=r"data\.txt"):
            local.run()
    local_input("hello")
    local.run()
    assert local.num_runs == 3


def test_a_permanent_error_ends_a_retry_at_once_with_the_same_words(bench: Bench) -> None:
    first = bench.fails(TableError("table videos is empty"))
    assert bench.exit() == {
        "step": "shout",
        "key": bench.keys[0],
        "exit_code": 2,
        "error": "TableError",
        "message": "table videos is empty",
    }
    second = bench.fails(AssertionError("the body ran again"))
    assert (type(first), str(first)) == (type(second), str(second)) == (TableError, "table videos is empty")
    assert bench.num_runs == 1
    assert bench.exit()["exit_code"] == 2
    assert read_journal(bench.store, "run-1")["shout"].message == "table videos is empty"


def test_a_permanent_error_does_not_outlive_its_cause(local: Bench) -> None:
    local.fails(BadMedia("nothing in /wrong can be decoded"), places=("/wrong",))
    local.run(places=("/right",))
    local.fails(BadMedia("again"), settings=Knobs(lr=9))
    local.run(settings=Knobs(lr=8))
    assert local.num_runs == 4


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), OutputOccupied("held"), ArtifactMissing("gone"), CorruptArtifact("bad"), InternalError("bug")]
)
def test_an_error_that_may_pass_is_tried_again(local: Bench, error: ReelspaceError) -> None:
    assert local.fails(error) is error
    assert local.exit()["exit_code"] == error.exit_code
    local.run()
    assert local.exit()["exit_code"] == 0


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_temporary_and_recorded(local: Bench) -> None:
    def fill(_run: StepRun) -> Mapping[str, object]:
        with open("/dev/full", "w") as full:
            full.write("x")
        return {}

    with pytest.raises(DiskFull, match="No space left"):
        local.run(fill)
    assert (local.exit()["exit_code"], local.exit()["error"]) == (75, "DiskFull")


def test_a_bug_is_ours_and_recorded(local: Bench) -> None:
    error = local.fails(ZeroDivisionError("division by zero"))
    assert (type(error), type(error.__cause__)) == (InternalError, ZeroDivisionError)
    assert (local.exit()["exit_code"], local.exit()["error"]) == (70, "InternalError")


def test_an_interrupt_passes_through_and_is_recorded(local: Bench) -> None:
    assert isinstance(local.fails(KeyboardInterrupt()), KeyboardInterrupt)
    assert local.exit()["exit_code"] == 130
    assert read_journal(local.store, "run-1")["shout"].exit_code == 130
    local.run()


def test_scratch_is_empty_at_the_start_and_gone_at_the_end(local: Bench) -> None:
    scratches: list[Path] = []

    def body(run: StepRun) -> Mapping[str, object]:
        scratches.append(run.scratch)
        assert list(run.scratch.iterdir()) == []
        (run.scratch / "file").write_text("x")
        raise StoreUnavailable("away")

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            local.run(body)
    assert [path.exists() for path in scratches] == [False, False]


def test_state_survives_a_failure_and_goes_with_success(bench: Bench) -> None:
    seen: list[dict[str, str]] = []

    def body(run: StepRun) -> Mapping[str, object]:
        seen.append({path.relative_to(run.state).as_posix(): path.read_text() for path in run.state.rglob("*") if path.is_file()})
        for name, text in (("step.txt", str(len(seen))), ("deep/weights", "w" * len(seen)), (f"only-{len(seen)}", "same")):
            path = run.state / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        run.save_state()
        (run.state / f"only-{len(seen)}").unlink()
        run.save_state()
        if len(seen) < 3:
            raise StoreUnavailable("away")
        return copy_input(run)

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            bench.run(body)
    bench.run(body)
    assert seen == [{}, {"step.txt": "1", "deep/weights": "w"}, {"step.txt": "2", "deep/weights": "ww"}]
    assert [key for key in bench.store.list(f"runs/{bench.keys[0]}/") if "/state" in key] == []


def test_a_step_without_cache_always_runs_and_gives_the_same_ids(local: Bench) -> None:
    first = local.run(cache=False, places=("/a",))
    assert local.run(cache=False, places=("/a",)) == first
    assert local.run(cache=False, places=("/b",)) == first
    local.fails(TableError("empty"), cache=False, places=("/a",))
    local.run(cache=False, places=("/a",))
    assert local.num_runs == 5
    assert len(set(local.keys)) == 2


def test_an_output_not_filled_or_not_declared_is_our_bug(local: Bench) -> None:
    with pytest.raises(InternalError, match="without filling its output 'shards'"):
        local.run(lambda run: {})
    with pytest.raises(InternalError, match="no output 'vectors'; it declares shards"):
        local.run(lambda run: {"path": str(run.output("vectors"))})
    assert not (local.directory / "manifests").exists()


def test_an_input_that_is_not_there_is_named_and_recorded(local: Bench, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="no manifest file"):
        run_step("x", "reelspace.core.steps", settings=Knobs(), inputs={"a": str(tmp_path / "a")}, outputs={}, body=lambda run: {})
    assert read_journal(local.store, "run-1")["x"].exit_code == 2


def test_without_a_run_id_there_is_no_journal(local: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELSPACE_RUN_ID")
    local.run()
    assert list(local.store.list("runs/journal/")) == []


def test_without_a_store_the_variable_is_named(local: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELSPACE_STORE")
    with pytest.raises(SettingError, match="REELSPACE_STORE is not set"):
        local.run()


def test_every_error_of_ours_is_raised_again_as_what_it_was(local: Bench) -> None:
    permanent = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ReelspaceError) and value.permanent
    ]
    for number, kind in enumerate(permanent):
        knobs = Knobs(lr=number)
        assert [type(local.fails(kind("words"), settings=knobs)) for _ in range(2)] == [kind, kind]
    assert local.num_runs == len(permanent) > 4


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (SettingError("key\n'x'"), 2, "error: key 'x'\n"),
        (DiskFull("full"), 75, "error: full\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_main_gives_one_line_and_the_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int, line: str
) -> None:
    def program() -> None:
        if error is not None:
            raise error

    assert run_main(program) == code
    assert capsys.readouterr().err == line


def test_run_main_shows_where_a_bug_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(lambda: print(1 // 0)) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("error: unexpected ZeroDivisionError")


CHILD = """
import os, sys, time
from pathlib import Path
from reelspace.core.settings import Settings
from reelspace.core.program import run_main
from reelspace.core.steps import run_step

def body(run):
    count = run.state / "count"
    done = int(count.read_text()) if count.exists() else 0
    print("from", done, flush=True)
    while done < 5:
        done += 1
        (run.state / "new").write_text(str(done))
        os.replace(run.state / "new", count)
        run.save_state()
        if sys.argv[2] == "wait" and done == 3:
            print("waiting", flush=True)
            time.sleep(60)
    (run.output("numbers") / "count.txt").write_text(str(done))
    return {}

def main():
    run_step("count", "reelspace.core.steps", settings=Settings(), inputs={}, outputs={"numbers": sys.argv[1]}, body=body)

sys.exit(run_main(main))
"""


def child(output: Path, mode: str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CHILD, str(output), mode]
    # In a directory of its own: Python looks for modules in the current one first.
    everything = {**os.environ, **(environment or {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=everything, cwd=output.parent)


def lines_until(process: "subprocess.Popen[bytes]", last: bytes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == last:
            return
    raise AssertionError(f"the child ended before it said {last!r}")


def exits(store: Store) -> list[int]:
    return [json.loads(store.get(key))["exit_code"] for key in store.list("runs/") if key.endswith("/exit.json")]


def test_a_killed_step_goes_on_where_it_was(bench: Bench, tmp_path: Path) -> None:
    with child(tmp_path / "numbers", "wait") as first:
        lines_until(first, b"waiting")
        first.kill()
    assert not (tmp_path / "numbers").exists()
    assert list(bench.store.list("artifacts/")) == []
    assert exits(bench.store) == [], "a killed step must not look finished"
    with child(tmp_path / "numbers", "go") as second:
        out, err = second.communicate()
    assert (second.returncode, out) == (0, b"from 3\n"), err
    assert open_artifact(bench.store, read_manifest_file(tmp_path / "numbers").id).read("count.txt") == b"5"
    assert exits(bench.store) == [0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_step_asked_to_stop_cleans_up_and_says_so(local: Bench, tmp_path: Path, number: signal.Signals, code: int) -> None:
    with child(tmp_path / "numbers", "wait") as stopped:
        lines_until(stopped, b"waiting")
        stopped.send_signal(number)
        _, err = stopped.communicate()
    assert (stopped.returncode, b"Traceback" in err) == (code, False)
    assert exits(local.store) == [code]
    assert list((tmp_path / "store/.reelspace/work").rglob("scratch")) == []
    with child(tmp_path / "numbers", "go") as second:
        out, _ = second.communicate()
    assert (second.returncode, out) == (0, b"from 3\n")


def test_a_second_process_on_one_key_is_refused_and_disturbs_nothing(local: Bench, tmp_path: Path) -> None:
    with child(tmp_path / "numbers", "wait") as first:
        lines_until(first, b"waiting")
        with child(tmp_path / "numbers-2", "go") as second:
            _, err = second.communicate()
        assert second.returncode == 2
        assert f"another reelspace process works in {tmp_path}/store/.reelspace/work".encode() in err
        assert err.splitlines()[-1].startswith(b"error: ")
        assert exits(local.store) == []
        first.kill()
    assert not (tmp_path / "numbers-2").exists()


def test_an_edit_of_the_reached_code_runs_the_step_again(tmp_path: Path) -> None:
    """A copy of core in a tree of its own, so that its sources may be edited."""
    tree = tmp_path / "tree"
    shutil.copytree(Path(reelspace.core.__path__[0]), tree / "reelspace/core", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "reelspace/__init__.py").write_text("")
    (tree / "reelspace/unreached.py").write_text("")
    environment = {"REELSPACE_STORE": str(tmp_path / "store"), "PYTHONPATH": str(tree)}
    outs = []
    for edited in (None, None, "unreached.py", "core/rng.py", "core/log.py", None, "core/lock_digest.txt"):
        if edited:
            with (tree / "reelspace" / edited).open("a") as file:
                file.write("\n# edited\n")
        with child(tmp_path / "numbers", "go", environment) as process:
            out, err = process.communicate()
        assert process.returncode == 0, err
        outs.append(out)
    ran, reused = b"from 0\n", b""
    assert outs == [ran, reused, reused, reused, ran, reused, ran]
