"""Settings of a world."""

import pytest

from reelspace.core.errors import SettingError
from reelspace.core.settings import identity, read
from reelspace.demo.presets import ALL_PARTS, WorldSettings, world_preset


def test_presets_have_the_sizes_they_promise() -> None:
    demo, apps = world_preset("demo"), world_preset("apps")
    assert (demo.num_works, demo.num_topics, [day for _, day in demo.newborn_days]) == (600, 16, [48, 52])
    assert (apps.num_works, apps.num_topics, sorted(day for _, day in apps.newborn_days)) == (3_000, 24, [44, 48, 52, 55])
    assert world_preset("tables", num_works=777).num_works == 777
    assert "media" not in world_preset("tables").parts


@pytest.mark.parametrize("name", ["demo", "apps", "tables"])
@pytest.mark.parametrize("num_works", [60, 61, 1_000])
def test_presets_accept_other_sizes(name: str, num_works: int) -> None:
    assert world_preset(name, num_works=num_works).num_works == num_works


def test_unknown_preset_and_too_small_world_are_setting_errors() -> None:
    with pytest.raises(SettingError, match="unknown preset 'big'"):
        world_preset("big")
    with pytest.raises(SettingError, match="num_works"):
        world_preset("demo", num_works=3)


def test_inconsistent_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="num_late_twins is 9"):
        read(WorldSettings, {"num_twins": 5, "num_late_twins": 9})
    with pytest.raises(SettingError, match="newborn_days"):
        read(WorldSettings, {"newborn_days": [[40, 48]]})


def test_identity_does_not_depend_on_processes_or_the_order_of_parts() -> None:
    one = read(WorldSettings, {"num_processes": 1, "parts": sorted(ALL_PARTS)})
    two = read(WorldSettings, {"num_processes": 7, "parts": sorted(ALL_PARTS, reverse=True)})
    assert identity(one) == identity(two)
