"""A checkpoint of the CLIP family as teacher and as towers, held against the public library on the same checkpoint.

Legend: B works, F frames, H W pixels, C channels, L text tokens, D embedding dimension.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from reelspace.core.errors import UserError
from reelspace.media.sample import Sample
from reelspace.model import clip
from reelspace.model.checkpoint import load_model, save_model
from reelspace.model.inputs import video_inputs
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving.encoder import OUTPUT
from reelspace.serving.graphs import TextGraph, VideoGraph, run_graph, write_graph

transformers = pytest.importorskip("transformers", reason="needs the extra `clip`")
clip_checkpoint = pytest.importorskip("reelspace.model.clip_checkpoint", reason="needs the extra `clip`")

from tests.unit.model.clip_folders import DIMENSION, LENGTH, SIZE, write_chinese_clip, write_clip, write_preprocessing  # noqa: E402

TEXTS = ["a red cat", "noodles with an egg and the best camera of the year for cats on tables", "camera!"]
SIZES = ModelSettings(
    width=16, num_heads=2, dimension=20, num_frames=3, frame_size=48, fusion_layers=2, sound=SoundSettings(num_samples=8_000)
)


FAMILIES = pytest.mark.parametrize("write", [write_clip, write_chinese_clip], ids=["clip", "chinese_clip"])
Write = Callable[[Path], torch.nn.Module]


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True)


def frames(batch: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 3, size, size, 3), dtype=np.uint8)


def encode_frames(model: ReelModel, frames_BFHWC: np.ndarray, mask_BF: torch.Tensor) -> torch.Tensor:
    batch = len(frames_BFHWC)
    audio_BS = torch.zeros(batch, model.settings.sound.num_samples, dtype=torch.int16)
    nothing = torch.zeros(batch, LENGTH, dtype=torch.int32)
    with torch.inference_mode():
        return model.encode_video(
            torch.from_numpy(frames_BFHWC), mask_BF, audio_BS, torch.zeros(batch).bool(), nothing, nothing.bool()
        ).embedding_BD


def library_pictures(folder: Path, theirs: torch.nn.Module, pictures: list[np.ndarray]) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        return unit(
            theirs.get_image_features(**processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")).pooler_output
        )


def library_texts(folder: Path, theirs: torch.nn.Module, texts: list[str]) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.inference_mode():
        return unit(theirs.get_text_features(**inputs).pooler_output)


def sample(video_id: int, *, num_frames: int, size: int, text: str) -> Sample:
    draw = np.random.default_rng(video_id)
    pixels = draw.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8)
    return Sample(video_id, pixels, draw.integers(-900, 900, 9_000).astype(np.int16), text, datetime(2026, 1, 1, tzinfo=UTC), "video")


@FAMILIES
def test_a_frame_has_the_vector_that_the_library_gives(tmp_path: Path, write: Write) -> None:
    theirs = write(tmp_path)
    model, _ = clip_checkpoint.read_clip(tmp_path)
    frames_BFHWC = frames(2, SIZE)
    expected = library_pictures(tmp_path, theirs, [picture for work in frames_BFHWC for picture in work[:1]])
    found = encode_frames(model, frames_BFHWC, torch.tensor([[True, False, False]] * 2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@FAMILIES
def test_a_text_has_the_vector_that_the_library_gives(tmp_path: Path, write: Write) -> None:
    theirs = write(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path)
    ids_BL, mask_BL = (torch.from_numpy(part) for part in tokenizer.encode_BL(TEXTS))
    assert mask_BL.sum(dim=1).unique().numel() > 1
    with torch.inference_mode():
        found = model.encode_text(ids_BL, mask_BL)
    torch.testing.assert_close(found, library_texts(tmp_path, theirs, TEXTS), atol=1e-5, rtol=0)


@FAMILIES
def test_token_ids_are_the_librarys_plus_one(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    tokenizer = clip_checkpoint.read_tokenizer(tmp_path, LENGTH)
    public = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = public(TEXTS, truncation=True, max_length=LENGTH)["input_ids"]
    ids_BL, mask_BL = tokenizer.encode_BL(TEXTS)
    assert [(row[mask] - 1).tolist() for row, mask in zip(ids_BL, mask_BL, strict=True)] == expected
    assert tokenizer.size == len(public) + 1


def test_the_tokenizer_survives_its_file(tmp_path: Path) -> None:
    write_clip(tmp_path)
    tokenizer = clip_checkpoint.read_tokenizer(tmp_path, LENGTH)
    tokenizer.save(tmp_path / "ours.json")
    loaded = Tokenizer.load(tmp_path / "ours.json", LENGTH)
    np.testing.assert_array_equal(loaded.encode_BL(TEXTS)[0], tokenizer.encode_BL(TEXTS)[0])


def test_a_work_has_the_average_of_its_frames_unit_vectors(tmp_path: Path) -> None:
    theirs = write_clip(tmp_path)
    model, _ = clip_checkpoint.read_clip(tmp_path)
    frames_BFHWC = frames(1, SIZE)
    single = library_pictures(tmp_path, theirs, list(frames_BFHWC[0, :2]))
    found = encode_frames(model, frames_BFHWC, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, unit(single.mean(dim=0, keepdim=True)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [48, 24, 32, 100])
def test_resizing_is_pillows_bit_for_bit(side: int, resample: str) -> None:
    picture = frames(1, side)[0, 0]
    settings = clip.ClipPictureSettings(resize=40, crop=32, resample=resample, mean=(0, 0, 0), deviation=(1, 1, 1))
    found = clip.Resize(side, settings)(torch.from_numpy(picture)[None])[0].permute(1, 2, 0).numpy()
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = np.asarray(Image.fromarray(picture).resize((40, 40), filters[resample]), dtype=np.float32)[4:36, 4:36]
    np.testing.assert_array_equal(found, expected)


def test_frames_of_another_size_have_the_librarys_vector(tmp_path: Path) -> None:
    theirs = write_clip(tmp_path)
    model, _ = clip_checkpoint.read_clip(tmp_path, SIZES)
    frames_BFHWC = frames(2, 48)
    found = encode_frames(model, frames_BFHWC, torch.tensor([[True, False, False]] * 2))
    expected = library_pictures(tmp_path, theirs, [work[0] for work in frames_BFHWC])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_work_without_frames_is_known_by_its_caption_and_silence_by_nothing(tmp_path: Path) -> None:
    write_clip(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path, SIZES)
    works = [sample(row, num_frames=0, size=48, text=text) for row, text in enumerate(["a red cat", ""])]
    with torch.inference_mode():
        output = model.encode_video(*video_inputs(works, model.settings, tokenizer))
        text_BD = model.encode_text(*(torch.from_numpy(part) for part in tokenizer.encode_BL(["a red cat"])))
    torch.testing.assert_close(output.embedding_BD[:1], text_BD, atol=1e-6, rtol=0)
    assert not output.embedding_BD[1].any()
    assert not output.sound_BD.any()


def test_the_files_of_a_teacher_embed_works_as_the_checkpoint_does(tmp_path: Path) -> None:
    """The loop of the step `embed`: load by kind, then a few works in batches of different length."""
    theirs = write_clip(tmp_path / "checkpoint")
    clip_checkpoint.write_clip_teacher(tmp_path / "checkpoint", tmp_path / "teacher", SIZES.model_copy(update={"frame_size": SIZE}))
    model, tokenizer, _ = load_model(tmp_path / "teacher")
    works = [sample(row, num_frames=1, size=SIZE, text="a red cat") for row in range(5)]
    parts = []
    with torch.inference_mode():
        for batch in (works[:2], works[2:]):
            parts.append(model.encode_video(*video_inputs(batch, model.settings, tokenizer)).embedding_BD)
    expected = library_pictures(tmp_path / "checkpoint", theirs, [work.frames_FHWC[0] for work in works])
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=0)
    space = json.loads((tmp_path / "teacher" / "space.json").read_text())
    assert (space["dimension"], len(space["space_id"])) == (DIMENSION, 16)
    summary = json.loads((tmp_path / "teacher" / "summary.json").read_text())
    assert summary["num_parameters"] == sum(p.numel() for p in theirs.parameters()) - 1, "all but the scale of the logits"
    assert pq.read_table(tmp_path / "teacher" / "labels.parquet").schema.names == ["label_id", "text"]


def test_a_teacher_is_frozen_and_stays_in_evaluation_mode(tmp_path: Path) -> None:
    write_chinese_clip(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path)
    model.train()
    ids_BL, mask_BL = (torch.from_numpy(part) for part in tokenizer.encode_BL(TEXTS))
    torch.testing.assert_close(model.encode_text(ids_BL, mask_BL), model.encode_text(ids_BL, mask_BL), atol=0, rtol=0)
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]


# The library tests sizes that are the same for every batch; rows of other lengths are compared below.
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean", "ignore:Exporting aten..index operator")
@FAMILIES
def test_a_teacher_exports_like_any_model(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path, SIZES)
    works = [sample(row, num_frames=row, size=48, text=TEXTS[row]) for row in range(3)]
    names = ("frames", "frames_mask", "audio", "audio_mask", "text", "text_mask")
    video = {name: part.numpy() for name, part in zip(names, video_inputs(works, model.settings, tokenizer), strict=True)}
    text = dict(zip(("text", "text_mask"), tokenizer.encode_BL(TEXTS), strict=True))
    for graph, inputs in ((VideoGraph(model), video), (TextGraph(model), text)):
        write_graph(graph, inputs, tmp_path / "graph.onnx", 17)
        session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
        for rows in (slice(0, 3), slice(2, 3)):
            part = {name: value[rows] for name, value in inputs.items()}
            np.testing.assert_allclose(session.run([OUTPUT], part)[0], run_graph(graph, part), atol=1e-5)


@FAMILIES
def test_frozen_towers_in_our_model_train_fusion_and_projections_alone(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    torch.manual_seed(0)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path, SIZES, "clip_towers")
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    works = [sample(row, num_frames=3, size=48, text=TEXTS[row]) for row in range(3)]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    output = model.encode_video(*video_inputs(works, model.settings, tokenizer))
    target_BD = model.encode_text(*(torch.from_numpy(part) for part in tokenizer.encode_BL(TEXTS)))
    (output.embedding_BD @ target_BD.T.detach()).logsumexp(dim=1).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
    checkpoint = {name for name in start if name.startswith(("picture.clip.", "text.clip."))}
    assert len(checkpoint) > 50
    assert not changed & checkpoint
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == set(start) - checkpoint, "every other parameter has a gradient"


def test_untrained_towers_of_equal_dimension_live_in_the_checkpoints_space(tmp_path: Path) -> None:
    theirs = write_clip(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(
        tmp_path, SIZES.model_copy(update={"dimension": DIMENSION, "frame_size": SIZE}), "clip_towers"
    )
    model.eval()
    ids_BL, mask_BL = (torch.from_numpy(part) for part in tokenizer.encode_BL(TEXTS))
    picture = frames(1, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(model.encode_text(ids_BL, mask_BL), library_texts(tmp_path, theirs, TEXTS), atol=1e-5, rtol=0)
        found = model.picture(torch.from_numpy(picture), torch.tensor([[True, False, False]])).vector_BD
    torch.testing.assert_close(found, library_pictures(tmp_path, theirs, [picture[0, 0]]), atol=1e-5, rtol=0)


def test_a_model_with_frozen_towers_survives_its_files(tmp_path: Path) -> None:
    write_clip(tmp_path)
    model, tokenizer = clip_checkpoint.read_clip(tmp_path, SIZES, "clip_towers")
    save_model(tmp_path / "teacher", model.eval(), tokenizer)
    loaded, _, settings = load_model(tmp_path / "teacher")
    inputs = video_inputs([sample(1, num_frames=2, size=48, text="camera")], settings, tokenizer)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.encode_video(*inputs).embedding_BD, model.encode_video(*inputs).embedding_BD, atol=1e-6, rtol=0)


def test_no_parameter_is_without_dimensions(tmp_path: Path) -> None:
    write_clip(tmp_path)
    for kind in ("clip", "clip_towers"):
        assert all(parameter.dim() > 0 for parameter in clip_checkpoint.read_clip(tmp_path, SIZES, kind)[0].parameters())


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    write_clip(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["visual_projection.weight"]
    tensors["text_projection.weight"] = tensors["text_projection.weight"][:, :8].contiguous()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"text_projection\.weight.*visual_projection\.weight"):
        clip_checkpoint.read_clip(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_size": 24}, "expected pictures of 32"),
        ({"size": 24, "crop_size": 32}, "got 24 cut to 32"),
        ({"resample": 1}, "got 1"),
    ],
)
def test_preprocessing_that_the_encoder_cannot_read_is_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    write_preprocessing(tmp_path, **values)
    with pytest.raises(UserError, match=message):
        clip_checkpoint.picture_settings((tmp_path / "preprocessor_config.json").read_text(), SIZE)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=name):
        clip_checkpoint.read_clip(tmp_path)


def test_another_family_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(UserError, match="got siglip"):
        clip_checkpoint.read_clip(tmp_path)
