"""Push the images that components name, and write a lock with the digests that the registry answers.

`python -m pipelines.compiling.push_images --to docker://registry.example/video --lock prod.lock [--tool podman|buildah]`
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipelines.compiling.images_lock import read_images_lock
from reelspace.core.errors import UserError
from reelspace.core.program import run_main

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "docker://"


def main() -> None:
    """Parse the arguments, push, write the lock."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, help="docker://HOST/PATH of a registry, or oci:DIRECTORY; an image's name is put behind it")
    parser.add_argument("--lock", required=True, type=Path, help="file to write, for kfp_compile.py --images")
    parser.add_argument("--tool", choices=("podman", "buildah"), default="podman", help="holds the images and pushes them")
    args = parser.parse_args()
    names = sorted(read_images_lock(ROOT / "images.lock").images)
    digests = {name: push(args.tool, name, f"{args.to.rstrip('/')}/{name}") for name in names}
    registry = args.to.removeprefix(REGISTRY).rstrip("/") if args.to.startswith(REGISTRY) else None
    args.lock.write_text(lock_text(digests, registry))
    read_images_lock(args.lock)


def push(tool: str, image: str, target: str) -> str:
    """Push one image and give its digest there.

    Args:
        target: a place with its transport: `docker://host/path:tag`, `oci:/directory:tag`.

    Raises:
        UserError: the tool refuses; its own words say why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "digest"
        done = subprocess.run([tool, "push", f"--digestfile={answer}", image, target], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{tool} push {image} {target}: {' '.join(done.stderr.split())}")
        return answer.read_text().strip()


def lock_text(digests: Mapping[str, str], registry: str | None) -> str:
    """Write the lock: TOML with a digest per image, and the registry that every name is pulled from."""
    head = f'registry = "{registry}"\n\n' if registry else ""
    return f"{head}[images]\n" + "".join(f'"{name}" = "{digest}"\n' for name, digest in sorted(digests.items()))


if __name__ == "__main__":
    sys.exit(run_main(main))
