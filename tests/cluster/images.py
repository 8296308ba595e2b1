"""Container images made of local files, without a registry or a daemon: one layer in an archive as `docker save` writes it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
_APPLETS = ("cat", "echo", "env", "false", "httpd", "id", "kill", "ls", "mkdir", "rm", "sh", "sleep", "touch", "true", "wget")
_PROGRAM_MODE, _OPEN_FOLDER_MODE = 0o755, 0o1777


def write_image(
    path: Path, name: str, programs: Mapping[str, Path], command: Sequence[str], links: Mapping[str, str] | None = None
) -> Path:
    """Write an image with an empty `/tmp`; the same files give the same bytes.

    Args:
        path: of the archive.
        name: with its tag, such as `localhost/tool:test`.
        programs: files by their paths in the image.
        command: what runs without a command of the pod.
        links: symbolic links by their paths in the image, with their targets.
    """
    layer = _layer(programs, links or {})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "config": {"Entrypoint": list(command) or None, "Env": ["PATH=/bin"]},
    }
    config_bytes = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(path, "w") as archive:
        for inside, content in ((config_name, config_bytes), (f"{digest}.tar", layer), ("manifest.json", manifest)):
            _add(archive, inside, content)
    return path


def write_busybox_image(path: Path, name: str, command: Sequence[str] = ()) -> Path:
    """Write an image with the shell and the small programs of the system's static busybox."""
    return write_image(path, name, {"/bin/busybox": BUSYBOX}, command, {f"/bin/{applet}": "busybox" for applet in _APPLETS})


def _layer(programs: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, "tmp", b"", mode=_OPEN_FOLDER_MODE, type=tarfile.DIRTYPE)
        for inside, source in programs.items():
            _add(archive, inside, source.read_bytes(), mode=_PROGRAM_MODE)
        for inside, target in links.items():
            _add(archive, inside, b"", type=tarfile.SYMTYPE, linkname=target)
    return layer.getvalue()


def _add(archive: tarfile.TarFile, inside: str, content: bytes, **facts: Any) -> None:
    entry = tarfile.TarInfo(inside.lstrip("/"))
    entry.size = len(content)
    for fact, value in facts.items():
        setattr(entry, fact, value)
    archive.addfile(entry, io.BytesIO(content))
