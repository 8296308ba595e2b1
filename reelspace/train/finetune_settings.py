"""Settings of fine-tuning, with their presets."""

from typing import Literal, Self

from pydantic import Field, model_validator

from reelspace.model.task import Task
from reelspace.signals.settings import GraphSettings
from reelspace.train.settings import OptimizerSettings, RunSettings

_NOTHING_TO_CHOOSE = ("model", "text_side", "order", "order_window")


class FinetuneSettings(RunSettings):
    """Training of a task head, and of the model's last blocks where asked for, on a labelled table."""

    batch_size: int = Field(64, ge=2, description="Works per optimizer step, over all processes.")
    model: str = Field("", description="Stays empty: the model to start from is an input of the step.")
    task: Task | None = Field(
        None,
        description="single_label: one class each, by softmax; multi_label: any number, by a sigmoid per class; "
        "None: single_label where the table's `label` is text, multi_label where it is a list or the table is a `labels` artifact.",
    )
    head: Literal["linear", "hidden"] = Field("linear", description="Classifiers over the fused vector, or behind one hidden layer.")
    hidden: int = Field(256, ge=2, le=65_536, description="Width of the hidden layer.")
    start: Literal["zero", "text", "graph"] = Field(
        "zero",
        description="Where linear classifiers start: at zero, at the vectors of the classes' names by the model's text tower, or at what "
        "the label graph makes of them (of a `labels` artifact and a teacher trained with the graph).",
    )
    extend: bool = Field(
        False,
        description="Keep the classifiers of the model's own labels as they are, train those of the table's other labels, and write both.",
    )
    train_blocks: int = Field(
        0,
        ge=0,
        description="Last blocks of each tower and of the fusion that are trained too; above 0 the result is a model of a new space.",
    )
    augment_views: bool = Field(False, description="Crop, turn and colour the pictures as `augment` says; only with train_blocks.")
    held_out: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Share of works, by hash of video_id, that are measured on and not trained; where the table has a split, that counts, "
        "and with train_until the works from then on are held out.",
    )
    min_works: int = Field(5, ge=1, description="Training works that a class needs; classes with fewer are left out.")
    max_unknown_share: float = Field(0.1, ge=0, le=1, description="Share of the table's works that the shards may lack.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare classes weigh more, as all were of one size; with multi_label, presence as much as absence."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of a target that is spread over all classes; only of single_label.")
    graph: GraphSettings = Field(GraphSettings(), description="Which edges of the label graph start = graph reads.")
    embed_batch: int = Field(32, ge=1, le=4096, description="Works embedded at a time.")
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-2)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head == "hidden" and self.start != "zero":
            raise ValueError(f"start is {self.start}, expected zero with head = hidden: only linear classifiers lie in the space of names")
        if self.extend and (self.head == "hidden" or self.train_blocks or self.task == "single_label"):
            raise ValueError(
                f"extend is on with head = {self.head}, train_blocks = {self.train_blocks} and task = {self.task}, expected linear, 0 and "
                "multi_label: the model's own classifiers stay as they are only over the vectors they were trained on"
            )
        if self.label_smoothing and self.task == "multi_label":
            raise ValueError(f"label_smoothing is {self.label_smoothing:g}, expected 0 with task = multi_label")
        if self.augment_views and not self.train_blocks:
            raise ValueError("augment_views is on and train_blocks is 0: the vectors of a frozen model are computed once, of plain views")
        return self

    @model_validator(mode="after")
    def _reads_what_is_set(self) -> Self:
        unread = (*_NOTHING_TO_CHOOSE, *(() if self.augment_views else ("augment",)))
        for name in unread:
            if getattr(self, name) != type(self).model_fields[name].default:
                reason = ": set augment_views" if name == "augment" else ""
                raise ValueError(f"{name} is set, which fine-tuning does not read{reason}")
        return self


def finetune_preset(name: str) -> FinetuneSettings:
    """Named settings: `head` over frozen vectors, `blocks` with the last block of each tower, or `smoke` (tests of the machinery)."""
    if name == "smoke":
        return FinetuneSettings(steps=6, batch_size=8, checkpoint_every=2, log_every=1)
    if name == "blocks":
        return FinetuneSettings(train_blocks=1, augment_views=True, optimizer=OptimizerSettings(learning_rate=3e-4))
    return FinetuneSettings()
