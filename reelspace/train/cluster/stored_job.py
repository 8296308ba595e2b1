"""A training described by ids alone: what a machine without our disk needs to take part in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import InternalError
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.train.job import TrainJob
from reelspace.train.settings import DistillSettings, TrainSettings

_ID = r"^[0-9a-f]{64}$"
_DIRECTORIES = ("labels", "teacher", "teacher_outputs", "previous", "start")


class StoredJob(Settings):
    """A TrainJob whose inputs are artifacts of the store in place of fetched directories."""

    kind: Literal["pretrain", "distill"] = Field(description="What is trained.")
    shards: str = Field(pattern=_ID, description="Id of the artifact of shards.")
    labels: str = Field(pattern=_ID, description="Id of the `labels` artifact.")
    teacher: str | None = Field(None, pattern=_ID, description="Id of the teacher of a student.")
    teacher_outputs: str | None = Field(None, pattern=_ID, description="Id of the teacher's stored outputs; only for distillation.")
    previous: str | None = Field(None, pattern=_ID, description="Id of the earlier teacher whose attention scores words.")
    start: str | None = Field(None, pattern=_ID, description="Id of the teacher that `replay` goes on from.")
    pretrain: TrainSettings | None = Field(None, description="Settings of pretraining.")
    distill: DistillSettings | None = Field(None, description="Settings of distillation.")

    @classmethod
    def of(cls, job: TrainJob, artifacts: Mapping[str, str]) -> "StoredJob":
        """Describe a job; `artifacts` gives the id of what was fetched into each of its directories.

        Raises:
            InternalError: a directory of the job has no id: no other machine could fetch it.
        """
        given = [name for name in _DIRECTORIES if getattr(job, name) is not None]
        unknown = [name for name in given if name not in artifacts]
        if unknown or job.kind == "finetune":
            raise InternalError(f"a {job.kind} job with the directories {', '.join(given)} cannot be stored, ids: {', '.join(artifacts)}")
        ids = {name: artifacts[name] for name in given}
        values = {"kind": job.kind, "shards": job.shards, "pretrain": job.pretrain, "distill": job.distill}
        return cls.model_validate({**values, **ids})

    def fetch(self, store: Store, directory: Path, out: Path, unfinished: Path | None = None) -> TrainJob:
        """Bring the inputs below `directory` and give the job that this machine works on, which writes to `out`.

        Raises:
            ArtifactMissing, CorruptArtifact: names the input.
        """
        ids = {name: getattr(self, name) for name in _DIRECTORIES}
        fetched = {name: open_artifact(store, found).fetch(directory / name) for name, found in ids.items() if found is not None}
        values = {"kind": self.kind, "store": store.url, "shards": self.shards, "pretrain": self.pretrain, "distill": self.distill}
        return TrainJob.model_validate({**values, **fetched, "out": out, "unfinished": unfinished})
