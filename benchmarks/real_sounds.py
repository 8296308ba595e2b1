"""The model trained on sound alone: 50 recordings of ten classes, each fold left out once, beside statistics of the same spectra.

A recording becomes overlapping windows of 2 s, each a work without picture and caption. Its vector is the mean of its windows' vectors,
and the nearest training recording gives the class.
Legend: N recordings, Q those left out, D dimension, S samples, W windows, M mel bands.
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

from benchmarks.real_works import RealWork, data_folder, embed, hits_Q, interval, nearest_QN, read_sounds, train, train_data  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.model.settings import ModelSettings  # noqa: E402
from reelspace.train.media_source import log_mel_NWM  # noqa: E402
from reelspace.train.settings import AugmentSettings, ObjectiveSettings, OptimizerSettings, TrainSettings  # noqa: E402

HOP_S = 0.5
# Pictures of 16 pixels: no work has one, and the tower runs on them all the same.
SIZES = ModelSettings(
    num_frames=1, frame_size=16, stem_channels=(8, 16), picture_layers=1, text_layers=1, sound_layers=2, fusion_layers=1, text_length=8
)


def recipe(seed: int, steps: int) -> TrainSettings:
    """Give the settings: sound never hidden, labels and search texts, no loss on pictures."""
    return TrainSettings(
        seed=seed,
        steps=steps,
        batch_size=48,
        vocabulary_size=256,
        optimizer=OptimizerSettings(learning_rate=1e-3),
        augment=AugmentSettings(drop_sound=0.0, drop_text=1.0, replace_tokens=0.0, unknown_tokens=0.0),
        objective=ObjectiveSettings(nt_xent=0.0, video_sound=0.0, keywords=0.0, labels=1.0),
    )


def windows(work: RealWork) -> list[RealWork]:
    """Cut a recording into windows of the model's length; wholly silent ones say nothing and are left out."""
    assert work.audio_S is not None, "the recordings all have sound"
    length, hop = SIZES.sound.num_samples, round(HOP_S * SIZES.sound.sample_rate)
    starts = range(0, max(1, len(work.audio_S) - length + 1), hop)
    parts = [replace(work, audio_S=work.audio_S[start : start + length]) for start in starts]
    return [part for part in parts if part.audio_S is not None and part.audio_S.any()]


def pooled_ND(works: Sequence[RealWork], windows_N: Sequence[Sequence[RealWork]], vectors_WD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the vectors of each recording's windows, at length 1."""
    ends = np.cumsum([len(parts) for parts in windows_N])
    assert len(ends) == len(works)
    means_ND = np.stack([part.mean(axis=0) for part in np.split(vectors_WD, ends[:-1])])
    unit_ND: NDArray[np.float32] = means_ND / np.linalg.norm(means_ND, axis=1, keepdims=True)
    return unit_ND


def statistics_ND(windows_N: Sequence[Sequence[RealWork]]) -> NDArray[np.float32]:
    """Give mean and deviation of each mel band over a recording: the baseline."""
    rows = []
    for parts in windows_N:
        audio = np.stack([np.pad(part.audio_S, (0, SIZES.sound.num_samples - len(part.audio_S))) for part in parts])  # type: ignore[arg-type]
        mel_TM = log_mel_NWM(audio.astype(np.int16), SIZES).reshape(-1, SIZES.sound.num_mels)
        rows.append(np.concatenate([mel_TM.mean(axis=0), mel_TM.std(axis=0)]))
    return np.stack(rows)


def standardised(known_ND: NDArray[np.float32], asked_QD: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale every dimension to mean 0 and deviation 1 over the known rows, and rows to length 1."""
    mean, deviation = known_ND.mean(axis=0), known_ND.std(axis=0) + 1e-6
    known, asked = (known_ND - mean) / deviation, (asked_QD - mean) / deviation
    return known / np.linalg.norm(known, axis=1, keepdims=True), asked / np.linalg.norm(asked, axis=1, keepdims=True)


def score_fold(works: Sequence[RealWork], fold: int, seed: int, steps: int, budget_s: float) -> tuple[dict[str, NDArray[np.bool_]], float]:
    """Train on the other folds; give what each kind of vector got right of this one, and the CPU seconds."""
    known, asked = [work for work in works if work.fold != fold], [work for work in works if work.fold == fold]
    known_windows, asked_windows = [windows(work) for work in known], [windows(work) for work in asked]
    trained = train(train_data([part for parts in known_windows for part in parts], SIZES), SIZES, recipe(seed, steps), budget_s)
    of_known = embed(trained, [part for parts in known_windows for part in parts])
    of_asked = embed(trained, [part for parts in asked_windows for part in parts])
    pairs = {
        name: (pooled_ND(known, known_windows, of_known[name]), pooled_ND(asked, asked_windows, of_asked[name]))
        for name in ("sound", "fused")
    }
    pairs["mel_statistics"] = standardised(statistics_ND(known_windows), statistics_ND(asked_windows))
    names, truth = [work.label for work in known], [work.label for work in asked]
    return {name: hits_Q(nearest_QN(asked_QD @ known_ND.T), names, truth, 1) for name, (known_ND, asked_QD) in pairs.items()}, trained.cpu_s


def score_seed(works: Sequence[RealWork], seed: int, steps: int, budget_s: float) -> tuple[dict[str, NDArray[np.bool_]], float]:
    """Leave each fold out once; give what each kind of vector got right of all recordings, and the CPU seconds of all trainings."""
    parts = [score_fold(works, fold, seed, steps, budget_s) for fold in sorted({work.fold for work in works})]
    hits = {name: np.concatenate([found[name] for found, _ in parts]) for name in parts[0][0]}
    return hits, sum(seconds for _, seconds in parts)


def figures(runs: Sequence[tuple[dict[str, NDArray[np.bool_]], float]]) -> dict[str, object]:
    """Average the seeds; the interval is over recordings, since the seeds of one recording are no independent questions."""
    found = {name: [hits[name] for hits, _ in runs] for name in runs[0][0]}
    return {
        "accuracy": {name: round(float(np.mean(parts)), 4) for name, parts in found.items()},
        "interval_95": {name: interval(np.mean(parts, axis=0), 0) for name, parts in found.items()},
        "accuracy_of_seeds": {name: [round(float(part.mean()), 4) for part in parts] for name, parts in found.items()},
        "cpu_s_of_seeds": [round(seconds, 1) for _, seconds in runs],
    }


def main() -> None:
    """Leave each fold out once per seed and length, and write benchmarks/results/real_sounds.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 60, 150], help="lengths of training, all of them shown")
    parser.add_argument("--budget-s", type=float, default=120.0, help="CPU seconds of each training, all threads together")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    works = read_sounds(data_folder("audio"), SIZES.frame_size)
    num_classes = len({work.label for work in works})
    write_result(
        "real_sounds",
        {
            "unit": "share of left-out recordings whose nearest training recording has their class",
            "recordings": len(works),
            "classes": num_classes,
            "folds": len({work.fold for work in works}),
            "chance": 1 / num_classes,
            # So few recordings leave none to choose the length by: no row is the result alone.
            "by_steps": {
                str(steps): figures([score_seed(works, seed, steps, arguments.budget_s) for seed in arguments.seeds])
                for steps in arguments.steps
            },
        },
        seed=arguments.seeds,
        packages=("torch", "numpy", "av"),
    )


if __name__ == "__main__":
    main()
