"""Where a faiss index works: this machine's processor or one of its GPUs. The only difference between the two.

The stored index is always the processor's form; a device gets a copy.
"""

from dataclasses import dataclass
from typing import Any

from reelspace.core.errors import SettingError
from reelspace.search.compute.library import faiss


@dataclass(frozen=True, slots=True)
class Placed:
    """An index on its device.

    `selectors`: whether a search may carry a selector of rows. faiss on a GPU without cuVS takes one and ignores it silently.
    `resources` lives as long as the index uses it.
    """

    index: Any
    selectors: bool
    resources: Any = None


def place(index: Any, device: int | None) -> Placed:
    """Put an index on a device: None for the processor, else the GPU's ordinal.

    Raises:
        SettingError: this faiss or this machine has no such GPU.
    """
    if device is None:
        return Placed(index, selectors=True)
    num_gpus = faiss.get_num_gpus()
    if device >= num_gpus:
        raise SettingError(f"shard device: expected a GPU below {num_gpus}, got {device}; faiss sees {num_gpus} GPUs on this machine")
    options = faiss.GpuClonerOptions()
    options.indicesOptions = faiss.INDICES_64_BIT
    resources = faiss.StandardGpuResources()
    selectors = "NVIDIA_CUVS" in faiss.get_compile_options()
    return Placed(faiss.index_cpu_to_gpu(resources, device, index, options), selectors, resources)
