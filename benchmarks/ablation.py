"""The talk's claims as a table: what each part of the model gives on the generated platform `apps`, three seeds, with intervals.

Every arm trains on the same works with the same steps, batches and seed and differs in one thing. Queries are the works after the cut-off,
known by media and caption only. A difference is paired: the same queries of the same seed in both arms; its interval resamples queries
within each seed. `--place` keeps what is done, so that a run that was stopped goes on.

    python benchmarks/ablation.py --place /var/tmp/ablation
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.core.artifacts import open_artifact, read_manifest_file  # noqa: E402
from reelspace.core.rng import rng  # noqa: E402
from reelspace.core.settings import read  # noqa: E402
from reelspace.core.store import open_store  # noqa: E402
from reelspace.demo.generate import generate  # noqa: E402
from reelspace.demo.presets import CUTOFF, world_preset  # noqa: E402
from reelspace.evaluate.label_purity import majority_classes, purities_C  # noqa: E402
from reelspace.evaluate.probe import embedding_values  # noqa: E402
from reelspace.evaluate.ranking import average_precision_Q, ideal_gain_QK, ndcg_at_Q  # noqa: E402
from reelspace.evaluate.slices import SliceSettings, slice_masks  # noqa: E402
from reelspace.evaluate.texts import encode_texts  # noqa: E402
from reelspace.evaluate.topics import TopicTask, text_values, topic_task, video_values  # noqa: E402
from reelspace.evaluate.truth import read_facts, read_queries, read_works  # noqa: E402
from reelspace.media.dataset import ShardReader  # noqa: E402
from reelspace.media.sample import Sample  # noqa: E402
from reelspace.model.checkpoint import save_model  # noqa: E402
from reelspace.model.inputs import video_inputs  # noqa: E402
from reelspace.steps import import_tables, preprocess_media, preprocess_signals  # noqa: E402
from reelspace.steps.presets import journey_preset  # noqa: E402
from reelspace.train.assembly import Assembly, assemble  # noqa: E402
from reelspace.train.batches import make_batch  # noqa: E402
from reelspace.train.group import Group  # noqa: E402
from reelspace.train.job import TrainJob  # noqa: E402
from reelspace.train.label_head import label_logits  # noqa: E402
from reelspace.train.objective import PretrainObjective  # noqa: E402
from reelspace.train.schedule import learning_rate  # noqa: E402
from reelspace.train.settings import TrainSettings, without_crowd  # noqa: E402
from reelspace.train.torch_engine import TorchEngine  # noqa: E402

Values = NDArray[np.float64]
MIN_TRAINING_WORKS = 12
PREFIXES = (32, 64)
FRESH_SHARE = 0.2
BATCH = 64
ROUNDS = 2_000
NO_QUERIES = {"query_share": 0.0}
NO_COMMENTS = {"comment_share": 0.0}
# What every arm changes of the full one: settings of training, or "bare" for self-supervision alone. The last shows what more steps give.
ARMS: dict[str, dict[str, object]] = {
    "self_supervision": {"bare": True},
    "hashtags": {"crowd": ["hashtags"], "text_side": NO_QUERIES | NO_COMMENTS},
    "hashtags_queries": {"crowd": ["hashtags", "queries"], "text_side": NO_COMMENTS},
    "full": {},
    "top_only": {"model": "tiny_top"},
    "concatenation": {"model": "tiny_concat"},
    "no_label_graph": {"objective": {"label_head": "vectors"}},
    "random_masks": {"masks": {"selector": "random"}},
    "attention_masks": {"masks": {"selector": "attention"}},
    "unweighted_labels": {"weigh_labels": False},
    "convolution": {"model": "tiny_convolution"},
    "full_longer": {"steps": 700},
}
# The talk's claims: an arm with the part, the arm without it, and the figure that must rise.
CLAIMS: tuple[tuple[str, str, str, str], ...] = (
    ("hashtags help self-supervision", "hashtags", "self_supervision", "video_to_topic_p10"),
    ("queries help hashtags", "hashtags_queries", "hashtags", "video_to_topic_p10"),
    ("comments help queries", "full", "hashtags_queries", "video_to_topic_p10"),
    ("the crowd as a whole helps", "full", "self_supervision", "video_to_topic_p10"),
    ("multi-scale beats the top only", "full", "top_only", "video_to_topic_p10"),
    ("multi-scale beats concatenation", "full", "concatenation", "video_to_topic_p10"),
    ("the label graph helps", "full", "no_label_graph", "video_to_topic_p10"),
    ("the label graph makes labels purer", "full", "no_label_graph", "label_purity"),
    ("the label graph ranks labels better", "full", "no_label_graph", "label_map"),
    ("keyword masks beat random ones", "full", "random_masks", "text_to_topic_p10_unseen"),
    ("attention x idf beats random masks", "attention_masks", "random_masks", "text_to_topic_p10_unseen"),
    ("weights help fresh labels", "full", "unweighted_labels", "fresh_label_ndcg10"),
    ("weights help fresh topics", "full", "unweighted_labels", "video_to_topic_p10_newborn"),
    ("a Transformer beats convolution", "full", "convolution", "picture_p10"),
    ("more steps help", "full_longer", "full", "video_to_topic_p10"),
    ("the crowd as a whole helps, more steps", "full_longer", "self_supervision", "video_to_topic_p10"),
)


@dataclass(frozen=True, slots=True)
class World:
    """One seed's platform, prepared once for all arms."""

    place: Path
    seed: int

    @property
    def store(self) -> str:
        """Its store."""
        return str(self.place / "store")

    @property
    def labels(self) -> Path:
        """The fetched labels artifact."""
        return self.place / "labels"

    @property
    def shards(self) -> str:
        """The id of the shards artifact."""
        return read_manifest_file(str(self.place / "shards.manifest")).id


