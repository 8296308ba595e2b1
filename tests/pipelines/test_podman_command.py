"""What `--where podman` asks of podman, with a program in its place that notes it and runs the task as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.places import Run
from pipelines.podman import Podman, PodmanOptions
from reelspace.core.errors import SettingError
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import read
from reelspace.core.step_records import read_journal
from reelspace.runs.record import RunRecord, find_record
from tests.pipelines.checkout import copy_checkout, probe_files

SECRET = "s3cret-of-the-store"
# Options come first, each one word; the image ends them.
NOTING = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
notes = pathlib.Path(__file__).with_name("asked.jsonl")
with notes.open("a") as file:
    file.write(json.dumps({{"words": words, "secret": os.environ.get("AWS_SECRET_ACCESS_KEY")}}) + "\\n")
options = [word for word in words[1:] if word.startswith("--")]
image = next(number for number, word in enumerate(words[1:], 1) if not word.startswith("--"))
if "unknown" in words[image]:
    print("Error: no such image", flush=True)
    sys.exit(125)
for option in options:
    if option.startswith("--env=") and option.count("=") > 1:
        name, _, value = option.removeprefix("--env=").partition("=")
        os.environ[name] = value
os.execvp(words[image + 1], words[image + 1:])
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("probes") / "checkout", probe_files())


def probe(checkout: Path, folder: Path, **place: object) -> "subprocess.CompletedProcess[str]":
    """Run the pipeline with the noting program as podman, on a store in a directory."""
    (folder / "podman").write_text(NOTING)
    (folder / "podman").chmod(0o755)
    settings = {"program": str(folder / "podman"), "this_environment": True, "mounts": [str(folder)], **place}
    (folder / "place.json").write_text(json.dumps(settings))
    given = [f"--store={folder / 'store'}", f"--work={folder / 'work'}", f"--place={folder / 'place.json'}", "--where=podman"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "AWS_SECRET_ACCESS_KEY": SECRET}
    words = [sys.executable, "-m", "pipelines.run", "probe", *given]
    return subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_task_is_asked_for_with_all_that_keeps_it_in_and_no_secret(checkout: Path, tmp_path: Path) -> None:
    ended = probe(checkout, tmp_path)
    assert ended.returncode == 0, ended.stderr
    store = LocalStore(tmp_path / "store")
    record = find_record(store, "last")
    assert (record.where, record.state, read_journal(store, record.run_id)["probe"].exit_code) == ("podman", "done", 0)
    (asked,) = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    words = asked["words"]
    kept_in = {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532", "--network=none", "--rm"}
    assert kept_in <= set(words)
    assert {"--cpus=1.5", f"--memory={700 << 20}b", "--label=reelspace.task=probe"} <= set(words)
    assert {"--env=REELSPACE_STORE", "--env=REELSPACE_RUN_ID", "--env=AWS_SECRET_ACCESS_KEY"} <= set(words)
    assert asked["secret"] == SECRET
    assert SECRET not in " ".join(words)
    written = [word for word in words if word.startswith("--mount") and not word.endswith("ro=true")]
    assert [word.rpartition("=")[2] for word in written] == [str(tmp_path / "work" / "kfp"), str(tmp_path / "store")]
    assert not list((tmp_path / "work" / "containers").iterdir())


def test_what_podman_does_not_start_ends_the_run_with_its_words(checkout: Path, tmp_path: Path) -> None:
    ended = probe(checkout, tmp_path, images={"reelspace/python-signals:0.1.0": "registry.example/unknown:1"})
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "error: task probe, image registry.example/unknown:1: Error: no such image"


@pytest.mark.parametrize(
    ("store_url", "settings", "said"),
    [
        ("/store", {"mounts": ["/no/such/place"]}, "/no/such/place"),
        ("/store", {"environment_files": ["keys.env"]}, "keys.env"),
        ("/store", {"environment": ["NO_SUCH"]}, "NO_SUCH"),
        ("s3://bucket/store", {}, "network"),
    ],
)
def test_settings_with_which_no_step_could_work_are_refused(store_url: str, settings: dict[str, object], said: str, tmp_path: Path) -> None:
    run = Run(RunRecord.begin("0" * 32, "probe", ("probe",), (), ""), {}, store_url, tmp_path)
    with pytest.raises(SettingError, match=said):
        Podman(read(PodmanOptions, settings), run, {}).check()
