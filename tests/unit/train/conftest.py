"""What all tests of training share."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side: a second thread each would only make all of them wait for each other."""
    torch.set_num_threads(1)
