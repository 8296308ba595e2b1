"""The exported encoders behind a real Triton and the gateway's routes, against the same models in torch."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.grpc as tritongrpc
from numpy.typing import NDArray

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.core.errors import ServerUnavailable, UserError
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs
from reelspace.serving import parity
from reelspace.serving.client import ServingClient
from reelspace.serving.preprocess import VideoQuery, text_tensors, video_tensors
from reelspace.serving.preprocess import video_inputs as served_inputs
from reelspace.serving.signatures import EncoderSizes, video_signature
from reelspace.serving.triton import TritonProcess
from reelspace.serving.upstream import fetch_signatures
from reelspace.serving.wire import encode_request, text_tensor
from reelspace.steps.export import encoder_sizes

from .conftest import SPACE_ID, Exported
from .gateway import running_gateway

MODELS = ["text_encoder", "video_encoder", "video_encoder_light"]
TOLERANCE = 1e-3
TEXTS = [*parity.WORDS, "  Ramen\tSOUP ", "#ramen", "🍜", "x" * 3_000]


@dataclass(frozen=True)
class Served:
    triton: TritonProcess
    gateway_url: str
    client: ServingClient


@pytest.fixture(scope="module")
def served(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "triton.log"
    with (
        TritonProcess.start([exported.models], MODELS, log_path=log) as triton,
        running_gateway(triton.http_url, fetch_signatures(triton.http_url, MODELS)) as url,
        ServingClient(url) as client,
    ):
        yield Served(triton, url, client)


def trained(exported: Exported, name: str, tmp_path: Path) -> Any:
    return load_model(open_artifact(exported.store, read_manifest_file(getattr(exported, name)).id).fetch(tmp_path / name))


def made_up_works(sizes: EncoderSizes) -> list[VideoQuery]:
    """Every combination of parts, a black picture, silence, too much sound, too many frames, tags in the caption."""
    random = np.random.default_rng(7)
    rows = parity.video_rows(sizes, video_signature("video_encoder", sizes))
    works = [
        VideoQuery(
            rows["FRAMES"][row][rows["FRAMES_MASK"][row]],
            rows["AUDIO"][row] if rows["AUDIO_MASK"][row, 0] else None,
            rows["TEXT"][row, 0].decode(),
        )
        for row in range(len(rows["TEXT"]))
    ]
    picture = random.integers(0, 256, (sizes.num_frames, sizes.height, sizes.width, 3), dtype=np.uint8)
    sound = random.integers(-9_000, 9_000, 2 * sizes.num_samples, dtype=np.int16)
    return [
        *works,
        VideoQuery(np.zeros_like(picture), None, "night"),
        VideoQuery(picture, np.zeros(sizes.num_samples, np.int16), ""),
        VideoQuery(picture[:1], sound, "a still with long sound"),
        VideoQuery(np.concatenate([picture, picture[::-1]]), None, "many frames"),
        VideoQuery(picture[:0], sound[:100], ""),
    ]


def in_torch(model: Any, tokenizer: Any, works: list[VideoQuery]) -> NDArray[np.float32]:
    with torch.inference_mode():
        embedding: NDArray[np.float32] = model.encode_video(*video_inputs(works, model.settings, tokenizer)).embedding_BD.numpy()
    return embedding


def test_texts_through_the_gateway_equal_torch(served: Served, exported: Exported, tmp_path: Path) -> None:
    model, tokenizer, _ = trained(exported, "teacher", tmp_path)
    found_QD = served.client.encode_text(TEXTS)
    with torch.inference_mode():
        expected_QD = model.encode_text(*map(torch.from_numpy, tokenizer.encode_BL(TEXTS))).numpy()
    np.testing.assert_allclose(found_QD, expected_QD, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(found_QD, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("name", "source"), [("video_encoder", "teacher"), ("video_encoder_light", "student")])
def test_videos_through_the_gateway_equal_torch(served: Served, exported: Exported, tmp_path: Path, name: str, source: str) -> None:
    model, tokenizer, settings = trained(exported, source, tmp_path)
    works = made_up_works(encoder_sizes(settings)) * 2
    found_QD = served.client.encode_videos(works, name)
    assert len(works) > 32
    np.testing.assert_allclose(found_QD, in_torch(model, tokenizer, works), atol=TOLERANCE)


def test_prepared_videos_are_what_training_reads(exported: Exported, tmp_path: Path) -> None:
    _, tokenizer, settings = trained(exported, "teacher", tmp_path)
    sizes = encoder_sizes(settings)
    works = made_up_works(sizes)
    inputs = served_inputs(video_tensors(works, video_signature("video_encoder", sizes)), tokenizer)
    for name, ours, theirs in zip(inputs, inputs.values(), video_inputs(works, settings, tokenizer), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=name)


def test_answer_names_the_space_and_the_version(served: Served) -> None:
    answer = served.client.infer("text_encoder", text_tensors(["a", "b"]))
    assert (answer.model, answer.version) == ("text_encoder", "1")
    assert answer.parameters == {"space_id": SPACE_ID}
    assert answer.outputs["SPACE_ID"].tolist() == [[SPACE_ID.encode()], [SPACE_ID.encode()]]


def test_hashtags_of_a_caption_do_not_move_its_vector(served: Served) -> None:
    frames = np.full((1, *served.client.signature("video_encoder").input("FRAMES").dims[1:]), 77, np.uint8)
    plain, tagged = served.client.encode_videos([VideoQuery(frames, None, text) for text in ("soup today", "soup #ramen today #fyp")])
    np.testing.assert_allclose(plain, tagged, atol=1e-6)


def test_a_bad_request_in_a_batch_fails_alone(served: Served) -> None:
    """Straight to Triton, many at once, so that good and bad ones meet in one batch."""
    answers: dict[int, httpx.Response] = {}

    def ask(number: int) -> None:
        value = text_tensor(["ramen"])
        if number % 4 == 0:
            value[0, 0] = b"\xff\xfe"
        message = encode_request({"TEXT": value})
        url = f"{served.triton.http_url}/v2/models/text_encoder/infer"
        answers[number] = httpx.post(url, content=message.body, headers=message.headers)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        assert answer.status_code == (400 if number % 4 == 0 else 200)
        if number % 4 == 0:
            assert answer.json()["error"].startswith("TEXT: row 0 is not UTF-8")
    assert largest_batch(served) > 1


def largest_batch(served: Served) -> int:
    stats = httpx.get(f"{served.triton.http_url}/v2/models/text_encoder/stats").json()
    return max(int(batch["batch_size"]) for batch in stats["model_stats"][0]["batch_stats"])


@pytest.mark.parametrize(("text", "message"), [("", "TEXT: row 0 is empty"), ("\u200b ", "TEXT: row 0 is empty")])
def test_an_empty_search_is_refused_naming_the_field(served: Served, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        served.client.encode_text([text])


def test_a_work_without_any_part_is_refused(served: Served) -> None:
    frames = np.zeros((0, 64, 64, 3), np.uint8)
    with pytest.raises(UserError, match="FRAMES: row 1 is empty"):
        served.client.encode_videos([VideoQuery(frames, None, "words"), VideoQuery(frames, None, "")])


def test_no_queries_give_no_vectors(served: Served) -> None:
    dimension = served.client.encode_text(["a"]).shape[1]
    assert served.client.encode_text([]).shape == (0, dimension)


def test_frames_mask_may_be_left_out(served: Served) -> None:
    tensors = video_tensors([VideoQuery(np.full((1, 64, 64, 3), 9, np.uint8), None, "")], served.client.signature("video_encoder"))
    full = served.client.infer("video_encoder", tensors).outputs["EMBEDDING"]
    del tensors["FRAMES_MASK"]
    np.testing.assert_array_equal(served.client.infer("video_encoder", tensors).outputs["EMBEDDING"], full)


def test_tritons_own_grpc_answers_the_same(served: Served) -> None:
    client = tritongrpc.InferenceServerClient(served.triton.grpc_address)
    wanted = tritongrpc.InferInput("TEXT", [1, 1], "BYTES")
    wanted.set_data_from_numpy(text_tensor(["ramen"]))
    result = client.infer("text_encoder", [wanted])
    np.testing.assert_allclose(result.as_numpy("EMBEDDING"), served.client.encode_text(["ramen"]), atol=1e-6)
    client.close()


def test_a_damaged_version_does_not_load_and_says_which_file(exported: Exported, tmp_path: Path) -> None:
    copytree(exported.models / "text_encoder", tmp_path / "models" / "text_encoder")
    (tmp_path / "models" / "text_encoder" / "1" / "version.json").write_text("{}")
    with pytest.raises(ServerUnavailable, match=r"version\.json"):
        TritonProcess.start([tmp_path / "models"], ["text_encoder"], log_path=tmp_path / "log")
