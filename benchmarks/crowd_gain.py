"""What the crowd gives: the full teacher beside the same pictures, captions, steps and seed without the crowd.

Both arms run one after the other on the same generated world. The arm without the crowd (picture NT-Xent and video-text InfoNCE on the
caption without tags) is scored by the better of its fused and its pooled picture vector.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.demo.generate import generate  # noqa: E402
from reelspace.demo.presets import CUTOFF, world_preset  # noqa: E402
from reelspace.steps import embed, evaluate, import_tables, preprocess_media, preprocess_signals, pretrain  # noqa: E402
from reelspace.steps.presets import journey_preset  # noqa: E402

FIGURES = (
    "video_to_topic_p10",
    "video_to_topic_p10_all",
    "video_to_topic_p10_newborn",
    "background_swap_share",
    "text_to_topic_p10_seen",
    "text_to_topic_p10_unseen",
)


def measure_arm(place: Path, name: str, world: Path, sections: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Train one arm and evaluate it against the truth; gives the figures of evaluation.json."""
    arm = place / name
    settings = {step: json.dumps(section) for step, section in sections.items()}
    teacher, vectors, evaluation = (str(arm / kind) for kind in ("teacher", "vectors", "evaluation"))
    shards, labels = str(place / "shards"), str(place / "labels")
    pretrain.run(shards, labels, teacher, settings["pretrain"])
    embed.run(teacher, teacher, shards, vectors, "{}")
    thresholds_off = json.dumps({**sections["evaluate"], "thresholds": {}})
    evaluate.run(teacher, teacher, vectors, labels, evaluation, str(world), thresholds_off)
    from reelspace.core.artifacts import open_artifact, read_manifest_file
    from reelspace.core.store import open_store

    artifact = open_artifact(open_store(os.environ["REELSPACE_STORE"]), read_manifest_file(evaluation).id)
    return dict(json.loads(artifact.read("evaluation.json")))


def main() -> None:
    """Measure both arms and write benchmarks/results/crowd_gain.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["REELSPACE_STORE"] = str(place / "store")
        world = place / "world"
        generate(world_preset("demo", seed=seed), world)
        full = journey_preset("demo", cutoff=CUTOFF.isoformat())
        bare = journey_preset("demo_without_crowd", cutoff=CUTOFF.isoformat())
        tables, media = str(place / "tables"), str(place / "media")
        import_tables.run(str(world), tables, media, json.dumps(full["import_tables"]))
        preprocess_signals.run(tables, str(place / "labels"), json.dumps(full["preprocess_signals"]))
        preprocess_media.run(tables, media, str(place / "shards"), str(world), json.dumps(full["preprocess_media"]))
        seconds, arms = {}, {}
        for name, sections in (("full", full), ("without_crowd", bare)):
            start = time.monotonic()
            arms[name] = measure_arm(place, name, world, sections)
            seconds[name] = round(time.monotonic() - start, 1)
    own = arms["without_crowd"]
    fused, picture = own["teacher"], own["picture_tower"]
    better = fused if (fused["video_to_topic_p10"] or 0) >= (picture["video_to_topic_p10"] or 0) else picture  # type: ignore[operator]
    without = {**{name: fused.get(name) for name in FIGURES}, **{k: v for k, v in better.items() if k in FIGURES}}
    write_result(
        "crowd_gain",
        {
            "unit": "precision at 10",
            "teacher": {name: arms["full"]["teacher"].get(name) for name in (*FIGURES, "num_parameters")},
            "teacher_without_crowd": without | {"num_parameters": fused["num_parameters"]},
            "scored_by": "fused" if better is fused else "picture",
            "gain": arms["full"]["teacher"]["video_to_topic_p10"] - without["video_to_topic_p10"],  # type: ignore[operator]
            "seconds": seconds,
        },
        seed=seed,
        packages=("torch", "deepspeed", "numpy", "av"),
    )


if __name__ == "__main__":
    main()
