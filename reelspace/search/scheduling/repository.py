"""Writes Triton's model repository: a version directory per promoted encoder, and one per shard, which follows its pointer.

Version directories are whole before a configuration names them, and the version that serves stays named, so a server
that starts amid a promotion serves what the pointers say.
"""

from collections.abc import Mapping

import orjson

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import CorruptArtifact
from reelspace.core.store import Store
from reelspace.search.compute.signature import shard_config, version_policy
from reelspace.search.scheduling.claims import claim
from reelspace.search.storage.followed import FOLLOWED_VERSION, FollowedShard, followed_key
from reelspace.search.storage.layout import SPACE_CLAIMS, Collection, json_bytes, shard_model

CONFIG = "config.pbtxt"
EXPORTED_VERSION = "1"


def encoder_space(repository: Artifact) -> str:
    """Give the space that an exported repository's encoders embed into.

    Raises:
        CorruptArtifact: it holds no encoder, or encoders of several spaces.
    """
    models = _models(repository)
    spaces = {str(orjson.loads(repository.read(f"{model}/{EXPORTED_VERSION}/version.json"))["space_id"]) for model in models}
    if len(spaces) != 1:
        raise CorruptArtifact(f"repository {repository.id}: expected encoders of one space, got {len(models)} of {sorted(spaces)}")
    return spaces.pop()


def publish_encoders(store: Store, repository: Artifact, serving: Mapping[str, int]) -> dict[str, int]:
    """Copy an exported repository to repository/<model>/<n>/, where n counts promotions; gives n by model.

    Args:
        serving: version by model that serves now and stays loaded beside the new one.
    """
    models = _models(repository)
    number = claim(store, SPACE_CLAIMS, repository.id)
    for model in models:
        _publish_encoder(store, repository, model, number, serving.get(model, number))
    return dict.fromkeys(models, number)


def publish_followed(store: Store, collection: Collection) -> None:
    """Write repository/shard-<c>-<s>/{1/followed.json, config.pbtxt} for every shard, where they are not there as they should be."""
    for shard in range(collection.num_shards):
        model = shard_model(collection.full_name, shard)
        followed = FollowedShard(collection=collection.full_name, shard=shard)
        _put(store, followed_key(collection.full_name, shard), json_bytes(followed))
        _put(store, f"repository/{model}/{CONFIG}", shard_config(model, [FOLLOWED_VERSION]).encode())


def _put(store: Store, key: str, data: bytes) -> None:
    if not store.exists(key) or store.get(key) != data:
        store.put(key, data)


def _publish_encoder(store: Store, repository: Artifact, model: str, number: int, serving: int) -> None:
    prefix = f"{model}/{EXPORTED_VERSION}/"
    for name in [name for name in repository.names() if name.startswith(prefix)]:
        key = f"repository/{model}/{number}/{name.removeprefix(prefix)}"
        if not store.exists(key):
            store.put(key, repository.read(name))
    config = repository.read(f"{model}/{CONFIG}").decode()
    store.put(f"repository/{model}/{CONFIG}", f"{config}{version_policy([serving, number])}\n".encode())


def _models(repository: Artifact) -> list[str]:
    return sorted(name.partition("/")[0] for name in repository.names() if name.endswith(f"/{CONFIG}"))
