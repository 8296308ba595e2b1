"""Turns an exported repository into the one of the profile `gpu`: Triton's own ONNX Runtime runs the graphs, as models of their own."""

from pathlib import Path
from typing import Final

from reelspace.serving.signatures import (
    GRAPH_SUFFIX,
    MEDIA_BACKEND,
    Signature,
    front_pbtxt,
    graph_pbtxt,
    graph_signature,
    media_signature,
    text_signature,
    video_signature,
)
from reelspace.serving.version import GRAPH_FILE, Version
from reelspace.steps.export_media import CONFIG_FILE, MEDIA_ENCODER, TEACHER, VERSION, ServedMedia

ENCODERS: Final = ("text_encoder", "video_encoder", "video_encoder_light")


def split_graphs(repository: Path, media: ServedMedia, num_threads: int) -> None:
    """Move every encoder's graph into <model>_graph/, and let the encoders ask it; media_encoder asks the teacher's.

    The graphs' directories say of what they are, too, as those of every model do.
    """
    for model in ENCODERS:
        _split(repository, model)
    version = repository / MEDIA_ENCODER / VERSION
    (version / GRAPH_FILE).unlink()
    facts = Version.read(version)
    facts.write(version)
    signature = media_signature(MEDIA_ENCODER, facts.sizes, media.num_given, media.limits.max_bytes)
    parameters = {**media.limits.parameters(), "num_threads": str(num_threads)}
    _configure(repository, signature, front_pbtxt(signature, TEACHER + GRAPH_SUFFIX, backend=MEDIA_BACKEND, parameters=parameters))


def _split(repository: Path, model: str) -> None:
    front, graph = repository / model / VERSION, repository / f"{model}{GRAPH_SUFFIX}" / VERSION
    facts = Version.read(front)
    graph.mkdir(parents=True)
    (front / GRAPH_FILE).rename(graph / GRAPH_FILE)
    facts.write(front)
    facts.model_copy(update={"model": graph.parent.name}).write(graph)
    bare = graph_signature(graph.parent.name, facts.sizes, facts.text_length, video=facts.is_video)
    _configure(repository, bare, graph_pbtxt(bare))
    signature = (video_signature if facts.is_video else text_signature)(model, facts.sizes)
    _configure(repository, signature, front_pbtxt(signature, bare.model))


def _configure(repository: Path, signature: Signature, text: str) -> None:
    (repository / signature.model / CONFIG_FILE).write_text(text)
