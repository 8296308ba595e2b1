"""What a plan is asked: the machines, what they cost, and what the data looks like."""

from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.train.settings import TrainSettings


class CorpusSettings(Settings):
    """What a plan assumes of the data; every text is as long as the model reads."""

    num_labels: int = Field(2_000, ge=0, description="Labels of the vocabulary.")
    label_tokens: int = Field(8, ge=1, description="Tokens of the longest label's text.")
    num_neighbours: int = Field(16, ge=0, description="Others of the label graph that a label is joined to.")
    labels_per_work: int = Field(4, ge=0, description="Labels of a work that no other work of its batch has.")

    def columns(self, settings: TrainSettings) -> int:
        """Give how many labels a batch asks about: all, or at most those of its works and the sampled others."""
        if settings.label_negatives is None:
            return self.num_labels
        return min(self.num_labels, settings.batch_size * self.labels_per_work + settings.label_negatives)

    def neighbours(self, settings: TrainSettings) -> int:
        """Give how many others of the label graph a label reads."""
        most = settings.objective.max_neighbours
        found = self.num_neighbours if most is None else min(most, self.num_neighbours)
        return min(found, max(0, self.num_labels - 1))


class PlanSettings(Settings):
    """The machines and the work; what is not measured is assumed, and the plan says so."""

    gpus: int = Field(8, ge=1, le=16_384, description="GPUs, one process each.")
    gpus_per_node: int = Field(8, ge=1, le=64, description="GPUs of one machine.")
    gpu_memory_gib: float = Field(80.0, gt=0, description="Memory of a GPU, GiB.")
    margin: float = Field(
        0.1, ge=0, le=1, description="Share kept free beside what is counted: the context of the GPU, gaps between blocks, libraries."
    )
    peak_tflops: float = Field(312.0, gt=0, description="Peak of a GPU in bfloat16, TFLOP/s; 312 is that of an A100, 989 of an H100.")
    fp32_share: float = Field(1 / 16, gt=0, le=1, description="Share of the peak that float32 has; 19.5 of 312 TFLOP/s on an A100.")
    utilisation: float = Field(0.45, gt=0, le=1, description="Share of the peak that is sustained where no throughput was measured.")
    throughput: float | None = Field(
        None, gt=0, description="Sustained TFLOP/s of a GPU, measured, recomputed FLOPs counted; None: peak times utilisation."
    )
    link_gb_s: float = Field(25.0, gt=0, description="Rate at which a GPU talks to the others, GB/s; 25 is 200 Gbit/s.")
    host_link_gb_s: float = Field(20.0, gt=0, description="Rate between a GPU and the memory of its machine, GB/s.")
    host_memory_gb_s: float = Field(100.0, gt=0, description="Rate of a machine's memory under an optimizer on the CPU, GB/s.")
    price: float | None = Field(None, ge=0, description="Price of a GPU for an hour, USD; None: no money is told.")
    samples: int | None = Field(None, ge=1, description="Works of the data; None: the run has the steps of its settings.")
    epochs: float = Field(1.0, gt=0, description="Times that each of the works is seen.")
    max_hours: float | None = Field(None, gt=0, description="Longest run that a sweep may choose, hours; None: any.")
    corpus: CorpusSettings = CorpusSettings()
