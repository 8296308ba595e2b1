"""Every check of a machine against one that is sound and one that is not, and of a Triton that answers in every wrong way."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.serving.doctor import machine
from reelspace.serving.doctor.finding import Finding, fail, ok
from reelspace.serving.doctor.machine import (
    MIN_VERSIONS,
    check_clients,
    check_glibc,
    check_libpython,
    check_machine,
    check_numpy,
    check_ports,
    check_runtime,
    check_shared_memory,
    check_stub,
)
from reelspace.serving.doctor.triton import ModelFacts, TritonPatient
from reelspace.serving.runtime import BACKENDS, PYTHON
from reelspace.serving.signatures import EncoderSizes, config_of_signature, text_signature
from reelspace.serving.wire import Answer, encode_answer, text_tensor

from ...http_server import answering


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_this_machine_is_fit_and_every_check_says_what_it_saw() -> None:
    findings = check_machine()
    assert [one.check for one in findings] == ["libpython", "triton", "numpy", "glibc", "shared memory", "packages"]
    assert [one.line for one in findings if one.level == "fail"] == []
    assert all(one.seen for one in findings)


def test_a_line_ends_with_what_to_do_where_there_is_something_to_do() -> None:
    assert ok("numpy", "1.26.4").line == "ok    numpy: 1.26.4"
    assert fail("numpy", "2.1", "pip install 'numpy<2'").line == "fail  numpy: 2.1; pip install 'numpy<2'"


def test_a_missing_libpython_names_its_package_and_where_it_was_looked_for(tmp_path: Path) -> None:
    found = check_libpython([tmp_path])
    assert (found.level, found.next) == ("fail", f"apt-get install libpython{PYTHON}")
    assert str(tmp_path) in found.seen
    (tmp_path / f"libpython{PYTHON}.so.1.0").touch()
    assert check_libpython([tmp_path]).level == "ok"


def test_a_triton_without_backends_of_ours_is_told_by_what_is_expected(tmp_path: Path) -> None:
    assert check_runtime(BACKENDS).level == "ok"
    found = check_runtime(tmp_path)
    assert (found.level, found.next) == ("fail", "name their directory")
    assert str(tmp_path) in found.seen


@pytest.mark.parametrize(
    "words",
    [
        f"stub: error while loading shared libraries: libpython{PYTHON}.so.1.0: cannot open shared object file",
        "stub: /lib/libc.so.6: version `GLIBC_2.39' not found (required by stub)",
    ],
)
def test_a_program_of_models_that_the_loader_refuses_is_told_in_the_loaders_words(tmp_path: Path, words: str) -> None:
    found = check_stub(program(tmp_path / "stub", f'echo "{words.replace("`", chr(92) + "`")}" >&2; exit 127'), os.environ)
    assert found.level == "fail"
    assert words.partition(": ")[2].rpartition(" not found")[0][-12:] in found.seen
    assert check_stub(program(tmp_path / "fine", "echo usage >&2; exit 1"), os.environ).level == "ok"
    assert check_stub(tmp_path / "absent", os.environ).level == "fail"


@pytest.mark.parametrize(("version", "level"), [("1.26.4", "ok"), ("2.0.0", "fail"), ("2.3.1rc1", "fail"), ("10.0", "fail")])
def test_a_numpy_that_gives_models_wrong_numbers_fails(version: str, level: str) -> None:
    assert check_numpy(version).level == level


@pytest.mark.parametrize(("told", "level"), [("glibc 2.36", "ok"), ("glibc 2.35", "ok"), ("glibc 2.31", "fail"), ("none", "fail")])
def test_a_c_library_older_than_tritons_fails(told: str, level: str) -> None:
    assert check_glibc(told).level == level


def test_shared_memory_that_is_small_warns_and_that_holds_no_model_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Usage:
        free: int

    def with_free(free: int) -> str:
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _place: Usage(free))
        return check_shared_memory(tmp_path, 5).level

    assert [with_free(size << 20) for size in (19, 20, 63, 64)] == ["fail", "warn", "warn", "ok"]
    monkeypatch.undo()
    assert check_shared_memory(tmp_path / "absent", 1).level == "fail"


def test_a_taken_port_fails_and_a_free_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        free = held.getsockname()[1]
        held.close()
        number = taken.getsockname()[1]
        found = check_ports("127.0.0.1", [number, free])
    assert [(one.check, one.level) for one in found] == [(f"port {number}", "fail"), (f"port {free}", "ok")]
    assert check_ports("192.0.2.1", [free])[0].level == "fail"


@pytest.mark.parametrize(("package", "version", "seen"), [("tokenizers", None, "tokenizers"), ("tritonclient", "2.5", "tritonclient 2.5")])
def test_packages_that_are_missing_or_old_are_named(package: str, version: str | None, seen: str) -> None:
    sound: dict[str, str | None] = {name: ".".join(map(str, numbers)) for name, numbers in MIN_VERSIONS.items()}
    assert check_clients(sound.get).level == "ok"
    found = check_clients((sound | {package: version}).get)
    assert (found.level, found.seen.endswith(seen)) == ("fail", True)


def test_the_versions_that_are_asked_for_are_those_of_the_package_itself() -> None:
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    serving = text.partition("\nserving = [")[2].partition("]\n")[0]
    for name, numbers in MIN_VERSIONS.items():
        wanted = ".".join(map(str, numbers))
        assert any(f'"{name}{extra}{sign}{wanted}"' in serving for extra in ("", "[grpc,http]") for sign in (">=", "==")), name


@dataclass
class Faked:
    """A stand-in for Triton: an answer by path."""

    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)

    def tell(self, path: str, value: Any, status: int = 200) -> None:
        self.answers[path] = (status, json.dumps(value).encode(), {})


@contextmanager
def faked() -> Iterator[tuple[Faked, TritonPatient]]:
    fake = Faked()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, headers = fake.answers.get(self.path, (404, b'{"error": "unknown model"}', {}))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url, TritonPatient(url, 5.0) as patient:
        fake.tell("/v2", {"name": "triton", "version": "2.51.0"})
        fake.tell("/v2/health/ready", None)
        fake.tell(
            "/v2/models/text_encoder/versions/3/config", config_of_signature(text_signature("text_encoder", EncoderSizes(dimension=2)))
        )
        yield fake, patient


INFER = "/v2/models/text_encoder/versions/3/infer"


def test_a_triton_is_there_or_not_ready_or_not_there() -> None:
    with faked() as (fake, patient):
        assert patient.check_server().line.endswith("is ready, version 2.51.0")
        fake.tell("/v2/health/ready", None, 503)
        assert patient.check_server().level == "fail"
    with TritonPatient("http://127.0.0.1:9", 1.0) as nobody:
        found = nobody.check_server()
        assert (found.level, "cannot be reached" in found.seen) == ("fail", True)


def test_a_model_that_answers_tells_its_space_and_the_length_of_its_vectors() -> None:
    with faked() as (fake, patient):
        outputs = {"EMBEDDING": np.zeros((1, 2), np.float32), "SPACE_ID": text_tensor(["0123456789abcdef"])}
        message = encode_answer(Answer("text_encoder", "3", outputs), dict.fromkeys(outputs, True))
        fake.answers[INFER] = (200, message.body, message.headers)
        findings, facts = patient.check_models([("text_encoder", "3"), ("video_encoder", "3")])
        assert [one.level for one in findings] == ["ok", "fail"]
        assert "version 3 is not loaded: unknown model" in findings[1].seen
        assert facts == {"text_encoder": ModelFacts("0123456789abcdef", 2)}


@pytest.mark.parametrize(
    ("status", "body", "level", "seen"),
    [
        (500, b'{"error": "Stub process is not healthy."}', "fail", "fails: Stub process is not healthy."),
        (400, b'{"error": "TEXT: too long"}', "ok", "refuses the probe"),
        (200, b"no JSON", "fail", "answers what is no answer"),
        (200, b"{}", "fail", "answers what is no answer"),
    ],
)
def test_a_model_that_does_not_answer_well_is_told_in_its_words(status: int, body: bytes, level: str, seen: str) -> None:
    with faked() as (fake, patient):
        fake.answers[INFER] = (status, body, {})
        found, facts = patient.check_model("text_encoder", "3")
        assert (found.level, seen in found.seen, facts) == (level, True, None)
        assert isinstance(found, Finding)


def test_the_newest_ready_version_of_each_model_is_looked_at() -> None:
    with faked() as (fake, patient):
        versions = [("a", "9", "READY"), ("a", "10", "READY"), ("a", "11", "UNAVAILABLE"), ("b", "1", "LOADING")]
        fake.tell("/v2/repository/index", [{"name": name, "version": version, "state": state} for name, version, state in versions])
        assert patient.newest() == {"a": "10"}