def prepare(place: Path, seed: int, num_works: int) -> World:
    """Generate and preprocess, unless it is done."""
    world = World(place / f"seed-{seed}", seed)
    if world.labels.is_dir():
        return world
    world.place.mkdir(parents=True, exist_ok=True)
    os.environ["REELSPACE_STORE"] = world.store
    generate(world_preset("apps", seed=seed, num_works=num_works), world.place / "world")
    settings = {step: json.dumps(section) for step, section in journey_preset("demo", cutoff=CUTOFF.isoformat()).items()}
    tables, media, labels, shards = (str(world.place / f"{kind}.manifest") for kind in ("tables", "media", "labels", "shards"))
    root = str(world.place / "world")
    import_tables.run(root, tables, media, settings["import_tables"])
    preprocess_signals.run(tables, labels, settings["preprocess_signals"])
    preprocess_media.run(tables, media, shards, root, settings["preprocess_media"])
    fetched = world.place / "labels.part"
    open_artifact(open_store(world.store), read_manifest_file(labels).id).fetch(fetched)
    fetched.rename(world.labels)
    return world


def arm_settings(name: str, seed: int, steps: int) -> TrainSettings:
    """The full settings with the arm's one change."""
    changes = dict(ARMS[name])
    base = without_crowd(TrainSettings()) if changes.pop("bare", False) else TrainSettings()
    values = base.model_dump(mode="json")
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, Mapping) else value
    values |= {"seed": seed, "engine": "torch", "train_until": CUTOFF.isoformat()} | ({} if "steps" in changes else {"steps": steps})
    return read(TrainSettings, json.dumps(values))


def run_arm(world: World, name: str, steps: int) -> None:
    """Train one arm with one thread and write the values of its queries."""
    torch.set_num_threads(1)
    out = world.place / "arms" / name
    full = world.place / "arms" / "full"
    job = TrainJob(
        kind="pretrain",
        store=world.store,
        shards=world.shards,
        labels=world.labels,
        out=out,
        pretrain=arm_settings(name, world.seed, steps),
        previous=full if name == "attention_masks" else None,
    )
    start_s = time.process_time()
    assembly = assemble(job)
    train(assembly, job)
    seconds = time.process_time() - start_s
    values = measure(world, assembly)
    out.mkdir(parents=True, exist_ok=True)
    if name == "full":
        save_model(out, assembly.objective.model, assembly.tokenizer)
    np.savez(out / "values.part.npz", **values, cpu_seconds=np.array([seconds]))
    (out / "values.part.npz").rename(out / "values.npz")


def train(assembly: Assembly, job: TrainJob) -> None:
    """Take all steps."""
    settings = job.run_settings
    engine = TorchEngine(assembly.objective, settings, Group())
    for step in range(settings.steps):
        batch = make_batch(assembly.data, assembly.tokenizer, settings, step, 0, 1, assembly.masks)
        engine.step(batch, learning_rate(step, settings.steps, settings.optimizer))


