"""Event files as TensorBoard reads them: by protobuf's own parser and by a checksum known from its standard."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from reelspace.train.event_files import EventFiles, crc32c, steps_in
from reelspace.train.sinks import Line

FIELD = descriptor_pb2.FieldDescriptorProto


def event_class() -> Any:
    """TensorBoard's Event with the fields that matter here (tensorboard/compat/proto/event.proto, summary.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3")
    messages: dict[str, list[tuple[int, str, int, str | None]]] = {
        "Value": [(1, "tag", FIELD.TYPE_STRING, None), (2, "simple_value", FIELD.TYPE_FLOAT, None)],
        "Summary": [(1, "value", FIELD.TYPE_MESSAGE, ".Value")],
        "Event": [
            (1, "wall_time", FIELD.TYPE_DOUBLE, None),
            (2, "step", FIELD.TYPE_INT64, None),
            (3, "file_version", FIELD.TYPE_STRING, None),
            (5, "summary", FIELD.TYPE_MESSAGE, ".Summary"),
        ],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, field, kind, type_name in fields:
            label = FIELD.LABEL_REPEATED if field == "value" else FIELD.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, label=label, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))


def events_in(path: Path) -> Iterator[Any]:
    """The events of a file, both checksums of each compared."""
    kind, data = event_class(), path.read_bytes()
    while data:
        length = struct.unpack("<Q", data[:8])[0]
        assert unmasked(data[8:12]) == crc32c(data[:8])
        assert unmasked(data[12 + length : 16 + length]) == crc32c(data[12 : 12 + length])
        yield kind.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def unmasked(data: bytes) -> int:
    """As TensorFlow's crc32c.h undoes its mask."""
    rotated = (struct.unpack("<I", data)[0] - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


@pytest.mark.parametrize(("data", "checksum"), [(b"123456789", 0xE3069283), (b"\0" * 32, 0x8A9136AA), (b"", 0)])
def test_the_checksum_has_the_values_of_its_standard(data: bytes, checksum: int):
    assert crc32c(data) == checksum


def test_the_figures_of_a_step_are_read_back_with_its_number_and_time(tmp_path: Path):
    target = EventFiles(tmp_path / "run")
    target.send([Line(10, {"loss": 0.25, "learning_rate": 3e-4}, 1_700_000_000.5), Line(300, {"loss": math.nan}, 1_700_000_009.0)])
    target.finish(is_done=True)
    (path,) = files_in(tmp_path / "run")
    head, first, second = events_in(path)
    assert head.file_version == "brain.Event:2"
    assert (first.step, first.wall_time) == (10, 1_700_000_000.5)
    assert {value.tag: value.simple_value for value in first.summary.value} == pytest.approx({"loss": 0.25, "learning_rate": 3e-4})
    assert second.step == 300
    assert math.isnan(second.summary.value[0].simple_value)


def test_a_later_try_writes_a_file_of_its_own_and_tells_no_step_twice(tmp_path: Path):
    for steps in ((1, 2, 3), (2, 3, 4, 500)):
        target = EventFiles(tmp_path)
        for step in steps:
            target.send([Line(step, {"loss": float(step)}, 1_700_000_000.0)])
        target.finish(is_done=False)
    earlier, later = files_in(tmp_path)
    assert [event.step for event in events_in(earlier)] == [0, 1, 2, 3]
    assert [event.step for event in events_in(later)] == [0, 4, 500]


def test_the_half_record_of_a_killed_try_is_passed_by(tmp_path: Path):
    target = EventFiles(tmp_path)
    target.send([Line(step, {"loss": 1.0}, 1_700_000_000.0) for step in (1, 2)])
    target.finish(is_done=False)
    (path,) = files_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    assert list(steps_in(path)) == [0, 1]
    resumed = EventFiles(tmp_path)
    resumed.send([Line(step, {"loss": 1.0}, 1_700_000_001.0) for step in (1, 2, 3)])
    resumed.finish(is_done=True)
    assert [event.step for event in events_in(files_in(tmp_path)[1])] == [0, 2, 3]
