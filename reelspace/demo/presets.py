"""What a generated world is made of: its settings and the three presets."""

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pydantic import Field, field_serializer, model_validator

from reelspace.core.errors import SettingError
from reelspace.core.settings import PLACE, Settings, read

DAY_ZERO = datetime(2025, 1, 1, tzinfo=UTC)
NUM_DAYS = 60
CUTOFF_DAY = 50
CUTOFF = DAY_ZERO + timedelta(days=CUTOFF_DAY)
SIDE = 96  # pixels of a frame's width and height
FPS = 8
NUM_FRAMES = 32
SAMPLE_RATE = 16_000
PRESETS = ("demo", "daily", "apps", "tables")
NEW_TOPICS_DAY = 58
"""Day of the world `daily` on which two topics begin that nobody spoke of before."""

Part = Literal[
    "media", "sound", "music", "entities", "tags", "categories", "cover_text", "searches", "comments", "tag_judgements", "regions"
]
ALL_PARTS: frozenset[Part] = frozenset(get_args(Part))


class WorldSettings(Settings):
    """One generated world; the same settings always give the same bytes."""

    preset: Literal["demo", "daily", "apps", "tables"] = Field("demo", description="name written into world.json")
    seed: int = Field(0, ge=0, description="seed of every random stream")
    num_works: int = Field(600, ge=60, description="works, broken files included")
    num_topics: int = Field(16, ge=8, le=24, multiple_of=4, description="topics, four in each area")
    newborn_days: tuple[tuple[int, int], ...] = Field(((10, 48), (15, 52)), description="(topic, first day) of topics that start late")
    num_newborn_works: int = Field(20, ge=2, description="works of each newborn topic")
    num_twins: int = Field(100, ge=0, description="works that show another work's foreground on another background")
    num_late_twins: int = Field(28, ge=0, description="twins of which both works were uploaded on or after the cut-off day")
    near_duplicate_share: float = Field(0.03, ge=0, le=0.2, description="share of works that are re-uploads of another one")
    series_share: float = Field(0.05, ge=0, le=0.2, description="share of works that belong to a series of three")
    image_share: float = Field(0.03, ge=0, le=0.5, description="share of works that are still images")
    num_processes: int = Field(2, ge=1, le=64, description="processes that draw and encode media", json_schema_extra=PLACE)
    parts: frozenset[Part] = Field(ALL_PARTS, description="parts that are generated; leaving one out changes no byte of the others")

    @field_serializer("parts")
    def _sorted(self, parts: frozenset[Part]) -> list[Part]:
        return sorted(parts)

    @model_validator(mode="after")
    def _consistent(self) -> "WorldSettings":
        if self.num_late_twins > self.num_twins:
            raise ValueError(f"num_late_twins is {self.num_late_twins}, expected at most num_twins = {self.num_twins}")
        for topic, day in self.newborn_days:
            if not (0 <= topic < self.num_topics and 0 < day < NUM_DAYS):
                raise ValueError(
                    f"newborn_days has ({topic}, {day}), expected a topic below {self.num_topics}, a day of 1 to {NUM_DAYS - 1}"
                )
        if self.num_newborn_works * len(self.newborn_days) * 2 > self.num_works:
            raise ValueError(f"num_newborn_works is {self.num_newborn_works}, expected newborn topics to hold at most half of num_works")
        return self


def world_preset(name: str, seed: int = 0, num_works: int | None = None) -> WorldSettings:
    """The settings of a named world.

    Args:
        name: `demo`, `daily` (two topics begin two days before the end), `apps` or `tables`.
        seed: of every random stream.
        num_works: another size; the expected way to use `tables`.

    Raises:
        SettingError: no such preset.
    """
    if name == "demo":
        values = _demo(num_works or 600)
    elif name == "daily":
        values = _daily(num_works or 720)
    elif name == "apps":
        values = _many_topics(num_works or 3_000)
    elif name == "tables":
        values = {**_many_topics(num_works or 10_000), "parts": sorted(ALL_PARTS - {"media"})}
    else:
        raise SettingError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return read(WorldSettings, {"preset": name, "seed": seed, **values})


def _demo(num_works: int) -> dict[str, object]:
    return {
        "num_works": num_works,
        "num_newborn_works": num_works // 30,
        "num_twins": num_works // 6,
        "num_late_twins": num_works * 28 // 600,
    }


def _daily(num_works: int) -> dict[str, object]:
    newborn_days = [[topic, NEW_TOPICS_DAY] for topic in (10, 15)]
    return _demo(num_works) | {"newborn_days": newborn_days, "num_newborn_works": num_works // 12}


def _many_topics(num_works: int) -> dict[str, object]:
    return {
        "num_works": num_works,
        "num_topics": 24,
        "newborn_days": [[17, 44], [10, 48], [15, 52], [20, 55]],
        "num_newborn_works": max(2, num_works // 42),
        "num_twins": min(100, num_works // 6),
        "num_late_twins": min(40, num_works // 30),
    }
