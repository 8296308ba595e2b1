"""repository/shard-<c>-<s>/1/followed.json: a shard on Triton, which moves on with its collection's pointer.

Generations come often; with a version of the model for each, somebody had to tell every server of every one.
"""

from typing import Final

from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.search.storage.layout import shard_model

FOLLOWED_VERSION: Final = 1
FOLLOWED: Final = "followed.json"


class FollowedShard(Settings):
    """Which shard a model serves, at the generation that is current at any time."""

    collection: str = Field(description="Full name.")
    shard: int = Field(ge=0)


def followed_key(collection: str, shard: int) -> str:
    """Give the key of a shard's file."""
    return f"repository/{shard_model(collection, shard)}/{FOLLOWED_VERSION}/{FOLLOWED}"
