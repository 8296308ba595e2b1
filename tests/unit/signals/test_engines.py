"""Engines: polars, daft, and daft on Ray give the same rows, and settings that cannot be met are errors."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import SettingError
from reelspace.core.settings import identity
from reelspace.signals import tables
from reelspace.signals.engine import DaftEngine, Engine, PolarsEngine, open_engine
from reelspace.signals.impressions import position_counts
from reelspace.signals.search_log import open_log
from reelspace.signals.search_tables import read_searches
from reelspace.signals.settings import EngineSettings, SearchSettings, SignalsSettings

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = DAY + timedelta(hours=90)
SETTINGS = SearchSettings(min_users=2, min_skips=2, position_prior_clicks=5.0, max_position=6)
_ON_RAY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_engines import everything
from reelspace.signals.engine import open_engine
from reelspace.signals.settings import EngineSettings
with open_engine(EngineSettings(engine="daft", ray="local")) as engine:
    Path(sys.argv[3]).write_text(repr(everything(Path(sys.argv[2]), engine)))
"""


def everything(directory: Path, engine: Engine) -> list[Any]:
    """All that is read from the tables, as plain values."""
    works = tables.read_works(directory, AS_OF, engine)
    signals = read_searches(directory, works, str.casefold, SETTINGS, AS_OF, engine)
    comments = list(tables.comment_batches(directory, works, AS_OF, 40, engine))
    judgements = tables.read_judgements(directory, works, engine)
    found = [works, signals.pairs, signals.negatives, *comments, judgements]
    values = [getattr(part, name) for part in found for name in type(part).__slots__]
    plain = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    stages = [*signals.pair_funnel, *signals.skip_funnel, *tables.comment_stages(directory, works, AS_OF, engine)]
    return [*plain, signals.examination_K.tolist(), [(stage.stage, stage.count) for stage in stages]]


@pytest.fixture
def directory(write_tables: WriteTables) -> Path:
    """Tables of a small platform, with nulls, blanks, copies, a work that nobody clicks and one from after the moment asked for."""
    draw = np.random.default_rng(11)
    videos = [
        {"video_id": number, "creator_id": [None, 3][number % 2], "categories": [None, ["a", "b"]][number % 2]} for number in range(1, 9)
    ]
    videos += [{"video_id": 9, "created_at": AS_OF}]
    searches, clicks, impressions = [], [], []
    for number in range(400):
        at = DAY + timedelta(hours=int(draw.integers(100)))
        query = str(draw.choice(["Cat", "cat", "kitten", "kiten", "Dog", ""]))
        searches.append({"search_id": number, "user_id": int(draw.integers(9)), "query": query, "searched_at": at})
        shown = draw.permutation(np.arange(1, 10))[:6].tolist()
        impressions += [(number, video_id, place) for place, video_id in enumerate(shown, start=1)]
        for video_id in draw.choice([video_id for video_id in shown[:4] if video_id != 8], 2, replace=False).tolist():
            clicked_at = at + timedelta(milliseconds=int(draw.integers(60_000)))
            returned = [None, 4_000, 9_000][int(draw.integers(3))]
            dwell_ms = int(draw.integers(20_000))
            row = {
                "search_id": number,
                "video_id": video_id,
                "clicked_at": clicked_at,
                "dwell_ms": dwell_ms,
                "returned_within_ms": returned,
            }
            clicks.append(row)
    comments = [
        {
            "comment_id": number,
            "video_id": int(draw.integers(1, 10)),
            "user_id": int(draw.integers(5)),
            "text": str(draw.choice(["nice", " nice", "so soft", "ok", " "])),
            "likes": number,
            "commented_at": DAY + timedelta(hours=int(draw.integers(100))),
        }
        for number in range(200)
    ]
    judged = [{"video_id": 1 + number % 9, "tag": "cat", "relevant": number % 3 > 0, "rater": f"r{number}"} for number in range(60)]
    path = write_tables(videos=videos, searches=searches, clicks=clicks, comments=comments, tag_judgements=judged)
    columns = zip(("search_id", "video_id", "position"), zip(*impressions, strict=True), (pa.int64(), pa.int64(), pa.int32()), strict=True)
    pq.write_table(pa.table({name: pa.array(values, type=kind) for name, values, kind in columns}), path / "impressions.parquet")
    return path


