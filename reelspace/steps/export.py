"""Write a Triton model repository of the trained encoders, held against torch."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import torch
from pydantic import Field
from torch import nn

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import GateRefused, SettingError
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving import parity
from reelspace.serving.encoder import OUTPUT, open_graph
from reelspace.serving.graphs import Inputs, TextGraph, VideoGraph, run_graph, write_graph
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.preprocess import text_inputs, video_inputs
from reelspace.serving.scorer import MAX_LABELS
from reelspace.serving.signatures import EncoderSizes, Signature, config_pbtxt, text_signature, video_signature
from reelspace.serving.version import GRAPH_FILE, TOKENIZER_FILE, Version
from reelspace.steps.export_gpu import split_graphs
from reelspace.steps.export_media import ServedMedia, check_frames, trained_head, training_facts, write_media_models
from reelspace.steps.int8 import Int8Outcome, Int8Settings, settle_weights

REPORT_GRID = 1e-5


class ExportSettings(Settings):
    """How encoders are exported."""

    opset: int = Field(17, ge=17, le=20, description="ONNX operator set.")
    num_threads: int = Field(1, ge=1, le=256, description="CPU threads of one inference in the served model.")
    max_abs_difference: float = Field(1e-3, gt=0, description="Largest difference from torch in any element of a vector of length 1.")
    int8: Int8Settings = Field(Int8Settings(), description="Which encoders get int8 weights.")
    profile: Literal["cpu", "gpu"] = Field(
        "cpu", description="Where graphs run: in the models' own processes on the CPU, or in Triton's ONNX Runtime on GPUs."
    )
    num_labels: int = Field(
        MAX_LABELS, ge=1, le=1000, description="Labels given per file or vector, best first; all where there are fewer."
    )
    media: MediaLimits = Field(MediaLimits(), description="What files media_encoder takes.")
    decoding: MediaFacts | None = Field(
        None, description="How media_encoder decodes files; None: as the shards were made that the teacher was trained on."
    )


def run(teacher: str, student: str, repository: str, settings: str, shards: str | None = None) -> None:
    """Export the teacher's encoders, media_encoder and, where it has labels, label_scorer, and the student's video_encoder_light.

    Args:
        shards: works on which int8 weights are held against float32; known to the step only where settings ask for int8.

    Raises:
        SettingError: int8 is asked for without shards, or on GPUs.
        GateRefused: a graph differs from torch.
    """
    parsed = read(ExportSettings, settings)
    inputs = {"teacher": teacher, "student": student, **_works(parsed, shards)}
    run_step(
        "export",
        __name__,
        settings=parsed,
        inputs=inputs,
        outputs={"repository": repository},
        body=lambda step_run: _export(step_run, parsed),
    )


def _works(settings: ExportSettings, shards: str | None) -> dict[str, str]:
    if not settings.int8.models:
        return {}
    asked = f"int8.models asks for {', '.join(settings.int8.models)}"
    if settings.profile != "cpu":
        raise SettingError(f"{asked}: int8 is for the profile cpu, got {settings.profile}")
    if shards is None:
        raise SettingError(f"{asked}: give the step the shards of works to measure it on")
    return {"shards": shards}


@dataclass(frozen=True, slots=True)
class _Trained:
    """A trained model with what its served versions must say about it."""

    model: ReelModel
    tokenizer: Tokenizer
    sizes: EncoderSizes
    artifact_id: str
    space_id: str
    directory: Path


def _export(run: StepRun, settings: ExportSettings) -> Mapping[str, object]:
    # One thread: sums in another order would differ between runs.
    torch.set_num_threads(1)
    teacher = _load(run.inputs["teacher"], run.scratch / "teacher")
    student = _load(run.inputs["student"], run.scratch / "student")
    exporter = _Exporter(run.output("repository"), settings)
    differences = {
        "text_encoder": exporter.export_text("text_encoder", teacher),
        "video_encoder": exporter.export_video("video_encoder", teacher),
        "video_encoder_light": exporter.export_video("video_encoder_light", student),
    }
    int8 = _settle(run, settings.int8)
    exporter.write_report(differences, int8)
    export_media(run, settings, teacher.sizes)
    facts = {"int8": {model: outcome.facts() for model, outcome in int8.items()}} if int8 else {}
    return {"max_abs_difference": differences, **facts}


def _settle(run: StepRun, settings: Int8Settings) -> Mapping[str, Int8Outcome]:
    if not settings.models:
        return {}
    return settle_weights(run.output("repository"), ShardReader(run.inputs["shards"]), settings, run.scratch / "int8")


def export_media(run: StepRun, settings: ExportSettings, sizes: EncoderSizes) -> None:
    """Write the models that stand on the teacher's encoder of videos, and for GPUs take the graphs out of all.

    The encoders are written and lie in the run's repository, the teacher's files in its scratch.
    """
    facts = settings.decoding or training_facts(run.inputs["teacher"], sizes)
    check_frames(facts, sizes)
    head = trained_head(run.scratch / "teacher", sizes.dimension)
    media, repository = ServedMedia(facts, settings.media, head, settings.num_labels), run.output("repository")
    write_media_models(repository, media, settings.num_threads)
    if settings.profile == "gpu":
        split_graphs(repository, media, settings.num_threads)


def _load(artifact: Artifact, directory: Path) -> _Trained:
    model, tokenizer, settings = load_model(artifact.fetch(directory))
    space = orjson.loads((directory / "space.json").read_bytes())
    return _Trained(model.eval(), tokenizer, encoder_sizes(settings), artifact.id, space["space_id"], directory)


def encoder_sizes(settings: ModelSettings) -> EncoderSizes:
    """Give the sizes of a model's served tensors."""
    return EncoderSizes(settings.dimension, settings.num_frames, settings.frame_size, settings.frame_size, settings.sound.num_samples)


