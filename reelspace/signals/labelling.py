"""Labelling: judging uses of hashtags by hand, as a state that answers go into and the next question comes out of.

The file beside the judgements is a log that only grows: one line names the sample, every further line is one answer of one rater. What
is judged follows from the log alone, so a session that was killed goes on where it stopped.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.captions import parse_caption
from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.signals.intervals import Share, share_of
from reelspace.signals.tables import write_columns

Verdict = Literal["yes", "no", "skip"]
Use = tuple[int, str]
UNDO: Final = "undo"
VERDICTS: Final[tuple[Verdict, ...]] = ("yes", "no", "skip")
STRATA: Final = (0.0, 0.25, 0.5, 0.75)  # lowest score of each
_TYPES: Final = {"video_id": pa.int64(), "tag": pa.large_string(), "relevant": pa.bool_(), "rater": pa.large_string()}


@dataclass(frozen=True, slots=True)
class Question:
    """One use of a hashtag with what a rater sees of its work."""

    video_id: int
    tag: str
    caption: str
    cover_text: str
    categories: tuple[str, ...]
    other_tags: tuple[str, ...]

    @property
    def use(self) -> Use:
        """What names the use."""
        return self.video_id, self.tag


@dataclass(frozen=True, slots=True)
class Sample:
    """The uses to judge, how many uses each stands for, and the stratum of scores it was drawn from (0 for all in a uniform draw)."""

    uses: tuple[Use, ...]
    stands_for: tuple[float, ...]
    strata: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Session:
    """One rater's way through the sample: questions in this rater's order, and the verdicts so far, one per question."""

    order: tuple[Use, ...]
    verdicts: tuple[Verdict, ...] = ()

    def next(self) -> Use | None:
        """The use to judge now; None when all are judged."""
        return self.order[len(self.verdicts)] if len(self.verdicts) < len(self.order) else None

    def answer(self, verdict: Verdict) -> "Session":
        """The session after an answer to the question of `next`."""
        if self.next() is None:
            raise UserError("every use of the sample is judged: there is nothing to answer, only to undo")
        return Session(self.order, (*self.verdicts, verdict))

    def undo(self) -> "Session":
        """The session without its last answer; the first question stays the first."""
        return Session(self.order, self.verdicts[:-1])

    def judged(self) -> dict[Use, bool]:
        """What was decided; skipped uses are left out."""
        return {use: verdict == "yes" for use, verdict in zip(self.order, self.verdicts, strict=False) if verdict != "skip"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two raters agree on the uses that both judged (Cohen 1960); None where chance alone agrees always, or without common uses."""

    raters: tuple[str, str]
    num_common: int
    share_equal: Share
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of relevant uses: in the judged uses, per stratum of scores, and over all uses that the sample stands for."""

    judged: Share
    by_stratum: Mapping[float, Share] = field(default_factory=dict)
    weighted: float | None = None


def questions_of(
    video_ids: Sequence[int], captions: Sequence[str], cover_texts: Sequence[str], categories: Sequence[Sequence[str]]
) -> list[Question]:
    """Give every use of a hashtag in the captions, in the order of works, then captions."""
    out = []
    for video_id, caption, cover_text, names in zip(video_ids, captions, cover_texts, categories, strict=True):
        parsed = parse_caption(caption)
        for tag in parsed.tags:
            others = tuple(other for other in parsed.tags if other != tag)
            out.append(Question(int(video_id), tag, parsed.text, cover_text, tuple(names), others))
    return out


def draw_sample(uses: Sequence[Use], count: int, seed: int, scores: Mapping[Use, float] | None = None) -> Sample:
    """Draw uses without return.

    Args:
        scores: of the uses; with them the sample has as many uses of each quarter of scores as there are, or its share of `count`.
            Uses without a score are left out.
    """
    ordered = sorted(set(uses)) if scores is None else sorted(use for use in set(uses) if use in scores)
    if not ordered:
        raise UserError("there is no use of a hashtag to judge: expected captions with `#tag`" + ("" if scores is None else " and a score"))
    stratum_U = np.zeros(len(ordered), dtype=np.int64)
    if scores is not None:
        stratum_U = np.searchsorted(STRATA, [scores[use] for use in ordered], side="right") - 1
    draw = rng(seed, "uses to judge")
    sizes = np.bincount(stratum_U, minlength=len(STRATA))
    shares = _shares(sizes, count)
    chosen: list[int] = []
    for stratum in range(len(STRATA)):
        rows = np.flatnonzero(stratum_U == stratum)
        chosen += rows[draw.permutation(len(rows))[: shares[stratum]]].tolist()
    shuffled = [chosen[place] for place in draw.permutation(len(chosen)).tolist()]
    strata = tuple(int(stratum_U[row]) for row in shuffled)
    return Sample(
        uses=tuple(ordered[row] for row in shuffled),
        stands_for=tuple(float(sizes[stratum] / shares[stratum]) for stratum in strata),
        strata=strata,
        seed=seed,
    )


def session_of(sample: Sample, rater: str, is_first: bool) -> Session:
    """Start a rater's session: the first sees the sample as drawn, others in an order of their own."""
    if is_first:
        return Session(sample.uses)
    order = rng(sample.seed, "order of a rater", rater).permutation(len(sample.uses)).tolist()
    return Session(tuple(sample.uses[place] for place in order))


