"""Every journey preset is valid settings for every step."""

import importlib
from datetime import timedelta

import pytest

from docs.generate import STEP_SETTINGS
from pipelines.daily_update import daily_update
from pipelines.steps import steps_of
from pipelines.train_and_publish import train_and_publish
from reelspace.core.errors import SettingError
from reelspace.core.settings import read
from reelspace.demo.presets import CUTOFF
from reelspace.steps.presets import PRESETS, Current, daily_preset, journey_preset
from reelspace.train.windows import Window


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cutoff", [CUTOFF.isoformat(), None])
def test_every_section_of_a_preset_reads_as_its_steps_settings(name: str, cutoff: str | None):
    sections = journey_preset(name, cutoff=cutoff)
    assert set(sections) == set(steps_of(train_and_publish))
    for step, section in sections.items():
        read(getattr(importlib.import_module(f"reelspace.steps.{step}"), STEP_SETTINGS[step]), section)


@pytest.mark.parametrize("size", ["tiny", "smoke"])
@pytest.mark.parametrize("cutoff", [CUTOFF.isoformat(), None])
def test_a_days_settings_fit_every_step_of_its_pipeline_and_name_what_it_goes_on_from(size: str, cutoff: str | None):
    current = Current(teacher="a" * 64, labels="b" * 64, shards="c" * 64, vectors="d" * 64)
    day = Window(since=CUTOFF, until=CUTOFF + timedelta(days=1), held_out=0.25)
    sections = daily_preset(current, [Window(until=CUTOFF)], day, cutoff=cutoff, size=size)
    assert set(sections) == set(steps_of(daily_update))
    for step, section in sections.items():
        read(getattr(importlib.import_module(f"reelspace.steps.{step}"), STEP_SETTINGS[step]), section)
    named = (sections["preprocess_signals"]["vocabulary"], sections["preprocess_media"], sections["embed"])
    assert [section["previous"] for section in named] == ["b" * 64, "c" * 64, "d" * 64]
    assert sections["pretrain"]["replay"]["teacher"] == "a" * 64


def test_an_override_reaches_a_nested_key_and_leaves_the_rest():
    sections = journey_preset("tiny", cutoff=None, overrides=["pretrain.optimizer.learning_rate=0.001", "build_index.collection=mine"])
    assert sections["pretrain"]["optimizer"]["learning_rate"] == 0.001
    assert sections["pretrain"]["optimizer"]["beta1"] == journey_preset("tiny", cutoff=None)["pretrain"]["optimizer"]["beta1"]
    assert sections["build_index"]["collection"] == "mine"


@pytest.mark.parametrize("override", ["steps=3", "pretrain=3", "pretrian.steps=3"])
def test_an_override_without_a_known_step_is_refused_with_the_steps(override: str):
    with pytest.raises(SettingError, match="preprocess_media"):
        journey_preset("tiny", cutoff=None, overrides=[override])


def test_the_arm_without_the_crowd_differs_only_in_pretraining():
    full, bare = (journey_preset(name, cutoff=None) for name in ("demo", "demo_without_crowd"))
    assert {step for step in full if full[step] != bare[step]} == {"pretrain"}
    assert full["pretrain"]["steps"] == bare["pretrain"]["steps"]
    assert full["pretrain"]["seed"] == bare["pretrain"]["seed"]
