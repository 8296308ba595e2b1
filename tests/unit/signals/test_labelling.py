"""Judging by hand: the sample, the session, the log that survives a kill, and agreement against known values."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import UserError
from reelspace.core.schemas import TABLES
from reelspace.signals.labelling import Log, Session, Use, agreements, draw_sample, precision_of, questions_of, session_of
from reelspace.steps.tag_questions import read_judged

USES: list[Use] = [(work, tag) for work in range(100) for tag in ("a", "b", "c")]


def test_questions_show_the_work_and_the_other_tags() -> None:
    first, second = questions_of([7], ["a day out #hiking #alps"], ["cover"], [("travel",)])
    assert (first.use, first.other_tags) == ((7, "hiking"), ("alps",))
    assert (second.use, second.other_tags) == ((7, "alps"), ("hiking",))
    assert (first.caption, first.cover_text, first.categories) == ("a day out", "cover", ("travel",))


def test_a_sample_repeats_with_its_seed_and_not_with_the_order_of_uses() -> None:
    sample = draw_sample(USES, 40, seed=3)
    assert sample == draw_sample(list(reversed(USES)), 40, seed=3)
    assert sample.uses != draw_sample(USES, 40, seed=4).uses
    assert len(set(sample.uses)) == 40
    assert set(sample.stands_for) == {7.5}


def test_every_use_is_drawn_equally_often() -> None:
    drawn = Counter(use for seed in range(300) for use in draw_sample(USES[:30], 10, seed).uses)
    assert len(drawn) == 30
    assert 70 <= min(drawn.values()) <= max(drawn.values()) <= 130  # 100 expected, standard deviation 8


def test_a_sample_over_scores_has_all_parts_and_says_what_each_use_stands_for() -> None:
    scores = {use: 0.9 if number >= 10 else 0.1 for number, use in enumerate(USES)}
    sample = draw_sample(USES, 40, seed=0, scores=scores)
    by_stratum = Counter(sample.strata)
    assert by_stratum == {0: 10, 3: 30}
    assert sum(sample.stands_for) == pytest.approx(len(USES))


def test_a_session_goes_through_its_order_and_back() -> None:
    session = Session(((1, "a"), (2, "b"), (3, "c")))
    assert session.next() == (1, "a")
    session = session.answer("yes").answer("no")
    assert session.next() == (3, "c")
    session = session.undo()
    assert session.next() == (2, "b")
    assert session.undo().undo().undo().next() == (1, "a")
    session = session.answer("skip").answer("no")
    assert session.next() is None
    assert session.judged() == {(1, "a"): True, (3, "c"): False}
    with pytest.raises(UserError, match="every use of the sample is judged"):
        session.answer("yes")


def test_a_second_rater_sees_the_same_uses_in_another_order() -> None:
    sample = draw_sample(USES, 40, seed=0)
    first, second = session_of(sample, "one", is_first=True), session_of(sample, "two", is_first=False)
    assert first.order == sample.uses
    assert set(second.order) == set(first.order)
    assert second.order != first.order
    assert second == session_of(sample, "two", is_first=False)


def test_a_log_read_again_is_at_the_same_place_wherever_it_was_cut(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.start(draw_sample(USES, 10, seed=0))
    log.join("one", again=False)
    states = [log.sessions["one"]]
    sizes = [log.path.stat().st_size]
    for verdict in ("yes", "no", None, "skip", "no", None, None, "yes"):
        log.answer("one", verdict) if verdict else log.undo("one")  # type: ignore[arg-type]
        states.append(log.sessions["one"])
        sizes.append(log.path.stat().st_size)
    data = log.path.read_bytes()
    for cut in range(sizes[0], len(data) + 1, 3):
        (tmp_path / "cut.jsonl").write_bytes(data[:cut])
        again = Log(tmp_path / "cut.jsonl")
        whole = max(number for number, size in enumerate(sizes) if size <= cut)
        assert again.join("one", again=False) == states[whole]
        after = again.answer("one", "yes")
        assert Log(again.path).sessions["one"] == after


def test_another_rater_must_say_that_it_is_a_second_pass(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.start(draw_sample(USES, 3, seed=0))
    log.join("one", again=False)
    log.answer("one", "yes")
    with pytest.raises(UserError, match="was judged by one; say --again"):
        log.join("two", again=False)
    assert log.join("two", again=True).verdicts == ()
    with pytest.raises(UserError, match="has a sample already"):
        log.start(draw_sample(USES, 3, seed=1))


def test_a_log_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"sample": [], "seed": 0}\n{"what": 1}\n')
    with pytest.raises(UserError, match=r"log\.jsonl, line 2"):
        Log(path)


def test_judgements_are_a_table_of_the_schema_without_skipped_uses(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.start(draw_sample(USES, 5, seed=0))
    for rater in ("one", "two"):
        log.join(rater, again=True)
        for verdict in ("yes", "skip", "no"):
            log.answer(rater, verdict)  # type: ignore[arg-type]
    log.write_judgements(tmp_path / "judgements.parquet")
    table = pq.read_table(tmp_path / "judgements.parquet")
    assert table.column_names == [column.name for column in TABLES["tag_judgements"].columns]
    assert table.num_rows == 4
    assert read_judged(tmp_path / "judgements.parquet") == {rater: session.judged() for rater, session in log.sessions.items()}


def test_kappa_has_the_value_of_the_textbook() -> None:
    # Cohen's example as told by Wikipedia: 20 both yes, 15 both no, 5 and 10 apart: kappa 0.4
    left = [True] * 25 + [False] * 25
    right = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    judged = {name: {(row, "t"): value for row, value in enumerate(values)} for name, values in (("one", left), ("two", right))}
    judged["two"][999, "only two"] = True
    (found,) = agreements(judged)
    assert (found.raters, found.num_common) == (("one", "two"), 50)
    assert found.kappa == pytest.approx(0.4)
    assert found.share_equal.value == pytest.approx(0.7)
    same = {name: {(1, "t"): True} for name in ("one", "two")}
    assert agreements(same)[0].kappa is None
    assert agreements({"one": {(1, "t"): True}, "two": {}})[0].num_common == 0


def test_precision_of_a_sample_over_scores_is_weighted_back() -> None:
    scores = {use: 0.9 if number >= 30 else 0.1 for number, use in enumerate(USES)}
    sample = draw_sample(USES, 40, seed=0, scores=scores)
    judged = {"one": {use: scores[use] > 0.5 for use in sample.uses}}
    found = precision_of(judged, sample)
    assert found.judged.value == pytest.approx(0.5)
    assert found.weighted == pytest.approx(0.9)  # 270 of 300 uses
    assert {low: share.value for low, share in found.by_stratum.items()} == {0.0: 0.0, 0.75: 1.0}


def test_precision_takes_the_majority_and_a_tie_is_not_relevant() -> None:
    judged = {"one": {(1, "t"): True, (2, "t"): True}, "two": {(1, "t"): False, (2, "t"): True}}
    found = precision_of(judged).judged
    assert (found.value, found.count) == (0.5, 2)
    assert 0 < found.low < 0.5 < found.high < 1


def test_the_log_holds_no_text_but_tags(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.start(draw_sample(USES, 2, seed=0))
    log.join("one", again=False)
    log.answer("one", "yes")
    keys = {key for line in log.path.read_text().splitlines() for key in json.loads(line)}
    assert keys == {"sample", "seed", "rater", "answer", "video_id", "tag"}
