"""The catalogue of topics: what each one is called and how it looks and sounds."""

from dataclasses import dataclass

from reelspace.demo.topic_words import AREAS, TOPICS

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "flower", "hourglass")
TEXTURES = ("plain", "stripes", "dots", "checker")
MOTIONS = ("swing", "bounce", "pulse")
HUES_DEGREES = (0, 40, 75, 140, 210, 290)
NUM_SUBTOPICS = 3


@dataclass(frozen=True, slots=True)
class Words:
    """A topic's words in one language; which text may use which word decides what a model has to generalise over."""

    written_only: str
    main: str
    shared: str
    query: str
    comment_only: str
    subtopics: tuple[str, str, str]

    @property
    def in_captions(self) -> tuple[str, ...]:
        return (self.main, self.shared, self.written_only)

    @property
    def in_queries(self) -> tuple[str, ...]:
        return (self.main, self.shared, self.query)

    @property
    def in_comments(self) -> tuple[str, ...]:
        return (self.shared, self.query, self.comment_only, self.written_only)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its place in the tree, its words, its spellings as a hashtag, its look and its sound."""

    topic: int
    name: str
    area: int
    area_name: str
    kind_name: str
    words: dict[str, Words]
    spellings: tuple[str, ...]  # the two main ones first
    shape: str
    hue_degrees: int
    texture: str
    motion: str
    tempo_bpm: int
    pitch_hz: float
    timbre: int


def topics(num_topics: int) -> tuple[Topic, ...]:
    """The first `num_topics` topics of the catalogue, four in each area."""
    return tuple(_topic(index) for index in range(num_topics))


def _topic(index: int) -> Topic:
    row = TOPICS[index]
    area = AREAS[index // 4]
    turn = index // 8  # topics that share a shape differ in everything else
    return Topic(
        topic=index,
        name=row.name,
        area=index // 4,
        area_name=area.name,
        kind_name=area.kinds[row.kind],
        words={"zh": _words(row.zh), "en": _words(row.en)},
        spellings=tuple(row.spellings.split()),
        shape=SHAPES[index % 8],
        hue_degrees=HUES_DEGREES[(index + 2 * turn) % 6],
        texture=TEXTURES[(index // 2 + turn) % 4],
        motion=MOTIONS[(index + turn) % 3],
        tempo_bpm=70 + 12 * ((index * 7) % 8),
        pitch_hz=110.0 * 2 ** (((index * 5) % 12) / 6),
        timbre=(index * 3 + turn) % 4,
    )


def _words(row: str) -> Words:
    parts = tuple(part.strip() for part in row.split("|"))
    written_only, main, shared, query, comment_only, first, second, third = parts
    return Words(written_only, main, shared, query, comment_only, (first, second, third))
