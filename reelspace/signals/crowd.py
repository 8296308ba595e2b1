"""The crowd's signals of one set of tables, read, cleaned and joined into labels.

Legend: V works, U uses of hashtags, P pairs of query and work, L labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from reelspace.signals import tables
from reelspace.signals.cleaning import CleanTags, clean, merge_spellings, with_merges
from reelspace.signals.comment_aspects import WeakLabels, shipped_aspects, weak_labels
from reelspace.signals.comment_choice import choose_comments
from reelspace.signals.comment_filter import mine_comments, texts_by_work
from reelspace.signals.contexts import build_contexts
from reelspace.signals.embeddings import read_embeddings
from reelspace.signals.engine import Engine, open_engine
from reelspace.signals.evidence import Evidence
from reelspace.signals.hashtags import TagUses, parse_hashtags
from reelspace.signals.keywords import query_keywords
from reelspace.signals.lexicons import Lexicons, load_lexicons
from reelspace.signals.normal_forms import NormalForms, public_text
from reelspace.signals.phrases import Phrases, content_runs
from reelspace.signals.search_tables import Negatives, read_searches
from reelspace.signals.segmentation import Segmenter
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.spellings import Merge, canonical_tags
from reelspace.signals.tables import Pairs, Stage, Works
from reelspace.signals.vocabulary import Labels, build_labels
from reelspace.signals.words_around import Sources

_COMMENT_ROWS: Final = 100_000  # in memory at once


@dataclass(frozen=True, slots=True)
class Crowd:
    """Everything that is written: labels, texts per work, decisions on hashtags, and how many got so far."""

    works: Works
    captions: tuple[str, ...]
    pairs: Pairs
    negatives: Negatives
    queries: tuple[tuple[str, ...], ...]
    comments: tuple[tuple[str, ...], ...]
    clean: CleanTags
    merges: tuple[Merge, ...]
    labels: Labels
    weak_labels: WeakLabels
    comment_languages: Mapping[str, int]
    as_of_us: int
    funnels: Mapping[str, list[Stage]]
    lexicon_versions: Mapping[str, int]


def read_crowd(directory: Path, settings: SignalsSettings, vectors: Path | None = None) -> Crowd:
    """Read the tables of a `tables` artifact and make labels of them; nothing from `settings.as_of` on is used.

    Args:
        vectors: directory with the file of a `vectors` artifact, a model's opinion on the works; None if there is none yet.
    """
    with open_engine(settings.engine) as engine:
        return _read(directory, settings, engine, vectors)


def _read(directory: Path, settings: SignalsSettings, engine: Engine, vectors: Path | None) -> Crowd:
    forms, lexicons = NormalForms(), load_lexicons(settings.lexicons)
    works = tables.read_works(directory, settings.as_of, engine)
    captions, uses = parse_hashtags(works.captions, forms)
    searches = read_searches(directory, works, forms.query, settings.searches, settings.as_of, engine)
    pairs = searches.pairs
    batches = partial(tables.comment_batches, directory, works, settings.as_of, _COMMENT_ROWS, engine)
    mined = mine_comments(batches, works, forms, lexicons, settings.comments)
    good = mined.good

    segmenter = Segmenter(_honest_tags(uses, lexicons))
    around = Sources(segmenter, forms, lexicons).gather(works, captions, pairs, good)
    contexts = build_contexts(around.weights, settings.contexts)
    words_of_tags = [tuple(dict.fromkeys((tag, *segmenter.words(tag)))) for tag in uses.tags]
    embeddings_VD = read_embeddings(vectors, works) if vectors else None
    evidence = Evidence(uses, works, around.said, words_of_tags, contexts, lexicons, settings, embeddings_VD)
    merges = merge_spellings(evidence, segmenter.is_ordinary)
    cleaned = clean(with_merges(evidence, merges), tables.read_judgements(directory, works, engine))

    words_P = [segmenter.words(query) for query in pairs.heads]
    phrases = Phrases(run for words in words_P for run in content_runs(words, lexicons.query_templates))
    keywords, keyword_funnel = query_keywords(pairs, words_P, phrases, works, lexicons, settings)
    labels = build_labels(cleaned, keywords, pairs, canonical_tags(merges), works, settings.vocabulary)

    chosen = choose_comments(good, mined.likes_C[good.row_C], segmenter.words, contexts, settings.comments)
    by_work = texts_by_work(good, chosen, mined.texts)
    return Crowd(
        works=works,
        captions=tuple(public_text(text) for text in captions),
        pairs=pairs,
        negatives=searches.negatives,
        queries=_queries(pairs, works, settings.searches.max_queries),
        comments=tuple(tuple(public_text(text) for text in by_work.get(row, ())) for row in range(len(works.ids_V))),
        clean=cleaned,
        merges=tuple(merges),
        labels=labels,
        weak_labels=weak_labels(good, segmenter.words, lexicons.query_templates, shipped_aspects(), settings.comments),
        comment_languages={str(language): num for language, num in mined.num_by_language.items()},
        as_of_us=_as_of_us(settings.as_of, works, pairs),
        funnels={
            "hashtags": cleaned.funnel(),
            "searches": searches.pair_funnel,
            "skips": searches.skip_funnel,
            "keywords": keyword_funnel,
            "comments": [
                *tables.comment_stages(directory, works, settings.as_of, engine),
                *mined.funnel,
                Stage("chosen", len(chosen)),
            ],
            "works": _coverage(works, pairs, cleaned, labels),
        },
        lexicon_versions=lexicons.versions,
    )


def _honest_tags(uses: TagUses, lexicons: Lexicons) -> list[str]:
    return [tag for tag in uses.tags if not lexicons.begs(tag)]


def _queries(pairs: Pairs, works: Works, most: int) -> tuple[tuple[str, ...], ...]:
    rows = works.rows()
    found: list[list[str]] = [[] for _ in works.ids_V]
    for video_id, query in zip(pairs.video_ids_P.tolist(), pairs.queries, strict=True):
        found[rows[video_id]].append(query)
    return tuple(tuple(queries[:most]) for queries in found)


def _as_of_us(as_of: datetime | None, works: Works, pairs: Pairs) -> int:
    """The moment weights are told for: `as_of`, or the last signal."""
    if as_of is not None:
        return round(as_of.timestamp() * 1e6)
    return int(max(works.created_us_V.max(), pairs.last_us_P.max(initial=0)))


def _coverage(works: Works, pairs: Pairs, cleaned: CleanTags, labels: Labels) -> list[Stage]:
    uses = cleaned.evidence.uses
    return [
        Stage("works", len(works.ids_V)),
        Stage("with a label", len(np.unique(labels.work_E))),
        Stage("with a satisfied query", len(np.unique(pairs.video_ids_P))),
        Stage("with a hashtag", len(np.unique(uses.work_U))),
        Stage("with a kept hashtag", len(np.unique(uses.work_U[cleaned.kept_U]))),
    ]
