"""Labels the teacher never saw: how well fine-tuned classifiers rank works by them, by the number of works that carry the label.

The labels of some topics are taken out of the crowd's labels before the teacher is trained. Then classifiers of these labels are
fine-tuned beside the teacher's own on the first N works that carry each (of the other labelled works before the cut-off all), and rank
the works after the cut-off, known by media and caption alone. Right is a work of the label's topic, by the truth.
`_held`: with 20 times the weight decay, which pulls a classifier back to the vector of its name.
Beside it: the label's text vector, what the trained label graph makes of the label, both without any work, and chance.

`python benchmarks/new_labels.py [--world DIR]` prints one JSON object and writes benchmarks/results/new_labels.json.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file  # noqa: E402
from reelspace.core.store import open_store  # noqa: E402
from reelspace.demo.generate import generate  # noqa: E402
from reelspace.demo.presets import CUTOFF, world_preset  # noqa: E402
from reelspace.evaluate.ranking import average_precision_Q  # noqa: E402
from reelspace.evaluate.truth import read_upload_times, read_works  # noqa: E402
from reelspace.media.dataset import ShardReader  # noqa: E402
from reelspace.model.checkpoint import load_model  # noqa: E402
from reelspace.model.task_head import load_head  # noqa: E402
from reelspace.steps import finetune, import_labelled, import_tables, preprocess_media, preprocess_signals, pretrain  # noqa: E402
from reelspace.steps.finetune import embed_works  # noqa: E402
from reelspace.steps.presets import journey_preset  # noqa: E402

NUM_HELD_BACK = 4
WORKS_PER_LABEL = (2, 5, 10)
MIN_SHARE = 0.8
EMBED_BATCH = 32


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A label that the teacher does not see, its topic, and the works before the cut-off that carry it, by rising id."""

    label_id: int
    text: str
    topic: int
    works: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """One fine-tuning: works per label, where the classifiers start, and how it trains; one step leaves the start as it is."""

    num_works: int
    start: str = "text"
    steps: int = 300
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class Place:
    """The inputs of training as manifest files in a directory, and the generated world."""

    directory: Path
    world: Path

    def manifest(self, name: str) -> str:
        return str(self.directory / f"{name}.json")

    def artifact(self, name: str) -> Artifact:
        return open_artifact(open_store(os.environ["REELSPACE_STORE"]), read_manifest_file(self.manifest(name)).id)


@dataclass(frozen=True, slots=True)
class Asked:
    """The works that are ranked: their vectors by the teacher, and their topics."""

    vectors_ND: NDArray[np.float32]
    topic_N: NDArray[np.int64]

    def average_precision(self, scores_N: NDArray[np.float32], topic: int) -> float:
        """Average precision of one ranking."""
        order = np.argsort(-scores_N, kind="stable")
        relevant = self.topic_N == topic
        return float(average_precision_Q(relevant[order][None, :], np.array([relevant.sum()]))[0])


def main() -> None:
    """Train the teacher without the labels, fine-tune with them, write benchmarks/results/new_labels.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=Path, help="generated `demo` world of the seed; generated anew if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400, help="steps of the teacher's training")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["REELSPACE_STORE"] = str(Path(scratch) / "store")
        place = Place(Path(scratch), args.world or Path(scratch) / "world")
        if args.world is None:
            generate(world_preset("demo", seed=args.seed), place.world)
        prepare(place)
        held_back = choose_labels(place)
        take_out(place, [label.label_id for label in held_back])
        sections = journey_preset("demo", cutoff=CUTOFF.isoformat())
        training = json.dumps({**sections["pretrain"], "steps": args.steps})
        pretrain.run(place.manifest("shards"), place.manifest("seen"), place.manifest("teacher"), training)
        asked = asked_works(place)
        arms = {f"{num}_works": finetuned(place, held_back, asked, Arm(num)) for num in WORKS_PER_LABEL}
        arms |= {f"{num}_works_held": finetuned(place, held_back, asked, Arm(num, weight_decay=1.0)) for num in WORKS_PER_LABEL}
        starts = {start: finetuned(place, held_back, asked, Arm(WORKS_PER_LABEL[-1], start, steps=1)) for start in ("text", "graph")}
        chance = {label.text: float((asked.topic_N == label.topic).mean()) for label in held_back}
    rows = {"chance": chance, **{f"{start}_alone": found for start, found in starts.items()}, **arms}
    write_result(
        "new_labels",
        {
            "unit": "average precision",
            "what": "works after the cut-off ranked by classifiers of labels that the teacher never saw; right: of the label's topic",
            "labels": [{"text": label.text, "works": len(label.works)} for label in held_back],
            "works_asked": len(asked.topic_N),
            "teacher_steps": args.steps,
            "mean": {arm: round(float(np.mean(list(found.values()))), 4) for arm, found in rows.items()},
            "by_label": {arm: {text: round(value, 4) for text, value in found.items()} for arm, found in rows.items()},
        },
        seed=args.seed,
        packages=("torch", "deepspeed"),
    )


def prepare(place: Place) -> None:
    """Import, label and decode."""
    sections = {step: json.dumps(section) for step, section in journey_preset("demo", cutoff=CUTOFF.isoformat()).items()}
    tables, media = place.manifest("tables"), place.manifest("media")
    import_tables.run(str(place.world), tables, media, sections["import_tables"])
    preprocess_signals.run(tables, place.manifest("labels"), sections["preprocess_signals"])
    preprocess_media.run(tables, media, place.manifest("shards"), str(place.world), sections["preprocess_media"])
    place.artifact("labels").fetch(place.directory / "labels")


def choose_labels(place: Place) -> list[HeldBack]:
    """Take the most used label of each of the topics whose labels are most used; most of a label's works must be of its topic."""
    rows = pq.read_table(place.directory / "labels/video_labels.parquet", columns=["video_id", "label_id"]).to_pylist()
    texts = {row["label_id"]: row["text"] for row in pq.read_table(place.directory / "labels/vocabulary.parquet").to_pylist()}
    shards = set(ShardReader(place.artifact("shards")).video_ids.tolist())
    works: dict[int, list[int]] = {}
    for row in rows:
        if row["video_id"] in shards and row["label_id"] in texts:
            works.setdefault(row["label_id"], []).append(row["video_id"])
    chosen: dict[int, HeldBack] = {}
    for label_id, ids in sorted(works.items(), key=lambda item: (-len(item[1]), item[0])):
        topics = Counter(read_works(place.world, np.array(sorted(ids))).topic_N.tolist())
        topic, count = topics.most_common(1)[0]
        if topic >= 0 and topic not in chosen and count >= MIN_SHARE * len(ids):
            chosen[topic] = HeldBack(label_id, texts[label_id], topic, tuple(sorted(ids)))
    found = [label for label in chosen.values() if len(label.works) >= WORKS_PER_LABEL[-1]][:NUM_HELD_BACK]
    assert len(found) == NUM_HELD_BACK, f"expected {NUM_HELD_BACK} labels of {WORKS_PER_LABEL[-1]} works, got {len(found)}"
    return found


