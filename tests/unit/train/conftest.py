"""What all tests of training share."""

import os
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side: a second thread each would only make all of them wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The process group that DeepSpeed needs; one for all tests of a process, since DeepSpeed keeps the first it sees."""
    told = {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
    os.environ.update(told)
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    for name in told:
        del os.environ[name]


@pytest.fixture
def deepspeed_here(_one_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test use DeepSpeed in its own process; stage 3 puts another `linear` into torch, which goes again behind the test."""
    monkeypatch.setattr(torch.nn.functional, "linear", torch.nn.functional.linear)
