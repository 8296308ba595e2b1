"""Tensor signatures of the served models, and the Triton configuration generated from them.

`python -m reelspace.serving.signatures --write | --check` keeps the templates in model_repository/ current. A template's
-1 marks a size that the exported model decides; `export` writes the configuration with the sizes filled in.

Two profiles: with `cpu` a model's process runs its graph itself. With `gpu` Triton's ONNX Runtime runs the graphs, as models of their
own (`video_encoder_graph`), and the models that clients know prepare their inputs; templates are in model_repository/gpu/.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

MAX_BATCH: Final = 32
MAX_MEDIA_BATCH: Final = 4
MAX_TEXT_BYTES: Final = 16_384
MAX_MEDIA_BYTES: Final = 16 << 20
ENCODER_BACKEND: Final = "reelspace_encoder"
MEDIA_BACKEND: Final = "reelspace_media"
SCORER_BACKEND: Final = "reelspace_scorer"
GRAPH_BACKEND: Final = "onnxruntime"
GRAPH_SUFFIX: Final = "_graph"
TEMPLATES: Final = Path(__file__).resolve().parents[2] / "model_repository"
ANY: Final = -1
TEXT: Final = "TEXT"
MEDIA: Final = "MEDIA"
PLATFORM: Final = "reelspace"
GRAPH_PARAMETER: Final = "graph"
NUM_FRONTS: Final = 2
"""Instances of a model before a graph: one prepares the next batch while the other waits for the graph."""

_CONFIG_TYPES: Final = {"BYTES": "TYPE_STRING"}
_MAX_MEDIA_BYTES: Final = "media_max_bytes"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a model: V2 datatype (`FP32`, `BYTES`...) and the dims of one row, ANY where any size goes.

    An element of BYTES has at most `max_bytes`.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False
    max_bytes: int = MAX_TEXT_BYTES

    @property
    def is_text(self) -> bool:
        """Tell words, which are UTF-8, from other BYTES."""
        return self.datatype == "BYTES" and self.name == TEXT


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives; every tensor has the batch as its first axis."""

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int = MAX_BATCH

    def input(self, name: str) -> TensorSpec:
        """Give one input by name; KeyError if the model has none of that name."""
        return next((spec for spec in self.inputs if spec.name == name), None) or _missing(self.model, name)


@dataclass(frozen=True, slots=True)
class EncoderSizes:
    """Sizes that an exported encoder decides: D of the embedding, F frames of H x W pixels, S sound samples."""

    dimension: int = ANY
    num_frames: int = ANY
    height: int = ANY
    width: int = ANY
    num_samples: int = ANY


def encoder_signatures(teacher: EncoderSizes, student: EncoderSizes) -> dict[str, Signature]:
    """Give the signatures of all exported encoders by model name."""
    signatures = (
        text_signature("text_encoder", teacher),
        video_signature("video_encoder", teacher),
        video_signature("video_encoder_light", student),
    )
    return {signature.model: signature for signature in signatures}


def text_signature(model: str, sizes: EncoderSizes) -> Signature:
    """Give the signature of an encoder of texts."""
    return Signature(model, (TensorSpec(TEXT, "BYTES", (1,)),), _encoder_outputs(sizes))


def video_signature(model: str, sizes: EncoderSizes) -> Signature:
    """Give the signature of an encoder of videos: a false mask and an empty text are absent parts.

    Without FRAMES_MASK a frame of zeros alone is an absent one; with it, black frames can be told from absent ones.
    """
    inputs = (
        TensorSpec("FRAMES", "UINT8", (sizes.num_frames, sizes.height, sizes.width, 3)),
        TensorSpec("FRAMES_MASK", "BOOL", (sizes.num_frames,), optional=True),
        TensorSpec("AUDIO", "INT16", (sizes.num_samples,)),
        TensorSpec("AUDIO_MASK", "BOOL", (1,)),
        TensorSpec(TEXT, "BYTES", (1,)),
    )
    return Signature(model, inputs, _encoder_outputs(sizes))


def media_signature(model: str, sizes: EncoderSizes, num_labels: int, max_bytes: int = MAX_MEDIA_BYTES) -> Signature:
    """Give the signature of an encoder of encoded files, which also names the best labels.

    The batch is small: a batch of files lies in shared memory as a whole.

    Args:
        num_labels: labels given per row, 0 for a model without any.
        max_bytes: size of the largest file.
    """
    inputs = (TensorSpec(MEDIA, "BYTES", (1,), max_bytes=max_bytes), TensorSpec(TEXT, "BYTES", (1,)))
    labels = _label_outputs(num_labels) if num_labels else ()
    return Signature(model, inputs, (*_encoder_outputs(sizes), *labels), MAX_MEDIA_BATCH)


