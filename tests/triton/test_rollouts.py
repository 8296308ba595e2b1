"""Versions change under clients that never stop asking: none fails, and a bad version never gets more than its tenth."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reelspace.core.errors import GateRefused
from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.promote import roll_back
from reelspace.serving.rollout.state import Rollout

from ..processes import is_running
from ..serving.models import VERSIONED
from .doubling import descendants, name_of, until
from .rolling import MODEL, PACE, QUICK, Clients, Rolling, asking, rolling

ROOT = Path(__file__).resolve().parents[2]
ROLLED_BACK_S = 30.0
STAGES = ("loading", "comparing", "canary", "flipping", "flipped", "retired")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rolling]:
    with rolling(tmp_path_factory.mktemp("rolling")) as running:
        yield running


def swap(served: Rolling, clients: Clients) -> int:
    """Promote a new good version; afterwards nobody hears another one. Gives its number."""
    version = served.add(turn=1.0)
    assert served.promote(version).stage == "retired"
    assert served.serving() == version
    assert served.loaded() == {version}
    ended_s = time.monotonic()
    time.sleep(0.3)
    later = clients.since(ended_s + 0.1)
    assert later
    assert {one.version for one in later} == {version}
    return version


@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_swaps", [2, pytest.param(20, marks=pytest.mark.long)])
def test_versions_are_swapped_under_load_without_a_failed_or_a_mixed_answer(served: Rolling, num_swaps: int) -> None:
    before = served.serving()
    with asking(served.gateway) as clients:
        swapped = [swap(served, clients) for _ in range(num_swaps)]
    clients.check()
    assert {one.version for one in clients.heard} == {before, *swapped}
    served.gateway.http.get("/v2/health/ready").raise_for_status()
    print(f"{num_swaps} swaps under {len(clients.heard)} requests, 0 failed")


BAD: dict[str, tuple[Callable[[Rolling], int], str]] = {
    "corrupt file": (lambda one: one.add_corrupt(), "does not load"),
    "wrong shape": (lambda one: one.add(fault="shape"), "not what its signature says"),
    "numbers that are not finite": (lambda one: one.add(fault="nan"), "not finite"),
    "five times slower": (lambda one: one.add(row_ms=10.0), "times as long as the stable version"),
    "low agreement": (lambda one: one.add(turn=60.0), r"a cosine of 0\.5\d\d"),
    "errors once clients have its answers": (lambda one: one.add(fault="error", waits=True), r"it failed \d+ of \d+ requests"),
    "death once clients have its answers": (lambda one: one.add(fault="death", waits=True), r"it failed \d+ of \d+ requests"),
    "wrong shape once clients have its answers": (lambda one: one.add(fault="shape", waits=True), "not what its signature says"),
}
SHORT = {"five times slower", "errors once clients have its answers"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in BAD])
def test_a_bad_version_is_rolled_back_before_it_gets_more_than_its_tenth(served: Rolling, name: str) -> None:
    make, says = BAD[name]
    stable, bad = served.serving(), make(served)
    canary_s: list[float] = []

    def note(rollout: Rollout, _why: str) -> None:
        if rollout.stage == "canary":
            canary_s.append(time.monotonic())
            if "once" in name and any(one.version == bad for one in clients.heard):
                served.break_down(bad)

    with asking(served.gateway) as clients:
        time.sleep(0.3)
        start_s = time.monotonic()
        with pytest.raises(GateRefused, match=says):
            served.promote(bad, QUICK if "once" in name else Gates(settle_s=0.3), note)
        rolled_back_s = time.monotonic() - start_s
        time.sleep(0.5)
        last_s = time.monotonic() - 0.2
    clients.check()
    assert rolled_back_s <= ROLLED_BACK_S
    clients.check_never_above(bad, min(canary_s, default=start_s), 0.1)
    assert {one.version for one in clients.since(last_s)} == {stable}
    assert (served.serving(), served.loaded()) == (stable, {stable})
    if "once" in name:
        assert any(one.version == bad for one in clients.heard), "clients were to have its answers before it failed"
    print(f"{name}: rolled back after {rolled_back_s:.1f} s, {clients.share(bad, start_s):.2%} of the answers")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[] if stage == "flipped" else pytest.mark.long)
        for stage in ("loading", "comparing", "canary", "flipping", "flipped", "retired")
    ],
)
def test_a_promoter_that_is_killed_is_continued_under_load(served: Rolling, stage: str) -> None:
    version = served.add()
    with asking(served.gateway) as clients:
        command = [sys.executable, "-m", "tests.triton.promoter_program", served.store.url, served.triton.grpc_address, str(version), stage]
        killed = subprocess.run(command, cwd=ROOT, timeout=90, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert killed.returncode == -signal.SIGKILL
        assert served.promote(version).stage == "retired"
    clients.check()
    assert (served.serving(), served.loaded()) == (version, {version})


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_rollback_by_hand_leads_back_to_the_version_before_under_load(served: Rolling) -> None:
    before, version = served.serving(), served.add()
    with asking(served.gateway) as clients:
        served.promote(version)
        start_s = time.monotonic()
        assert roll_back(served.world, MODEL, PACE, lambda _rollout, _why: None).candidate == before
        seconds = time.monotonic() - start_s
    clients.check()
    assert (served.serving(), served.loaded()) == (before, {before})
    assert seconds <= ROLLED_BACK_S


@pytest.mark.timeout(120)
def test_a_full_batch_is_executed_by_itself_whatever_clients_ask(served: Rolling) -> None:
    triton, version = served.world.tritons[0], served.serving()

    def num_full() -> int:
        return triton.times(MODEL, version).get(VERSIONED.max_batch, (0, 0.0))[0]

    with asking(served.gateway):
        before = num_full()
        for _ in range(5):
            triton.probe(MODEL, version, is_full=True)
        # Triton counts an execution after it has answered.
        assert until(lambda: num_full() >= before + 5, 5)
        assert num_full() == before + 5


@pytest.mark.timeout(120)
def test_loading_and_unloading_a_version_does_not_start_the_one_that_serves_anew(served: Rolling) -> None:
    """Each loaded version is a process of its own."""
    assert until(lambda: len(models_of(served)) == 1, 10), "what an earlier rollout unloaded may still end"
    before, bad = models_of(served), served.add(fault="nan")
    together: set[int] = set()

    def look(rollout: Rollout, _why: str) -> None:
        if rollout.stage == "comparing":
            together.update(models_of(served))

    with asking(served.gateway), pytest.raises(GateRefused):
        served.promote(bad, tell=look)
    assert len(together) == 2
    assert before < together
    assert until(lambda: models_of(served) == before, 5)


def models_of(served: Rolling) -> set[int]:
    """Give the processes that Triton runs models in."""
    return {pid for pid in descendants(served.triton.pid) if is_running(pid) and name_of(pid).startswith("triton_python")}
