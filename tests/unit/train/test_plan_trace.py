from functools import cache
from itertools import pairwise

import orjson
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from reelspace.model.blocks import Block
from reelspace.model.presets import preset
from reelspace.train.plan.ledger import Ledger
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.plan.trace import Trace, between, trace
from reelspace.train.settings import AugmentSettings, ObjectiveSettings, TrainSettings
from tests.unit.train.builders import MODEL

CORPUS = CorpusSettings(num_labels=50, num_neighbours=3, labels_per_work=0)
WORKS = 4


def traced(num_processes: int = 1, **values: object) -> Trace:
    return traced_once(num_processes, orjson.dumps(values).decode())


@cache
def traced_once(num_processes: int, values: str) -> Trace:
    start = {"batch_size": WORKS, "label_negatives": 8, "vocabulary_size": MODEL.vocabulary_size}
    return trace(MODEL, TrainSettings.model_validate(start | orjson.loads(values)), CORPUS, num_processes)


def block_flops(width: int, ratio: int, batch: int, num_tokens: int) -> tuple[int, int]:
    """By hand: a product of n x k and k x m takes 2 n k m; attention has two products forward and five on the way back."""
    linear = 2 * batch * num_tokens * width * width * (4 + 2 * ratio)
    product = 2 * batch * num_tokens * num_tokens * width
    return linear + 2 * product, 2 * linear + 5 * product


def test_flops_of_a_block_equal_hand_arithmetic_forward_and_backward():
    width, ratio, batch, num_tokens = 64, 4, 3, 20
    with FakeTensorMode():
        block = Block(width, 4, ratio)
        with Ledger(block, 1, 1, 1) as ledger:
            y = block(torch.zeros(batch, num_tokens, width, requires_grad=True), torch.ones(batch, num_tokens, dtype=torch.bool))
            forward = ledger.take_flops()
            with ledger.backward():
                y.sum().backward()
    assert (forward, ledger.take_flops()) == block_flops(width, ratio, batch, num_tokens)
    assert ledger.recompute_flops == 0


def test_flops_of_a_block_equal_those_of_torch_on_the_meta_device():
    block = Block(64, 4, 4).to("meta")
    with FlopCounterMode(display=False) as counter:
        block(torch.zeros(3, 20, 64, device="meta"), torch.ones(3, 20, dtype=torch.bool, device="meta"))
    assert counter.get_total_flops() == block_flops(64, 4, 3, 20)[0]


def test_ledger_counts_what_the_way_back_reads_and_the_peak():
    with FakeTensorMode():
        # A linear layer keeps its input; GELU too; the last product's input is GELU's output.
        net = nn.Sequential(nn.Linear(100, 400), nn.GELU(), nn.Linear(400, 100))
        x = torch.zeros(10, 100)
        with Ledger(net, 1, 1, 1) as ledger:
            y = net(x)
            kept = 4 * (10 * 400 + 10 * 400 + 10 * 100)
            assert (ledger.live_bytes, ledger.peak_bytes) == (kept, kept)
            y.sum().backward()
            del y
            assert ledger.live_bytes == 0
    # The gradient of the wide layer's input is made while GELU's input and its output's gradient are held.
    assert ledger.full_peak_bytes > ledger.peak_bytes >= kept


def test_checkpointing_keeps_a_fraction_and_computes_the_blocks_once_more():
    kept, anew = traced(), traced(checkpoint_activations=True)
    assert anew.encoded_bytes < 0.8 * kept.encoded_bytes
    assert kept.recompute_flops == 0
    assert anew.model_flops == kept.model_flops
    assert 0 < anew.recompute_flops < anew.forward_flops


def test_grad_cache_costs_one_forward_pass_more_and_contrasts_as_many_works():
    whole, parts, cached = traced(), traced(micro_batches=4), traced(micro_batches=4, grad_cache=True)
    assert cached.encoded_bytes < whole.encoded_bytes
    assert whole.cache_flops == parts.cache_flops == 0
    assert cached.cache_flops == cached.forward_flops
    # Each part alone reads the labels' texts; with the cache one part reads them for all.
    assert cached.forward_flops < parts.forward_flops
    assert parts.contrast_bytes < cached.contrast_bytes


def test_contrast_grows_with_the_works_of_all_processes_and_activations_do_not():
    one, many = traced(), traced(num_processes=8, batch_size=8 * WORKS)
    assert many.encoded_bytes == pytest.approx(one.encoded_bytes, rel=0.1)
    assert many.contrast_bytes > 3 * one.contrast_bytes


def test_traces_lie_on_a_line_between_two_sizes_of_a_part():
    sizes = [traced(batch_size=works, num_processes=1) for works in (2, 4, 8)]
    middle = between(sizes[0], sizes[2], 1 / 3)
    assert middle.forward_flops == pytest.approx(sizes[1].forward_flops, rel=0.01)
    assert middle.encoded_bytes == pytest.approx(sizes[1].encoded_bytes, rel=0.01)
    assert all(one.peak_bytes < other.peak_bytes for one, other in pairwise(sizes))


@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.5), ("bf16_autocast", 0.8)])
def test_bfloat16_keeps_fewer_bytes(precision: str, share: float):
    assert traced(precision=precision).encoded_bytes < (share + 0.15) * traced().encoded_bytes


def test_every_combination_of_losses_and_heads_is_traced():
    for values in ({"keywords": 0.0}, {"labels": 0.0}, {"nt_xent": 0.0}, {"label_head": "vectors"}):
        found = traced(objective=ObjectiveSettings.model_validate(values).model_dump())
        assert found.num_parameters > 0
    assert trace(MODEL, TrainSettings(batch_size=WORKS), CorpusSettings(num_labels=0), 1).refresh_flops == 0


def test_forward_flops_of_the_base_preset_are_those_of_its_blocks():
    settings = TrainSettings(batch_size=2, augment=AugmentSettings(num_view_frames=8), vocabulary_size=64_000, label_negatives=1)
    sizes = preset("base")
    found = trace(sizes, settings, CorpusSettings(num_labels=0), 2)
    frames, tokens = 2 * 8, sizes.grid_side**2
    picture = sizes.picture_layers * block_flops(sizes.width, 4, frames, tokens)[0] + 2 * frames * tokens * 3 * 16 * 16 * sizes.width
    text = sizes.text_layers * block_flops(sizes.width, 4, 3, sizes.text_length)[0]
    # Sound, fusion and heads are the rest.
    assert 0 < found.forward_flops - picture - text < 0.1 * found.forward_flops
