"""Lineage: what an artifact was made of, back to the data and the code.

Manifests are hashed, so parents, settings and code are proven. run.json beside them is not: what it says (when, where, figures, which
parent was which input) is what the run noted, and what contradicts the manifest is told as a problem and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from reelspace.core.artifacts import Artifact, Manifest, canonical_json, open_artifact
from reelspace.core.digest import code_digest
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, InternalError
from reelspace.core.store import Store

State = Literal["whole", "damaged", "missing", "digest", "unknown"]
"""Of an id: an artifact that is there, one with something wrong, one that is gone, a digest of what a step read beside its inputs, or
an id of which an older run did not note whether it is an artifact that is gone or such a digest."""

Code = Literal["same", "other", "unknown"]
"""Whether the code that made an artifact is the code that is installed here."""

_STRONGEST: Final[tuple[State, ...]] = ("missing", "unknown", "digest")
_MADE: Final = ("step", "key", "finished_at", "host", "places", "wall_seconds")
_MAX_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Parent:
    """An id that an artifact was made of, with the input or the setting of the step that named it; None: neither did."""

    id: str
    name: str = ""
    named_by: Literal["input", "setting"] | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One id of a lineage.

    Attributes:
        problems: what is missing or damaged, in words.
        parents: sorted by name; empty where the manifest cannot be read.
        settings: those that differ from the defaults, by dotted key, or all where the run did not note which differ.
        inputs_are_noted: the run noted which parents were its inputs.
        made: what run.json notes: step, key, finished_at, host, places, wall_seconds.
        figures: what the step measured.
    """

    id: str
    state: State
    problems: tuple[str, ...] = ()
    kind: str = ""
    parents: tuple[Parent, ...] = ()
    code: str = ""
    code_here: Code = "unknown"
    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_are_changes: bool = False
    inputs_are_noted: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    num_files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Lineage:
    """Ids that were asked for, and everything behind them, nearest first."""

    roots: tuple[str, ...]
    nodes: Mapping[str, Node]

    def problems(self) -> list[str]:
        """Give everything that is missing or damaged, one line each."""
        return [f"{node.kind or 'artifact'} {node.id[:12]}: {problem}" for node in self.nodes.values() for problem in node.problems]


def walk(store: Store, roots: Sequence[str], *, verify: bool = False, depth: int | None = None) -> Lineage:
    """Follow parents from some artifacts to those that have none.

    Args:
        verify: read and check every byte; else manifests are checked and files only looked for.
        depth: steps back from the roots, at least 0; None: as far as it goes. Parents beyond are named by their nodes, but no nodes.
    """
    nodes: dict[str, Node] = {}
    absent: dict[str, list[State]] = {}
    digest_here = _CodeHere()
    level, num_steps = list(dict.fromkeys(roots)), 0
    while level and (depth is None or num_steps <= depth):
        following: dict[str, None] = {}
        for artifact_id in level:
            node = nodes[artifact_id] = _read(store, artifact_id, verify, digest_here)
            for parent in node.parents:
                absent.setdefault(parent.id, []).append(_if_absent(parent, node))
                following.setdefault(parent.id)
        level, num_steps = [one for one in following if one not in nodes], num_steps + 1
    return Lineage(tuple(dict.fromkeys(roots)), {one: _judged(node, absent.get(one, [])) for one, node in nodes.items()})


def last_of(lineage: Lineage) -> tuple[str, ...]:
    """Give those of the roots that no other root was made of."""
    behind = {parent.id for node in lineage.nodes.values() for parent in node.parents}
    return tuple(one for one in lineage.roots if one not in behind) or lineage.roots


def as_json(lineage: Lineage) -> dict[str, Any]:
    """Give the lineage as JSON values."""
    return {"roots": list(lineage.roots), "nodes": [asdict(node) for node in lineage.nodes.values()], "problems": lineage.problems()}


