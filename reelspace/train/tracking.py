"""What a run's settings ask for beside train_log.jsonl: TensorBoard's event files, a run of an MLflow server."""

from pathlib import Path

from reelspace.core.settings import identity
from reelspace.train.event_files import EventFiles
from reelspace.train.job import CHECKPOINTS, TrainJob
from reelspace.train.mlflow_run import RECORD_FILE, MlflowRun, Tracking
from reelspace.train.sinks import Background, Sink


def open_sinks(job: TrainJob, fingerprint: str, run: Path, mlflow_token: str | None = None) -> tuple[Sink, ...]:
    """Give the sinks of a training; nothing is written or asked before its first line.

    Args:
        fingerprint: of the training, which names it there: the same after a resume.
        run: directory of the checkpoints, where the MLflow run is remembered too.
        mlflow_token: bearer token of the MLflow server; None: it asks for none.
    """
    settings = job.run_settings
    name = f"{job.kind}-{fingerprint[:12]}"
    sinks: list[Sink] = []
    if settings.tensorboard is not None:
        sinks.append(Background("tensorboard", EventFiles(Path(settings.tensorboard) / name)))
    if settings.mlflow is not None:
        is_resumed = any((run / CHECKPOINTS).glob("step-*"))
        tracking = Tracking(settings.mlflow, name, fingerprint, identity(settings), run / RECORD_FILE, is_resumed, mlflow_token)
        sinks.append(Background("mlflow", MlflowRun(tracking)))
    return tuple(sinks)
