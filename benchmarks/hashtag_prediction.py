"""Predicting the cleaned hashtags of real captions from their words alone, against three baselines computed in the same run.

Labels: tags that the cleaning kept, on at least five works. Test works: md5(video_id) % 5 == 0. Text: caption without hashtags and cover
text; the category is an input of one baseline only. The model learns from the text of every training work: its tags where it has some, and
its category (as a second target, never as an input), which works without tags have too. Figures are means over test works with a label.
Legend: N works, L labels, G character n-grams, C categories of the first level.
"""

import hashlib
import math
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.real_captions import captions_file, read_captions, read_judgements, write_tables  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.core.captions import parse_caption  # noqa: E402
from reelspace.signals.crowd import read_crowd  # noqa: E402
from reelspace.signals.normal_forms import NormalForms  # noqa: E402
from reelspace.signals.settings import SignalsSettings  # noqa: E402

MIN_WORKS = 5
NEIGHBOURS = 100
EPOCHS = 12
WIDTH = 128
SEEDS = (0, 1, 2)
FEW = 1e-6  # breaks ties by popularity


@dataclass(frozen=True, slots=True)
class Split:
    """Texts, first categories ("" where unknown) and labels of training and test works; test works have a label."""

    train_texts: list[str]
    test_texts: list[str]
    train_categories: list[str]
    test_categories: list[str]
    train_NL: NDArray[np.float32]
    test_NL: NDArray[np.float32]


