"""What `export` writes beside the encoders: the encoder of files, and the label head of the teacher.

Legend: L labels, D dimension.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import ArtifactMissing, UserError
from reelspace.core.settings import read
from reelspace.media.spec import SAMPLE_RATE, FrameSpec
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.scorer import ScorerVersion, write_head
from reelspace.serving.signatures import (
    MEDIA_BACKEND,
    SCORER_BACKEND,
    EncoderSizes,
    config_pbtxt,
    media_signature,
    scorer_signature,
)
from reelspace.serving.version import Version
from reelspace.train.teacher_outputs import LABELS_FILE, read_labels

MEDIA_ENCODER: Final = "media_encoder"
LABEL_SCORER: Final = "label_scorer"
TEACHER: Final = "video_encoder"
VERSION: Final = "1"
CONFIG_FILE: Final = "config.pbtxt"
JPEG_QUALITY: Final = 90
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """A label head as it is served: the scale folded into classifiers_LD, biases_L, and the labels' words."""

    classifiers_LD: Floats
    biases_L: Floats
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServedMedia:
    """How uploaded files are served: decoded as the teacher's works, within limits, and labelled if there is a head.

    `most_labels` are given per file, all of them where there are fewer.
    """

    facts: MediaFacts
    limits: MediaLimits
    head: Head | None
    most_labels: int

    @property
    def num_given(self) -> int:
        """Labels given per file."""
        return 0 if self.head is None else min(self.most_labels, len(self.head.labels))


def trained_head(directory: Path, dimension: int) -> Head | None:
    """Read the label head of a fetched model; None where it was trained without labels.

    Raises:
        CorruptArtifact: the head does not fit its labels or the dimension.
    """
    found = read_labels(directory, dimension)
    if found is None or not len(found.bias_K):
        return None
    labels = pq.read_table(directory / LABELS_FILE, columns=["text"])["text"].to_pylist()
    classifiers_LD: Floats = (found.scale * found.classifiers_KD).numpy()
    biases_L: Floats = found.bias_K.numpy()
    return Head(classifiers_LD, biases_L, tuple(map(str, labels)))


def training_facts(teacher: Artifact, sizes: EncoderSizes) -> MediaFacts:
    """Tell how the works were decoded that a teacher was trained on: as their shards say; without shards, as the model's sizes ask.

    Raises:
        UserError: the shards are gone, do not tell how they were decoded, or were decoded in several ways.
    """
    found = {facts.model_dump_json(): facts for facts in map(_facts_of_shards, _shards(teacher))}
    if len(found) > 1:
        raise UserError(f"teacher {teacher.id[:12]} was trained on shards decoded in {len(found)} ways: set decoding to one")
    return next(iter(found.values()), None) or _facts_of_sizes(sizes)


def check_frames(facts: MediaFacts, sizes: EncoderSizes) -> None:
    """Refuse to decode frames of another size than the model's."""
    if facts.frames.size != sizes.height:
        raise UserError(f"expected frames of {sizes.height} pixels, as the teacher's, got {facts.frames.size}: set decoding.frames.size")


def write_media_models(repository: Path, media: ServedMedia, num_threads: int) -> None:
    """Write media_encoder/ and, with a head, label_scorer/ into a repository that has the teacher's encoder of videos.

    media_encoder repeats that encoder's files, so that each model's version can change without the other's.
    """
    source, version = repository / TEACHER / VERSION, repository / MEDIA_ENCODER / VERSION
    teacher = Version.read(source)
    shutil.copytree(source, version)
    media.facts.write(version)
    signature = media_signature(MEDIA_ENCODER, teacher.sizes, media.num_given, media.limits.max_bytes)
    parameters = {**media.limits.parameters(), "num_threads": str(num_threads)}
    (version.parent / CONFIG_FILE).write_text(config_pbtxt(signature, backend=MEDIA_BACKEND, parameters=parameters))
    if media.head is not None:
        _write_head(version, media.head, media.num_given)
        _write_label_scorer(repository / LABEL_SCORER / VERSION, teacher, media.head, media.num_given)
    teacher.model_copy(update={"model": MEDIA_ENCODER}).write(version)


def _write_label_scorer(version: Path, teacher: Version, head: Head, num_given: int) -> None:
    version.mkdir(parents=True)
    _write_head(version, head, num_given)
    signature = scorer_signature(LABEL_SCORER, teacher.dimension, num_given)
    (version.parent / CONFIG_FILE).write_text(config_pbtxt(signature, backend=SCORER_BACKEND))
    ScorerVersion(model=LABEL_SCORER, artifact_id=teacher.artifact_id, space_id=teacher.space_id).write(version)


def _write_head(version: Path, head: Head, num_given: int) -> None:
    write_head(version, head.classifiers_LD, head.biases_L, head.labels, num_given)


def _shards(teacher: Artifact) -> list[Artifact]:
    found, missing = [], []
    for parent in teacher.manifest.parents:
        try:
            found.append(open_artifact(teacher.store, parent))
        except ArtifactMissing as error:
            missing.append(str(error))
    shards = [parent for parent in found if parent.manifest.kind == "shards"]
    if missing and not shards:
        raise UserError(f"teacher {teacher.id[:12]}: its shards may be what is gone ({missing[0]}); set decoding to what made them")
    return shards


def _facts_of_shards(shards: Artifact) -> MediaFacts:
    settings = shards.manifest.settings
    if missing := [name for name in MediaFacts.model_fields if name not in settings]:
        raise UserError(f"shards {shards.id[:12]} do not tell how they were decoded ({', '.join(missing)}): set decoding")
    return read(MediaFacts, {name: settings[name] for name in MediaFacts.model_fields})


def _facts_of_sizes(sizes: EncoderSizes) -> MediaFacts:
    frames = FrameSpec(num_frames=sizes.num_frames, size=sizes.height, max_audio_s=sizes.num_samples / SAMPLE_RATE)
    return MediaFacts(frames=frames, jpeg_quality=JPEG_QUALITY)
