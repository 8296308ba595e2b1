"""The process that draws and encodes media: `python -m reelspace.demo.studio SETTINGS_FILE OUT SHARE NUM_SHARES`.

It plans the same world from the same settings and makes every NUM_SHARES-th file, so shares need not talk to each other.
"""

import sys
from pathlib import Path

from reelspace.core.program import run_main
from reelspace.core.settings import read
from reelspace.demo.drawing import draw_frames
from reelspace.demo.entities import Placement, placements
from reelspace.demo.latents import Work, World, plan
from reelspace.demo.music import Track, track_of, tracks
from reelspace.demo.presets import NUM_FRAMES, WorldSettings
from reelspace.demo.sound import draw_sound
from reelspace.demo.tables import media_name
from reelspace.demo.videos import break_file, encode_image, encode_video


def film_share(settings: WorldSettings, out: Path, share: int, num_shares: int) -> None:
    """Make the media files of works number `share`, `share + num_shares`, ... in `out`."""
    world = plan(settings)
    placed, pieces = placements(world), tracks(settings)
    for work in world.works[share::num_shares]:
        (out / media_name(work)).write_bytes(media_bytes(world, work, placed.get(work.video_id, ()), track_of(settings, work, pieces)))


def media_bytes(world: World, work: Work, placed: tuple[Placement, ...], track: Track | None) -> bytes:
    """The media file of a work."""
    seed, parts = world.settings.seed, world.settings.parts
    frames_FHWC = draw_frames(seed, work, world.topics[work.topic], placed)
    if work.kind == "image":
        data = encode_image(seed, work.video_id, frames_FHWC[NUM_FRAMES // 2])
    else:
        has_sound = "sound" in parts and work.sound != "none"
        audio_S = draw_sound(seed, work, world.topics[work.sound_topic], track) if has_sound else None
        data = encode_video(seed, work.video_id, frames_FHWC, audio_S)
    return data if work.broken is None else break_file(seed, work.video_id, data, work.broken)


def main() -> None:
    """Film one share."""
    settings_file, out, share, num_shares = sys.argv[1:]
    settings = read(WorldSettings, Path(settings_file).read_text())
    film_share(settings, Path(out), int(share), int(num_shares))


if __name__ == "__main__":
    sys.exit(run_main(main))
