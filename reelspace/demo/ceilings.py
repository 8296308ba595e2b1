"""The best reachable value of every figure of the report, by an oracle that knows the truth: `truth/ceilings.json`.

- video, twin and text precision at 10: the oracle ranks all works of the wanted topic first, so a topic with fewer than 10 other
  decodable works caps the figure; queries and topics are those of the evaluation (works after the cut-off; old topics apart).
- hashtags: an oracle that judges every use reaches 1; one that must keep or drop all uses of a spelling alike reaches
  `precision_clean_by_spelling` while it keeps at least 0.70 of the relevant uses.
- ratios, recall and agreement: a perfect student, index and export.
"""

from collections import Counter

from reelspace.demo.hashtags import TagUse
from reelspace.demo.latents import Work, World
from reelspace.demo.phrasings import evaluation_phrasings

_K = 10
_MIN_TRAINING_WORKS = 12
_MIN_RELEVANT_KEPT = 0.7


def ceilings(world: World, uses: dict[int, tuple[TagUse, ...]]) -> dict[str, object]:
    """Compute the best value of each figure, under the report's names."""
    model = _model_ceilings(world)
    return {
        "teacher": model,
        "teacher_without_crowd": model,
        "student": {"video_to_topic_p10": model["video_to_topic_p10"], "cross_space_p10_ratio": 1.0},
        "hashtags": _hashtag_ceilings([use for group in uses.values() for use in group]),
        "export": {"max_abs_difference": 0.0},
        "search": {"recall_at_10": 1.0},
        "media": {"quarantined": sum(work.broken is not None for work in world.works)},
    }


def _model_ceilings(world: World) -> dict[str, float | None]:
    shown = [work for work in world.works if work.broken is None]
    in_gallery = Counter(work.topic for work in shown)
    in_training = Counter(work.topic for work in shown if not work.is_late)
    queries = [work for work in shown if work.is_late]
    trained = {topic for topic, num in in_training.items() if num >= _MIN_TRAINING_WORKS}
    newborn = dict(world.settings.newborn_days)

    def video(works: list[Work]) -> float | None:
        return _mean([min(_K, in_gallery[work.topic] - 1) / _K for work in works])

    def text(seen: bool) -> float | None:
        asked = [row.topic for row in evaluation_phrasings(world.topics) if row.seen == seen and row.topic in trained]
        return _mean([min(_K, in_gallery[topic]) / _K for topic in asked])

    return {
        "video_to_topic_p10": video([work for work in queries if work.topic in trained]),
        "video_to_topic_p10_all": video(queries),
        "video_to_topic_p10_newborn": video([work for work in queries if work.topic in newborn]),
        "text_to_topic_p10_seen": text(True),
        "text_to_topic_p10_unseen": text(False),
        "background_swap_share": video([work for work in queries if work.twin_of is not None]),
    }


def _hashtag_ceilings(uses: list[TagUse]) -> dict[str, float | None]:
    num_relevant = sum(use.relevant for use in uses)
    totals, relevant = Counter(use.tag for use in uses), Counter(use.tag for use in uses if use.relevant)
    kept = kept_relevant = 0
    for tag in sorted(totals, key=lambda tag: (-relevant[tag] / totals[tag], tag)):
        if kept_relevant >= _MIN_RELEVANT_KEPT * num_relevant:
            break
        kept, kept_relevant = kept + totals[tag], kept_relevant + relevant[tag]
    return {
        "precision_raw": num_relevant / len(uses) if uses else None,
        "precision_clean": 1.0 if uses else None,
        "precision_clean_by_spelling": kept_relevant / kept if kept else None,
        "relevant_kept": 1.0 if uses else None,
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
