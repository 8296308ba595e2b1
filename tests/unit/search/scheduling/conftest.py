from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore

from .publishing import serving


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store with a collection whose current generation is edition 1."""
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    return store
