"""A device that bounds its answers and ignores selectors, as a GPU of a faiss without cuVS does; and what place makes of errors."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reelspace.core.errors import SettingError
from reelspace.search.compute import vector_index
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.library import faiss
from reelspace.search.compute.place import MAX_CANDIDATES, MAX_LISTS, NoRoom, Placed, place
from tests.unit.search.builders import ids_of, make_queries, make_shard, make_table, recalls

TABLE = make_table(45_000, clusters=60)
QUERIES_QD = make_queries(12)
FULL = "Error in ... StandardGpuResources: alloc fail type IVFLists ... (cudaMalloc error out of memory [2])"


class Bounded:
    """Answers as an index does, but for what a GPU cannot."""

    def __init__(self, index: Any) -> None:
        self._index, self.num_searches = index, 0
        self.d, self.ntotal = index.d, index.ntotal
        if hasattr(index, "nlist"):
            self.nlist = index.nlist

    def search(self, vectors: Any, k: int, params: Any) -> Any:
        return self._index.search(vectors, k, params=self._heeded(k, params))

    def _heeded(self, k: int, params: Any) -> Any:
        nprobe = getattr(params, "nprobe", None)
        assert k <= MAX_CANDIDATES
        assert (nprobe or 0) <= MAX_LISTS
        self.num_searches += 1
        return faiss.SearchParameters() if nprobe is None else faiss.SearchParametersIVF(nprobe=nprobe)


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "many lists"])
@pytest.mark.parametrize(("share", "k"), [(1.0, 10), (1.0, MAX_CANDIDATES), (1.0, 2048), (0.5, 10), (0.5, 1500), (0.05, 10), (0.001, 5)])
def test_what_a_device_cannot_answer_the_processor_does(kind: str, share: float, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Bounded] = []

    def bounded(index: Any, device: int | None) -> Placed:
        if device is None:
            return Placed(index)
        made.append(Bounded(index))
        return Placed(made[-1], False, MAX_CANDIDATES, MAX_LISTS)

    monkeypatch.setattr(vector_index, "place", bounded)
    if kind == "many lists":
        monkeypatch.setattr("reelspace.search.compute.build.num_lists", lambda _: MAX_LISTS + 100)
    settings = IndexSettings(kind="flat" if kind == "flat" else "ivf_sq8", flat_below=1, num_recall_queries=64)
    own, shard = make_shard(TABLE, settings), make_shard(TABLE, settings, device=0)
    found = recalls(TABLE, (own, shard), QUERIES_QD, share, k)
    assert found[1] >= found[0] - 0.01
    if (share, k) in ((1.0, 10), (0.5, 10)):
        assert made[0].num_searches


def test_a_missing_candidate_of_any_device_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a list that is visited holds too few; cuVS marks it by the largest integer."""

    class Marking(Bounded):
        def search(self, vectors: Any, k: int, params: Any) -> Any:
            guesses, positions = super().search(vectors, k, params)
            guesses[positions < 0], positions[positions < 0] = np.inf, np.iinfo(np.int64).max
            return guesses, positions

    table, settings = TABLE.take(np.arange(3000)), IndexSettings(flat_below=1, recall_target=0.5, num_recall_queries=64)
    own = make_shard(table, settings)
    monkeypatch.setattr(vector_index, "place", lambda index, device: Placed(index if device is None else Marking(index)))
    shard = make_shard(table, settings, device=0)
    k = 200
    assert ids_of(shard, shard.search(QUERIES_QD, k).rows_QK) == ids_of(own, own.search(QUERIES_QD, k).rows_QK)
    assert shard.lone(QUERIES_QD[0], 10, "", b"") is None


def have_gpu(monkeypatch: pytest.MonkeyPatch, copied: Callable[..., Any], *, cuvs: bool = False) -> None:
    """Let faiss have one GPU."""
    resources = SimpleNamespace(setTempMemory=lambda _: None, setPinnedMemory=lambda _: None)
    for name, value in {
        "get_num_gpus": lambda: 1,
        "get_compile_options": lambda: "GPU NVIDIA_CUVS" if cuvs else "GPU",
        "GpuClonerOptions": SimpleNamespace,
        "INDICES_64_BIT": 3,
        "StandardGpuResources": lambda: resources,
        "index_cpu_to_gpu": copied,
    }.items():
        monkeypatch.setattr(faiss, name, value, raising=False)


@pytest.fixture
def faiss_whose_gpu_fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let faiss have one GPU that takes no index, for a reason."""

    def fail(reason: str) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError(reason)

        have_gpu(monkeypatch, refuse)

    return fail


@pytest.mark.parametrize("kind", ["Flat", "IVF16,SQ8"])
@pytest.mark.parametrize("heeds", [False, True])
def test_whether_selectors_are_heeded_is_tried(kind: str, heeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faiss that has cuVS ignores them all the same in the forms that cuVS does not have."""
    index = faiss.index_factory(16, kind)
    index.train(TABLE.vectors_ND[:1000])
    index.add(TABLE.vectors_ND[:1000])
    have_gpu(monkeypatch, lambda *_: index if heeds else Bounded(index), cuvs=True)
    assert place(index, 0).selectors is heeds


def test_what_cuvs_has_no_form_of_is_copied_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    index, asked = faiss.IndexFlat(4), []

    def copied(_resources: object, _device: int, one: Any, options: Any) -> Any:
        asked.append(options.use_cuvs)
        if options.use_cuvs:
            raise RuntimeError("this type of index is not implemented for cuVS")
        return one

    have_gpu(monkeypatch, copied, cuvs=True)
    assert place(index, 0).index is index
    assert asked == [True, False]


def test_a_full_gpu_is_told(faiss_whose_gpu_fails: Callable[[str], None]) -> None:
    faiss_whose_gpu_fails(FULL)
    with pytest.raises(NoRoom, match=r"GPU 0 has no room for an index of 0 vectors: .*out of memory"):
        place(faiss.IndexFlat(4), 0)


def test_a_gpu_without_free_memory_is_not_asked(faiss_whose_gpu_fails: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What faiss takes first it must get, or the process ends."""
    faiss_whose_gpu_fails("asked")
    monkeypatch.setattr("reelspace.search.compute.place.free_bytes", lambda _: 1_000_000)
    with pytest.raises(NoRoom, match=r"GPU 0 has no room for an index of 0 vectors: it takes .* bytes, 1,000,000 are free"):
        place(faiss.IndexFlat(4), 0)


def test_what_has_no_form_on_a_gpu_stays_on_the_processor(
    faiss_whose_gpu_fails: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    faiss_whose_gpu_fails("This index type is not implemented on GPU.")
    index = faiss.IndexHNSWFlat(4, 8)
    with caplog.at_level(logging.WARNING):
        assert place(index, 0) == Placed(index)
    assert "stays on the processor: This index type is not implemented" in caplog.text


def test_a_gpu_that_is_not_there_is_refused(faiss_whose_gpu_fails: Callable[[str], None]) -> None:
    faiss_whose_gpu_fails(FULL)
    with pytest.raises(SettingError, match="expected a GPU below 1, got 1"):
        place(faiss.IndexFlat(4), 1)
