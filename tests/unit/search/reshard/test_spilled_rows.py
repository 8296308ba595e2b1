"""Rows spread over the shards of another collection and read back, against a dict."""

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from reelspace.search.compute.build import BuildRows, BuildVectors
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.scheduling import spilled_rows as spilled_module
from reelspace.search.scheduling.spilled_rows import SpilledRows
from reelspace.search.storage.ids import Id, id_order, ids_of_words, shard_of
from reelspace.search.storage.layout import Collection, VectorSettings

MADE = Collection(
    name="things",
    space_id="0" * 16,
    vectors={"": VectorSettings(dimension=3, metric="dot"), "rare": VectorSettings(dimension=2, metric="euclid")},
    num_shards=3,
)
Plain = dict[Id, tuple[list[float], list[float] | None, bytes]]


def rows_of(found: Plain) -> BuildRows:
    ids = sorted(found, key=id_order)
    whole = np.array([found[id][0] for id in ids], dtype=np.float32).reshape(-1, 3)
    rare = {place: vector for place, id in enumerate(ids) if (vector := found[id][1]) is not None}
    rare_PD = np.array([*rare.values()], dtype=np.float32).reshape(-1, 2)
    payloads = Payloads()
    payloads.append([found[id][2] for id in ids])
    vectors = {
        "": BuildVectors(MADE.vectors[""], whole),
        "rare": BuildVectors(MADE.vectors["rare"], rare_PD, np.array([*rare], dtype=np.int64)),
    }
    return BuildRows(SealedIds.of(ids), vectors, payloads)


def plain(rows: BuildRows) -> Plain:
    assert rows.ids.are_ordered
    ids = ids_of_words(rows.ids.words())
    texts = rows.payloads.jsons(range(len(ids)))
    rare = rows.vectors["rare"]
    places = range(len(ids)) if rare.rows_P is None else rare.rows_P.tolist()
    of_place = dict(zip(places, rare.vectors_PD.tolist(), strict=True))
    return {id: (rows.vectors[""].vectors_PD[place].tolist(), of_place.get(place), texts[place]) for place, id in enumerate(ids)}


@pytest.mark.parametrize("part_rows", [1, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_row_comes_out_in_its_shard_as_it_went_in(
    tmp_path: Path, part_rows: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spilled_module, "PART_ROWS", part_rows)
    draw = np.random.default_rng(part_rows)
    ids: list[Id] = [*range(60), 2**64 - 1, *(UUID(int=number << 60) for number in range(40))]
    rows: Plain = {}
    for id in ids:
        rare = draw.standard_normal(2).astype(np.float32).tolist() if draw.random() < share else None
        rows[id] = draw.standard_normal(3).astype(np.float32).tolist(), rare, b'{"n":%d}' % draw.integers(10**6)
    spilled = SpilledRows(MADE, tmp_path / "rows")
    for shard in range(2):
        spilled.spread(rows_of({id: row for id, row in rows.items() if shard_of(id, 2) == shard}))
    found: Plain = {}
    for shard in range(3):
        part = plain(spilled.rows(shard))
        assert all(shard_of(id, 3) == shard for id in part)
        found |= part
    assert found == rows


def test_a_shard_without_rows_is_empty(tmp_path: Path) -> None:
    spilled = SpilledRows(MADE, tmp_path / "rows")
    spilled.spread(rows_of({}))
    assert plain(spilled.rows(1)) == {}
