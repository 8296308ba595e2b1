"""Worlds that several tests look at."""

from pathlib import Path

import pytest

from reelspace.demo.generate import generate
from reelspace.demo.latents import World, plan
from reelspace.demo.presets import world_preset
from reelspace.demo.searches import SearchLog, search_log


@pytest.fixture(scope="session")
def demo_world() -> World:
    """The plan of the `demo` preset."""
    return plan(world_preset("demo", seed=0))


@pytest.fixture(scope="session")
def apps_world() -> World:
    """The plan of the `apps` preset."""
    return plan(world_preset("apps", seed=0))


@pytest.fixture(scope="session")
def apps_log(apps_world: World) -> SearchLog:
    """The search log of the `apps` preset."""
    return search_log(apps_world)


@pytest.fixture(scope="session")
def small_world_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated world of 120 works, with media."""
    out = tmp_path_factory.mktemp("worlds") / "small"
    generate(world_preset("demo", seed=3, num_works=120), out)
    return out
