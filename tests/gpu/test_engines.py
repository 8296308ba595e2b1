import os

import pytest
import torch
import torch.distributed as dist

from reelspace.train.group import Group
from tests.unit.train.engines import NUM_STEPS, SETTINGS, losses_of, make_engine, relative_difference

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
# Matrix products and reductions in another order than on the CPU, over ten steps of training.
BAR = 1e-3


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory: pytest.TempPathFactory):
    os.environ |= {"DS_ACCELERATOR": "cuda", "LOCAL_RANK": "0"}
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "torch"},
        {"zero_stage": 0},
        {"zero_stage": 1},
        {"zero_stage": 2, "micro_batches": 2, "grad_cache": True},
        {"zero_stage": 3, "checkpoint_activations": True},
        {"zero_stage": 3, "offload": "parameters"},
    ],
    ids=str,
)
def test_engines_train_on_a_gpu_to_the_losses_of_plain_torch_on_the_cpu(changes: dict[str, object]):
    expected = losses_of(make_engine(SETTINGS.model_copy(update={"engine": "torch"}), Group()), Group(), NUM_STEPS)
    group = Group(device=torch.device("cuda", 0))
    found = losses_of(make_engine(SETTINGS.model_copy(update=changes), group), group, NUM_STEPS)
    assert relative_difference(found, expected) <= BAR
