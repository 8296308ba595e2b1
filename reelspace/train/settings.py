"""Settings of pretraining and distillation, with their presets."""

from typing import Literal

from pydantic import AwareDatetime, Field

from reelspace.core.settings import Settings


class OptimizerSettings(Settings):
    """AdamW with warm-up and cosine decay."""

    learning_rate: float = Field(1.5e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(0.05, ge=0, le=1, description="Decoupled weight decay.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(0.98, ge=0, lt=1, description="Decay of the second moment.")
    warmup_share: float = Field(0.08, ge=0, le=1, description="Share of the steps with a rising learning rate.")
    clip_norm: float = Field(1.0, gt=0, description="Largest global gradient norm.")


class AugmentSettings(Settings):
    """How a training view differs from the frame it shows, and which inputs are hidden."""

    min_crop: float = Field(0.55, gt=0, le=1, description="Smallest side of a crop as a share of the frame's side.")
    max_rotation_degrees: float = Field(20.0, ge=0, le=180, description="Largest rotation, degrees.")
    brightness: float = Field(0.25, ge=0, le=1, description="Largest change of brightness, share of the full range.")
    contrast: float = Field(0.3, ge=0, lt=1, description="Largest relative change of contrast.")
    channel_shift: float = Field(0.05, ge=0, le=1, description="Largest shift of one colour channel, share of the full range.")
    drop_text: float = Field(0.5, ge=0, le=1, description="Probability that a work's own text is hidden.")
    drop_sound: float = Field(0.5, ge=0, le=1, description="Probability that the sound is hidden.")
    drop_picture: float = Field(0.1, ge=0, le=1, description="Probability that the picture is hidden from the fused vector.")
    replace_tokens: float = Field(0.15, ge=0, le=1, description="Probability that a token is replaced by a random one.")
    num_view_frames: int = Field(1, ge=1, le=64, description="Frames of a view, drawn at random.")
    unknown_tokens: float = Field(0.15, ge=0, le=1, description="Probability that a token becomes the unknown one.")


class TextSideSettings(Settings):
    """Which text of a work stands against its picture; a work without one kind draws among the others."""

    query_share: float = Field(3.0, ge=0, description="Share of satisfied queries.")
    caption_share: float = Field(1.0, ge=0, description="Share of captions without tags.")
    comment_share: float = Field(1.0, ge=0, description="Share of chosen comments.")


class ObjectiveSettings(Settings):
    """Weights and temperatures of the losses; a weight of 0 switches a loss off."""

    nt_xent: float = Field(0.1, ge=0, description="Weight of NT-Xent on two views of the picture.")
    nt_xent_temperature: float = Field(0.2, gt=0, description="Temperature of NT-Xent.")
    video_text: float = Field(1.0, ge=0, description="Weight of video-text InfoNCE.")
    video_text_temperature: float = Field(0.1, gt=0, description="Temperature of video-text InfoNCE.")
    labels: float = Field(0.3, ge=0, description="Weight of the multi-label loss.")
    positive_weight: float = Field(5.0, gt=0, description="Weight of a positive label against a negative one.")


class RunSettings(Settings):
    """How long and on what."""

    seed: int = Field(0, ge=0, description="Seed of every draw.")
    steps: int = Field(300, ge=1, description="Optimizer steps.")
    batch_size: int = Field(96, ge=2, description="Works per optimizer step, over all processes.")
    model: str = Field("tiny", description="Preset of the model.")
    train_until: AwareDatetime | None = Field(None, description="Only works uploaded before this time train; None: all works.")
    num_processes: int = Field(1, ge=1, le=1024, description="Training processes on this machine.")
    engine: Literal["torch", "deepspeed"] = Field("deepspeed", description="Engine: DeepSpeed, or plain torch (one process).")
    zero_stage: int = Field(1, ge=0, le=3, description="ZeRO stage of DeepSpeed.")
    checkpoint_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    log_every: int = Field(10, ge=1, description="Steps between lines of train_log.jsonl.")
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: AugmentSettings = AugmentSettings()
    text_side: TextSideSettings = TextSideSettings()


class TrainSettings(RunSettings):
    """Pretraining of the teacher."""

    crowd: bool = Field(True, description="Train on labels, queries and comments; off: pictures and captions only.")
    vocabulary_size: int = Field(2_000, ge=64, description="Entries of the tokenizer.")
    objective: ObjectiveSettings = ObjectiveSettings()


class DistillSettings(RunSettings):
    """Distillation of the student."""

    model: str = Field("tiny_student", description="Preset of the student.")
    feature: float = Field(1.0, ge=0, description="Weight of 1 - cosine to the teacher's vector of the same view.")
    similarity: float = Field(1.0, ge=0, description="Weight of the similarity distribution against the teacher's vectors of the batch.")
    similarity_temperature: float = Field(0.1, gt=0, description="Temperature of the similarity distribution.")


def pretrain_preset(name: str) -> TrainSettings:
    """Named settings of pretraining: `tiny`, or `smoke` (a few steps, for tests of the machinery)."""
    if name == "smoke":
        return TrainSettings(steps=6, batch_size=16, checkpoint_every=2, log_every=1)
    return TrainSettings()


def without_crowd(settings: TrainSettings) -> TrainSettings:
    """The same training on pictures and captions alone."""
    objective = settings.objective.model_copy(update={"labels": 0.0, "nt_xent": 1.0})
    text_side = settings.text_side.model_copy(update={"query_share": 0.0, "comment_share": 0.0})
    return settings.model_copy(update={"crowd": False, "objective": objective, "text_side": text_side})


def distill_preset(name: str) -> DistillSettings:
    """Named settings of distillation: `tiny` or `smoke`."""
    optimizer = OptimizerSettings(learning_rate=2e-3)
    if name == "smoke":
        return DistillSettings(steps=6, batch_size=16, checkpoint_every=2, log_every=1, optimizer=optimizer)
    return DistillSettings(steps=180, optimizer=optimizer)
