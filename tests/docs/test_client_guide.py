"""What the guide of the client shows runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.serving.client import AsyncServingClient, ServingClient
from reelspace.serving.client_retries import Retries

from ..serving.searched import Searched, searched
from ..unit.gateway.test_entrance import write_certificate

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "client.md").read_text()
FIRST, MANY, ERRORS, LOCKED = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
GATEWAY = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    with searched(tmp_path_factory.mktemp("guide")) as running:
        yield running


def names_of(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "client.md", "exec"), names)  # noqa: S102 - it is our own guide
    return names


def test_the_first_example_gives_vectors_and_finds_works(
    gateway: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\x09\0\0\0")
    monkeypatch.chdir(tmp_path)
    names = names_of(FIRST.replace(GATEWAY, gateway.url))
    np.testing.assert_array_equal(names["vectors_QD"], [[10, 1], [12, 1]])
    assert [hit.id for hit in names["alike"]] == [1, 3]
    assert capsys.readouterr().out.startswith("2 1.0 {'kind': 'image'}\n3 0.8")


def test_the_example_of_many_gives_a_vector_per_text(gateway: Searched) -> None:
    names = names_of(MANY.replace(GATEWAY, gateway.url))
    np.testing.assert_array_equal(names["vectors_QD"], [[10, 1]] * 1000)


def test_the_example_of_errors_hears_of_the_field(gateway: Searched) -> None:
    assert re.fullmatch(r"400 inputs: ask the gateway's log for [0-9a-f]{16}", names_of(ERRORS.replace(GATEWAY, gateway.url))["refusal"])
    assert names_of(ERRORS.replace(GATEWAY, "http://127.0.0.1:9"))["refusal"] == "try again after 1 s"


def test_the_example_of_keys_and_traces_finds_works(gateway: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a gateway that asks for no key; one that does is in tests/serving/test_client_gateway.py."""
    monkeypatch.chdir(tmp_path)
    cert, _ = write_certificate(tmp_path, "reelspace")
    cert.rename(tmp_path / "ca.crt")
    names = names_of(LOCKED.replace("https://gateway.example:8000", gateway.url))
    assert [hit.id for hit in names["works"]] == [2, 3, 1]
    names["client"].close()


def test_every_method_is_in_the_table_and_the_numbers_are_the_defaults() -> None:
    methods = {name for name in vars(ServingClient) if not name.startswith("_")} - {"close", "signature"}
    assert methods == {name for name in vars(AsyncServingClient) if not name.startswith("_")} - {"close", "signature"}
    assert methods == set(re.findall(r"^\| `(\w+)\(", GUIDE, re.MULTILINE))
    retries = Retries()
    assert (retries.max_tries - 1, retries.burst, retries.share, retries.first_wait_s, retries.longest_wait_s) == (3, 10, 0.1, 0.05, 2)