def test_daft_gives_the_rows_of_polars(directory: Path) -> None:
    with open_engine(EngineSettings()) as polars, open_engine(EngineSettings(engine="daft")) as daft:
        assert isinstance(daft, DaftEngine)
        wanted = everything(directory, polars)
        assert min(len(wanted[place]) for place in (0, 6, 16)) > 0
        assert everything(directory, daft) == wanted


@pytest.mark.parametrize("engine", ["polars", "daft"])
def test_clicks_at_two_positions_are_those_of_plain_loops(write_tables: WriteTables, engine: Literal["polars", "daft"]) -> None:
    """A log large enough that an engine joins by its own means: a frame joined with itself once lost its rows there."""
    draw = np.random.default_rng(5)
    num_works, num_shown = 600, 6
    searches = [{"search_id": number, "user_id": number, "query": f"q{number % 300}"} for number in range(6_000)]
    shown = [(number, int(work), place) for number in range(6_000) for place, work in enumerate(_results(number, num_shown, draw), start=1)]
    clicked = {(number, work) for number, work, place in shown if draw.random() < 0.4 / place}
    clicks = [{"search_id": number, "video_id": work, "dwell_ms": 9_000} for number, work in sorted(clicked)]
    directory = write_tables(videos=[{"video_id": number} for number in range(num_works)], searches=searches, clicks=clicks)
    columns = {name: [row[place] for row in shown] for place, name in enumerate(("search_id", "video_id", "position"))}
    pq.write_table(pa.table(columns), directory / "impressions.parquet")
    with open_engine(EngineSettings(engine=engine)) as opened:
        log = open_log(directory, np.arange(num_works), str.casefold, SETTINGS, None, opened)
        counts = position_counts(log, SETTINGS, opened)
    at: dict[tuple[int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for number, work, place in shown:
        at[number % 300, work][place] += (number, work) in clicked
    wanted_KK = np.zeros_like(counts.clicks_KK)
    for places in at.values():
        for place, num_clicks in places.items():
            for other in places.keys() - {place}:
                wanted_KK[place - 1, other - 1] += num_clicks
    assert wanted_KK.sum() > 1_000
    assert counts.clicks_KK.tolist() == wanted_KK.tolist()


def _results(number: int, num_shown: int, draw: np.random.Generator) -> list[int]:
    """Two works of each query always, in either order, and others."""
    first = number % 300
    order = [first, first + 1] if draw.random() < 0.5 else [first + 1, first]
    return [*order, *(301 + draw.permutation(299)[: num_shown - 2]).tolist()]


def test_a_log_cut_into_slices_gives_what_it_gives_whole(directory: Path) -> None:
    pq.write_table(pq.read_table(directory / "clicks.parquet"), directory / "clicks.parquet", row_group_size=40)
    works = tables.read_works(directory, AS_OF)
    log = open_log(directory, works.ids_V, str.casefold, SETTINGS, AS_OF, PolarsEngine(slice_rows=100))
    assert len(log.spans) == len(log.starts) > 5
    assert everything(directory, PolarsEngine(slice_rows=100)) == everything(directory, PolarsEngine())


def test_daft_on_ray_gives_the_rows_of_polars(directory: Path, tmp_path: Path) -> None:
    """In a process of its own: daft takes one runner per process."""
    out = tmp_path / "on_ray.txt"
    command = [sys.executable, "-c", _ON_RAY, str(Path(__file__).parent), str(directory), str(out)]
    subprocess.run(command, check=True, timeout=240, capture_output=True)
    with open_engine(EngineSettings()) as polars:
        assert out.read_text() == repr(everything(directory, polars))


def test_the_engine_is_no_part_of_what_is_written() -> None:
    here, there = SignalsSettings(), SignalsSettings(engine=EngineSettings(engine="daft", ray="local"))
    assert identity(here) == identity(there)


def test_polars_does_not_claim_to_run_on_ray() -> None:
    with pytest.raises(SettingError, match="engine polars runs in one process"), open_engine(EngineSettings(ray="local")):
        pass
