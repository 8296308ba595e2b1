"""One reader of settings: strict, and its errors name the key and the nearest right one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from reelspace.core.errors import SettingError
from reelspace.core.settings import PLACE, Settings, identity, key_paths, read


class Optimizer(Settings):
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Step size.")
    betas: tuple[float, float] = Field((0.9, 0.99), description="Decay of the moments.")


class Stage(Settings):
    name: str = Field(description="Name.")
    num_steps: int = Field(10, ge=1, description="Steps.")


class Train(Settings):
    optimizer: Optimizer = Field(Optimizer(), description="Optimizer.")
    stages: tuple[Stage, ...] = Field((), description="Stages.")
    as_of: datetime | None = Field(None, description="Cut-off.")
    warm_start: Optimizer | None = Field(None, description="Another.")
    num_workers: int = Field(1, ge=1, description="Processes.", json_schema_extra=PLACE)
    paths: Mapping[str, str] | None = Field(None, description="Places.", json_schema_extra=PLACE)


def refusal(text: str | Mapping[str, object], *overrides: str) -> str:
    with pytest.raises(SettingError) as caught:
        read(Train, text, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_object_gives_the_defaults() -> None:
    assert read(Train, "{}") == Train()


def test_text_and_mapping_read_alike() -> None:
    text = '{"optimizer": {"betas": [0.5, 0.6]}, "stages": [{"name": "a"}], "as_of": "2025-02-20T00:00:00Z"}'
    mapping = {"optimizer": {"betas": (0.5, 0.6)}, "stages": [Stage(name="a")], "as_of": datetime(2025, 2, 20, tzinfo=UTC)}
    assert read(Train, text) == read(Train, mapping)
    assert read(Train, text).stages == (Stage(name="a", num_steps=10),)


def test_an_unknown_key_names_its_path_and_the_nearest() -> None:
    assert "'optimizer.learning_rte' is unknown, the nearest is 'optimizer.learning_rate'" in refusal('{"optimizer": {"learning_rte": 1}}')
    assert "'optimiser' is unknown, the nearest is 'optimizer'" in refusal('{"optimiser": {}}')
    assert "'stages.1.num_step' is unknown, the nearest is 'stages.num_steps'" in refusal(
        '{"stages": [{"name": "a"}, {"name": "b", "num_step": 1}]}'
    )
    assert "'warm_start.beta' is unknown, the nearest is 'warm_start.betas'" in refusal('{"warm_start": {"beta": 1}}')


def test_a_key_at_the_wrong_depth_names_the_right_path() -> None:
    assert "'learning_rate' is unknown, the nearest is 'optimizer.learning_rate'" in refusal('{"learning_rate": 0.1}')


def test_a_key_like_no_other_names_those_that_are_known() -> None:
    assert "known here: 'optimizer.betas', 'optimizer.learning_rate'" in refusal('{"optimizer": {"zzzzz": 1}}')


@pytest.mark.parametrize(
    ("text", "path", "got"),
    [
        ('{"optimizer": {"learning_rate": "0.1"}}', "'optimizer.learning_rate'", '"0.1"'),
        ('{"optimizer": {"learning_rate": 0}}', "'optimizer.learning_rate'", "0"),
        ('{"optimizer": {"learning_rate": 2.0}}', "'optimizer.learning_rate'", "2.0"),
        ('{"optimizer": {"learning_rate": true}}', "'optimizer.learning_rate'", "true"),
        ('{"optimizer": {"learning_rate": null}}', "'optimizer.learning_rate'", "null"),
        ('{"optimizer": {"betas": [0.1]}}', "'optimizer.betas.1'", "missing"),
        ('{"optimizer": 3}', "'optimizer'", "3"),
        ('{"stages": [{"name": "a", "num_steps": 1.0}]}', "'stages.0.num_steps'", "1.0"),
        ('{"stages": [{}]}', "'stages.0.name'", "missing"),
        ('{"as_of": "soon"}', "'as_of'", "soon"),
        ('{"num_workers": 0}', "'num_workers'", "0"),
    ],
)
def test_a_wrong_value_names_its_path_and_what_came(text: str, path: str, got: str) -> None:
    message = refusal(text)
    assert path in message
    assert got in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "got list"),
        ("3", "got int"),
        ('{"num_workers": 1, "num_workers": 2}', "'num_workers' is given twice"),
        ('{"optimizer": {"learning_rate": NaN}}', "NaN"),
        ('{"optimizer": {"learning_rate": 1e999}}', "1e999"),
    ],
)
def test_what_is_no_clean_json_object_is_refused(text: str, words: str) -> None:
    assert words in refusal(text)


def test_every_problem_is_told_at_once() -> None:
    message = refusal('{"optimiser": {}, "num_workers": 0}')
    assert "optimiser" in message
    assert "num_workers" in message


def test_overrides_reach_any_depth_and_the_last_wins() -> None:
    found = read(
        Train, "{}", ["optimizer.learning_rate=0.5", "optimizer.learning_rate=0.25", 'stages=[{"name": "x"}]', "as_of=2025-02-20T00:00:00Z"]
    )
    assert found.optimizer == Optimizer(learning_rate=0.25)
    assert found.stages == (Stage(name="x"),)
    assert found.as_of == datetime(2025, 2, 20, tzinfo=UTC)
    assert read(Train, {"warm_start": None}, ["warm_start.learning_rate=0.5"]).warm_start == Optimizer(learning_rate=0.5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.learning_rte=1", "nearest is 'optimizer.learning_rate'"),
        ("optimizer.learning_rate=fast", "'optimizer.learning_rate'"),
        ("optimizer.learning_rate", "path.to.key=value"),
        ("=1", "path.to.key=value"),
        ("optimizer..x=1", "path.to.key=value"),
        ("num_workers.deep=1", "num_workers"),
        ("optimizer.learning_rate=1e999", "1e999"),
    ],
)
def test_a_wrong_override_is_refused(override: str, words: str) -> None:
    assert words in refusal('{"num_workers": 2}', override)


def test_overrides_leave_the_mapping_alone() -> None:
    values: dict[str, object] = {"optimizer": {"learning_rate": 0.1}}
    read(Train, values, ["optimizer.learning_rate=0.2"])
    assert values == {"optimizer": {"learning_rate": 0.1}}


def test_a_value_without_json_form_is_refused() -> None:
    assert "no JSON form" in refusal({"optimizer": object()})
    assert "no JSON form" in refusal({"optimizer": {"learning_rate": float("nan")}})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Train().num_workers = 3  # type: ignore[misc]


def test_places_stay_out_of_the_identity() -> None:
    settings = Train(num_workers=7, paths={"a": str(Path("/x"))}, as_of=datetime(2025, 1, 1, tzinfo=UTC))
    assert identity(settings) == {
        "optimizer": {"learning_rate": 1e-3, "betas": [0.9, 0.99]},
        "stages": [],
        "as_of": "2025-01-01T00:00:00Z",
        "warm_start": None,
    }


def test_key_paths_reach_nested_models() -> None:
    assert set(key_paths(Train)) >= {"optimizer", "optimizer.betas", "stages.num_steps", "warm_start.learning_rate"}
