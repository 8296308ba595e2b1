"""Batches made ahead: the same ones, in their order, with errors at their step and no thread left behind."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from reelspace.core.errors import CorruptArtifact, TemporaryError
from reelspace.train.batches import Batch, Batches
from reelspace.train.prefetch import Prefetch
from reelspace.train.settings import TrainSettings
from reelspace.train.word_masks import make_masks
from tests.unit.train.builders import make_data, make_tokenizer
from tests.unit.train.loops import make_loop

SETTINGS = TrainSettings(batch_size=4, steps=12, seed=2)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def make_batches(settings: TrainSettings = SETTINGS) -> Batches:
    data = make_data()
    tokenizer = make_tokenizer(data)
    return Batches(data, tokenizer, settings, masks=make_masks(data, tokenizer, settings))


def same(one: Batch, other: Batch) -> bool:
    parts = [(getattr(one, part.name), getattr(other, part.name)) for part in fields(Batch)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in parts)


class Shelf:
    """Gives the number of a step, and notes which steps it was asked for; at the step `broken` it fails."""

    def __init__(self, broken: int | None = None) -> None:
        self.asked: list[int] = []
        self.broken = broken

    def __call__(self, step: int) -> Batch:
        self.asked.append(step)
        if step == self.broken:
            raise CorruptArtifact(f"sample of step {step} is corrupt")
        return step  # type: ignore[return-value]  # all that the order of batches needs


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Fail, in place of waiting for ever, when the block takes longer."""

    def too_long(_number: int, _frame: object) -> None:
        raise TimeoutError(f"took longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait_until_asked(shelf: Shelf, num: int) -> None:
    with within(20):
        while len(shelf.asked) < num:
            time.sleep(0.001)


@pytest.mark.parametrize("num_ahead", [0, 1, 2, 5])
@pytest.mark.parametrize("first", [0, 7])
def test_batches_made_ahead_are_those_made_when_asked_for(num_ahead: int, first: int):
    plain = make_batches()
    with Prefetch(make_batches(), SETTINGS.steps, num_ahead) as batches:
        for step in range(first, SETTINGS.steps):
            assert same(batches(step), plain(step))


def test_the_next_batches_are_made_while_a_step_works_and_none_behind_the_last():
    shelf = Shelf()
    with Prefetch(shelf, 6, 2) as batches:
        assert batches(0) == 0
        wait_until_asked(shelf, 3)
        assert sorted(shelf.asked) == [0, 1, 2]
        assert [batches(step) for step in range(1, 6)] == [1, 2, 3, 4, 5]
    assert sorted(shelf.asked) == [0, 1, 2, 3, 4, 5]


def test_without_a_batch_ahead_nothing_is_made_before_it_is_asked_for():
    shelf = Shelf()
    with Prefetch(shelf, 6, 0) as batches:
        assert batches(3) == 3
    assert shelf.asked == [3]


def test_another_step_than_the_next_one_starts_anew_there():
    shelf = Shelf()
    with Prefetch(shelf, 20, 2) as batches:
        assert [batches(step) for step in (0, 1, 9, 10, 4, 4)] == [0, 1, 9, 10, 4, 4]


@pytest.mark.parametrize("num_ahead", [0, 2])
def test_an_error_is_raised_at_the_step_it_belongs_to(num_ahead: int):
    with Prefetch(Shelf(broken=3), 6, num_ahead) as batches:
        assert [batches(step) for step in range(3)] == [0, 1, 2]
        with pytest.raises(CorruptArtifact, match="sample of step 3 is corrupt"):
            batches(3)
        assert batches(4) == 4


def test_a_batch_that_is_being_made_is_waited_for_and_others_are_dropped_when_the_training_ends():
    shelf = Shelf()
    started, go_on = threading.Event(), threading.Event()

    def slow(step: int) -> Batch:
        if step == 1:
            started.set()
            assert go_on.wait(20)
        return shelf(step)

    with within(30), Prefetch(slow, 100, 1) as batches:
        batches(0)
        assert started.wait(20)
        threading.Timer(0.05, go_on.set).start()
    assert shelf.asked == [0, 1]


def test_a_training_stopped_by_sigterm_leaves_no_thread_and_resumes_to_the_same_weights(tmp_path: Path):
    whole = make_loop(tmp_path / "whole")
    whole.fit()
    parts = make_loop(tmp_path / "parts")

    def fit(stop_at: int | None) -> None:
        loop = make_loop(tmp_path / "parts")
        with Prefetch(loop.make_batch, loop.settings.steps, 2) as batches:

            def watched(step: int) -> Batch:
                if step == stop_at:
                    signal.raise_signal(signal.SIGTERM)
                return batches(step)

            nonlocal parts
            parts = replace(loop, make_batch=watched)
            parts.fit()

    with pytest.raises(TemporaryError, match="after step 4 of 6"):
        fit(3)
    fit(None)
    for name, weight in whole.engine.weights().items():
        assert torch.equal(weight, parts.engine.weights()[name]), name
