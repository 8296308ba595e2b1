"""What one training works on: what the launcher hands to every process."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from reelspace.core.errors import UserError
from reelspace.core.settings import Settings
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.settings import DistillSettings, RunSettings, TrainSettings

CHECKPOINTS = "checkpoints"
"""Where in a run directory the checkpoints lie."""


class TrainJob(Settings):
    """One training: its settings and where its inputs and outputs lie."""

    kind: Literal["pretrain", "distill", "finetune"] = Field(description="What is trained.")
    store: str = Field(description="Directory or s3://bucket/prefix of the shards.")
    shards: str = Field(pattern=r"^[0-9a-f]{64}$", description="Id of the artifact of shards.")
    labels: Path = Field(description="Directory of the fetched `labels` artifact; of fine-tuning, of the works its step prepared.")
    teacher: Path | None = Field(
        None, description="Directory of the fetched model that is learned from: a student's teacher, or what fine-tuning starts from."
    )
    teacher_outputs: Path | None = Field(None, description="Directory of the fetched `teacher_outputs` artifact; only for distillation.")
    previous: Path | None = Field(
        None, description="Directory of an earlier fetched `teacher` artifact, whose attention scores words; only for pretraining."
    )
    start: Path | None = Field(
        None, description="Directory of the fetched `teacher` artifact that `replay` goes on from; only for pretraining."
    )
    out: Path = Field(description="Directory the trained model and its log are written to.")
    unfinished: Path | None = Field(
        None, description="Directory on the run directory's file system where checkpoints are written first; None: in the run directory."
    )
    pretrain: TrainSettings | None = Field(None, description="Settings of pretraining.")
    distill: DistillSettings | None = Field(None, description="Settings of distillation.")
    finetune: FinetuneSettings | None = Field(None, description="Settings of fine-tuning.")

    @model_validator(mode="after")
    def _complete(self) -> "TrainJob":
        if [name for name in ("pretrain", "distill", "finetune") if getattr(self, name) is not None] != [self.kind]:
            raise ValueError(f"kind is {self.kind}, expected exactly the settings of that name")
        if self.kind != "pretrain" and self.teacher is None:
            raise ValueError(f"kind is {self.kind}, expected a teacher")
        if (self.kind == "distill") == (self.teacher_outputs is None):
            raise ValueError(f"kind is {self.kind}, expected the teacher's outputs with distill and with nothing else")
        if (self.start is not None) != (self.pretrain is not None and self.pretrain.replay is not None):
            raise ValueError("expected the files of the teacher that replay names, with replay and with nothing else")
        return self

    @property
    def run_settings(self) -> RunSettings:
        """What all kinds have in common."""
        settings = self.pretrain or self.distill or self.finetune
        if settings is None:
            raise AssertionError("a job has settings, its validator saw to it")
        return settings


def check_job(job: TrainJob, num_processes: int | None = None) -> None:
    """Refuse settings that contradict each other, before a process is started.

    Args:
        num_processes: of all machines together, where a platform says how many there are; None: as the settings say.

    Raises:
        UserError: names the settings.
    """
    settings = job.run_settings
    num_processes = num_processes or settings.num_processes
    parts = num_processes * settings.micro_batches
    if settings.batch_size % parts:
        raise UserError(
            f"batch_size is {settings.batch_size}, expected a multiple of num_processes = {num_processes} "
            f"times micro_batches = {settings.micro_batches}"
        )
    if settings.tensorboard is not None and "://" in settings.tensorboard:
        raise UserError(f"tensorboard is {settings.tensorboard}, expected a directory of this machine: event files are appended to")
    if settings.grad_cache and settings.micro_batches == 1:
        raise UserError("grad_cache is on and micro_batches is 1: a batch worked through at once needs no cache, raise micro_batches")
    if settings.engine == "torch":
        _check_plain(settings)
    elif settings.precision in ("bf16", "bf16_all") and settings.zero_stage == 0:
        raise UserError(f"precision is {settings.precision} and zero_stage is 0, expected a stage from 1 on: stage 0 keeps no masters")
    elif settings.offload != "none" and settings.zero_stage == 0:
        raise UserError(f"offload is {settings.offload} and zero_stage is 0, expected a stage from 1 on: stage 0 spreads no state")
    elif settings.offload == "parameters" and settings.zero_stage != 3:
        raise UserError(f"offload is parameters and zero_stage is {settings.zero_stage}, expected 3, the stage that spreads the weights")


def _check_plain(settings: RunSettings) -> None:
    if settings.precision not in ("fp32", "bf16_autocast"):
        raise UserError(f"precision is {settings.precision}, expected fp32 or bf16_autocast with engine torch: choose deepspeed")
    if settings.offload != "none":
        raise UserError(f"offload is {settings.offload}, expected none with engine torch: choose deepspeed")