def load() -> Split:
    """Clean the captions and split the works."""
    videos = read_captions(captions_file())
    judged = [use for use in read_judgements(videos) if use.sample == 1]
    with tempfile.TemporaryDirectory() as scratch:
        clean = read_crowd(write_tables(Path(scratch), videos, judged), SignalsSettings()).clean
    uses = clean.evidence.uses
    tags: dict[int, set[str]] = defaultdict(set)
    for row in np.flatnonzero(clean.kept_U).tolist():
        tags[int(uses.work_U[row])].add(uses.tags[int(uses.tag_U[row])])
    counts = Counter(tag for found in tags.values() for tag in found)
    number = {tag: place for place, tag in enumerate(sorted(tag for tag, count in counts.items() if count >= MIN_WORKS))}
    forms = NormalForms()
    texts = [forms.text(f"{parse_caption(row['caption']).text} {row['cover_text'] or ''}") for row in videos]
    categories = [(row["categories"] or [""])[0] for row in videos]
    labels_NL = np.zeros((len(videos), len(number)), dtype=np.float32)
    for work, found in tags.items():
        labels_NL[work, [number[tag] for tag in found if tag in number]] = 1.0
    is_test = [int(hashlib.md5(str(row["video_id"]).encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0 for row in videos]
    train = [work for work, held in enumerate(is_test) if not held and (texts[work] or labels_NL[work].any())]
    test = [work for work, held in enumerate(is_test) if held and labels_NL[work].any()]
    pick = lambda values, rows: [values[row] for row in rows]  # noqa: E731
    return Split(pick(texts, train), pick(texts, test), pick(categories, train), pick(categories, test), labels_NL[train], labels_NL[test])


def figures(scores_NL: NDArray[np.float64], split: Split) -> dict[str, float]:
    """Mean average precision, share of works with a hit in five, precision of the first."""
    order = np.argsort(-scores_NL, axis=1, kind="stable")
    hits_NL = np.take_along_axis(split.test_NL, order, axis=1)
    precision_NL = np.cumsum(hits_NL, axis=1) / np.arange(1, hits_NL.shape[1] + 1)
    average_N = (precision_NL * hits_NL).sum(axis=1) / hits_NL.sum(axis=1)
    found = {"mAP": average_N.mean(), "hit_at_5": hits_NL[:, :5].any(axis=1).mean(), "p_at_1": hits_NL[:, 0].mean()}
    return {name: round(float(value), 4) for name, value in found.items()}


class Grams:
    """TF-IDF of character 1- to 3-grams that at least two training texts have."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(gram for text in texts for gram in set(self._cut(text)))
        known = sorted(gram for gram, count in counts.items() if count >= 2)
        self.row = {gram: place for place, gram in enumerate(known)}
        self._idf_G = np.log(len(texts) / np.array([counts[gram] for gram in known], dtype=np.float64))

    @staticmethod
    def _cut(text: str) -> list[str]:
        return [text[start : start + size] for size in (1, 2, 3) for start in range(len(text) - size + 1)]

    def weights(self, text: str) -> tuple[list[int], list[float]]:
        """Columns and values of one text, of length 1."""
        counts = Counter(gram for gram in self._cut(text) if gram in self.row)
        columns = [self.row[gram] for gram in counts]
        values = [(1 + math.log(count)) * self._idf_G[column] for column, count in zip(columns, counts.values(), strict=True)]
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        return columns, [value / length for value in values]

    def dense_NG(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """All texts as a matrix."""
        out = np.zeros((len(texts), len(self.row)), dtype=np.float32)
        for row, text in enumerate(texts):
            columns, values = self.weights(text)
            out[row, columns] = values
        return out


def nearest_texts(split: Split, grams: Grams) -> NDArray[np.float64]:
    """Score by the tags of the 100 nearest tagged texts."""
    tagged = np.flatnonzero(split.train_NL.any(axis=1))
    similarity = grams.dense_NG(split.test_texts) @ grams.dense_NG([split.train_texts[row] for row in tagged]).T
    scores = np.zeros((len(similarity), split.train_NL.shape[1]))
    for row, near in enumerate(np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]):
        scores[row] = similarity[row, near] @ split.train_NL[tagged[near]]
    return scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-9) + FEW * _popularity(split)


def category_prior(split: Split) -> dict[str, NDArray[np.float64]]:
    """How often each tag comes with each first category."""
    prior: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(split.train_NL.shape[1]))
    for category, labels in zip(split.train_categories, split.train_NL, strict=True):
        prior[category] += labels
    return {category: counts / max(counts.sum(), 1.0) for category, counts in prior.items()}


def _popularity(split: Split) -> NDArray[np.float64]:
    return split.train_NL.sum(axis=0).astype(np.float64) / split.train_NL.sum()


class TextModel(nn.Module):
    """A bag of n-grams through one hidden layer to tags and to categories."""

    def __init__(self, grams: Grams, num_labels: int, num_categories: int) -> None:
        super().__init__()
        self._grams = grams
        self.bag = nn.EmbeddingBag(len(grams.row), WIDTH, mode="sum")
        nn.init.normal_(self.bag.weight, std=0.1)
        self.hidden = nn.Sequential(nn.GELU(), nn.Dropout(0.3))
        self.tags = nn.Linear(WIDTH, num_labels)
        self.categories = nn.Linear(WIDTH, num_categories)

    def forward(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the logits of tags and of categories."""
        cut = [self._grams.weights(text) for text in texts]
        starts = np.cumsum([0, *(len(columns) for columns, _ in cut)])[:-1]
        columns = torch.tensor([column for columns, _ in cut for column in columns], dtype=torch.long)
        values = torch.tensor([value for _, values in cut for value in values], dtype=torch.float32)
        hidden = self.hidden(3.0 * self.bag(columns, torch.tensor(starts), per_sample_weights=values))
        return self.tags(hidden), self.categories(hidden)


def train(split: Split, grams: Grams, names: list[str], seed: int) -> TextModel:
    """Train on tags where a work has some and on its category where it has one."""
    torch.manual_seed(seed)
    model = TextModel(grams, split.train_NL.shape[1], len(names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-4)
    labels = torch.tensor(split.train_NL / np.maximum(split.train_NL.sum(axis=1, keepdims=True), 1.0))
    number = {name: place for place, name in enumerate(names)}
    categories = torch.tensor([number.get(name, -1) for name in split.train_categories])
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(128):
            tags, kinds = model([split.train_texts[row] for row in rows.tolist()])
            tagged = labels[rows].any(dim=1)
            loss = nn.functional.cross_entropy(kinds, categories[rows], ignore_index=-1)
            if tagged.any():
                loss = loss + nn.functional.cross_entropy(tags[tagged], labels[rows][tagged])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.inference_mode()
def text_scores(model: TextModel, split: Split, names: list[str]) -> NDArray[np.float64]:
    """Mean of what the model says of tags, and of tags given the categories it guesses from the text."""
    tags, kinds = model(split.test_texts)
    prior = category_prior(split)
    by_guess = kinds.softmax(dim=1).double().numpy() @ np.stack([prior[name] for name in names])
    return np.asarray(tags.softmax(dim=1).double().numpy() + by_guess)


def main() -> int:
    """Measure and write benchmarks/results/hashtag_prediction.json; 1 if a bar is missed."""
    if not captions_file().is_file():
        print(f"skipped: no {captions_file()}; set REELSPACE_TEST_DATA to the folder of real data", file=sys.stderr)
        return 0
    split = load()
    grams = Grams(split.train_texts)
    names = sorted(set(split.train_categories) - {""})
    prior, popularity = category_prior(split), _popularity(split)
    knn = nearest_texts(split, grams)
    by_category = np.stack([prior.get(name, popularity) + FEW * popularity for name in split.test_categories])
    texts = [text_scores(train(split, grams, names, seed), split, names) + knn for seed in SEEDS]
    runs = [figures(scores, split) for scores in texts]
    results = {
        "popularity": figures(np.tile(popularity, (len(split.test_texts), 1)), split),
        "category_prior": figures(by_category, split),
        "text_knn": figures(knn, split),
        "text_model": {name: round(float(np.mean([run[name] for run in runs])), 4) for name in runs[0]},
        "text_model_and_category": figures(np.mean(texts, axis=0) * by_category, split),
    }
    facts = {"num_labels": split.test_NL.shape[1], "num_test_works": len(split.test_texts), "num_training_texts": len(split.train_texts)}
    beaten = {name: all(results["text_model"][key] > results[name][key] for key in runs[0]) for name in ("text_knn", "category_prior")}
    values = {"unit": "mean over test works", **facts, "results": results, "runs": runs, "text_model_beats": beaten}
    write_result("hashtag_prediction", values, seed=list(SEEDS), packages=("torch", "numpy", "jieba"))
    return 0 if all(beaten.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