def video_facts(sizes: EncoderSizes) -> dict[str, int]:
    """Give what a video encoder's version.json says beside a text encoder's."""
    return {"num_frames": sizes.num_frames, "height": sizes.height, "width": sizes.width, "num_samples": sizes.num_samples}


@dataclass(frozen=True, slots=True)
class _Exporter:
    """Writes models into one repository."""

    out: Path
    settings: ExportSettings

    def export_text(self, name: str, trained: _Trained) -> float:
        """Write an encoder of texts; give its largest difference from torch."""
        signature = text_signature(name, trained.sizes)
        batches = [text_inputs(rows, trained.tokenizer) for rows in parity.batches(parity.text_rows())]
        difference = self._write(TextGraph(trained.model), signature, trained, batches)
        self._describe(signature, trained, video=False)
        return difference

    def export_video(self, name: str, trained: _Trained) -> float:
        """Write an encoder of videos; give its largest difference from torch."""
        signature = video_signature(name, trained.sizes)
        batches = [video_inputs(part, trained.tokenizer) for part in parity.batches(parity.video_rows(trained.sizes, signature))]
        difference = self._write(VideoGraph(trained.model), signature, trained, batches)
        self._describe(signature, trained, video=True)
        return difference

    def write_report(self, differences: Mapping[str, float], int8: Mapping[str, Int8Outcome]) -> None:
        """Write export.json, the figures rounded up so that the last digits of this machine's arithmetic stay out of the artifact's id."""
        rounded = {model: round(math.ceil(value / REPORT_GRID) * REPORT_GRID, 5) for model, value in differences.items()}
        settled = {"int8": {model: outcome.report() for model, outcome in int8.items()}} if int8 else {}
        report = {"max_abs_difference": rounded, "limit": self.settings.max_abs_difference, **settled}
        (self.out / "export.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))

    def _version(self, signature: Signature) -> Path:
        return self.out / signature.model / "1"

    def _describe(self, signature: Signature, trained: _Trained, *, video: bool) -> None:
        """Write version.json, last of all, since it names the bytes of the others."""
        facts = Version(
            model=signature.model,
            artifact_id=trained.artifact_id,
            space_id=trained.space_id,
            opset=self.settings.opset,
            dimension=trained.sizes.dimension,
            text_length=trained.tokenizer.length,
            **(video_facts(trained.sizes) if video else {}),
        )
        facts.write(self._version(signature))

    def _write(self, graph: nn.Module, signature: Signature, trained: _Trained, batches: Sequence[Inputs]) -> float:
        path = self._version(signature) / GRAPH_FILE
        path.parent.mkdir(parents=True)
        config = config_pbtxt(signature, parameters={"num_threads": str(self.settings.num_threads)})
        (path.parent.parent / "config.pbtxt").write_text(config)
        shutil.copy(trained.directory / TOKENIZER_FILE, path.parent / TOKENIZER_FILE)
        write_graph(graph, max(batches, key=lambda inputs: len(inputs["text"])), path, self.settings.opset)
        difference = max_abs_difference(graph, path, batches)
        # Written so that NaN is refused too.
        if not difference <= self.settings.max_abs_difference:
            raise GateRefused(
                f"{signature.model}: ONNX Runtime differs from torch by {difference:.3g} in some element, allowed are "
                f"{self.settings.max_abs_difference:.3g}; see whether every operator exports at opset {self.settings.opset}"
            )
        return difference


def max_abs_difference(graph: nn.Module, path: Path, batches: Sequence[Inputs]) -> float:
    """Give the largest difference of any element between a graph in torch and its exported file."""
    session = open_graph(path, num_threads=1)
    differences = [np.abs(run_graph(graph, inputs) - session.run([OUTPUT], dict(inputs))[0]).max() for inputs in batches]
    # numpy's max, which keeps a NaN.
    return float(np.max(differences))