def scorer_signature(model: str, dimension: int, num_labels: int) -> Signature:
    """Give the signature of the model that names the best labels of vectors."""
    return Signature(model, (TensorSpec("EMBEDDING", "FP32", (dimension,)),), _label_outputs(num_labels))


def graph_signature(model: str, sizes: EncoderSizes, text_length: int = ANY, *, video: bool) -> Signature:
    """Give the signature of a bare exported graph, whose tensors `preprocess.text_inputs` or `preprocess.video_inputs` makes."""
    text = (TensorSpec("text", "INT32", (text_length,)), TensorSpec("text_mask", "BOOL", (text_length,)))
    media = (
        TensorSpec("frames", "UINT8", (sizes.num_frames, sizes.height, sizes.width, 3)),
        TensorSpec("frames_mask", "BOOL", (sizes.num_frames,)),
        TensorSpec("audio", "INT16", (sizes.num_samples,)),
        TensorSpec("audio_mask", "BOOL", ()),
    )
    return Signature(model, (*media, *text) if video else text, (TensorSpec("embedding", "FP32", (sizes.dimension,)),))


def is_graph(model: str) -> bool:
    """Tell the bare graphs of the profile `gpu`, which no client asks, from the models before them."""
    return model.endswith(GRAPH_SUFFIX)


def signature_of_config(config: Mapping[str, Any]) -> Signature:
    """Read a signature from the model configuration that Triton answers as JSON on /v2/models/<model>/config."""
    inputs = tuple(_limited(_tensor_of_config(tensor), config) for tensor in config["input"])
    outputs = tuple(_tensor_of_config(tensor) for tensor in config["output"])
    return Signature(config["name"], inputs, outputs, int(config["max_batch_size"]))


def config_of_signature(signature: Signature) -> dict[str, Any]:
    """Write what clients may know of a model's configuration, as Triton's JSON; `signature_of_config` reads it."""
    limits = [str(spec.max_bytes) for spec in signature.inputs if spec.name == MEDIA]
    return {
        "name": signature.model,
        "platform": PLATFORM,
        "max_batch_size": signature.max_batch,
        "input": [_tensor_config(spec) | {"optional": spec.optional} for spec in signature.inputs],
        "output": [_tensor_config(spec) for spec in signature.outputs],
        **({"parameters": {_MAX_MEDIA_BYTES: {"string_value": limits[0]}}} if limits else {}),
    }


def config_pbtxt(
    signature: Signature, *, backend: str = ENCODER_BACKEND, parameters: Mapping[str, str] | None = None, num_instances: int = 1
) -> str:
    """Write a model's Triton configuration.

    A queue delay of 0 already batches what came in while the instance was busy; a longer one only adds latency.
    One instance, where it holds weights: each is a process of its own with its own copy of them.
    """
    lines = [
        "# Generated by python -m reelspace.serving.signatures; do not edit.",
        f'name: "{signature.model}"',
        f'backend: "{backend}"',
        f"max_batch_size: {signature.max_batch}",
        *(_tensor_line("input", tensor) for tensor in signature.inputs),
        *(_tensor_line("output", tensor) for tensor in signature.outputs),
        "dynamic_batching { max_queue_delay_microseconds: 0 }",
        f"instance_group [ {{ count: {num_instances} kind: KIND_CPU }} ]",
        *(f'parameters [ {{ key: "{key}" value {{ string_value: "{value}" }} }} ]' for key, value in sorted((parameters or {}).items())),
    ]
    return "\n".join(lines) + "\n"


def graph_pbtxt(signature: Signature) -> str:
    """Write the Triton configuration of a bare graph: ONNX Runtime on every GPU that Triton sees.

    The models before it send whole batches, which meet here those of the other instance: waiting a tenth of a millisecond for them is
    short beside any graph that deserves a GPU.
    """
    preferred = [size for size in (8, 16, 32) if size <= signature.max_batch]
    lines = [
        "# Generated by python -m reelspace.serving.signatures; do not edit.",
        f'name: "{signature.model}"',
        f'backend: "{GRAPH_BACKEND}"',
        f"max_batch_size: {signature.max_batch}",
        *(_tensor_line("input", tensor) for tensor in signature.inputs),
        *(_tensor_line("output", tensor) for tensor in signature.outputs),
        f"dynamic_batching {{ preferred_batch_size: {preferred} max_queue_delay_microseconds: 100 }}",
        "instance_group [ { count: 1 kind: KIND_GPU } ]",
    ]
    return "\n".join(lines) + "\n"


