"""From order to end, killed anywhere: one version serves, is loaded, and is what a Triton that starts would load."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from reelspace.core.errors import ArtifactMissing, GateRefused, ServerUnavailable, UserError
from reelspace.search.storage.layout import SPACE_POINTER
from reelspace.serving.rollout.compute_times import MIN_WINDOWS
from reelspace.serving.rollout.evidence import Evidence
from reelspace.serving.rollout.promote import Order, line, promote, roll_back, rolled_out_models, status
from reelspace.serving.rollout.promoter import Pace
from reelspace.serving.rollout.state import Rollout, Seen, find_rollout, write_rollout, write_seen

from .world import GATES, GOOD, MODEL, ORDER, PACE, Killed, Rolled, named, rolled

ALL = ["loading", "comparing", "canary", "flipping", "flipped", "retired"]


@pytest.fixture
def one(tmp_path: Path) -> Rolled:
    return rolled(tmp_path)


def kill(_rollout: Rollout, _why: str) -> None:
    raise Killed


def go_on(_rollout: Rollout, _why: str) -> None: ...


def kill_at(*stages: str) -> Callable[[Rollout, str], None]:
    """Kill the promoter after the work that leads to one of some stages, before that is written."""

    def at(rollout: Rollout, _why: str) -> None:
        if rollout.stage in stages:
            raise Killed

    return at


def started(one: Rolled, order: Order = ORDER) -> Rollout:
    return promote(one.world, order, PACE, one.tell)


def rolled_back(one: Rolled) -> Rollout:
    return roll_back(one.world, MODEL, PACE, one.tell)


def test_a_good_version_goes_through_every_stage_and_serves_alone_at_the_end(one: Rolled) -> None:
    ended = started(one)
    assert ended.stage == "retired"
    assert one.is_at_rest(4)
    assert [stage for stage in one.stages() if stage != "loading"] == ALL[1:]
    assert one.triton.loads == [[3, 4], [4]]


def test_a_server_that_starts_amid_a_rollout_has_the_stable_version_until_both_can_answer(one: Rolled) -> None:
    found: dict[str, list[int]] = {}

    def look(rollout: Rollout, _why: str) -> None:
        lying = find_rollout(one.store, MODEL)
        assert lying is not None
        found[lying.rollout.stage] = named(one.store)

    one.at = look
    started(one)
    assert (found["comparing"], found["canary"], found["flipping"]) == ([3], [3], [3, 4])


def test_beside_a_stable_version_that_only_has_large_batches_full_ones_are_timed(one: Rolled) -> None:
    one.triton.always_full = True
    assert started(one).stage == "retired"
    assert one.triton.num_full >= 2 * 2 * MIN_WINDOWS  # of both versions, in both stages


def test_a_slow_version_beside_such_a_one_is_rolled_back(one: Rolled) -> None:
    one.triton.always_full, one.triton.slowdown = True, 5.0
    with pytest.raises(GateRefused, match=r"5\.0 times as long"):
        started(one)
    assert one.is_at_rest(3)


@pytest.mark.parametrize("stage", ALL)
def test_a_promoter_killed_after_the_work_of_any_stage_is_continued_by_the_next(one: Rolled, stage: str) -> None:
    """What a stage does is done and not written yet: the next does it again."""

    one.at = kill_at(stage)
    one.triton.load_s = 0.3 if stage == "loading" else 0.0
    with pytest.raises(Killed):
        started(one)
    one.at = go_on
    assert started(one).stage == "retired"
    assert one.is_at_rest(4)


@pytest.mark.parametrize("stage", ["rolling_back", "rolled_back"])
def test_a_promoter_killed_while_it_rolls_back_is_continued_too(one: Rolled, stage: str) -> None:
    one.evidence = Evidence(asked=1, failures={"not_finite": 1})

    one.at = kill_at(stage)
    with pytest.raises(Killed):
        started(one)
    one.at = go_on
    with pytest.raises(GateRefused, match="not finite"):
        started(one)
    assert one.is_at_rest(3)


BAD = {
    "errors": ({"asked": 5, "failures": {"error": 5}}, "it failed 5 of 5 requests"),
    "slow": ({"slower": 100, "candidate_s": 5.0}, "it took 5.0 times as long"),
    "disagrees": ({"disagreeing": 100, "agreement": 10.0}, "a cosine of 0.100"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_version_is_rolled_back_with_the_reason(one: Rolled, kind: str) -> None:
    changes, says = BAD[kind]
    one.evidence = GOOD.model_copy(update=changes)
    with pytest.raises(GateRefused, match=f"version 4 of text_encoder was rolled back: .*{says}.*; version 3 serves on"):
        started(one)
    assert one.is_at_rest(3)
    assert "canary" not in one.stages()


def test_a_version_that_computes_five_times_as_long_is_rolled_back_however_long_the_queues_are(one: Rolled) -> None:
    one.triton.slowdown = 5.0
    with pytest.raises(GateRefused, match=r"it computes 4\.5 times as long"):
        started(one)
    assert one.is_at_rest(3)


def test_one_gateway_that_trips_is_enough(one: Rolled) -> None:
    one.tripped = "it gave numbers that are not finite"
    with pytest.raises(GateRefused, match="not finite"):
        started(one)


def test_a_version_that_does_not_load_is_rolled_back_with_what_triton_says(one: Rolled) -> None:
    one.triton.broken = {4}
    with pytest.raises(GateRefused, match="does not load, or does not answer: failed to load: parsing failed"):
        started(one)
    assert one.is_at_rest(3)


def test_a_version_whose_first_answers_are_wrong_meets_no_request(one: Rolled) -> None:
    one.triton.bad = {4}
    with pytest.raises(GateRefused, match="not finite"):
        started(one)
    assert set(one.stages()) <= {"loading", "rolling_back", "rolled_back"}


def test_what_is_not_proven_in_time_is_rolled_back(one: Rolled) -> None:
    one.evidence = Evidence(requests=3)
    order = replace(ORDER, gates=GATES.model_copy(update={"stage_s": 0.2}))
    with pytest.raises(GateRefused, match=r"not proven within 0\.2 s of comparing: 0 of 10 requests were compared"):
        started(one, order)


def test_evidence_of_an_earlier_stage_does_not_carry_a_later_one(one: Rolled) -> None:
    """What gateways saw of `comparing` lies there when `canary` begins."""
    told: list[str] = []

    def look(rollout: Rollout, why: str) -> None:
        if rollout.stage == "canary" and why:
            told.append(why)
            raise Killed

    one.at = look
    with pytest.raises(Killed):
        started(one)
    assert told == ["0 of 10 requests were compared"]


def test_the_old_version_stays_loaded_until_no_gateway_asks_it(one: Rolled) -> None:
    late = Seen(gateway="late", beat=0, number=1, stage="canary", version=3)
    looks = 0

    def be_late(rollout: Rollout, why: str) -> None:
        nonlocal looks
        if rollout.stage == "flipped" and looks < 20:
            looks += 1
            write_seen(one.store, MODEL, late.model_copy(update={"beat": looks}))
            if why:
                assert why == "gateway late still asks version 3"
                assert one.triton.loaded == {3, 4}
        elif rollout.stage == "flipped":
            write_seen(one.store, MODEL, late.model_copy(update={"beat": looks, "version": 4}))

    one.at = be_late
    assert started(one).stage == "retired"
    assert looks == 20
    assert one.is_at_rest(4)


def test_another_promoter_that_is_alive_keeps_the_rollout(one: Rolled) -> None:
    one.at = kill
    with pytest.raises(Killed):
        started(one)

    ended = threading.Event()

    def give_signs_of_life() -> None:
        while not ended.wait(0.005):
            found = find_rollout(one.store, MODEL)
            assert found is not None
            write_rollout(one.store, found.rollout.model_copy(update={"beat": found.rollout.beat + 1}), found)

    thread = threading.Thread(target=give_signs_of_life)
    thread.start()
    try:
        with pytest.raises(ServerUnavailable, match="another promoter works on text_encoder"):
            promote(one.world, ORDER, Pace(tick_s=0.01, alive_s=5.0), one.tell)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("stage", ["comparing", "canary"])
def test_a_rollback_by_hand_ends_what_is_under_way(one: Rolled, stage: str) -> None:
    def kill_once_written(_rollout: Rollout, _why: str) -> None:
        lying = find_rollout(one.store, MODEL)
        if lying is not None and lying.rollout.stage == stage:
            raise Killed

    one.at = kill_once_written
    with pytest.raises(Killed):
        started(one)
    one.at = go_on
    assert rolled_back(one).reason == "asked for by hand"
    assert one.is_at_rest(3)


def test_a_rollback_amid_the_flip_lets_it_end_and_leads_back(one: Rolled) -> None:
    one.at = kill_at("flipped")
    with pytest.raises(Killed):
        started(one)
    one.at = go_on
    assert one.serving() == 4
    assert rolled_back(one).candidate == 3
    assert one.is_at_rest(3)


def test_a_rollback_of_what_serves_leads_back_without_requests_and_only_once(one: Rolled) -> None:
    started(one)
    one.heard.clear()
    back = rolled_back(one)
    assert (back.number, back.stage, back.stable, back.candidate) == (2, "retired", 4, 3)
    assert "comparing" not in one.stages()
    assert one.is_at_rest(3)
    with pytest.raises(UserError, match="version 3 of text_encoder serves after a rollback"):
        rolled_back(one)


def test_a_rolled_back_version_may_be_tried_again(one: Rolled) -> None:
    one.tripped = "it gave numbers that are not finite"
    with pytest.raises(GateRefused):
        started(one)
    with pytest.raises(UserError, match="was rolled back already"):
        rolled_back(one)
    one.tripped = ""
    assert started(one).number == 2
    assert one.is_at_rest(4)


def test_a_version_that_pipelines_promote_meanwhile_ends_the_rollout(one: Rolled) -> None:
    def elsewhere(rollout: Rollout, _why: str) -> None:
        if rollout.stage == "canary":
            one.promote_elsewhere(7)
            one.triton.broken = {7}

    one.at = elsewhere
    with pytest.raises(GateRefused, match="version 7 was promoted meanwhile"):
        started(one)
    assert one.serving() == 7
    assert 3 in one.triton.loaded


def test_what_cannot_be_rolled_out_is_refused_before_anything_is_loaded(one: Rolled) -> None:
    for version, says in ((5, "flips both together"), (6, r"holds versions \[3, 4, 5\], not 6"), (3, "serves already")):
        with pytest.raises(UserError, match=says):
            started(one, replace(ORDER, version=version))
    with pytest.raises(UserError, match="no version of absent was promoted"):
        started(one, replace(ORDER, model="absent"))
    with pytest.raises(UserError, match="there was never a rollout of text_encoder"):
        rolled_back(one)
    one.store.delete(f"repository/{MODEL}/4/version.json")
    one.store.put(f"repository/{MODEL}/4/model.onnx", b"graph")
    with pytest.raises(ArtifactMissing, match=r"version\.json"):
        started(one)
    assert one.triton.loads == []


def test_two_versions_are_not_rolled_out_at_a_time(one: Rolled) -> None:
    one.at = kill
    with pytest.raises(Killed):
        started(one)
    with pytest.raises(UserError, match="version 4 of text_encoder is being rolled out"):
        started(one, replace(ORDER, version=5))


def test_status_tells_stage_counts_and_reason(one: Rolled) -> None:
    assert status(one.store, MODEL) is None
    assert rolled_out_models(one.store) == []
    told: list[str] = []

    def look(_rollout: Rollout, _why: str) -> None:
        found = status(one.store, MODEL)
        assert found is not None
        told.append(line(found.rollout, found.evidence))

    one.at, one.tripped = look, "it gave numbers that are not finite"
    with pytest.raises(GateRefused):
        started(one)
    counts = "100 of 1000 requests asked it, 100 compared: cosine 0.9900, 1.00 x the time"
    assert f"text_encoder: 3 -> 4 comparing, {counts}" in told
    found = status(one.store, MODEL)
    assert found is not None
    assert line(found.rollout) == "text_encoder: 3 -> 4 rolled_back, it gave numbers that are not finite"
    assert found.as_json()["gateways"] == {"g": {"stage": "rolling_back", "version": 3, "tripped": ""}}
    assert rolled_out_models(one.store) == [MODEL]


def test_the_pointer_is_not_moved_by_who_slept_through_the_flip_and_back(one: Rolled) -> None:
    """A promoter that read its order long ago moves nothing once the order is over."""
    started(one)
    rolled_back(one)
    with pytest.raises(Exception, match="not wanted any more"):
        one.world.promoted.flip([MODEL], 3, 4, lambda: False)
    assert one.serving() == 3


def test_the_flip_keeps_all_else_of_the_pointer_and_remembers_what_was_before(one: Rolled) -> None:
    before = orjson.loads(one.store.get(SPACE_POINTER))
    started(one)
    after = orjson.loads(one.store.get(SPACE_POINTER))
    assert after.pop("previous") == {name: value for name, value in before.items() if name != "previous"}
    assert after == {name: value for name, value in before.items() if name != "previous"} | {"encoders": {MODEL: 4}}


def test_configurations_keep_their_other_lines(one: Rolled) -> None:
    before = one.store.get(f"repository/{MODEL}/config.pbtxt").decode()
    started(one)
    after = one.store.get(f"repository/{MODEL}/config.pbtxt").decode()
    assert after == before.replace("[ 3 ]", "[ 4 ]")


def test_a_candidate_that_pipelines_promote_meanwhile_serves(one: Rolled) -> None:
    def elsewhere(rollout: Rollout, _why: str) -> None:
        if rollout.stage == "canary":
            one.promote_elsewhere(4)

    one.at = elsewhere
    assert started(one).stage == "retired"
    assert one.is_at_rest(4)
