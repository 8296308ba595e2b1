"""Take an artifact out of the store by its id, where a pipeline begins with what another one made."""

import os

from reelspace.core.artifacts import open_artifact, write_manifest_file
from reelspace.core.errors import SettingError, UserError
from reelspace.core.steps import STORE_VARIABLE
from reelspace.core.store import open_store


def run(artifact_id: str, kinds: str, artifact: str) -> None:
    """Write the manifest of an artifact that is there.

    Args:
        kinds: what it may be, separated by commas.

    Raises:
        UserError: the store has no such artifact, or it is of another kind.
    """
    url = os.environ.get(STORE_VARIABLE, "")
    if not url:
        raise SettingError(f"{STORE_VARIABLE} is not set: expected a directory or s3://bucket/prefix")
    found = open_artifact(open_store(url), artifact_id)
    if found.manifest.kind not in kinds.split(","):
        raise UserError(f"artifact {artifact_id[:12]} is of kind {found.manifest.kind}, expected {kinds.replace(',', ' or ')}")
    write_manifest_file(found.manifest, artifact)
