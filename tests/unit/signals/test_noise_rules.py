"""Noise rules: each catches its kind of noise in a small platform made for it, and lets content pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.signals import noise_rules
from reelspace.signals.cleaning import KEPT, clean
from reelspace.signals.contexts import build_contexts, unit
from reelspace.signals.evidence import Evidence
from reelspace.signals.hashtags import tag_uses
from reelspace.signals.lexicons import load_lexicons
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.tables import Judgements, Works

NUM_TOPICS = 6
NUM_EACH = 40
DAY_US = 86_400_000_000


@dataclass
class Platform:
    """Works of six topics, an own creator each; tags are added by hand."""

    creators: list[int] = field(default_factory=lambda: list(range(NUM_TOPICS * NUM_EACH)))
    tags: list[tuple[int, str]] = field(default_factory=list)

    def add(self, tag: str, works: Sequence[int]) -> None:
        self.tags += [(work, tag) for work in works]

    def evidence(self, embeddings_VD: NDArray[np.float64] | None = None) -> Evidence:
        draw = np.random.default_rng(1)
        num = NUM_TOPICS * NUM_EACH
        topics = [topic_of(work) for work in range(num)]
        said = [frozenset(f"t{topic}w{int(word)}" for word in draw.choice(6, 4, replace=False)) for topic in topics]
        works = Works(
            ids_V=np.arange(num, dtype=np.int64),
            captions=("",) * num,
            cover_texts=("",) * num,
            created_us_V=np.array(
                [(work * 7 % num) * DAY_US // 4 for work in range(num)], dtype=np.int64
            ),  # 60 days, all topics all the time
            creators_V=np.array(self.creators, dtype=np.int64),
            categories=tuple((f"area{topic}",) for topic in topics),
        )
        self.tags.sort()
        uses = tag_uses(
            np.array([work for work, _ in self.tags], dtype=np.int64), [tag for _, tag in self.tags], [tag for _, tag in self.tags]
        )
        settings = SignalsSettings()
        contexts = build_contexts([dict.fromkeys(words, 1.0) for words in said], settings.contexts)
        return Evidence(uses, works, said, [(tag,) for tag in uses.tags], contexts, load_lexicons(), settings, embeddings_VD)


def topic_of(work: int) -> int:
    return work // NUM_EACH


def works_of(topic: int, num: int) -> list[int]:
    return list(range(topic * NUM_EACH, topic * NUM_EACH + num))


def suspicion(platform: Platform, rule: Callable[[Evidence], NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
    evidence = platform.evidence()
    out = rule(evidence)
    return {tag: out[evidence.uses.tag_U == number] for number, tag in enumerate(evidence.uses.tags)}


@pytest.fixture
def platform() -> Platform:
    made = Platform()
    for topic in range(NUM_TOPICS):
        made.add(f"topic{topic}", works_of(topic, 10))
    return made


def test_lexicon_rules_name_begging_only(platform: Platform) -> None:
    platform.add("fyp", [0, 80])
    platform.add("求官方给热门", [0])
    assert suspicion(platform, noise_rules.blocklist)["fyp"].tolist() == [1.0, 1.0]
    assert suspicion(platform, noise_rules.begging_pattern)["求官方给热门"].tolist() == [1.0]
    assert suspicion(platform, noise_rules.blocklist)["topic0"].max() == 0.0


def test_a_promotion_of_the_platform_is_flagged_wherever_it_stands(platform: Platform) -> None:
    platform.add("快手九周年", [0, 80])
    found = suspicion(platform, noise_rules.platform_promotion)
    assert found["快手九周年"].tolist() == [1.0, 1.0]
    assert found["topic0"].max() == 0.0


def test_a_model_tells_a_tag_on_a_work_that_looks_like_none_of_its_others(platform: Platform) -> None:
    stranger = works_of(5, 40)[-1]
    platform.add("topic0", [stranger])
    topics = np.array([topic_of(work) for work in range(NUM_TOPICS * NUM_EACH)])
    noise_VD = np.random.default_rng(2).normal(0, 0.15, (len(topics), NUM_TOPICS))
    embeddings_VD = unit(np.eye(NUM_TOPICS)[topics] + noise_VD)
    embeddings_VD[works_of(0, 40)[0]] = 0.0
    evidence = platform.evidence(embeddings_VD)
    found = noise_rules.embedding_disagreement(evidence)[evidence.uses.tag_U == evidence.uses.tags.index("topic0")]
    assert np.isnan(found[0])
    assert found[1:10].max() < 0.65
    assert found[10] > 0.65


def test_without_a_model_its_rule_has_no_opinion(platform: Platform) -> None:
    assert np.isnan(noise_rules.embedding_disagreement(platform.evidence())).all()


def test_a_category_speaks_for_the_tags_it_names_and_says_nothing_of_others(platform: Platform) -> None:
    platform.add("area0", [0, 41])
    found = suspicion(platform, noise_rules.named_by_category)
    assert found["area0"].tolist()[0] == 0.0
    assert np.isnan(found["area0"][1])
    assert np.isnan(found["topic0"]).all()


@pytest.mark.parametrize(
    ("tag", "words", "names", "named"),
    [
        ("健身打卡", ("健身打卡", "健身", "打卡"), ("健身", "健身训练"), True),
        ("明星", ("明星",), ("明星娱乐",), True),
        ("美食", ("美食",), ("时尚", "穿搭"), False),
        ("art", ("art",), ("Party Games",), False),
        ("games", ("games",), ("Party Games",), True),
    ],
)
def test_chinese_categories_are_searched_within_others_word_by_word(
    tag: str, words: Sequence[str], names: Sequence[str], named: bool
) -> None:
    assert noise_rules._is_named(tag, words, names) is named


def test_a_tag_over_all_categories_is_suspicious_a_topical_one_is_not(platform: Platform) -> None:
    platform.add("everywhere", range(0, 240, 10))
    found = suspicion(platform, noise_rules.category_entropy)
    assert found["everywhere"].min() > 0.7
    assert found["topic3"].max() < 0.3


def test_a_tag_of_another_topic_disagrees_with_the_work(platform: Platform) -> None:
    stranger = works_of(5, 40)[-1]
    platform.add("topic0", [stranger])
    found = suspicion(platform, noise_rules.context_disagreement)["topic0"]
    assert found[:10].max() < 0.65
    assert found[10] > 0.65


def test_a_creator_cannot_back_a_tag_by_repeating_it(platform: Platform) -> None:
    own = works_of(2, 40)[20:26]
    for work in own:
        platform.creators[work] = 999
    platform.add("stocks", own)
    platform.add("stocks", [0, 41, 170, 230])
    found = suspicion(platform, noise_rules.creator_repetition)
    assert found["stocks"][2:8].min() > 0.4
    assert np.isnan(found["topic1"]).all()


def test_a_topical_creator_may_repeat_the_tag_of_the_topic(platform: Platform) -> None:
    for work in works_of(4, 6):
        platform.creators[work] = 998
    assert np.nanmax(suspicion(platform, noise_rules.creator_repetition)["topic4"]) < 0.45


def test_a_burst_over_topics_is_a_hijacked_trend_a_burst_on_topic_is_not(platform: Platform) -> None:
    days = Platform().evidence().works.created_us_V / DAY_US
    in_days = [work for work in range(240) if 20 <= days[work] < 26]
    platform.add("awardsnight", in_days[::2])
    newborn = [work for work in works_of(1, 40) if 20 <= days[work] < 30]
    platform.add("newborn", newborn)
    found = suspicion(platform, noise_rules.news_burst)
    assert len(newborn) >= 4
    assert found["awardsnight"].min() > 0.5
    assert found["newborn"].max() < 0.5
    assert found["topic0"].max() < 0.4


def test_other_tags_of_the_work_tell_a_foreign_one(platform: Platform) -> None:
    platform.add("near0", works_of(0, 10))
    platform.add("topic3", [3])
    evidence = platform.evidence()
    out = noise_rules.foreign_to_other_tags(evidence)
    of_work = {
        evidence.uses.tags[tag]: out[row]
        for row, (work, tag) in enumerate(zip(evidence.uses.work_U, evidence.uses.tag_U, strict=True))
        if work == 3
    }
    assert of_work["topic3"] > of_work["topic0"]
    assert of_work["topic3"] > of_work["near0"]


def test_a_rare_tag_is_backed_by_neighbours_that_say_it(platform: Platform) -> None:
    platform.add("t2w1", [works_of(2, 40)[-1]])
    platform.add("realestate", [works_of(2, 40)[-1]])
    found = suspicion(platform, noise_rules.unbacked_rarity)
    assert found["t2w1"][0] < 0.5
    assert found["realestate"][0] == 1.0
    assert np.isnan(found["topic2"]).all()


def test_a_tag_that_people_say_around_the_work_is_backed_and_silence_is_no_opinion(platform: Platform) -> None:
    evidence = platform.evidence()
    saying = next(work for work in works_of(3, 40) if "t3w0" in evidence.said[work])
    silent = next(work for work in works_of(3, 40) if "t3w0" not in evidence.said[work])
    platform.add("t3w0", [saying, silent])
    evidence = platform.evidence()
    own = evidence.uses.tag_U == evidence.uses.tags.index("t3w0")
    found = dict(zip(evidence.uses.work_U[own].tolist(), noise_rules.said_around(evidence)[own].tolist(), strict=True))
    assert found[saying] == 0.0
    assert np.isnan(found[silent])


def test_every_rule_has_one_line_that_says_what_it_finds() -> None:
    assert len({rule.name for rule in noise_rules.RULES}) == len(noise_rules.RULES)
    assert all((rule.suspicion.__doc__ or "").splitlines()[0].endswith(".") for rule in noise_rules.RULES)


def test_together_the_rules_keep_content_and_remove_noise(platform: Platform) -> None:
    platform.add("everywhere", range(1, 240, 10))
    platform.add("fyp", range(2, 240, 11))
    cleaned = clean(platform.evidence(), Judgements(np.zeros(0, dtype=np.int64), (), np.zeros(0)))
    uses = cleaned.evidence.uses
    kept = {tag: cleaned.kept_U[uses.tag_U == number].mean() for number, tag in enumerate(uses.tags)}
    assert kept["fyp"] == 0.0
    assert kept["everywhere"] < 0.1
    assert min(kept[f"topic{topic}"] for topic in range(NUM_TOPICS)) == 1.0
    funnel = cleaned.funnel()
    assert funnel[0].count == len(uses.raws)
    assert funnel[-1].count == cleaned.reasons.count(KEPT) == int(cleaned.kept_U.sum())
    assert sum(rule.removed for rule in cleaned.yields) + cleaned.reasons.count("low_score") == int((~cleaned.kept_U).sum())


def test_no_hashtag_at_all_is_no_error() -> None:
    cleaned = clean(Platform().evidence(), Judgements(np.zeros(0, dtype=np.int64), (), np.zeros(0)))
    assert cleaned.kept_U.shape == (0,)
    assert [stage.count for stage in cleaned.funnel()] == [0] * (len(noise_rules.RULES) + 2)
