"""The cache of samples: bounded, checked, and shared by processes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import SettingError
from reelspace.media.sample_cache import DirectoryCache, MemoryCache, SampleCache


def samples(num: int, seed: int = 0, size: int = 1_000) -> dict[str, bytes]:
    draw = np.random.default_rng(seed)
    made = [draw.bytes(int(draw.integers(size // 2, size))) for _ in range(num)]
    return {hashlib.sha256(data).hexdigest(): data for data in made}


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("?/*") if path.name != ".size")


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_what_fits_is_given_back_and_nothing_else(kind: str, tmp_path: Path):
    cache: SampleCache = MemoryCache(1 << 20) if kind == "memory" else DirectoryCache(tmp_path, 1 << 20)
    kept, others = samples(50), samples(50, seed=1)
    for sha256, data in kept.items():
        assert cache.get(sha256) is None
        cache.put(sha256, data)
    assert {sha256: cache.get(sha256) for sha256 in kept} == kept
    assert all(cache.get(sha256) is None for sha256 in others)


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_a_corpus_larger_than_the_cache_keeps_its_share_in_the_next_epoch(kind: str, tmp_path: Path):
    bound = 160_000
    cache: SampleCache = MemoryCache(bound) if kind == "memory" else DirectoryCache(tmp_path, bound)
    corpus = samples(430)  # twice the bound
    hits = []
    for _ in range(3):
        num_hits = 0
        for sha256, data in corpus.items():
            found = cache.get(sha256)
            assert found in (None, data)
            num_hits += found is not None
            if found is None:
                cache.put(sha256, data)
            assert kind == "memory" or on_disk(tmp_path) <= bound
        hits.append(num_hits)
    assert hits[0] == 0
    # The one that was used longest ago would be dropped for the next one: no hit at all.
    assert min(hits[1:]) > 0.3 * len(corpus)
    assert max(hits) < 0.6 * len(corpus)


def test_a_damaged_file_is_noticed_and_replaced(tmp_path: Path):
    cache = DirectoryCache(tmp_path, 1 << 20)
    ((sha256, data),) = samples(1).items()
    cache.put(sha256, data)
    path = tmp_path / sha256[0] / sha256
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert cache.get(sha256) is None
    cache.put(sha256, data)
    assert cache.get(sha256) == data
    path.write_bytes(data[:10])
    assert cache.get(sha256) is None


def test_a_sample_larger_than_its_share_is_not_kept(tmp_path: Path):
    cache = DirectoryCache(tmp_path, 1_600)
    data = bytes(101)
    cache.put(hashlib.sha256(data).hexdigest(), data)
    assert on_disk(tmp_path) == 0


def test_what_a_killed_writer_left_is_removed_and_not_given_back(tmp_path: Path):
    cache = DirectoryCache(tmp_path, 1 << 20)
    ((sha256, data),) = samples(1).items()
    cache.put(sha256, data)
    (tmp_path / sha256[0] / f"{sha256}.0123abcd.partial").write_bytes(bytes(1 << 19))
    again = DirectoryCache(tmp_path, 1 << 20)
    assert on_disk(tmp_path) == len(data)
    assert again.get(sha256) == data


_WRITER = """
import sys
from pathlib import Path
from reelspace.media.sample_cache import DirectoryCache
from tests.unit.media.test_sample_cache import samples
cache = DirectoryCache(Path(sys.argv[1]), 160_000)
for _ in range(2):
    for sha256, data in samples(400).items():
        found = cache.get(sha256)
        assert found in (None, data)
        if found is None:
            cache.put(sha256, data)
"""


def test_two_processes_share_a_directory_within_its_bound(tmp_path: Path):
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert on_disk_now(tmp_path) <= 160_000
    for writer in writers:
        assert writer.returncode == 0, writer.communicate()[1]
        assert writer.stderr is not None
        writer.stderr.close()
    kept = samples(400)
    cache = DirectoryCache(tmp_path, 160_000)
    found = {sha256: data for sha256 in kept if (data := cache.get(sha256)) is not None}
    assert len(found) > 100
    assert all(kept[sha256] == data for sha256, data in found.items())


def on_disk_now(directory: Path) -> int:
    """The size of files that come and go while they are counted: never more than there were at one moment of each bucket."""
    num_bytes = 0
    for path in directory.glob("?/*"):
        try:
            num_bytes += path.stat().st_size if path.name != ".size" else 0
        except FileNotFoundError:
            continue
    return num_bytes


def test_a_path_that_is_no_directory_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=f"{tmp_path / 'file'}: expected a directory that can be written"):
        DirectoryCache(tmp_path / "file", 1 << 20)
