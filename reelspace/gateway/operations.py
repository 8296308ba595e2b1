"""What is asked over HTTP and gRPC, as one list of operations, and the scope that a key needs for each.

An operation is a handler: `points.delete` is PointEndpoints.delete over HTTP and PointMethods.delete over gRPC.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from reelspace.core.errors import InternalError

Scope: TypeAlias = Literal["read", "write", "admin"]

_ROOMS: Final = {
    "PointEndpoints": "points",
    "PointMethods": "points",
    "CollectionEndpoints": "collections",
    "CollectionMethods": "collections",
    "V2Endpoint": "v2",
    "V2Methods": "v2",
    "ConsoleEndpoints": "console",
}
_BY_SCOPE: Final[dict[Scope | None, str]] = {
    # What needs no key.
    None: "version collections.health v2.live v2.ready console.sign_in_page console.style console.script",
    "read": (
        "points.query points.query_batch points.query_groups points.retrieve points.retrieve_one points.scroll points.count "
        "collections.list collections.describe collections.exists collections.aliases collections.aliases_of collections.unserved "
        "v2.server v2.metadata v2.config v2.model_ready v2.infer v2.unserved"
    ),
    "write": (
        "points.upsert points.delete points.set_payload points.overwrite_payload points.delete_payload points.clear_payload "
        "points.update_batch collections.index_key collections.drop_key"
    ),
    "admin": (
        "collections.create collections.delete collections.change_aliases "
        "console.page console.status console.query console.sign_in console.sign_out"
    ),
}
SCOPES: Final = {operation: scope for scope, operations in _BY_SCOPE.items() for operation in operations.split()}


def operation_of(handler: Callable[..., Any]) -> str:
    """Name the operation that a handler is."""
    room, _, name = handler.__qualname__.rpartition(".")
    return f"{_ROOMS.get(room, room)}.{name}".lstrip(".")


def scope_of(handler: Callable[..., Any]) -> Scope | None:
    """Give the scope that a handler needs, None where it needs no key.

    Raises:
        InternalError: a new handler was not given one; nothing is served then.
    """
    operation = operation_of(handler)
    if operation not in SCOPES:
        raise InternalError(f"the operation {operation} has no scope: give it one in gateway/operations.py")
    return SCOPES[operation]
