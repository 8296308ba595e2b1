"""podman for tests: skipped, with the reason, where its programs, root or namespaces of its own are absent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.isolation import isolated_host

from .bed import Bed, lone_bed


@pytest.fixture(scope="session")
def outside() -> str:
    """An address of this machine that is none of the containers' network."""
    return isolated_host()


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """podman, and an object store in its internal network."""
    with lone_bed(tmp_path_factory.mktemp("podman")) as prepared:
        yield prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the test, as containers see it too."""
    tmp_path.chmod(0o755)
    return tmp_path