def front_pbtxt(signature: Signature, graph: str, *, backend: str = ENCODER_BACKEND, parameters: Mapping[str, str] | None = None) -> str:
    """Write the Triton configuration of a model that prepares inputs and asks a graph, of its own version, for the rest."""
    return config_pbtxt(signature, backend=backend, parameters={**(parameters or {}), GRAPH_PARAMETER: graph}, num_instances=NUM_FRONTS)


def templates() -> dict[str, str]:
    """Give the text of every template by its path under model_repository/."""
    sizes = EncoderSizes()
    encoders = encoder_signatures(sizes, sizes)
    media, scorer = media_signature("media_encoder", sizes, ANY), scorer_signature("label_scorer", ANY, ANY)
    graphs = [graph_signature(model + GRAPH_SUFFIX, sizes, video=model != "text_encoder") for model in encoders]
    scorer_text = config_pbtxt(scorer, backend=SCORER_BACKEND)
    limit = {_MAX_MEDIA_BYTES: str(MAX_MEDIA_BYTES)}
    texts = {
        **{model: config_pbtxt(signature) for model, signature in encoders.items()},
        media.model: config_pbtxt(media, backend=MEDIA_BACKEND, parameters=limit),
        scorer.model: scorer_text,
        **{f"gpu/{model}": front_pbtxt(signature, model + GRAPH_SUFFIX) for model, signature in encoders.items()},
        f"gpu/{media.model}": front_pbtxt(media, "video_encoder" + GRAPH_SUFFIX, backend=MEDIA_BACKEND, parameters=limit),
        f"gpu/{scorer.model}": scorer_text,
        **{f"gpu/{graph.model}": graph_pbtxt(graph) for graph in graphs},
    }
    return {f"{folder}/config.pbtxt": text for folder, text in texts.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the templates, or say which of them are not current."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.serving.signatures")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write model_repository/")
    action.add_argument("--check", action="store_true", help="exit 1 if model_repository/ is not what --write would write")
    parser.add_argument("--directory", type=Path, default=TEMPLATES)
    settings = parser.parse_args(arguments)
    if settings.write:
        for name, text in templates().items():
            (settings.directory / name).parent.mkdir(parents=True, exist_ok=True)
            (settings.directory / name).write_text(text)
        return 0
    stale = stale_templates(settings.directory)
    if stale:
        print(f"not current in {settings.directory}: {', '.join(stale)}; run make generate", file=sys.stderr)
    return 1 if stale else 0


def stale_templates(directory: Path) -> list[str]:
    """Name the templates that are missing, differ, or belong to no model any more."""
    expected = templates()
    found = {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def _encoder_outputs(sizes: EncoderSizes) -> tuple[TensorSpec, ...]:
    return (TensorSpec("EMBEDDING", "FP32", (sizes.dimension,)), TensorSpec("SPACE_ID", "BYTES", (1,)))


def _label_outputs(num_labels: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("LABELS", "BYTES", (num_labels,)), TensorSpec("LABEL_SCORES", "FP32", (num_labels,)))


def _limited(spec: TensorSpec, config: Mapping[str, Any]) -> TensorSpec:
    if spec.name != MEDIA:
        return spec
    limit = config.get("parameters", {}).get(_MAX_MEDIA_BYTES, {}).get("string_value", str(MAX_MEDIA_BYTES))
    return replace(spec, max_bytes=int(limit))


def _tensor_config(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": _config_type(spec), "dims": list(spec.dims)}


def _config_type(spec: TensorSpec) -> str:
    return _CONFIG_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")


def _tensor_line(kind: str, tensor: TensorSpec) -> str:
    # Triton has no tensor without dims: a graph's one number per row is a list of one to the outside.
    dims = ", ".join(str(size) for size in tensor.dims or (1,))
    more = (" optional: true" if tensor.optional else "") + ("" if tensor.dims else " reshape { shape: [ ] }")
    return f'{kind} [ {{ name: "{tensor.name}" data_type: {_config_type(tensor)} dims: [ {dims} ]{more} }} ]'


def _tensor_of_config(tensor: Mapping[str, Any]) -> TensorSpec:
    names = {config: wire for wire, config in _CONFIG_TYPES.items()}
    datatype = names.get(tensor["data_type"], tensor["data_type"].removeprefix("TYPE_"))
    return TensorSpec(tensor["name"], datatype, tuple(int(size) for size in tensor["dims"]), bool(tensor.get("optional", False)))


def _missing(model: str, name: str) -> TensorSpec:
    raise KeyError(f"model {model} has no input {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
