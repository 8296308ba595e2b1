"""Settings of pretraining and distillation, with their presets."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from reelspace.core.settings import PLACE, Settings
from reelspace.signals.settings import GraphSettings
from reelspace.train.heartbeat import SILENT_S
from reelspace.train.keywords import KeywordSettings
from reelspace.train.windows import Window

Signal = Literal["hashtags", "queries", "comments"]
Precision = Literal["fp32", "bf16_autocast", "bf16", "bf16_all"]
ALL_SIGNALS: tuple[Signal, ...] = ("hashtags", "queries", "comments")
_WEB_ADDRESS = r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$"
# Torch takes 64 bits; files of settings are read by programs whose integers have a sign.
_MAX_SEED = (1 << 63) - 1


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
    swap_background: float = Field(
        0.0, ge=0, le=1, description="Probability that a view shows another work's surroundings around its middle."
    )
    swap_radius: float = Field(0.75, gt=0, le=2, description="Radius of the middle that stays, in halves of the frame's side.")
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
    video_sound: float = Field(0.1, ge=0, description="Weight of InfoNCE between picture and sound.")
    video_sound_temperature: float = Field(0.1, gt=0, description="Temperature of InfoNCE between picture and sound.")
    matryoshka: tuple[int, ...] = Field(
        (32, 64), description="Lengths of the embedding's prefixes that are trained too; those not below its dimension are left out."
    )
    keywords: float = Field(0.1, ge=0, description="Weight of keyword-masked language modelling.")
    labels: float = Field(0.3, ge=0, description="Weight of the multi-label loss.")
    positive_weight: float = Field(5.0, gt=0, description="Weight of a positive label against a negative one.")
    label_head: Literal["graph", "vectors"] = Field(
        "graph", description="Classifiers from the label graph and the labels' texts, or one free vector per label."
    )
    label_hidden: int = Field(128, ge=8, description="Width between the two layers of the label graph.")
    max_neighbours: int | None = Field(None, ge=0, description="Strongest neighbours of a label that are read; None: all.")
    refresh_labels_every: int = Field(20, ge=1, description="Steps between new vectors of the labels' texts by the text tower.")

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        # Labels alone are no loss where no work has one.
        if not any((self.nt_xent, self.video_text, self.video_sound, self.keywords)):
            raise ValueError("nt_xent, video_text, video_sound and keywords are all 0, expected at least one of them above 0")
        return self


class ReadingSettings(Settings):
    """How works come out of the shards into batches; nothing here changes a batch."""

    memory_mib: int = Field(
        4096, ge=0, description="Pictures and sounds are decoded once into each process's memory up to this size, MiB; more: read by batch."
    )
    cache: str | None = Field(
        None, min_length=1, description="Directory of samples that were read, which the processes of a machine share; None: memory."
    )
    cache_mib: int = Field(1024, ge=0, description="Largest size of the samples kept of one artifact of shards, MiB.")
    num_reads: int = Field(8, ge=1, le=64, description="Samples read at a time for each batch in the making.")
    prefetch: int = Field(2, ge=0, le=64, description="Batches made in the background ahead of the step that takes them; 0: none.")


class RunSettings(Settings):
    """How long and on what."""

    seed: int = Field(0, ge=0, le=_MAX_SEED, description="Seed of every draw.")
    steps: int = Field(300, ge=1, description="Optimizer steps.")
    batch_size: int = Field(96, ge=2, description="Works per optimizer step, over all processes.")
    model: str = Field("tiny", description="Preset of the model.")
    train_until: AwareDatetime | None = Field(None, description="Only works uploaded before this time train; None: all works.")
    order: Literal["weighted", "shuffled"] = Field(
        "weighted",
        description="Works of a step: drawn from all, rare labels more often; or each once an epoch, from a few shards at a time.",
    )
    order_window: int = Field(4, ge=1, description="Shards that the order `shuffled` mixes at a time.")
    reading: ReadingSettings = Field(ReadingSettings(), description="How works are read.", json_schema_extra=PLACE)
    num_processes: int = Field(1, ge=1, le=1024, description="Training processes on this machine.")
    engine: Literal["torch", "deepspeed"] = Field(
        "deepspeed", description="Engine: DeepSpeed, or plain torch (DistributedDataParallel where there are several processes)."
    )
    zero_stage: int = Field(1, ge=0, le=3, description="ZeRO stage of DeepSpeed.")
    precision: Precision = Field(
        "fp32",
        description="Numbers of weights and activations: bf16_autocast computes in bfloat16 over float32 weights; bf16 also holds the "
        "weights in it, with float32 masters; bf16_all also the masters and the optimizer's state, where memory is short.",
    )
    offload: Literal["none", "optimizer", "parameters"] = Field(
        "none", description="What ZeRO keeps in the memory of the CPU: the optimizer's state, or with stage 3 the weights too."
    )
    checkpoint_activations: bool = Field(False, description="Compute activations of blocks anew on the way back in place of keeping them.")
    micro_batches: int = Field(1, ge=1, description="Parts in which a process works through its share of a batch; gradients add up.")
    grad_cache: bool = Field(
        False, description="Contrast the whole batch although it is worked through in parts (one forward pass more); off: each part alone."
    )
    checkpoint_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(2, ge=1, le=100, description="Newest checkpoints that are kept.")
    keep_best: bool = Field(True, description="Also keep the checkpoint with the lowest mean logged loss since the one before.")
    log_every: int = Field(10, ge=1, description="Steps between lines of train_log.jsonl.")
    tensorboard: str | None = Field(
        None,
        min_length=1,
        description="Directory for TensorBoard, where a training gets a folder with the figures of its log; None: none.",
        json_schema_extra=PLACE,
    )
    mlflow: str | None = Field(
        None,
        pattern=_WEB_ADDRESS,
        description="http(s) address of an MLflow tracking server that is told the figures of the log, with the bearer token of "
        "MLFLOW_TRACKING_TOKEN if there is one; None: none.",
        json_schema_extra=PLACE,
    )
    silent_s: float = Field(
        SILENT_S,
        ge=5,
        le=3600,
        description="Seconds without a sign of life of a process, which gives one each step, after which the training is ended.",
        json_schema_extra=PLACE,
    )
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: AugmentSettings = AugmentSettings()
    text_side: TextSideSettings = TextSideSettings()


class WarmStartSettings(Settings):
    """Public checkpoints in Hugging Face layout whose weights fit our towers."""

    picture: str | None = Field(None, description="Folder of a ViT-family checkpoint.", json_schema_extra=PLACE)
    text: str | None = Field(None, description="Folder of a BERT-family checkpoint.", json_schema_extra=PLACE)


class ReplaySettings(Settings):
    """Going on from a teacher with a new day's works, in its space: works it knows are replayed, and keep the vectors they have."""

    teacher: str = Field(pattern=r"^[0-9a-f]{64}$", description="Artifact id of the teacher that training starts from.")
    seen: tuple[Window, ...] = Field(min_length=1, description="Works the teacher trained on, as its manifest says; they are replayed.")
    new: Window = Field(description="The new works.")
    new_share: float = Field(0.5, gt=0, lt=1, description="Share of the draws of a step that new works have together.")
    keep: float = Field(2.0, gt=0, le=100, description="Weight of 1 - cosine to the teacher's vectors of replayed works.")


