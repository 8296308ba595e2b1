"""The model trained on the first halves of 15 real clips: does it know the second halves again, by picture, by sound and by words?

A clip is cut in time into quarters of four frames each; two train, two are asked. Only two clips have sound, and a histogram of colours
tells all 15 apart where a camera stands still: so few clips show that pictures, sound and words train together, not how well.
Legend: N works that train, Q works asked, D dimension.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.real_photos import histogram_16  # noqa: E402
from benchmarks.real_works import RealWork, Trained, data_folder, embed, hits_Q, interval, nearest_QN, read_clips, train, train_data  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.model.settings import ModelSettings  # noqa: E402
from reelspace.train.settings import AugmentSettings, ObjectiveSettings, OptimizerSettings, TrainSettings  # noqa: E402

PARTS = 4
SIZES = ModelSettings(picture_layers=2, text_layers=1, sound_layers=1, fusion_layers=1)


def recipe(seed: int, steps: int) -> TrainSettings:
    """Give the settings: every work in every batch, two views of different frames, words without corruption."""
    return TrainSettings(
        seed=seed,
        steps=steps,
        batch_size=30,
        vocabulary_size=400,
        optimizer=OptimizerSettings(learning_rate=1e-3),
        augment=AugmentSettings(min_crop=0.75, max_rotation_degrees=5.0, replace_tokens=0.0, unknown_tokens=0.0),
        objective=ObjectiveSettings(nt_xent=0.3, labels=1.0, keywords=0.0, label_head="vectors"),
    )


def quarters(work: RealWork) -> list[RealWork]:
    """Cut a clip into parts of equal time, pictures and sound alike."""
    frames = np.split(work.frames_FHWC, PARTS)
    sounds = np.array_split(work.audio_S, PARTS) if work.audio_S is not None else [None] * PARTS
    return [replace(work, frames_FHWC=part, audio_S=sound) for part, sound in zip(frames, sounds, strict=True)]


def title_hits_Q(trained: Trained, asked: Sequence[RealWork], of_asked_QD: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell for each title, English and Chinese, whether the best part among those asked is of its clip."""
    titles = [(text, work.label) for work in {work.label: work for work in asked}.values() for text in work.queries[-2:]]
    ids_BL, mask_BL = trained.tokenizer.encode_BL([text for text, _ in titles])
    with torch.inference_mode():
        text_BD = trained.model.encode_text(torch.from_numpy(ids_BL), torch.from_numpy(mask_BL)).numpy()
    return hits_Q(nearest_QN(text_BD @ of_asked_QD.T), [work.label for work in asked], [label for _, label in titles], 1)


def score(clips: Sequence[RealWork], seed: int, steps: int, budget_s: float) -> tuple[dict[str, NDArray[np.bool_]], Trained]:
    """Train on the first halves; give what each way of asking got right about the second ones."""
    parts = [quarters(clip) for clip in clips]
    known = [part for quarter in parts for part in quarter[: PARTS // 2]]
    asked = [part for quarter in parts for part in quarter[PARTS // 2 :]]
    trained = train(train_data(known, SIZES), SIZES, recipe(seed, steps), budget_s)
    of_known, of_asked = embed(trained, known), embed(trained, asked)
    names, truth = [work.label for work in known], [work.label for work in asked]
    hits = {f"clip_by_{name}": hits_Q(nearest_QN(of_asked[name] @ of_known[name].T), names, truth, 1) for name in ("picture", "fused")}
    colours_ND, colours_QD = (np.stack([histogram_16(work.frames_FHWC) for work in works]) for works in (known, asked))
    distance_QN = np.abs(colours_QD[:, None] - colours_ND[None]).sum(axis=2)
    hits["clip_by_colour_histogram"] = hits_Q(nearest_QN(-distance_QN), names, truth, 1)
    hits["clip_by_title"] = title_hits_Q(trained, asked, of_asked["fused"])
    return hits, trained


def main() -> None:
    """Train once per seed and write benchmarks/results/real_clips.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150, help="steps of each training")
    parser.add_argument("--budget-s", type=float, default=300.0, help="CPU seconds of each training, all threads together")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(data_folder("video"), PARTS * SIZES.num_frames, SIZES.frame_size)
    scored = [score(clips, seed, arguments.steps, arguments.budget_s) for seed in arguments.seeds]
    found = {name: [hits[name] for hits, _ in scored] for name in scored[0][0]}
    write_result(
        "real_clips",
        {
            "unit": "share of second halves whose nearest first half is of their clip; of titles whose best second half is",
            "clips": len(clips),
            "clips_with_sound": sum(clip.audio_S is not None for clip in clips),
            "chance": 1 / len(clips),
            "accuracy": {name: round(float(np.mean(parts)), 4) for name, parts in found.items()},
            # Over what was asked: the seeds of one question are no independent questions.
            "interval_95": {name: interval(np.mean(parts, axis=0), 0) for name, parts in found.items()},
            "accuracy_of_seeds": {name: [round(float(part.mean()), 4) for part in parts] for name, parts in found.items()},
            "runs": [
                {
                    "steps": run.steps,
                    "cpu_s": round(run.cpu_s, 1),
                    "first_loss": round(run.first_loss, 3),
                    "last_loss": round(run.last_loss, 3),
                }
                for _, run in scored
            ],
        },
        seed=arguments.seeds,
        packages=("torch", "numpy", "av"),
    )


if __name__ == "__main__":
    main()
