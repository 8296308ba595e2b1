"""Vocabulary over versions: whatever comes and goes, an id stands for one text."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.core.errors import TableError
from reelspace.signals.vocabulary_history import Changes, Vocabulary, next_version, read_vocabulary

TEXTS = [f"tag{number}" for number in range(8)]


def _next(
    previous: Vocabulary | None, texts: list[str], canonical: Mapping[str, str] | None = None, first: int = 100
) -> tuple[Vocabulary, Changes]:
    return next_version(previous, texts, np.full(len(texts), first, dtype=np.int64), canonical or {})


def _states(vocabulary: Vocabulary) -> list[tuple[str, str, int | None]]:
    return [(label.text, label.status, label.merged_into) for label in vocabulary.known]


@st.composite
def _versions(draw: st.DrawFn) -> list[tuple[list[str], dict[str, str]]]:
    """Versions of some texts in any order, and merges of others into texts, present or not, that do not merge themselves."""
    versions = []
    for _ in range(draw(st.integers(1, 8))):
        texts = draw(st.permutations(TEXTS))[: draw(st.integers(0, len(TEXTS)))]
        merging = draw(st.lists(st.sampled_from([text for text in TEXTS if text not in texts] or ["none"]), unique=True))
        heads = [text for text in [*TEXTS, "never"] if text not in merging]
        versions.append((texts, {text: draw(st.sampled_from(heads)) for text in merging}))
    return versions


@settings(deadline=None, max_examples=300)
@given(_versions())
def test_no_id_ever_stands_for_two_texts_and_none_is_given_twice(versions: list[tuple[list[str], dict[str, str]]]) -> None:
    text_of: dict[int, str] = {}
    vocabulary = None
    for texts, canonical in versions:
        before = dict(text_of)
        was_active = {label_id for label_id, label in enumerate(vocabulary.known) if label.status == "active"} if vocabulary else set()
        vocabulary, changes = _next(vocabulary, texts, canonical)
        for label_id, label in enumerate(vocabulary.known):
            assert text_of.setdefault(label_id, label.text) == label.text
        assert len(set(text_of.values())) == len(text_of) == len(vocabulary.known)
        assert list(changes.appended) == [label_id for label_id in text_of if label_id not in before]
        active = {label_id for label_id, label in enumerate(vocabulary.known) if label.status == "active"}
        assert {text_of[label_id] for label_id in active} == set(texts)
        assert set(changes.revived) == active - was_active - set(changes.appended)
        assert was_active - active <= {*changes.merged, *changes.retired}
        for label in vocabulary.known:
            assert (label.merged_into is not None) == (label.status == "merged")
            if label.merged_into is not None:  # one step leads to the end
                assert vocabulary.known[label.merged_into].status != "merged"
            if label.text in canonical and canonical[label.text] in texts:
                assert label.merged_into == vocabulary.number()[canonical[label.text]]


def test_the_first_version_counts_from_zero_in_the_order_given() -> None:
    vocabulary, changes = _next(None, ["cat", "dog", "ant"])
    assert vocabulary.number() == {"cat": 0, "dog": 1, "ant": 2}
    assert changes == Changes(1, (0, 1, 2), (), (), ())
    assert vocabulary.ids_L(["ant", "cat"]).tolist() == [2, 0]


def test_labels_retire_merge_and_come_back_under_their_ids() -> None:
    one, _ = _next(None, ["cat", "kitty", "dog"])
    two, changes = _next(one, ["cat", "eel"], {"kitty": "cat"})
    assert _states(two) == [("cat", "active", None), ("kitty", "merged", 0), ("dog", "retired", None), ("eel", "active", None)]
    assert changes == Changes(2, (3,), (1,), (2,), ())
    three, changes = _next(two, ["dog", "kitty", "eel", "cat"])
    assert [label.status for label in three.known] == ["active"] * 4
    assert changes == Changes(3, (), (), (), (1, 2))
    assert [label.version_changed for label in three.known] == [1, 3, 3, 2]
    assert [label.version_added for label in three.known] == [1, 1, 1, 2]


def test_a_merged_label_follows_its_target_into_the_next_merge() -> None:
    one, _ = _next(None, ["cat", "kitty"])
    two, _ = _next(one, ["cat"], {"kitty": "cat"})
    three, changes = _next(two, ["feline"], {"cat": "feline"})
    assert _states(three) == [("cat", "merged", 2), ("kitty", "merged", 2), ("feline", "active", None)]
    assert changes.merged == (0, 1)


def test_a_label_whose_target_is_no_label_retires() -> None:
    one, _ = _next(None, ["cat"])
    two, changes = _next(one, [], {"cat": "feline"})
    assert _states(two) == [("cat", "retired", None)]
    assert changes.retired == (0,)


def test_the_first_time_of_a_label_never_moves_forward() -> None:
    one, _ = _next(None, ["cat"], first=50)
    assert _next(one, ["cat"], first=70)[0].known[0].first_us == 50
    assert _next(one, ["cat"], first=30)[0].known[0].first_us == 30


def _written(directory: Path, **changed: list[object]) -> Path:
    columns: dict[str, list[object]] = {
        "label_id": [0, 1],
        "text": ["cat", "kitty"],
        "first_seen": [1_700_000_000_000_001, 5],
        "status": ["active", "merged"],
        "merged_into": [None, 0],
        "version_added": [1, 1],
        "version_changed": [1, 3],
        **changed,
    }
    table = pa.table(columns)
    table = table.set_column(2, "first_seen", table["first_seen"].cast(pa.timestamp("us", tz="UTC")))
    pq.write_table(table, directory / "vocabulary.parquet")
    (directory / "changes.json").write_bytes(Changes(3, (), (1,), (), ()).json())
    return directory


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(_written(tmp_path))
    assert vocabulary.version == 3
    assert _states(vocabulary) == [("cat", "active", None), ("kitty", "merged", 0)]
    assert [label.first_us for label in vocabulary.known] == [1_700_000_000_000_001, 5]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"label_id": [0, 2]}, "expected the ids 0 to 1"), ({"text": ["cat", "cat"]}, "each text once")],
)
def test_a_broken_history_is_refused(tmp_path: Path, changed: dict[str, list[object]], message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_vocabulary(_written(tmp_path, **changed))


def test_a_vocabulary_from_before_versions_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path) / "vocabulary.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["merged_into"]), path)
    with pytest.raises(TableError, match="merged_into missing"):
        read_vocabulary(tmp_path)
