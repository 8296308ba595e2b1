"""A model's folder in Triton's repository in the store: which versions lie there, and which of them its configuration names.

repository/<model>/config.pbtxt, repository/<model>/<version>/version.json and what else the version is made of
"""

import re
from collections.abc import Collection
from typing import Any, Final

import orjson
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.serving.signatures import GRAPH_PARAMETER
from reelspace.serving.version import VERSION_FILE

_POLICY: Final = re.compile(r"^version_policy\b[^\n]*\n?", re.MULTILINE)
_FOLDER: Final = re.compile(r"[1-9][0-9]*")


class VersionFolders:
    """The versions of one model."""

    def __init__(self, store: Store, model: str) -> None:
        self.model = model
        self._store = store
        self._folder = f"repository/{model}/"
        self._config_key = f"{self._folder}config.pbtxt"

    def versions(self) -> list[int]:
        """Give the versions that lie in the store."""
        folders = {key.removeprefix(self._folder).partition("/")[0] for key in self._store.list(self._folder)}
        return sorted(int(folder) for folder in folders if _FOLDER.fullmatch(folder))

    def space_id(self, version: int) -> str:
        """Give the space that a version embeds into.

        Raises:
            ArtifactMissing: the version says nothing of itself.
            CorruptArtifact: what it says is not readable.
        """
        key = f"{self._folder}{version}/{VERSION_FILE}"
        try:
            return str(orjson.loads(self._store.get(key))["space_id"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"{key} in {self._store.url}: expected a JSON object with space_id; export the model again") from error

    def name(self, versions: Collection[int]) -> None:
        """Have the configuration name these versions and no other: what a Triton that starts from now on loads."""
        while True:
            data, etag = self._config()
            wanted = f"{_without_policy(data, self._config_key).rstrip()}\n{_policy_line(versions)}\n".encode()
            if wanted == data.encode():
                return
            try:
                self._store.put_if_match(self._config_key, wanted, etag)
            except PreconditionFailed:
                continue
            return

    def config_of(self, versions: Collection[int]) -> dict[str, Any]:
        """Give the configuration as Triton's JSON, as if it named these versions."""
        data, _ = self._config()
        config = model_config_pb2.ModelConfig()
        try:
            text_format.Parse(data, config)
        except text_format.ParseError as error:
            raise CorruptArtifact(f"{self._config_key} in {self._store.url} is no configuration of Triton's: {error}") from error
        config.version_policy.specific.versions[:] = sorted(set(versions))
        values: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
        return values

    def graph(self) -> str | None:
        """Name the model whose version of the same number this model asks, None where it asks none."""
        value: str | None = self.config_of([1]).get("parameters", {}).get(GRAPH_PARAMETER, {}).get("string_value")
        return value

    def _config(self) -> tuple[str, str]:
        try:
            data, etag = self._store.get_with_etag(self._config_key)
        except ArtifactMissing as error:
            raise ArtifactMissing(f"expected {self._config_key} in {self._store.url}: export and promote the model first") from error
        return data.decode(), etag


def _policy_line(versions: Collection[int]) -> str:
    return f"version_policy {{ specific {{ versions: [ {', '.join(map(str, sorted(set(versions))))} ] }} }}"


def _without_policy(text: str, where: str) -> str:
    left = _POLICY.sub("", text)
    if "version_policy" in left or any(line.count("{") != line.count("}") for line in _POLICY.findall(text)):
        raise UserError(f"{where}: expected version_policy on a line of its own, as export writes it")
    return left