class Log:
    """The sessions of all raters over one sample, kept in a file line by line; each line is on the disk before the next question."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sample: Sample | None = None
        self.sessions: dict[str, Session] = {}
        if path.exists():
            self._read()

    def start(self, sample: Sample) -> None:
        """Write the sample into a new log."""
        if self.sample is not None:
            raise UserError(f"{self.path} has a sample already; judge that one, or name another --out")
        self.sample = sample
        self._append(
            {
                "sample": [
                    {"video_id": video_id, "tag": tag, "stands_for": stands_for, "stratum": stratum}
                    for (video_id, tag), stands_for, stratum in zip(sample.uses, sample.stands_for, sample.strata, strict=True)
                ],
                "seed": sample.seed,
            }
        )

    def join(self, rater: str, again: bool) -> Session:
        """Give the rater's session: the one begun earlier, or a new one.

        Args:
            again: whether the sample may be judged a second time by another rater.
        """
        if self.sample is None:
            raise UserError(f"{self.path} has no sample yet")
        if rater not in self.sessions:
            if self.sessions and not again:
                raise UserError(f"{self.path} was judged by {', '.join(self.sessions)}; say --again to judge the same uses as {rater}")
            self.sessions[rater] = session_of(self.sample, rater, is_first=not self.sessions)
        return self.sessions[rater]

    def answer(self, rater: str, verdict: Verdict) -> Session:
        """Take an answer; it is on the disk when this returns."""
        use = self.sessions[rater].next()
        after = self.sessions[rater].answer(verdict)
        if use is not None:
            self._append({"rater": rater, "answer": verdict, "video_id": use[0], "tag": use[1]})
        self.sessions[rater] = after
        return after

    def undo(self, rater: str) -> Session:
        """Take the rater's last answer back."""
        if self.sessions[rater].verdicts:
            self._append({"rater": rater, "answer": UNDO})
        self.sessions[rater] = self.sessions[rater].undo()
        return self.sessions[rater]

    def write_judgements(self, path: Path) -> None:
        """Write all raters' judgements as a table `tag_judgements`; the file is replaced whole."""
        rows = sorted((use, rater, relevant) for rater, session in self.sessions.items() for use, relevant in session.judged().items())
        columns: dict[str, Sequence[object]] = {
            "video_id": [use[0] for use, _, _ in rows],
            "tag": [use[1] for use, _, _ in rows],
            "relevant": [relevant for _, _, relevant in rows],
            "rater": [rater for _, rater, _ in rows],
        }
        partial = path.with_name(path.name + ".partial")
        write_columns(partial, columns, _TYPES)
        partial.replace(path)

    def _append(self, entry: Mapping[str, object]) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a kill in the middle of a line: that answer was never confirmed
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                self._replay(orjson.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{self.path}, line {number}: expected a line of a labelling log, got {line[:80]!r}") from error

    def _replay(self, entry: Mapping[str, object]) -> None:
        if "sample" in entry:
            self.sample = _sample(entry)
            return
        rater, answer = str(entry["rater"]), entry["answer"]
        session = self.join(rater, again=True)
        if answer == UNDO:
            self.sessions[rater] = session.undo()
        elif answer in VERDICTS and session.next() == (entry["video_id"], entry["tag"]):
            self.sessions[rater] = session.answer(answer)
        else:
            raise ValueError(answer)


def agreements(judged: Mapping[str, Mapping[Use, bool]]) -> list[Agreement]:
    """Compare every two raters, in the order of their names."""
    raters = sorted(judged)
    return [
        _agreement(first, second, judged[first], judged[second]) for place, first in enumerate(raters) for second in raters[place + 1 :]
    ]


def precision_of(judged: Mapping[str, Mapping[Use, bool]], sample: Sample | None = None) -> Precision:
    """Give the share of relevant uses, by the majority of raters (a tie is not relevant)."""
    votes: dict[Use, list[bool]] = {}
    for verdicts in judged.values():
        for use, relevant in verdicts.items():
            votes.setdefault(use, []).append(relevant)
    relevant_of = {use: 2 * sum(found) > len(found) for use, found in sorted(votes.items())}
    whole = share_of(np.array(list(relevant_of.values()), dtype=bool))
    if sample is None or len(set(sample.strata)) < 2:
        return Precision(whole)
    return _stratified(whole, relevant_of, sample)


def _agreement(first: str, second: str, left: Mapping[Use, bool], right: Mapping[Use, bool]) -> Agreement:
    common = sorted(left.keys() & right.keys())
    left_N, right_N = (np.array([verdicts[use] for use in common], dtype=bool) for verdicts in (left, right))
    if not common:
        return Agreement((first, second), 0, share_of(left_N), None)
    equal = float((left_N == right_N).mean())
    by_chance = float(left_N.mean() * right_N.mean() + (1 - left_N.mean()) * (1 - right_N.mean()))
    kappa = None if by_chance == 1.0 else (equal - by_chance) / (1 - by_chance)
    return Agreement((first, second), len(common), share_of(left_N == right_N), kappa)


def _stratified(whole: Share, relevant_of: Mapping[Use, bool], sample: Sample) -> Precision:
    stands_for = dict(zip(sample.strata, sample.stands_for, strict=True))
    num_drawn = Counter(sample.strata)
    stratum_of = dict(zip(sample.uses, sample.strata, strict=True))
    by_stratum: dict[float, Share] = {}
    sums = np.zeros(2)
    for stratum in sorted(num_drawn):
        cases = np.array([relevant for use, relevant in relevant_of.items() if stratum_of.get(use) == stratum], dtype=bool)
        share = by_stratum[STRATA[stratum]] = share_of(cases)
        if share.value is not None:
            num_uses = stands_for[stratum] * num_drawn[stratum]
            sums += [num_uses * share.value, num_uses]
    return Precision(whole, by_stratum, float(sums[0] / sums[1]) if sums[1] else None)


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Share `count` evenly among strata, none above its size; what a small one leaves goes to the others, the first first."""
    shares = [0] * len(sizes)
    left = min(count, int(sizes.sum()))
    while left:
        open_strata = [stratum for stratum, size in enumerate(sizes.tolist()) if shares[stratum] < size]
        even = max(left // len(open_strata), 1)
        for stratum in open_strata:
            part = min(even, int(sizes[stratum]) - shares[stratum], left)
            shares[stratum] += part
            left -= part
    return shares


def _sample(entry: Mapping[str, object]) -> Sample:
    rows = entry["sample"]
    if not isinstance(rows, list) or not isinstance(entry["seed"], int):
        raise TypeError(entry)
    return Sample(
        uses=tuple((int(row["video_id"]), str(row["tag"])) for row in rows),
        stands_for=tuple(float(row["stands_for"]) for row in rows),
        strata=tuple(int(row["stratum"]) for row in rows),
        seed=entry["seed"],
    )
