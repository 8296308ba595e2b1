"""The checks of an installation, each against a sound one and a broken one, and the command that tells them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reelspace.cli.main import app
from reelspace.core.local_store import LocalStore
from reelspace.gateway.doctor import (
    Installation,
    check_agreement,
    check_clock,
    check_keys,
    check_promoted,
    check_store,
    examine,
    judged_clock,
)
from reelspace.gateway.keys import new_key
from reelspace.search.access.served import Served
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.doctor.triton import ModelFacts

from ...http_server import answering

SPACE = "00112233aabbccdd"
COLLECTION = Collection(name="videos", space_id=SPACE, vectors={"": VectorSettings(dimension=4)}, num_shards=1)
NOW = datetime.now(UTC)


def promoted(root: Path) -> LocalStore:
    store = LocalStore(root)
    create_collection(store, COLLECTION)
    pointer = {"space_id": SPACE, "encoders": {"text_encoder": 3}, "collection": COLLECTION.full_name, "alias": "videos", "generation": 1}
    store.put(SPACE_POINTER, json_bytes(SpacePointer(**pointer, previous=None)))  # type: ignore[arg-type]
    return store


def keys_file(path: Path, *expiries: datetime | None, mode: int = 0o640) -> Path:
    lines = [new_key(f"key{place}", ["read"], ["*"], expiry)[1].model_dump(mode="json") for place, expiry in enumerate(expiries)]
    path.write_text(json.dumps(lines))
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("ages", "mode", "level", "seen"),
    [
        ([None, timedelta(days=1)], 0o640, "ok", "2 valid"),
        ([None], 0o600, "ok", "1 valid"),
        ([None], 0o660, "fail", "mode 660"),
        ([None], 0o602, "fail", "mode 602"),
        ([None], 0o644, "warn", "mode 644"),
        ([None, timedelta(days=-1)], 0o640, "warn", "expired: key1"),
        ([timedelta(days=-1)], 0o640, "fail", "none of the 1 keys"),
        ([], 0o640, "fail", "none of the 0 keys"),
    ],
)
def test_keys_that_others_may_write_or_that_let_nobody_in_fail(
    tmp_path: Path, ages: list[timedelta | None], mode: int, level: str, seen: str
) -> None:
    found = check_keys(keys_file(tmp_path / "keys.json", *(None if age is None else NOW + age for age in ages), mode=mode), NOW)
    assert (found.level, seen in found.seen) == (level, True), found.line


def test_a_file_of_keys_that_is_not_there_or_broken_fails_without_its_values(tmp_path: Path) -> None:
    assert check_keys(tmp_path / "none.json", NOW).level == "fail"
    (tmp_path / "keys.json").write_text('[{"name": "a", "sha256": "the-key-itself"}]')
    found = check_keys(tmp_path / "keys.json", NOW)
    assert (found.level, "the-key-itself" in found.line) == ("fail", False)


def test_a_store_that_cannot_be_written_or_is_not_there_fails(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    found, store = check_store(str(tmp_path / "sound"))
    assert (found.level, store is not None) == ("ok", True)
    assert list((tmp_path / "sound").rglob("*probes/*")) == []
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "probes").write_text("a file where a directory must be")
    for address in (str(tmp_path / "absent"), str(tmp_path / "broken"), "ftp://elsewhere"):
        found, store = check_store(address)
        assert (found.level, store) == ("fail", None), address
    assert not (tmp_path / "absent").exists(), "looking changes nothing"


def test_a_pointer_that_is_absent_or_damaged_fails(tmp_path: Path) -> None:
    found, served = check_promoted(LocalStore(tmp_path / "empty"))
    assert (found.level, served) == ("fail", None)
    store = promoted(tmp_path / "store")
    found, served = check_promoted(store)
    assert (found.level, found.seen) == ("ok", "videos@00112233 with text_encoder 3")
    assert served is not None
    store.put(SPACE_POINTER, b"{}")
    assert check_promoted(store)[0].level == "fail"


@pytest.mark.parametrize(
    ("fact", "level"),
    [
        (ModelFacts(SPACE, 4), "ok"),
        (ModelFacts("ffff2233aabbccdd", 4), "fail"),
        (ModelFacts(SPACE, 5), "fail"),
        (ModelFacts(None, None), None),
    ],
)
def test_a_model_of_another_space_or_length_than_the_collection_fails(fact: ModelFacts, level: str | None) -> None:
    findings = check_agreement(Served(COLLECTION, {"text_encoder": 3}), {"text_encoder": fact})
    assert [one.level for one in findings] == ([] if level is None else [level])


@contextmanager
def store_at(ahead_s: float) -> Iterator[str]:
    """Answer as an object store whose clock is so far ahead."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(403)
            self.send_header("Date", formatdate(time.time() + ahead_s, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with answering(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (60, "warn"), (-60, "warn"), (4000, "fail"), (-4000, "fail")])
def test_a_clock_far_from_the_stores_fails(ahead_s: float, level: str) -> None:
    with store_at(ahead_s) as url:
        found = check_clock("s3://bucket/prefix", {"REELSPACE_S3_ENDPOINT": url})
    assert found.level == level, found.line
    assert ("behind" in found.seen) == (ahead_s > 0)


def test_the_time_of_a_directory_is_that_of_its_files_and_a_store_that_tells_none_warns(tmp_path: Path) -> None:
    assert check_clock(str(tmp_path), {}).level == "ok"
    assert list(tmp_path.iterdir()) == []
    assert check_clock("s3://bucket/prefix", {"REELSPACE_S3_ENDPOINT": "http://127.0.0.1:9"}).level == "warn"
    assert [judged_clock(skew_s).level for skew_s in (4.9, -5.1, 299.0, 301.0)] == ["ok", "warn", "warn", "fail"]


def test_everything_that_is_named_is_looked_at_and_a_triton_that_is_away_fails(tmp_path: Path) -> None:
    promoted(tmp_path / "store")
    keys = keys_file(tmp_path / "keys.json", None)
    findings = examine(Installation(str(tmp_path / "store"), "http://127.0.0.1:9", keys, ports=(1,)))
    checks = [one.check for one in findings]
    assert checks[-6:] == ["port 1", "keys", "store", "clock", "promoted", "triton server"]
    assert [one.check for one in findings if one.level == "fail" and one.check != "port 1"] == ["triton server"]


def test_the_command_ends_with_one_when_a_check_fails_and_tells_it_to_people_and_machines(tmp_path: Path) -> None:
    promoted(tmp_path / "store")
    words = ["serve", "doctor", "--store", str(tmp_path / "store")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert "ok    promoted: videos@00112233 with text_encoder 3" in told.stdout.splitlines()
    assert "--triton --keys --port would let more be looked at" in told.stdout.splitlines()[-1]
    told = CliRunner().invoke(app, ["serve", "doctor", "--keys", str(tmp_path / "none.json"), "--json"], env={"REELSPACE_STORE": ""})
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert next(one for one in found["findings"] if one["level"] == "fail")["check"] == "keys"
    assert found["left_out"] == ["--store", "--triton", "--port"]
