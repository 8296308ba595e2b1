"""What is set in a message, in the form that it has in JSON, so that both are checked by one parser.

A field that is not set is left out; one that is set and not served is refused by its name.
Legend: D dimension.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from reelspace.search.access.refusal import RequestRefused, not_served

Read: TypeAlias = Callable[[Any, str], Any]
WEAK: Final = 0


def parse_message(kind: Any, data: bytes) -> Any:
    """Read a message.

    Raises:
        RequestRefused: the bytes are no such message, or hold a field that these messages do not have: it would be passed over.
    """
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise RequestRefused("message", f"expected a message {kind.DESCRIPTOR.full_name}: {error}") from error
    message.DiscardUnknownFields()
    # Equal sizes are the rule and settle it; else the same message may just be written in another way.
    if message.ByteSize() != len(data) and message.ByteSize() != kind.FromString(data).ByteSize():
        raise RequestRefused("message", f"it has fields that a {kind.DESCRIPTOR.full_name} does not have")
    return message


def set_fields(message: Any, readers: Mapping[str, Read], place: str = "") -> dict[str, Any]:
    """Give the fields that are set, read by the reader of each, but those read as None; 501 for one without a reader.

    Args:
        place: what comes before the names in messages, as `searches[3].`.
    """
    found = {}
    for field, value in message.ListFields():
        name = field.name
        read = readers.get(name)
        if read is None:
            raise not_served(f"{place}{name}")
        item = read(value, f"{place}{name}")
        if item is not None:
            found[name] = item
    return found


def chosen(message: Any, choice: str, where: str) -> str:
    """Give the name of the one field of several that is set."""
    name: str | None = message.WhichOneof(choice)
    if name is None:
        raise RequestRefused(where, "expected one kind to be set, got none")
    return name


def as_is(value: Any, where: str) -> Any:
    """Give what is the same in JSON."""
    return value


def read_nothing(value: Any, where: str) -> None:
    """Pass over what is read elsewhere."""


def items(value: Any, where: str) -> list[Any]:
    """Give repeated values."""
    return list(value)


def only_weak(value: Any, where: str) -> None:
    """Refuse an order of writes other than the weak one."""
    if value.type != WEAK:
        raise not_served(where, "an ordering other than weak")


def point_id(message: Any, where: str) -> int | str:
    """Give an id."""
    value: int | str = getattr(message, chosen(message, "point_id_options", where))
    return value


def point_ids(messages: Any, where: str) -> list[int | str]:
    """Give ids."""
    return [point_id(one, f"{where}[{number}]") for number, one in enumerate(messages)]


def dense_vector(message: Any, where: str) -> NDArray[np.float32]:
    """Give the components of a `DenseVector`: one field, written as its tag, its length and float32, little-endian."""
    data = message.SerializeToString()
    return np.frombuffer(data, "<f4", offset=len(data) - 4 * len(message.data))


def with_payload(message: Any, where: str) -> bool | dict[str, list[str]]:
    """Give what of the payload is wanted."""
    name = chosen(message, "selector_options", where)
    return message.enable if name == "enable" else {name: list(getattr(message, name).fields)}


def with_vectors(message: Any, where: str) -> bool | list[str]:
    """Give which vectors are wanted."""
    return message.enable if chosen(message, "selector_options", where) == "enable" else list(message.include.names)
