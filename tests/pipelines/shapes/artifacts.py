"""Artifacts from task to task: a file and a directory, with figures beside them."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(outputs={"read.Output": "7 a=1 b=2"})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def write(manifest: Output[Artifact], folder: Output[Dataset]) -> int:
    """Write a file and a directory of two files."""
    import json
    import pathlib

    pathlib.Path(manifest.path).write_text(json.dumps({"id": 7}))
    pathlib.Path(folder.path).mkdir()
    for name, text in (("a", "1"), ("b", "2")):
        pathlib.Path(folder.path, name).write_text(text)
    return 2


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def copy(manifest: Input[Artifact], copied: Output[Artifact]) -> None:
    """Pass the file on."""
    import shutil

    shutil.copyfile(manifest.path, copied.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def read(manifest: Input[Artifact], folder: Input[Dataset], num_files: int) -> str:
    """Read both, after one was passed on."""
    import json
    import pathlib

    files = sorted(pathlib.Path(folder.path).iterdir())
    assert len(files) == num_files
    return " ".join([str(json.loads(pathlib.Path(manifest.path).read_text())["id"]), *(f"{one.name}={one.read_text()}" for one in files)])


@dsl.pipeline(name="shape-artifacts")
def pipeline() -> None:
    """Write, copy, read."""
    written = uncached(write())
    copied = uncached(copy(manifest=written.outputs["manifest"]))
    uncached(read(manifest=copied.outputs["copied"], folder=written.outputs["folder"], num_files=written.outputs["Output"]))
