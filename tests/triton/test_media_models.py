"""media_encoder and label_scorer behind a real Triton and the gateway's routes, against the decoder and the models of a training."""

import hashlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.media.bad_media import Reason
from reelspace.media.job import Job, Packed, decode_job, read_answer
from reelspace.media.sample import Sample, Words, unpack
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs
from reelspace.serving.client import CallRefused, MediaFile, ServingClient
from reelspace.serving.media_job import TOO_LONG
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.triton import TritonProcess
from reelspace.serving.upstream import fetch_signatures
from reelspace.train.teacher_outputs import TeacherLabels, read_labels

from .conftest import LABELS, SPACE_ID, Exported
from .doubling import descendants, until
from .gateway import running_gateway
from .uploads import answered, ask, encoded, good_files, hostile_files, media_tensors, refusal

MODELS = ["label_scorer", "media_encoder"]
TEXTS = {"video": "ramen soup #fyp", "silent": "", "picture": "日落 海边", "sound": "night"}
TOLERANCE = 1e-3
GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "uploads.md").read_text()


@dataclass(frozen=True)
class Served:
    triton: TritonProcess
    url: str

    def model_pids(self) -> list[int]:
        """Give the processes of the models: what Triton started, without what they started."""
        return [pid for pid in descendants(self.triton.pid) if "python_backend_stub" in command_of(pid)]

    def decoder_pids(self) -> list[int]:
        return [pid for pid in descendants(self.triton.pid) if "reelspace.media.worker" in command_of(pid)]


