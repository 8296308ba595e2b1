import os
import sys
from pathlib import Path

import pytest

from reelspace.core.errors import SettingError
from reelspace.serving.runtime import BACKENDS, PYTHON, TritonRuntime, find_libpython, library_directories


def test_prepared_directory_has_the_stub_beside_the_backend_and_our_backends(tmp_path: Path) -> None:
    runtime = TritonRuntime.prepare(tmp_path)
    python_backend = runtime.backends / "python"
    assert (python_backend / "libtriton_python.so").is_file()
    assert os.access(python_backend / "triton_python_backend_stub", os.X_OK)
    assert os.access(runtime.binary, os.X_OK)
    assert (runtime.backends / "reelspace_encoder" / "model.py").samefile(BACKENDS / "reelspace_encoder" / "model.py")
    assert any((directory / f"libpython{PYTHON}.so.1.0").exists() for directory in runtime.library_path)


def test_servers_environment_finds_this_interpreter_first(tmp_path: Path) -> None:
    values = TritonRuntime.prepare(tmp_path).environment({"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/x", "PYTHONHOME": "/y", "A": "1"})
    assert values["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/usr/bin"]
    assert values["LD_LIBRARY_PATH"].endswith("nvidia_pytriton.libs:/opt/x")
    assert "PYTHONHOME" not in values
    assert values["A"] == "1"


def test_missing_libpython_names_the_package_to_install(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=rf"apt-get install libpython{PYTHON}$") as caught:
        find_libpython([tmp_path, tmp_path / "b"])
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_libpython_of_the_running_interpreter_comes_before_the_systems(tmp_path: Path) -> None:
    own = next(directory for directory in library_directories() if (directory / f"libpython{PYTHON}.so.1.0").is_file())
    system = tmp_path / f"libpython{PYTHON}.so.1.0"
    system.touch()
    assert find_libpython([own, tmp_path]).parent == own


def test_a_directory_without_backends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with pytest.raises(SettingError, match="expected Triton backends"):
        TritonRuntime.prepare(tmp_path / "work", tmp_path / "own")