class TrainSettings(RunSettings):
    """Pretraining of the teacher."""

    steps: int = Field(600, ge=1, description="Optimizer steps.")
    batch_size: int = Field(48, ge=2, description="Works per optimizer step, over all processes.")
    crowd: tuple[Signal, ...] = Field(ALL_SIGNALS, description="The crowd's signals that train; none: pictures, sounds and captions only.")
    encoder: str | None = Field(
        None, description="Folder of a CLIP-family checkpoint in Hugging Face layout; None: towers of our own.", json_schema_extra=PLACE
    )
    encoder_role: Literal["towers", "teacher"] = Field(
        "towers", description="The checkpoint as frozen towers under a trained fusion, or as the teacher itself, which trains nothing."
    )
    warm_start: WarmStartSettings = Field(WarmStartSettings(), description="Public checkpoints that our own towers start from.")
    weigh_labels: bool = Field(True, description="Weigh labels by TF-IDF and freshness; off: all alike.")
    label_negatives: int | None = Field(None, ge=1, description="Labels sampled per batch beside those of its works; None: all labels.")
    graph: GraphSettings = Field(GraphSettings(), description="Which edges of the label graph the classifiers read.")
    masks: KeywordSettings = Field(KeywordSettings(), description="Which words masked language modelling hides.")
    replay: ReplaySettings | None = Field(None, description="Go on from an earlier teacher, in its space; None: begin anew.")
    previous: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Artifact id of the earlier teacher that the selector `attention` of the masks asks."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.encoder is not None and self.encoder_role == "towers" and self.objective.keywords > 0:
            raise ValueError(f"objective.keywords is {self.objective.keywords}, expected 0 with an encoder, whose text tower is frozen")
        if self.encoder is not None and self.warm_start != WarmStartSettings():
            raise ValueError("encoder and warm_start are both given, expected one of them: an encoder's towers are its own")
        if self.replay is not None and (self.encoder is not None or self.warm_start != WarmStartSettings()):
            raise ValueError("replay and a public checkpoint are both given, expected one of them: training starts from the teacher")
        if self.replay is not None and (self.train_until is not None or self.order == "shuffled"):
            raise ValueError("replay is given with train_until or order = shuffled: its windows say which works train, drawn by weight")
        return self

    vocabulary_size: int = Field(2_000, ge=64, description="Entries of the tokenizer.")
    objective: ObjectiveSettings = ObjectiveSettings()