def measure(world: World, assembly: Assembly) -> dict[str, Values]:
    """Give the values of every figure by query (or by label)."""
    objective = assembly.objective
    assert isinstance(objective, PretrainObjective)
    objective.eval()
    reader = ShardReader(open_artifact(open_store(world.store), world.shards))
    samples = reader.read_all(reader.video_ids.tolist())
    fused_ND, picture_ND = embed(objective, assembly, samples)
    root, created = world.place / "world", [sample.created_at for sample in samples]
    task = topic_task(read_works(root, reader.video_ids), created, CUTOFF, MIN_TRAINING_WORKS)
    facts, queries = read_facts(root, reader.video_ids), read_queries(root)
    queries_QD = encode_texts(objective.model, assembly.tokenizer, [query.text for query in queries])
    values = embedding_values(task, facts, fused_ND, PREFIXES) | text_values(task, queries, queries_QD, fused_ND)
    picture = video_values(task, picture_ND, picture_ND)
    values |= {"picture_p10": picture["video_to_topic_p10"], "picture_swap_share": picture["background_swap_share"]}
    masks = slice_masks(task, facts, created, CUTOFF, SliceSettings())
    values |= {f"{name}_p10": values["video_to_topic_p10_all"][mask_Q] for name, mask_Q in masks.items()}
    return values | label_values(objective, assembly, world, task, fused_ND)