class _CodeHere:
    """Digests of the code that is installed, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}

    def compare(self, code: str, facts: Mapping[str, Any]) -> Code:
        module, roots = facts.get("module"), facts.get("code_roots")
        if not code or not isinstance(module, str) or not isinstance(roots, list):
            return "unknown"
        asked = (module, tuple(map(str, roots)))
        if asked not in self._known:
            try:
                self._known[asked] = code_digest(*asked)
            except InternalError:  # a module that is not here any more
                self._known[asked] = ""
        return "same" if self._known[asked] == code else "other"


def _read(store: Store, artifact_id: str, verify: bool, code_here: _CodeHere) -> Node:
    try:
        artifact = open_artifact(store, artifact_id)
    except ArtifactMissing:
        return Node(artifact_id, "missing")
    except CorruptArtifact as error:
        return Node(artifact_id, "damaged", (f"{_first_clause(error)}; what it was made of is unknown",))
    manifest = artifact.manifest
    problems = list(_bad_files(artifact, verify))
    state: State = "damaged" if problems else "whole"
    facts = _facts(artifact, problems.append)
    inputs = _noted_inputs(facts, manifest, problems.append)
    changes = _noted_changes(facts, manifest, problems.append)
    return Node(
        artifact_id,
        state,
        tuple(problems),
        manifest.kind,
        tuple(sorted(_parents(manifest, inputs), key=lambda parent: (parent.named_by is None, parent.name, parent.id))),
        manifest.code,
        code_here.compare(manifest.code, facts),
        dict(_flat(manifest.settings)) if changes is None else changes,
        changes is not None,
        inputs is not None,
        {name: facts[name] for name in _MADE if name in facts},
        facts["metrics"] if isinstance(facts.get("metrics"), dict) else {},
        len(manifest.files),
        sum(entry.size_bytes for entry in manifest.files),
    )


def _bad_files(artifact: Artifact, verify: bool) -> Iterator[str]:
    if not verify:
        prefix = f"artifacts/{artifact.id}/"
        there = {key.removeprefix(prefix) for key in artifact.store.list(prefix)}
        gone = [name for name in artifact.names() if name not in there]
        yield from (f"file {name!r} is gone" for name in gone[:_MAX_LISTED])
        if len(gone) > _MAX_LISTED:
            yield f"{len(gone) - _MAX_LISTED} more files are gone"
        return
    for name in artifact.names():
        try:
            artifact.verify_file(name)
        except CorruptArtifact as error:
            yield _first_clause(error)


def _facts(artifact: Artifact, tell: Callable[[str], object]) -> Mapping[str, Any]:
    try:
        return artifact.run_facts()
    except ArtifactMissing:
        tell("run.json is gone: when, where and figures are unknown")
    except (ValueError, TypeError):
        tell("run.json cannot be read: when, where and figures are unknown")
    return {}


def _noted_inputs(facts: Mapping[str, Any], manifest: Manifest, tell: Callable[[str], object]) -> Mapping[str, str] | None:
    inputs = facts.get("inputs")
    if not isinstance(inputs, dict):
        return None
    strange = sorted(str(name) for name, one in inputs.items() if one not in manifest.parents)
    if strange:
        tell(f"run.json names inputs that the manifest does not: {', '.join(strange)}")
    return {str(name): one for name, one in inputs.items() if one in manifest.parents}


def _noted_changes(facts: Mapping[str, Any], manifest: Manifest, tell: Callable[[str], object]) -> Mapping[str, Any] | None:
    changes = facts.get("changes")
    if not isinstance(changes, dict):
        return None
    strange = sorted(key for key, value in changes.items() if not _says(manifest.settings, key, value))
    if strange:
        tell(f"run.json notes settings that the manifest does not have: {', '.join(strange)}")
        return None
    return changes


def _says(settings: Mapping[str, Any], key: str, value: object) -> bool:
    found: Any = settings
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return canonical_json(found) == canonical_json(value)


def _parents(manifest: Manifest, inputs: Mapping[str, str] | None) -> Iterator[Parent]:
    by_input = {one: name for name, one in sorted((inputs or {}).items(), reverse=True)}
    by_setting = {value: key for key, value in _flat(manifest.settings) if isinstance(value, str)}
    for one in manifest.parents:
        if one in by_input:
            yield Parent(one, by_input[one], "input")
        elif one in by_setting:
            yield Parent(one, by_setting[one], "setting")
        else:
            yield Parent(one)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _if_absent(parent: Parent, child: Node) -> State:
    if parent.named_by is not None:
        return "missing"
    return "digest" if child.inputs_are_noted else "unknown"


def _judged(node: Node, by_children: Sequence[State]) -> Node:
    """Say of an id that the store does not have what it must have been."""
    if node.state != "missing":
        return node
    state: State = next((one for one in _STRONGEST if one in by_children), "missing")
    if state != "missing":
        return Node(node.id, state)
    return Node(node.id, "missing", ("it is not in the store; what it was made of is unknown",))


def _first_clause(error: Exception) -> str:
    return str(error).partition("; make the artifact again")[0]
