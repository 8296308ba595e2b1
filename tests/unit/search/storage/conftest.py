from pathlib import Path

import pytest

from reelspace.core.store import Store, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store") if request.param == "local" else str(request.getfixturevalue("s3_url")))
