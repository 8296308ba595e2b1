"""Every journey preset is valid settings for every step."""

import importlib

import pytest

from docs.generate import STEP_SETTINGS
from pipelines.run import STEPS
from reelspace.core.errors import SettingError
from reelspace.core.settings import read
from reelspace.demo.presets import CUTOFF
from reelspace.steps.presets import PRESETS, journey_preset


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cutoff", [CUTOFF.isoformat(), None])
def test_every_section_of_a_preset_reads_as_its_steps_settings(name: str, cutoff: str | None):
    sections = journey_preset(name, cutoff=cutoff)
    assert set(sections) == set(STEPS)
    for step, section in sections.items():
        read(getattr(importlib.import_module(f"reelspace.steps.{step}"), STEP_SETTINGS[step]), section)


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
