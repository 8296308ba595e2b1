"""Puts hits into groups by a value of their payloads. Pure."""

from collections.abc import Iterable

import orjson

from reelspace.search.access.results import Group, ScoredPoint
from reelspace.search.storage.payload_path import Path, values_at

GroupId = str | int


def group_hits(hits: Iterable[ScoredPoint], path: Path, limit: int, size: int) -> list[Group]:
    """Give the first groups that hits fall into, in the order of their first hits.

    A hit is in the group of each value at the path, a list's items count one by one; one whose values are not all texts and whole
    numbers is in none.

    Args:
        hits: best first, with payloads.
        limit: groups wanted.
        size: hits wanted in each.
    """
    groups: dict[GroupId, list[ScoredPoint]] = {}
    for hit in hits:
        for value in _values(hit.payload or b"{}", path):
            if value not in groups and len(groups) == limit:
                continue
            members = groups.setdefault(value, [])
            if len(members) < size:
                members.append(hit)
    return [Group(value, members) for value, members in groups.items()]


def are_full(groups: list[Group], limit: int, size: int) -> bool:
    """Tell whether more hits could not change the groups."""
    return len(groups) == limit and all(len(group.hits) == size for group in groups)


def _values(payload: bytes, path: Path) -> list[GroupId]:
    found = [item for value in values_at(orjson.loads(payload), path) for item in (value if isinstance(value, list) else [value])]
    # 1 and true are one key of a dict, so the kind is asked for exactly.
    if any(type(value) not in (str, int) for value in found):
        return []
    return list(dict.fromkeys(found))