def embed(objective: PretrainObjective, assembly: Assembly, samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the fused and the pooled picture vectors of all works."""
    model, fused, picture = objective.model, [], []
    with torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            output = model.encode_video(*video_inputs(samples[start : start + BATCH], model.settings, assembly.tokenizer))
            fused.append(output.embedding_BD.numpy())
            picture.append(output.picture_BD.numpy())
    return np.concatenate(fused), np.concatenate(picture)


def label_values(
    objective: PretrainObjective, assembly: Assembly, world: World, task: TopicTask, fused_ND: NDArray[np.float32]
) -> dict[str, Values]:
    """Give how pure the labels' neighbours are, and how well queries of trained topics rank the labels of their topic.

    A label's class is the topic that holds at least half of its training works. Fresh labels are the fifth with the freshest uses; they
    are ranked among all labels, for the queries whose topic has one.
    """
    data, head = assembly.data, objective.label_head
    if head is None:
        return {}
    num_labels = len(data.label_names)
    every_K = torch.arange(num_labels)
    topic_of = dict(zip(read_ids(world), task.truth.topic_N.tolist(), strict=True))
    work_E, label_E = np.nonzero(data.labels_NK > 0)
    class_E = np.array([topic_of[int(data.ids_N[work])] for work in work_E])
    class_K = majority_classes(label_E, class_E, num_labels, min_share=0.5)
    with torch.inference_mode():
        head.refresh(objective.model.encode_text)
        classifiers = head.classifiers(every_K)
        logits_QK = label_logits(torch.from_numpy(fused_ND[task.query_rows_Q]), classifiers, head.biases(every_K), head.scale).numpy()
    relevant_QK = (class_K[None, :] == task.topic_Q[:, None]) & task.trained_Q[:, None]
    fresh_QK = (class_K[None, :] == task.topic_Q[:, None]) & is_fresh_K(world, [label_id for label_id, _ in data.label_names])[None, :]
    order_QK = np.argsort(-logits_QK, axis=1, kind="stable")
    ranked_QK, fresh_ranked_QK = (np.take_along_axis(part, order_QK, axis=1) for part in (relevant_QK, fresh_QK))
    return {
        "label_purity": purities_C(classifiers.numpy(), class_K, 5),
        "label_map": average_precision_Q(ranked_QK, relevant_QK.sum(axis=1)),
        "fresh_label_ndcg10": ndcg_at_Q(fresh_ranked_QK[:, :10].astype(np.float64), ideal_gain_QK(fresh_QK.astype(np.float64), 10), 10),
    }


def read_ids(world: World) -> list[int]:
    """The works of the shards, in their order."""
    return [int(number) for number in ShardReader(open_artifact(open_store(world.store), world.shards)).video_ids]


def is_fresh_K(world: World, label_ids: Sequence[int]) -> NDArray[np.bool_]:
    """Tell which labels are of the freshest share: those whose uses lie nearest before the cut-off."""
    table = pq.read_table(world.labels / "weights.parquet", columns=["label_id", "freshness"]).to_pylist()
    freshness_of = {row["label_id"]: row["freshness"] for row in table}
    freshness_K = np.array([freshness_of[label_id] for label_id in label_ids])
    return freshness_K >= np.quantile(freshness_K, 1 - FRESH_SHARE)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher one arm is: mean over seeds, its 95 % interval over queries within seeds, and each seed's own."""

    mean: float
    interval: tuple[float, float]
    by_seed: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """What the interval says of the claim that the arm is higher."""
        low, high = self.interval
        return "holds" if low > 0 else "refuted" if high < 0 else "not shown"


def difference(with_part: Sequence[Values], without: Sequence[Values], generator: np.random.Generator) -> Difference:
    """Compare two arms: query by query where both asked the same, else mean by mean (labels, of which each arm has its own)."""
    parts = []
    for ours, other in zip(with_part, without, strict=True):
        paired = len(ours) == len(other)
        parts.append([(ours - other)] if paired else [ours, -other])
    parts = [[values[~np.isnan(values)] for values in seed] for seed in parts]
    by_seed = tuple(round(float(sum(values.mean() for values in seed)), 4) for seed in parts)
    draws = np.zeros(ROUNDS)
    for seed in parts:
        for values in seed:
            draws += values[generator.integers(0, len(values), (ROUNDS, len(values)))].mean(axis=1) / len(parts)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Difference(round(float(np.mean(by_seed)), 4), (round(float(low), 4), round(float(high), 4)), by_seed)


def summarise(worlds: Sequence[World]) -> dict[str, object]:
    """Give the table: every arm's figures by seed, and every claim with its difference."""
    loaded = {name: [np.load(world.place / "arms" / name / "values.npz") for world in worlds] for name in ARMS}
    arms = {}
    for name, seeds in loaded.items():
        figures = sorted(set.intersection(*(set(values.files) for values in seeds)))
        arms[name] = {figure: [round(float(np.nanmean(values[figure])), 4) for values in seeds] for figure in figures}
    claims = []
    for claim, with_part, without, figure in CLAIMS:
        ours, other = [seed[figure] for seed in loaded[with_part]], [better_of(seed, figure) for seed in loaded[without]]
        found = difference(ours, other, rng(0, "ablation", claim))
        row = {"claim": claim, "with": with_part, "without": without, "figure": figure}
        claims.append(row | {"difference": found.mean, "interval": found.interval, "by_seed": found.by_seed, "verdict": found.verdict})
    return {"arms": arms, "claims": claims}


def better_of(values: Mapping[str, Values], figure: str) -> Values:
    """Of self-supervision alone, the better of its fused and its pooled picture vector counts."""
    if figure == "video_to_topic_p10" and "label_map" not in values and values["picture_p10"].mean() > values[figure].mean():
        return values["picture_p10"]
    return values[figure]


def main() -> None:
    """Train every arm of every seed, two at a time, and write benchmarks/results/ablation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=None, help="directory that keeps finished arms; default: a temporary one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--works", type=int, default=3_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = arguments.place or Path(scratch)
        worlds = [prepare(place, seed, arguments.works) for seed in range(arguments.seeds)]
        # Full first: the arm of attention masks asks its teacher.
        names = ["full", *(name for name in ARMS if name not in ("full", "attention_masks")), "attention_masks"]
        todo = [(world, name) for world in worlds for name in names if not (world.place / "arms" / name / "values.npz").is_file()]
        with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
            running = {pool.submit(run_arm, world, name, arguments.steps): f"{name}, seed {world.seed}" for world, name in todo}
            for number, future in enumerate(as_completed(running), start=1):
                future.result()
                print(f"{number} of {len(todo)}: {running[future]}", file=sys.stderr, flush=True)
        found = summarise(worlds)
    facts = {"unit": "precision at 10 and as named", "works": arguments.works, "steps": arguments.steps, "seeds": arguments.seeds}
    write_result("ablation", facts | found, seed=0, packages=("torch", "numpy", "av"))


if __name__ == "__main__":
    main()
