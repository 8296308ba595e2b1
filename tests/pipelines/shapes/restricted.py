"""Pod security as the step sees it: an ordinary user, no capabilities, nothing to gain, one writable directory."""

from kfp import dsl

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(outputs={"look.Output": "65532 65532 0000000000000000 1 2 read-only /tmp"})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def look() -> str:
    """Tell user, group, capabilities, no-new-privileges, seccomp mode, and whether the root file system can be written."""
    import os
    import pathlib

    status = dict(line.split(":\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    try:
        pathlib.Path("/probe").write_text("")
        root = "writable"
    except OSError:
        root = "read-only"
    pathlib.Path.home().joinpath("probe").write_text("")
    return " ".join(
        [str(os.getuid()), str(os.getgid()), status["CapEff"], status["NoNewPrivs"], status["Seccomp"], root, os.environ["HOME"]]
    )


@dsl.pipeline(name="shape-restricted")
def pipeline() -> None:
    """One task that looks at itself."""
    uncached(look())
