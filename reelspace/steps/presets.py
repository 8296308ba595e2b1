"""Named settings of a whole journey: one section per step, as `pipelines/run.py` takes them.

`demo` is the generated world of the demo, `tiny` a user's own tables, `smoke` the machinery in seconds (its model has learned nothing).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from reelspace.core.errors import SettingError
from reelspace.train.settings import ReplaySettings, TrainSettings, distill_preset, pretrain_preset, replay_preset, without_crowd
from reelspace.train.windows import Window

Sections = dict[str, dict[str, Any]]
PRESETS = ("demo", "demo_without_crowd", "tiny", "smoke")
NUM_SHARDS = 2
COLLECTION = "videos"
# Thresholds of the gate: far enough below what the demo reaches that only a broken training is refused.
DEMO_GATE = {"teacher.video_to_topic_p10": 0.6, "student.cross_space_p10_ratio": 0.5}
# What a day may cost old topics, and what its new topics must be worth.
DAILY_GATE = {"update.old_topics_p10_change": -0.02, "update.new_topics_p10": 0.6}
HELD_OUT = 0.25


def journey_preset(name: str, *, cutoff: str | None, overrides: Sequence[str] = ()) -> Sections:
    """Give the settings of every step.

    Args:
        name: one of PRESETS.
        cutoff: time (ISO 8601) from which on works are held back from training and asked in the evaluation; None trains on all.
        overrides: `step.key=value` with the value in JSON; text that is no JSON is taken as text.

    Raises:
        SettingError: no such preset, or an override without a step.
    """
    if name not in PRESETS:
        raise SettingError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    size = "smoke" if name == "smoke" else "tiny"
    pretrain: TrainSettings = pretrain_preset(size)
    if name == "demo_without_crowd":
        pretrain = without_crowd(pretrain)
    sections: Sections = {
        "import_tables": {},
        "preprocess_signals": {"as_of": cutoff, "searches": {"min_users": 2}},
        "preprocess_media": {},
        "pretrain": pretrain.model_dump(mode="json") | {"train_until": cutoff},
        "distill": distill_preset(size).model_dump(mode="json") | {"train_until": cutoff},
        "embed": {},
        "evaluate": {"cutoff": cutoff, "thresholds": DEMO_GATE if name.startswith("demo") else {}},
        "export": {},
        "build_index": {"num_shards": NUM_SHARDS, "collection": COLLECTION},
        "promote": {},
    }
    for override in overrides:
        _apply(sections, override)
    return sections


@dataclass(frozen=True, slots=True)
class Current:
    """Ids of the artifacts that a day's update goes on from."""

    teacher: str
    labels: str
    shards: str
    vectors: str


def daily_preset(current: Current, seen: Sequence[Window], new: Window, *, cutoff: str | None, size: str = "tiny") -> Sections:
    """Give the settings of every step of `daily_update`.

    Args:
        seen: what the current teacher trained on, as its manifest says.
        new: the day, with the share of its works that is kept for asking.
        cutoff: time (ISO 8601) from which on the first training held works back; None: nothing is measured or asked for.
        size: of PRESETS of training, `tiny` or `smoke`.
    """
    replay = ReplaySettings(teacher=current.teacher, seen=tuple(seen), new=new)
    as_of = new.until.isoformat() if new.until else None
    gate = DAILY_GATE if cutoff and size != "smoke" else {}
    return {
        "import_tables": {},
        "preprocess_signals": {"as_of": as_of, "searches": {"min_users": 2}, "vocabulary": {"previous": current.labels}},
        "preprocess_media": {"previous": current.shards},
        "pretrain": replay_preset(size, replay).model_dump(mode="json"),
        "embed": {"previous": current.vectors},
        "evaluate": {"cutoff": cutoff, "thresholds": gate},
        "export": {},
        "upsert": {},
        "promote": {},
    }


def _apply(sections: Sections, override: str) -> None:
    path, equals, text = override.partition("=")
    step, *keys = path.split(".")
    if not equals or not keys or step not in sections:
        raise SettingError(f"--set {override}: expected step.key=value with a step of {', '.join(sections)}")
    target: Mapping[str, Any] = sections[step]
    for key in keys[:-1]:
        target = target.setdefault(key, {})  # type: ignore[attr-defined]
    target[keys[-1]] = _value(text)  # type: ignore[index]


def _value(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
