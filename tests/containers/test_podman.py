"""`--where podman`: what a step sees of the container it runs in, and how containers end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.artifacts import open_artifact
from reelspace.core.s3_store import S3Place, S3Store
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.runs.record import RunRecord, find_record
from tests.pipelines.checkout import copy_checkout, probe_files

from .bed import GATEWAY, IMAGE, STORE_ADDRESS, STORE_PORT, Bed, environment, listener

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Probes:
    """A copy of the checkout with the pipeline `probe`, and a store in the bed's server."""

    checkout: Path
    folder: Path
    bed: Bed
    store_url: str

    def command(self, settings: dict[str, object], place: dict[str, object], command: str = "run") -> list[str]:
        file = self.folder / "settings.json"
        file.write_text(json.dumps({"probe": settings}))
        given = [f"--store={self.store_url}", f"--work={self.folder / 'work'}", f"--settings={file}", "--where=podman"]
        words = [sys.executable, "-m", "reelspace.cli", "pipeline", command, "probe", *given]
        return [*words, f"--place={self.bed.place(self.folder, **place)}"]

    @property
    def environment(self) -> dict[str, str]:
        return {**environment(self.bed.store), "PYTHONPATH": str(self.checkout)}

    def probe(self, settings: dict[str, object], **place: object) -> "subprocess.CompletedProcess[str]":
        words = self.command(settings, place)
        return subprocess.run(words, cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def pipeline(self, command: str, *given: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "reelspace.cli", "pipeline", command, *given, f"--store={self.store_url}"]
        return subprocess.run(words, cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    @property
    def store(self) -> S3Store:
        return S3Store(S3Place.from_environment(self.store_url, self.environment))

    def record(self) -> RunRecord:
        return find_record(self.store, "last")

    def entry(self) -> JournalEntry:
        return read_journal(self.store, self.record().run_id)["probe"]

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(open_artifact(self.store, self.entry().outputs["facts"]).read("facts.json"))
        return facts


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("probes") / "checkout", probe_files())


@pytest.fixture
def probes(bed: Bed, checkout: Path, folder: Path) -> Probes:
    return Probes(checkout, folder, bed, f"s3://{bed.store.make_bucket()}/store")


def until(look: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not look():
        assert time.monotonic() < end_s, f"no {what} within {LIMIT_S:g} s"
        time.sleep(0.1)


def submitted(probes: Probes, settings: dict[str, object]) -> str:
    """Submit the pipeline, and wait until its step runs."""
    words = probes.command(settings, {}, "submit")
    run_id = subprocess.run(words, cwd=probes.checkout, env=probes.environment, capture_output=True, text=True, check=True).stdout.strip()
    log = probes.folder / "work" / "logs" / f"{run_id}.log"
    until(lambda: log.is_file() and '"event": "probing"' in log.read_text(), "running step")
    return run_id


def test_a_step_is_no_user_of_the_machine_and_can_write_only_tmp(probes: Probes) -> None:
    ended = probes.probe({})
    assert ended.returncode == 0, ended.stderr
    facts = probes.facts()
    assert (facts["user"], facts["group"]) == (65532, 65532)
    assert facts["writable"] == ["/tmp"]
    assert set(facts["capabilities"].values()) == {"0000000000000000"}
    assert facts["no_new_privileges"] == "1"
    assert facts["first_process"].endswith("python3")  # no shell that would keep signals from it


def test_a_step_has_the_limits_that_its_task_states(probes: Probes) -> None:
    assert probes.probe({}).returncode == 0
    facts = probes.facts()
    assert facts["memory_bytes"] == pytest.approx(700 * 2**20, rel=1e-4)  # a whole number of pages
    assert facts["cpus"] == 1.5


def test_a_step_reaches_the_store_and_nothing_else(probes: Probes, outside: str) -> None:
    with listener("0.0.0.0") as port:
        addresses = {"store": f"{STORE_ADDRESS}:{STORE_PORT}", "machine": f"{GATEWAY}:{port}", "outside": f"{outside}:{port}"}
        assert probes.probe({"addresses": addresses}).returncode == 0
        assert probes.facts()["reached"] == ["store"]
        # In an ordinary network of podman the others answer: they are there to be reached.
        program = f"import socket\nfor host in ({outside!r}, {GATEWAY!r}): socket.create_connection((host, {port}), 5)"
        mounted = [f"--volume={place}:{place}:ro" for place in ("/usr", sys.base_prefix)]
        probes.bed.podman("run", "--rm", "--network=podman", *mounted, IMAGE, f"{sys.base_prefix}/bin/python3", "-c", program)


def test_keys_of_the_store_are_in_no_command_line(probes: Probes) -> None:
    run_id = submitted(probes, {"sleeps_s": 60})
    seen = " ".join(text for path in Path("/proc").glob("[0-9]*/cmdline") if (text := _read(path)))
    assert run_id in seen  # the label of the container
    assert probes.bed.store.secret_key not in seen
    (container,) = probes.bed.running()
    assert probes.bed.store.secret_key in probes.bed.podman("inspect", container)
    assert probes.pipeline("cancel", run_id).returncode == 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


@pytest.mark.parametrize(("fails", "exit_code", "message"), [("user", 2, "its input wrong"), ("temporary", 75, "to try again")])
def test_errors_of_a_step_arrive_as_those_of_a_process_do(probes: Probes, fails: str, exit_code: int, message: str) -> None:
    ended = probes.probe({"fails": fails})
    assert ended.returncode == exit_code
    assert message in ended.stderr
    assert (probes.record().state, probes.record().exit_code, probes.entry().exit_code) == ("failed", exit_code, exit_code)
    assert not probes.bed.made()


def test_a_step_that_takes_more_memory_than_its_task_states_is_killed_and_worth_another_try(probes: Probes) -> None:
    ended = probes.probe({"fails": "memory"})
    assert ended.returncode == 75
    assert "was ended from outside" in ended.stderr
    assert not probes.bed.made()


def test_cancelling_a_run_lets_its_step_save_and_ends_the_container(probes: Probes) -> None:
    run_id = submitted(probes, {"sleeps_s": 300, "saves_s": 4})
    assert len(probes.bed.running()) == 1
    cancelled = probes.pipeline("cancel", run_id)
    assert cancelled.stdout.strip() == run_id, cancelled.stderr
    assert not probes.bed.made()
    assert probes.record().state == "cancelled"
    assert probes.entry().exit_code == 143
    assert '"event": "saved"' in probes.pipeline("logs", run_id).stdout


def test_a_killed_run_leaves_no_container_that_works_on(probes: Probes) -> None:
    run_id = submitted(probes, {"sleeps_s": 300})
    os.kill(probes.record().pid, signal.SIGKILL)
    until(lambda: not probes.bed.made(), "end of the container")
    assert probes.record().state == "lost"
    again = probes.pipeline("logs", run_id)
    assert "probing" in again.stdout


def test_what_a_killed_podman_left_is_removed_before_the_next_run(probes: Probes) -> None:
    submitted(probes, {"sleeps_s": 300})
    (container,) = probes.bed.running()
    (client,) = _children(probes.record().pid)
    os.kill(probes.record().pid, signal.SIGSTOP)
    os.kill(client, signal.SIGKILL)
    os.kill(probes.record().pid, signal.SIGKILL)
    time.sleep(1)
    assert probes.bed.running() == {container}
    assert probes.probe({}).returncode == 0
    assert not probes.bed.made()


def _children(process: int) -> list[int]:
    return [int(one) for path in Path(f"/proc/{process}/task").glob("*/children") for one in path.read_text().split()]


def test_what_podman_cannot_start_is_refused_with_its_reason(probes: Probes) -> None:
    ended = probes.probe({}, network="no-such-network")
    assert ended.returncode == 2
    assert "no-such-network" in ended.stderr
    hidden = probes.probe({}, network="none")
    assert hidden.returncode == 2
    assert "out of reach" in hidden.stderr
