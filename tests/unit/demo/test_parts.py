"""Every part has its own random stream: leaving one out changes no byte of the others."""

import io
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from reelspace.demo.drawing import draw_frames
from reelspace.demo.entities import placements
from reelspace.demo.generate import generate
from reelspace.demo.latents import plan
from reelspace.demo.music import track_of, tracks
from reelspace.demo.presets import ALL_PARTS, Part, WorldSettings, world_preset
from reelspace.demo.studio import media_bytes

# What leaving a part out may change: whole files, or single columns of the videos table.
_FILES: dict[Part, tuple[str, ...]] = {
    "tags": ("tables/tag_judgements.parquet", "truth/tag_uses.parquet", "truth/ceilings.json"),
    "searches": (
        "tables/searches",
        "tables/impressions",
        "tables/clicks",
        "truth/query_pairs.parquet",
        "truth/randomised_positions.parquet",
    ),
    "comments": ("tables/comments", "truth/comments.parquet"),
    "tag_judgements": ("tables/tag_judgements.parquet",),
    "regions": ("tables/regions.parquet",),
    "entities": ("tables/regions.parquet", "truth/entities.parquet"),
}
_COLUMNS: dict[Part, str] = {"tags": "caption", "music": "music_id", "categories": "categories", "cover_text": "cover_text"}
_WITHOUT_MEDIA = ALL_PARTS - {"media"}


def _generate(out: Path, parts: frozenset[Part]) -> dict[str, bytes]:
    settings = world_preset("demo", seed=1, num_works=60).model_copy(update={"parts": parts})
    generate(settings, out)
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != "world.json"
    }


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    out = tmp_path_factory.mktemp("whole") / "world"
    return out, _generate(out, _WITHOUT_MEDIA)


@pytest.mark.parametrize("part", sorted(_WITHOUT_MEDIA))
def test_leaving_a_part_out_changes_no_other_byte(part: Part, whole_world: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    whole_root, whole = whole_world
    without = _generate(tmp_path / "world", _WITHOUT_MEDIA - {part})
    changed = {name for name in whole.keys() | without.keys() if whole.get(name) != without.get(name)}
    own = {name for name in changed if name.startswith(_FILES.get(part, ()))} if part in _FILES else set()
    videos = {name for name in changed if name.startswith("tables/videos/")} if part in _COLUMNS else set()
    assert changed - own - videos == set()
    if part in _FILES:
        assert own
    for name in sorted(videos):
        before, after = (pq.read_table(root / name, partitioning=None) for root in (whole_root, tmp_path / "world"))
        for column in before.column_names:
            if column != _COLUMNS[part]:
                assert before.column(column).equals(after.column(column)), column


def test_captions_without_tags_begin_as_captions_with_tags(whole_world: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    _generate(tmp_path / "world", _WITHOUT_MEDIA - {"tags"})
    tagged, plain = (
        {
            row["video_id"]: row["caption"]
            for path in sorted(root.glob("tables/videos/*/*.parquet"))
            for row in pq.read_table(path, partitioning=None).to_pylist()
        }
        for root in (whole_world[0], tmp_path / "world")
    )
    assert all(tagged[video_id].startswith(caption) and "#" not in caption for video_id, caption in plain.items())
    assert any(tagged[video_id] != caption for video_id, caption in plain.items())


def _streams(settings: WorldSettings, row: int) -> dict[str, bytes]:
    """The encoded packets of one work, by kind of stream."""
    world = plan(settings)
    work = world.works[row]
    data = media_bytes(world, work, placements(world).get(work.video_id, ()), track_of(settings, work, tracks(settings)))
    found: dict[str, bytes] = {}
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux():
            if packet.size:
                found[packet.stream.type] = found.get(packet.stream.type, b"") + bytes(packet)
    return found


@pytest.mark.parametrize(("part", "kept"), [("sound", "video"), ("music", "video"), ("entities", "audio")])
def test_parts_of_media_do_not_touch_each_other(part: Part, kept: str) -> None:
    settings = world_preset("demo", seed=1, num_works=60)
    world = plan(settings)
    pieces = tracks(settings)
    row = next(
        row
        for row, work in enumerate(world.works)
        if work.kind == "video"
        and work.broken is None
        and track_of(settings, work, pieces) is not None
        and placements(world).get(work.video_id)
    )
    whole = _streams(settings, row)
    without = _streams(settings.model_copy(update={"parts": settings.parts - {part}}), row)
    assert whole[kept] == without[kept]
    assert whole != without


@pytest.mark.parametrize("part", sorted(ALL_PARTS - {"media", "sound", "music", "entities"}))
def test_other_parts_do_not_touch_media(part: Part) -> None:
    settings = world_preset("demo", seed=1, num_works=60)
    assert _streams(settings, 4) == _streams(settings.model_copy(update={"parts": settings.parts - {part}}), 4)


def test_frames_do_not_depend_on_other_works(demo_world: object) -> None:
    small, large = (plan(world_preset("demo", seed=1, num_works=num)) for num in (60, 90))
    work = small.works[7]
    assert (draw_frames(1, work, small.topics[work.topic], ()) == draw_frames(1, work, large.topics[work.topic], ())).all()