class DistillSettings(RunSettings):
    """Distillation of the student."""

    model: str = Field("tiny_student", description="Preset of the student.")
    num_views: int = Field(8, ge=1, le=1024, description="Views of each work that the teacher answers for, once; a step shows one of them.")
    view_seed: int = Field(0, ge=0, description="Seed of the views: students of one teacher, trained with other seeds, share its answers.")
    feature: float = Field(1.0, ge=0, le=100, description="Weight of 1 - cosine to the teacher's vector of the same view.")
    similarity: float = Field(
        1.0, ge=0, le=100, description="Weight of the similarity distribution against the teacher's vectors of the batch."
    )
    similarity_temperature: float = Field(0.1, ge=0.01, le=10, description="Temperature of the similarity distribution.")
    labels: float = Field(
        0.1, ge=0, le=100, description="Weight of the labels that the teacher's label head tells of the student's vector against its own."
    )
    max_bad_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of the teacher's answers that may be not finite before it is refused.", json_schema_extra=PLACE
    )

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        # The similarity distribution alone leaves the student free to turn the space, and labels see a part of it only.
        if self.feature == 0:
            raise ValueError("feature is 0, expected a weight above 0: without it the student need not live in the teacher's space")
        return self


def pretrain_preset(name: str) -> TrainSettings:
    """Named settings of pretraining: `tiny`, or `smoke` (a few steps, for tests of the machinery)."""
    if name == "smoke":
        return TrainSettings(steps=6, batch_size=16, checkpoint_every=2, log_every=1)
    return TrainSettings()


def replay_preset(name: str, replay: ReplaySettings) -> TrainSettings:
    """Named settings of going on from a teacher: `tiny` or `smoke`.

    Contrasts of two views and hidden words have heads that only training needs, and that no teacher keeps: they rest.
    """
    settings = pretrain_preset(name)
    objective = settings.objective.model_copy(update={"nt_xent": 0.0, "keywords": 0.0})
    optimizer = settings.optimizer.model_copy(update={"learning_rate": 5e-4})
    steps = settings.steps if name == "smoke" else 150
    return settings.model_copy(update={"replay": replay, "objective": objective, "optimizer": optimizer, "steps": steps})


def without_crowd(settings: TrainSettings) -> TrainSettings:
    """The same training on pictures and captions alone."""
    objective = settings.objective.model_copy(update={"labels": 0.0, "keywords": 0.0, "nt_xent": 1.0})
    text_side = settings.text_side.model_copy(update={"query_share": 0.0, "comment_share": 0.0})
    return settings.model_copy(update={"crowd": (), "objective": objective, "text_side": text_side})


def distill_preset(name: str) -> DistillSettings:
    """Named settings of distillation: `tiny` or `smoke`."""
    optimizer = OptimizerSettings(learning_rate=2e-3)
    if name == "smoke":
        return DistillSettings(steps=6, batch_size=16, num_views=2, checkpoint_every=2, log_every=1, optimizer=optimizer)
    return DistillSettings(steps=600, optimizer=optimizer)