@dataclass(frozen=True)
class Trained:
    """What a training would say of files: the vector of the teacher and the logits of its label head."""

    vectors_ND: NDArray[np.float32]
    labels: TeacherLabels


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def served(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("media") / "triton.log"
    with (
        TritonProcess.start([exported.models], MODELS, log_path=log) as triton,
        running_gateway(triton.http_url, fetch_signatures(triton.http_url, MODELS)) as url,
    ):
        yield Served(triton, url)


@pytest.fixture(scope="module")
def files(encode_clip: Callable[..., bytes]) -> dict[str, bytes]:
    return good_files(encode_clip)


@pytest.fixture(scope="module")
def trained(exported: Exported, files: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Decode as preprocess_media does, read as a training does, embed in torch."""
    folder, facts = tmp_path_factory.mktemp("trained"), MediaFacts.read(exported.models / "media_encoder" / "1")
    samples = [decoded(data, TEXTS[name], facts, folder) for name, data in files.items()]
    teacher = open_artifact(exported.store, read_manifest_file(exported.teacher).id).fetch(folder / "teacher")
    model, tokenizer, settings = load_model(teacher)
    with torch.inference_mode():
        vectors_ND = model.encode_video(*video_inputs(samples, settings, tokenizer)).embedding_BD
    labels = read_labels(teacher, settings.dimension)
    assert labels is not None
    return Trained(vectors_ND.numpy(), labels)


def decoded(data: bytes, text: str, facts: MediaFacts, folder: Path) -> Sample:
    (folder / "file").write_bytes(data)
    words = Words(1, text.partition("#")[0].strip(), "2025-01-01T00:00:00+00:00")
    job = Job(str(folder / "file"), hashlib.sha256(data).hexdigest(), words, facts.frames, facts.jpeg_quality)
    packed = read_answer(decode_job(job.payload(), lambda: None))
    assert isinstance(packed, Packed)
    return unpack(packed.data)


def test_files_get_the_vectors_and_labels_that_a_training_would_give_them(
    served: Served, files: Mapping[str, bytes], trained: Trained
) -> None:
    answer = answered(ask(served.url, "media_encoder", media_tensors(list(files.values()), [TEXTS[name] for name in files])))
    np.testing.assert_allclose(answer.outputs["EMBEDDING"], trained.vectors_ND, atol=TOLERANCE)
    expected = torch.sigmoid(trained.labels.logits_BK(torch.tensor(answer.outputs["EMBEDDING"]))).topk(20, dim=1)
    np.testing.assert_allclose(answer.outputs["LABEL_SCORES"], expected.values.numpy(), atol=1e-5)
    assert answer.outputs["LABELS"].tolist() == [[LABELS[place].encode() for place in row] for row in expected.indices.tolist()]
    assert answer.outputs["SPACE_ID"].tolist() == [[SPACE_ID.encode()]] * len(files)
    assert answer.parameters == {"space_id": SPACE_ID}


def test_our_own_client_gets_the_same_vectors_and_hears_which_input_is_wrong(
    served: Served, files: Mapping[str, bytes], trained: Trained
) -> None:
    with ServingClient(served.url) as client:
        vectors_ND = client.encode_media([MediaFile(data, TEXTS[name]) for name, data in files.items()])
        with pytest.raises(CallRefused) as caught:
            client.encode_media([MediaFile(b"")])
    np.testing.assert_allclose(vectors_ND, trained.vectors_ND, atol=TOLERANCE)
    assert (caught.value.status, caught.value.field) == (400, "MEDIA")


def test_label_scorer_says_of_a_vector_what_media_encoder_says_of_its_file(served: Served, files: Mapping[str, bytes]) -> None:
    of_file = answered(ask(served.url, "media_encoder", media_tensors([files["video"]], ["soup"]))).outputs
    of_vector = answered(ask(served.url, "label_scorer", {"EMBEDDING": of_file["EMBEDDING"]})).outputs
    assert of_vector["LABELS"].tolist() == of_file["LABELS"].tolist()
    np.testing.assert_allclose(of_vector["LABEL_SCORES"], of_file["LABEL_SCORES"], atol=1e-6)


def test_hostile_files_are_refused_by_reason_among_good_ones_and_end_no_model(served: Served, files: Mapping[str, bytes]) -> None:
    before = served.model_pids()
    hostile = hostile_files(files["video"])
    wanted = {f"{reason} {number}": (reason, data) for number in range(2) for reason, data in hostile.items()}
    wanted |= {f"good {number}": ("", files["picture"]) for number in range(8)}
    responses: dict[str, httpx.Response] = {}

    def send(name: str) -> None:
        responses[name] = ask(served.url, "media_encoder", media_tensors([wanted[name][1]], ["words"]))

    threads = [threading.Thread(target=send, args=(name,)) for name in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, (reason, _) in wanted.items():
        if reason:
            assert refusal(responses[name])["error"].startswith(f"MEDIA: row 0: {reason}: "), name
            assert refusal(responses[name])["field"] == "MEDIA"
        else:
            answered(responses[name])
    assert served.model_pids() == before
    assert len(before) == len(MODELS)


def test_a_bad_row_is_named(served: Served, files: Mapping[str, bytes]) -> None:
    response = ask(served.url, "media_encoder", media_tensors([files["picture"], b"<html>"], ["", ""]))
    assert refusal(response)["error"].startswith("MEDIA: row 1: unsupported: ")


def test_words_of_a_file_are_checked_as_words(served: Served, files: Mapping[str, bytes]) -> None:
    tensors = media_tensors([files["picture"]], [""])
    tensors["TEXT"][0, 0] = b"\xff"
    assert refusal(ask(served.url, "media_encoder", tensors))["error"].startswith("inputs[1].data: TEXT: row 0 is not UTF-8")
    assert refusal(ask(served.triton.http_url, "media_encoder", tensors))["error"].startswith("TEXT: row 0 is not UTF-8")


def test_a_file_above_the_limit_of_the_configuration_does_not_reach_triton(served: Served) -> None:
    response = ask(served.url, "media_encoder", media_tensors([bytes((16 << 20) + 1)], [""]))
    assert refusal(response)["error"] == f"inputs[0].data: MEDIA holds at most {16 << 20} bytes per element, got {(16 << 20) + 1}"


def test_a_file_of_all_the_bytes_that_are_allowed_is_answered(served: Served) -> None:
    file = encoded(np.full((9, 9, 3), 77, np.uint8), "BMP")
    answered(ask(served.url, "media_encoder", media_tensors([file + bytes((16 << 20) - len(file))], [""])))


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_thousand_damaged_files_end_no_model_and_leave_no_memory_behind(served: Served, files: Mapping[str, bytes]) -> None:
    """Straight to Triton, which waits for as long as new decoders take to start on a busy machine."""
    models, random = served.model_pids(), np.random.default_rng(8)
    names, counts = list(files), {200: 0, 400: 0}
    memory_kib = []
    for number in range(1_000):
        data = bytearray(files[names[number % len(names)]])
        for place in random.integers(0, min(len(data), 1_500 if number % 2 else len(data)), random.integers(1, 30)):
            data[place] = random.integers(0, 256)
        cut = bytes(data[: random.integers(1, len(data) + 1)]) if number % 3 == 0 else bytes(data)
        response = ask(served.triton.http_url, "media_encoder", media_tensors([cut], ["words"]))
        counts[response.status_code] += 1
        assert response.status_code == 200 or refusal(response)["error"].startswith("MEDIA: row 0: ")
        if number % 10 == 0:
            answered(ask(served.triton.http_url, "media_encoder", media_tensors([files["picture"]], [""])))
        if number in (100, 999):
            memory_kib.append(sum(map(resident_kib, models)))
    assert min(counts.values()) > 100, counts
    assert served.model_pids() == models
    assert memory_kib[1] - memory_kib[0] < 50 << 10


def resident_kib(pid: int) -> int:
    return int(next(line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")))


def test_killed_decoders_are_replaced_and_the_model_lives(served: Served, files: Mapping[str, bytes]) -> None:
    """Straight to Triton, which waits for as long as new decoders take to start on a busy machine."""
    before, models = served.decoder_pids(), served.model_pids()
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    # A file that is handed to one that is just dying may be blamed for its death.
    assert until(lambda: all(is_over(pid) for pid in before), 10)
    answered(ask(served.triton.http_url, "media_encoder", media_tensors([files["picture"]], [""])))
    assert not set(before) & set(served.decoder_pids())
    assert served.model_pids() == models


def is_over(pid: int) -> bool:
    """Tell whether a process has ended, be its parent aware of it or not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize("value", [0, np.nan])
def test_a_vector_without_a_direction_is_refused_by_the_scorer_itself(served: Served, value: float) -> None:
    vector_BD = np.full((1, *fetch_signatures(served.triton.http_url, ["label_scorer"])["label_scorer"].inputs[0].dims), value, np.float32)
    assert refusal(ask(served.triton.http_url, "label_scorer", {"EMBEDDING": vector_BD}))["error"].startswith("EMBEDDING: row 0: ")


def test_no_decoder_outlives_its_model(served: Served) -> None:
    assert served.decoder_pids()
    served.triton.unload("media_encoder")
    try:
        assert until(lambda: not served.decoder_pids(), 10)
    finally:
        served.triton.load("media_encoder")
    assert served.decoder_pids()


def test_the_examples_of_the_guide_name_the_labels_of_a_file(
    served: Served, files: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_bytes(files["video"])
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)).replace("127.0.0.1:8000", served.url.removeprefix("http://"))
    names: dict[str, Any] = {}
    exec(compile(code, "uploads.md", "exec"), names)  # noqa: S102 - it is our own guide
    expected = answered(ask(served.url, "media_encoder", media_tensors([files["video"]], ["ramen soup"]))).outputs
    assert names["labels"] == [label.decode() for label in expected["LABELS"][0]]
    assert names["best_label"] == names["labels"][0]
    np.testing.assert_allclose(names["scores"], expected["LABEL_SCORES"][0], atol=1e-6)


def test_the_guide_names_every_reason_and_limit() -> None:
    of_quarantine = {Reason.MISSING_FILE, Reason.CHANGED_SINCE_LISTED}
    assert {*Reason, TOO_LONG} - of_quarantine == set(re.findall(r"`(\w+)`", GUIDE)) & {*Reason, TOO_LONG}
    for name, field in MediaLimits.model_fields.items():
        assert f"`media.{name}`" in GUIDE
        shown = {"max_bytes": "16 MiB", "max_pixels": "33.5 million", "memory_limit_mib": "1 GiB"}.get(name, f"{field.default:g}")
        assert shown in GUIDE, name