def take_out(place: Place, label_ids: Sequence[int]) -> None:
    """Write the artifact `seen`: the crowd's labels without some of them."""
    out = place.artifact("labels").fetch(place.directory / "seen")
    gone = pa.array(label_ids, pa.int64())
    for path in sorted(out.glob("*.parquet")):
        table = pq.read_table(path)
        for column in {"label_id", "i", "j"} & set(table.column_names):
            table = table.filter(pc.invert(pc.is_in(table[column], gone.cast(table.schema.field(column).type))))
        pq.write_table(table, path)
    artifact = write_artifact(open_store(os.environ["REELSPACE_STORE"]), "labels", out, parents=(), code="", settings={})
    write_manifest_file(artifact.manifest, place.manifest("seen"))


def asked_works(place: Place) -> Asked:
    """Embed the works after the cut-off."""
    reader = ShardReader(place.artifact("shards"))
    times = read_upload_times(place.world, reader.video_ids)
    ids_N = reader.video_ids[np.array([at >= CUTOFF for at in times])]
    model, tokenizer, _ = load_model(place.artifact("teacher").fetch(place.directory / "teacher"))
    return Asked(embed_works(ids_N, model, tokenizer, reader, EMBED_BATCH), read_works(place.world, ids_N).topic_N)


def finetuned(place: Place, held_back: Sequence[HeldBack], asked: Asked, arm: Arm) -> Mapping[str, float]:
    """Fine-tune on the first works of each label and give each label's average precision."""
    carries = {video_id: label.text for label in held_back for video_id in label.works}
    rows = [{"video_id": video_id, "label": [label.text]} for label in held_back for video_id in label.works[: arm.num_works]]
    others = pq.read_table(place.directory / "labels/video_labels.parquet", columns=["video_id"])["video_id"].unique().to_pylist()
    rows += [{"video_id": video_id, "label": []} for video_id in others if video_id not in carries]
    table = place.directory / f"{arm.num_works}.jsonl"
    merged: dict[int, list[str]] = {}
    for row in rows:
        merged.setdefault(int(str(row["video_id"])), []).extend(row["label"])  # type: ignore[arg-type]
    table.write_text("".join(json.dumps({"video_id": video_id, "label": labels}) + "\n" for video_id, labels in merged.items()))
    change = {
        "extend": True,
        "held_out": 0.0,
        "min_works": 1,
        "start": arm.start,
        "steps": arm.steps,
        "engine": "torch",
        "max_unknown_share": 1.0,
    }
    if arm.start == "graph":
        change["min_works"] = 2
    else:
        import_labelled.run(str(table), place.manifest("table"), "{}")
    change["optimizer"] = {"learning_rate": 1e-12 if arm.steps == 1 else 1e-2, "weight_decay": arm.weight_decay}
    source = place.manifest("labels" if arm.start == "graph" else "table")
    finetune.run(place.manifest("teacher"), place.manifest("shards"), source, place.manifest("head"), json.dumps(change))
    space = json.loads(place.artifact("teacher").read("space.json"))["space_id"]
    head = load_head(
        place.artifact("head").fetch(place.directory / f"head-{arm.start}-{arm.num_works}-{arm.steps}-{arm.weight_decay}"), space
    )
    scores_NK = head.logits_NK(asked.vectors_ND).numpy()
    return {label.text: asked.average_precision(scores_NK[:, head.classes_K.index(label.text)], label.topic) for label in held_back}


if __name__ == "__main__":
    main()
