import pytest
import torch

from reelspace.model.presets import preset
from reelspace.train.group import Group
from reelspace.train.plan.example import example_batch, example_objective
from reelspace.train.plan.memory import GIB, memory
from reelspace.train.plan.settings import CorpusSettings, PlanSettings
from reelspace.train.plan.trace import trace
from reelspace.train.settings import TrainSettings
from reelspace.train.torch_engine import TorchEngine

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
CORPUS = CorpusSettings()
NUM_STEPS = 3


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("small", {}),
        ("base", {"precision": "bf16_autocast"}),
        ("base", {"precision": "bf16_autocast", "checkpoint_activations": True}),
    ],
)
def test_predicted_memory_is_within_a_tenth_of_what_the_gpu_allocates(model: str, values: dict[str, object]):
    sizes = preset(model)
    settings = TrainSettings.model_validate(
        {"engine": "torch", "batch_size": 8, "label_negatives": 256, "vocabulary_size": sizes.vocabulary_size, **values}
    )
    # What is allocated has no gaps, so the margin, which is for them, is left out.
    predicted = memory(trace(sizes, settings, CORPUS, 1), settings, PlanSettings(gpus=1, margin=0.0)).total_bytes
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine = TorchEngine(example_objective(sizes, settings, CORPUS), settings, Group(device=torch.device("cuda")))
    for step in range(NUM_STEPS):
        engine.step(example_batch(sizes, settings, CORPUS, settings.batch_size, step), 1e-4)
    growth = torch.cuda.max_memory_allocated() - before
    assert predicted == pytest.approx(growth, rel=0.1), f"predicted {predicted / GIB:.2f} GiB, measured {growth / GIB:.2f} GiB"
